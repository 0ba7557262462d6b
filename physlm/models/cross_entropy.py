from physlm.training.cross_entropy import embedding, linear_cross_entropy, token_nll  # noqa: F401
