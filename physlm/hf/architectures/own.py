"""Remote code of ours, ``modeling_physlm``: what no architecture of transformers has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from torch import Tensor

from physlm.errors import UserError
from physlm.hf.architectures.architecture import Architecture, State, gated
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.norms import LayerNorm, RMSNorm
from physlm.models.parts.part import MLP, Local, Mixer

P = TypeVar("P")
# settings of attention that a block of the remote code has, under our names
ATTENTION = ("rope", "rope_base", "qk_norm", "rope_heads", "bias", "window", "chunk", "scale", "learnt_scale", "log_n",
             "floor", "group", "gate", "sink", "value_rows")  # fmt: skip
PASSES = ("loops", "prelude", "coda")  # of the model


def _settings(config: ModelConfig) -> dict[str, Any]:
    blocks = []
    for mixer, mlp, local in zip(config.mixers, config.mlps, config.locals, strict=True):
        assert isinstance(mixer, Attention) and (local is None or isinstance(local, Canon))
        block: dict[str, Any] = {name: getattr(mixer, name) for name in ATTENTION}
        block |= {"mlp": mlp.kind, "hidden": 0, "act": "gelu", "canon": "", "canon_residual": True, "canon_act": False}
        if isinstance(mlp, Plain | Gated):
            hidden = mlp.hidden(config) if isinstance(mlp, Gated) else mlp.ratio * config.width
            block |= {"hidden": hidden, "act": mlp.act}
        if local is not None:
            block |= {"canon": local.sites, "canon_residual": local.residual, "canon_act": local.act}
        blocks.append(block)
    assert isinstance(config.norm, LayerNorm | RMSNorm)
    return {"blocks": blocks, "norm": config.norm.kind, "norm_eps": config.norm.eps, "absolute": config.absolute,
            **{name: getattr(config, name) for name in PASSES}}


_NO_MATRICES = ("norm.weight", "positions.weight", "buckets.weight", "scale.weight")


def _named_alike(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    """Both have the same names; the matrices of the one are transposed in the other."""
    return {name: tensor if name.endswith(_NO_MATRICES) or not name.endswith("weight") else tensor.T
            for name, tensor in state.items() if not name.startswith(("embedding.", "output."))}


def _shape(theirs: Any) -> ModelConfig:
    mixers: list[Mixer] = []
    mlps: list[MLP] = []
    locals_: list[Local] = []
    for block in theirs.blocks:
        mixers.append(Attention(**{name: block[name] for name in ATTENTION if name in block}))  # older ones have fewer
        if block["mlp"] == "gated":
            mlps.append(gated(block["hidden"], theirs.hidden_size, block["act"]))
        else:
            ratio = block["hidden"] // theirs.hidden_size
            mlps.append(Plain(ratio=ratio, act=block["act"]) if block["mlp"] == "plain" else NoMLP())
        if block["canon"]:
            locals_.append(Canon(sites=block["canon"], residual=block["canon_residual"], act=block["canon_act"]))
    if len(locals_) not in (0, len(mixers)):
        raise UserError(f"import from hf: got Canon layers in {len(locals_)} of {len(mixers)} blocks, expected none or "
                        "all")
    return ModelConfig(layers=theirs.num_hidden_layers, heads=theirs.num_attention_heads, width=theirs.hidden_size,
                       mixer=_pattern(mixers), mlp=_pattern(mlps), local=_pattern(locals_), absolute=theirs.absolute,
                       norm=(RMSNorm if theirs.norm == "rmsnorm" else LayerNorm)(theirs.norm_eps),
                       **{name: getattr(theirs, name) for name in PASSES})  # fmt: skip


def _pattern(parts: Sequence[P]) -> tuple[P, ...]:
    """The shortest one that gives these parts when it is tiled."""
    for length in range(1, len(parts)):
        if all(part == parts[place % length] for place, part in enumerate(parts)):
            return tuple(parts[:length])
    return tuple(parts)


PHYSLM = Architecture("physlm", lambda config: True, _settings, _named_alike, _named_alike, _shape)
