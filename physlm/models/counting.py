"""Parameters and FLOPs, one name per convention, summed over what the parts list.  Free of torch."""

from __future__ import annotations

import math

from physlm.models.config import ModelConfig
from physlm.models.listing import TOKEN_TABLES, block_slots, model_weights, times_read


def parameter_counts(config: ModelConfig, vocabulary: int) -> dict[str, int]:
    """Trained parameters of one member under each convention.

    Returns:
        ``params_all``: every trained number in the model; ``params_used``: without embedding rows that no token of the
        task uses, the P of arXiv 2404.05405; ``params_nonembedding``: without the embedding of tokens, nor the output
        of a model that is not tied;
        ``params_active``: of ``params_used``, what one token uses, below it for experts; ``params_fixed``: numbers that
        are held at their random first values, which a seed gives again, in none of the others.  Running statistics of
        parts are in none.
        For layer norms without biases, P = l (4 + 2 r) d^2 + (2 l + 1) d + V d with l layers and MLP ratio r, and V d
        more if the model is not tied.
    """
    weights = model_weights(config, vocabulary)
    tables = [weights.pop(name) for name in TOKEN_TABLES if name in weights]
    trained = [weight for weight in weights.values() if weight.trained]
    body = sum(weight.numbers for weight in trained)
    used = len(tables) * config.used_rows(vocabulary) * config.width
    return {
        "params_all": body + sum(table.numbers for table in tables),
        "params_used": body + used,
        "params_nonembedding": body,
        "params_active": round(sum(weight.numbers * weight.share for weight in trained)) + used,
        "params_fixed": sum(weight.numbers for weight in weights.values() if not (weight.trained or weight.running)),
    }


def training_flops(config: ModelConfig, vocabulary: int, row_tokens: int) -> float:
    """FLOPs of forward and backward for one token: 6 for each weight that it is multiplied with, and 3 times those that
    its parts count beside their weights; both at each pass of layers that are looped, and in each stream.

    For ordinary attention 6 (l (4 + 2 r) d^2 + V d) + 6 l d T: causal attention reads T / 2 positions on average, 4 d
    FLOPs each forward, 2 d for the score and 2 d for the mixture.
    """
    weights = model_weights(config, vocabulary)
    multiplied = sum(weight.numbers * weight.share * times_read(config, name) for name, weight in weights.items()
                     if weight.role.multiplied)
    beside = sum(_beside(config, layer, row_tokens) for layer in config.order)
    beside += branches(config) * config.residual.flops(config, row_tokens)
    return 6.0 * multiplied + 3.0 * config.parallel.streams * beside


def _beside(config: ModelConfig, layer: int, row_tokens: int) -> float:
    """Forward FLOPs a token that the parts of a layer count beside their weights; of those that the layer reads."""
    tokens = config.route.tokens(layer, row_tokens)
    return config.route.share(layer) * sum(part.flops(config, tokens)
                                           for part in (config.mixers[layer], config.mlps[layer]))


def branches(config: ModelConfig) -> int:
    """How often a token passes a branch that adds to the residual path: the mixer, and the MLP where there is one."""
    return sum(1 + (not config.mlps[layer].empty) for layer in config.order)


def state_bytes(config: ModelConfig, positions: int, number: int = 2) -> int:
    """Bytes that one row of so many positions leaves for the next token, over all layers.

    Args:
        number: bytes of one that is not kept in float32; 2 of bfloat16.
    """
    kept = [one for layer in config.order for slot in block_slots(config, layer).values()
            for one in slot.state(config, positions, False)]
    return config.parallel.streams * sum(math.prod(one.shape) * (4 if one.float32 else number) for one in kept)
