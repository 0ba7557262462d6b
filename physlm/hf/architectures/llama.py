"""Llama: root-mean-square norm, fully rotary attention, also of grouped queries, gated MLP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from physlm.hf.architectures.architecture import ACTS, Architecture, State, expect, gated, one_kind, rotary, turned
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.gated import Gated
from physlm.models.parts.norms import RMSNorm


def _fits(config: ModelConfig) -> bool:
    return (one_kind(config, "group") and isinstance(config.norm, RMSNorm) and isinstance(config.mlp[0], Gated)
            and config.mixer[0].rope == 1)  # type: ignore[attr-defined]


def _settings(config: ModelConfig) -> dict[str, Any]:
    mixer, mlp = config.mixer[0], config.mlp[0]
    assert isinstance(mixer, Attention) and isinstance(mlp, Gated) and isinstance(config.norm, RMSNorm)
    rotation = {"rope_type": "default", "rope_theta": mixer.rope_base}
    return {"attention_bias": False, "mlp_bias": False, "rms_norm_eps": config.norm.eps, "rope_parameters": rotation,
            "intermediate_size": mlp.hidden(config), "hidden_act": ACTS[mlp.act],
            "num_key_value_heads": config.heads // mixer.group}


_NAMES = {"attention_norm.weight": "input_layernorm.weight", "attention.out.weight": "self_attn.o_proj.weight",
          "mlp_norm.weight": "post_attention_layernorm.weight", "mlp.down.weight": "mlp.down_proj.weight"}
_SEVERAL = {"attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight", "self_attn.v_proj.weight"),
            "mlp.up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight")}  # fmt: skip


def _channels(config: ModelConfig) -> tuple[int, int, int]:
    """Of queries, keys and values."""
    mixer = config.mixer[0]
    assert isinstance(mixer, Attention)
    return config.width, mixer.key_channels(config), mixer.key_channels(config)


def _to_hf(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    found = {"model.norm.weight": state["final_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        found |= {f"{theirs}.{name}": turned(state[f"{ours}.{own}"]) for own, name in _NAMES.items()}
        for own, names in _SEVERAL.items():
            whole = state[f"{ours}.{own}"].T
            parts = whole.split(_channels(config)) if len(names) == 3 else whole.chunk(len(names))
            found |= {f"{theirs}.{name}": part for name, part in zip(names, parts, strict=True)}
    return found


def _to_ours(config: ModelConfig, given: Mapping[str, Tensor]) -> State:
    found = {"final_norm.weight": given["model.norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        found |= {f"{ours}.{own}": turned(given[f"{theirs}.{name}"]) for own, name in _NAMES.items()}
        found |= {f"{ours}.{own}": torch.cat([given[f"{theirs}.{name}"] for name in names]).T
                  for own, names in _SEVERAL.items()}
    return found


def _shape(theirs: Any) -> ModelConfig:
    expect(theirs, hidden_act=("silu", "relu2"),
            head_dim=(theirs.hidden_size // theirs.num_attention_heads,))  # fmt: skip
    return ModelConfig(layers=theirs.num_hidden_layers, heads=theirs.num_attention_heads, width=theirs.hidden_size,
                       mixer=(rotary(theirs, 1.0, theirs.num_attention_heads // theirs.num_key_value_heads),),
                       norm=RMSNorm(theirs.rms_norm_eps),
                       mlp=(gated(theirs.intermediate_size, theirs.hidden_size, theirs.hidden_act),))  # fmt: skip


LLAMA = Architecture("llama", _fits, _settings, _to_hf, _to_ours, _shape)
