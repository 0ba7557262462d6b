"""Parameters and FLOPs by formula, one name per convention.  Free of torch; a test compares with a real model."""

from __future__ import annotations

from physlm.models.config import ModelConfig


def parameter_counts(config: ModelConfig, vocabulary: int) -> dict[str, int]:
    """Parameters of one member under each convention.

    Returns:
        ``params_all``: every number in the model; ``params_used``: without embedding rows that no token of the task
        uses, the P of arXiv 2404.05405; ``params_nonembedding``: without the embedding.
        For layer norms without biases, P = l (4 + 2 r) d^2 + (2 l + 1) d + V d with l layers and MLP ratio r.
    """
    d, layers, ratio = config.width, config.layers, config.mlp_ratio
    norms = layers * (2 if ratio else 1) + 1
    body = layers * (4 + 2 * ratio) * d * d + norms * d
    rows = config.embedding_rows(vocabulary)
    return {
        "params_all": body + rows * d,
        "params_used": body + vocabulary * d,
        "params_nonembedding": body,
    }


def training_flops(config: ModelConfig, vocabulary: int, row_tokens: int) -> float:
    """FLOPs of forward and backward for one token, 6 for each weight of a matrix product and attention's own.

    6 (l (4 + 2 r) d^2 + V d) + 6 l d T: causal attention reads T / 2 positions on average, 4 d FLOPs each forward.
    """
    d, layers = config.width, config.layers
    rows = config.embedding_rows(vocabulary)
    weights = layers * (4 + 2 * config.mlp_ratio) * d * d + rows * d
    return 6.0 * weights + 6.0 * layers * d * row_tokens
