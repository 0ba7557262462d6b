"""Parameters and FLOPs by formula, one name per convention.  Free of torch; a test compares with a real model."""

from __future__ import annotations

from physlm.models.config import ModelConfig


def parameter_counts(config: ModelConfig, vocabulary: int) -> dict[str, int]:
    """Parameters of one member under each convention.

    Returns:
        ``params_all``: every number in the model; ``params_used``: without embedding rows that no token of the task
        uses, the P of arXiv 2404.05405; ``params_nonembedding``: without the embedding of tokens.
        For layer norms without biases, P = l (4 + 2 r) d^2 + (2 l + 1) d + V d with l layers and MLP ratio r.
        GPT_rel has 2 l d^2 + P d more (P rows of distances), GPT has P d more (P positions), GPT_pos has l P h more
        and 2 l d^2 less (h heads; neither queries nor keys), GPT_uni 2 l d^2 less.
    """
    d, layers, ratio = config.width, config.layers, config.mlp_ratio
    norms = layers * (2 if ratio else 1) + 1
    body = layers * (_attention_matrices(config) + 2 * ratio) * d * d + norms * d
    if config.position == "relative":
        body += 2 * layers * d * d + config.distances * d
    elif config.position == "absolute":
        body += config.max_positions * d
    elif config.position == "position_only":
        body += layers * config.distances * config.heads
    return {
        "params_all": body + config.embedding_rows(vocabulary) * d,
        "params_used": body + config.used_rows(vocabulary) * d,
        "params_nonembedding": body,
    }


def training_flops(config: ModelConfig, vocabulary: int, row_tokens: int) -> float:
    """FLOPs of forward and backward for one token, 6 for each weight of a matrix product and attention's own.

    6 (l (4 + 2 r) d^2 + V d) + 6 l d T: causal attention reads T / 2 positions on average, 4 d FLOPs each forward,
    2 d for the score and 2 d for the mixture.  GPT_rel has three scores (its tables, computed once for all rows of a
    step, are left out); GPT_pos and GPT_uni have none, and 2 d^2 weights a layer in place of 4 d^2; an encoder reads
    T positions.
    """
    d, layers = config.width, config.layers
    rows = config.embedding_rows(vocabulary)
    weights = layers * (_attention_matrices(config) + 2 * config.mlp_ratio) * d * d + rows * d
    products = {"relative": 4, "position_only": 1, "uniform": 1}.get(config.position, 2)
    read = row_tokens / 2 if config.causal else row_tokens
    return 6.0 * weights + 6.0 * layers * d * products * read


def _attention_matrices(config: ModelConfig) -> int:
    """Products of a token's activations with d x d weights in one attention: q, k, v, out; or v, out."""
    return 2 if config.position in ("position_only", "uniform") else 4
