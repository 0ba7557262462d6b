"""A mixture of experts that begins with a trained dense model (arXiv 2212.05055), parts of it drawn anew (2502.19261).

    every expert    the MLP of the dense model
    r of it         in each expert and each matrix on its own a fresh random subset of r hidden units; their entries in
                    this matrix become N(mean, std^2), with the mean and std of exactly the entries that are replaced
    router, bias    first values as in a new model
    all else        as in the dense model

With r = 0 and gates that sum to 1 (``top_k`` > 1) the mixture computes what the dense model does, until it is trained;
with ``top_k`` = 1 its MLPs add p_e times as much, as Switch has it.  With r = 1 nothing is left but a mean and a std.
2502.19261 also shuffles the hidden units of each expert before: that changes no function, and here nothing at all,
since the subsets are random anyway.

Free of torch until weights are made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from physlm.models.config import ModelConfig
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import MLP

if TYPE_CHECKING:
    from torch import Tensor

INTO_HIDDEN, OUT_OF_HIDDEN = "up", "down"  # a gated MLP has gate and up side by side in the first


def can_begin(mixture: ModelConfig, dense: ModelConfig) -> bool:
    """Whether the MLPs of the mixture can begin with those of the dense model, block by block: the same, or experts of
    the same kind, without a shared one or a chain, which would add the MLP several times."""
    return dense.layers == mixture.layers and all(
        theirs == ours or (isinstance(ours, MoE) and ours.expert == theirs and not ours.shared and ours.chain == 1
                           and _names(theirs, dense) == (INTO_HIDDEN, OUT_OF_HIDDEN))
        for ours, theirs in zip(mixture.mlps, dense.mlps, strict=True))  # fmt: skip


def upcycled(state: Mapping[str, Tensor], dense: ModelConfig, mixture: ModelConfig, share: float, seed: int
             ) -> dict[str, Tensor]:
    """The first weights of the mixture, of a model of one member.

    Args:
        state: the ``state_dict`` of the dense model, of one member.
        share: r.
        seed: another one draws other subsets and other numbers.
    """
    import torch

    from physlm import rng

    assert can_begin(mixture, dense), "asked before"
    found = dict(state)
    for layer, (ours, theirs) in enumerate(zip(mixture.mlps, dense.mlps, strict=True)):
        if ours == theirs:
            continue
        assert isinstance(ours, MoE)
        copied = _names(theirs, dense)
        hidden = theirs.weights(dense)[copied.index(OUT_OF_HIDDEN)].shape[0]
        for weight in ours.weights(mixture):
            name = f"blocks.{layer}.mlp.{weight.path}"
            if weight.name in copied:
                axis = 0 if weight.name == OUT_OF_HIDDEN else 1
                experts = [_redrawn(state[name][0], axis, hidden, share, rng.key("upcycle", seed, name, expert))
                           for expert in range(ours.experts)]
                found[name] = torch.stack(experts)[None]
            else:
                drawn = weight.init.draw(rng.key("weights", seed, name), weight.numbers, mixture)
                found[name] = drawn.view(1, *weight.shape).float()
    return found


def _names(mlp: MLP, model: ModelConfig) -> tuple[str, ...]:
    return tuple(weight.name for weight in mlp.weights(model))


def _redrawn(matrix_io: Tensor, axis: int, hidden: int, share: float, key: int) -> Tensor:
    """A copy with some of the hidden units along ``axis`` drawn anew; gate and up, side by side, each with its own."""
    import torch

    from physlm import rng

    parts = []
    for number, part in enumerate(matrix_io.split(hidden, axis)):
        place = rng.permute(torch.arange(hidden), hidden, key, torch.tensor(number))
        chosen = (place < round(share * hidden)).nonzero()[:, 0]
        replaced = part.index_select(axis, chosen).double()
        if replaced.numel():
            drawn = rng.normal(rng.key("redrawn", key, number), replaced.numel()).view_as(replaced)
            part = part.index_copy(axis, chosen, (replaced.mean() + replaced.std(correction=0) * drawn).to(part.dtype))
        parts.append(part)
    return torch.cat(parts, axis)
