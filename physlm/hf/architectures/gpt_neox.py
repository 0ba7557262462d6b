"""GPT-NeoX: layer norm, one kind of rotary attention (all or a part of a head), plain MLP; biases that are zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from physlm.errors import UserError
from physlm.hf.architectures.architecture import ACTS, Architecture, State, expect, one_kind, rotary, turned
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.mlp import Plain
from physlm.models.parts.norms import LayerNorm

_GELUS = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")  # several names of one function


def _fits(config: ModelConfig) -> bool:
    return (one_kind(config) and isinstance(config.norm, LayerNorm) and isinstance(config.mlp[0], Plain)
            and config.mixer[0].rope > 0)  # type: ignore[attr-defined]


def _settings(config: ModelConfig) -> dict[str, Any]:
    mixer, mlp = config.mixer[0], config.mlp[0]
    assert isinstance(mixer, Attention) and isinstance(mlp, Plain) and isinstance(config.norm, LayerNorm)
    rotation = {"rope_type": "default", "rope_theta": mixer.rope_base, "partial_rotary_factor": mixer.rope}
    return {"use_parallel_residual": False, "attention_bias": False, "layer_norm_eps": config.norm.eps,
            "intermediate_size": mlp.ratio * config.width, "hidden_act": ACTS[mlp.act], "rope_parameters": rotation}


_NAMES = {"attention_norm.weight": "input_layernorm.weight", "attention.out.weight": "attention.dense.weight",
         "mlp_norm.weight": "post_attention_layernorm.weight", "mlp.up.weight": "mlp.dense_h_to_4h.weight",
         "mlp.down.weight": "mlp.dense_4h_to_h.weight"}  # fmt: skip


def _to_hf(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    found = {"gpt_neox.final_layer_norm.weight": state["final_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"gpt_neox.layers.{i}"
        found |= {f"{theirs}.{name}": turned(state[f"{ours}.{own}"]) for own, name in _NAMES.items()}
        # ours has all queries, then all keys, then all values; theirs has the three of a head together
        qkv = state[f"{ours}.attention.qkv.weight"].T.unflatten(0, (3, config.heads, -1)).transpose(0, 1)
        found[f"{theirs}.attention.query_key_value.weight"] = qkv.flatten(0, 2)
    return found


def _to_ours(config: ModelConfig, given: Mapping[str, Tensor]) -> State:
    found = {"final_norm.weight": given["gpt_neox.final_layer_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"gpt_neox.layers.{i}"
        found |= {f"{ours}.{own}": turned(given[f"{theirs}.{name}"]) for own, name in _NAMES.items()}
        qkv = given[f"{theirs}.attention.query_key_value.weight"].unflatten(0, (config.heads, 3, -1)).transpose(0, 1)
        found[f"{ours}.attention.qkv.weight"] = qkv.flatten(0, 2).T
    return found


def _shape(theirs: Any) -> ModelConfig:
    ratio, rest = divmod(theirs.intermediate_size, theirs.hidden_size)
    expect(theirs, use_parallel_residual=(False,), hidden_act=(*_GELUS, "relu2"))
    if rest:
        raise UserError(f"import from hf: intermediate_size: got {theirs.intermediate_size}, expected a multiple of "
                        f"hidden_size, {theirs.hidden_size}")
    act = "relu2" if theirs.hidden_act == "relu2" else "gelu"
    return ModelConfig(layers=theirs.num_hidden_layers, heads=theirs.num_attention_heads, width=theirs.hidden_size,
                       mixer=(rotary(theirs, 0.25),), norm=LayerNorm(theirs.layer_norm_eps),
                       mlp=(Plain(ratio=ratio, act=act),))  # type: ignore[arg-type]


GPT_NEOX = Architecture("gpt_neox", _fits, _settings, _to_hf, _to_ours, _shape)
