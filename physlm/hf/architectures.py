"""Our models in transformers' architectures, and back: which one fits, its settings, and its weights under its names.

    gpt_neox    layer norm, one kind of rotary attention (all or a part of a head), plain MLP; biases that are zero
    llama       root-mean-square norm, fully rotary attention, gated MLP
    physlm      the rest: remote code of ours (``modeling_physlm``)

Rows of the embedding that are no token of the task are left out, so that generation draws none of them.

Shape letters: d width, H heads, k = d / H, h hidden units.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.extras import needed
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.norms import EPS, LayerNorm, RMSNorm
from physlm.models.parts.part import MLP, Local, Mixer

State = dict[str, Tensor]
P = TypeVar("P")

# settings that an exported model can have; any other must be at its default
_SETTINGS: dict[type, tuple[str, ...]] = {
    ModelConfig: ("layers", "heads", "width", "mixer", "mlp", "norm", "local", "absolute", "vocab_size", "init_std",
                  "tied"),
    Attention: ("rope", "rope_base", "qk_norm"),
    Plain: ("ratio", "act"), Gated: ("ratio", "act"), NoMLP: (),
    Canon: ("sites", "residual", "act", "trained"),
    LayerNorm: (), RMSNorm: (),
}  # fmt: skip
_ACTS = {"gelu": "gelu_pytorch_tanh", "relu2": "relu2", "silu": "silu"}  # ours and theirs
_GELUS = ("gelu_pytorch_tanh", "gelu_new", "gelu_fast")  # several names of one function


@dataclass(frozen=True)
class Architecture:
    """One way to say a model of ours in transformers.

    Attributes:
        name: its ``model_type``.
        fits: whether a model has this shape.
        settings: of its config, but for those that all have.
        to_hf: weights of ours, without the axis of members, under its names.
        to_ours: and back.
        shape: the shape that a config of it has.
    """

    name: str
    fits: Callable[[ModelConfig], bool]
    settings: Callable[[ModelConfig], dict[str, Any]]
    to_hf: Callable[[ModelConfig, Mapping[str, Tensor]], State]
    to_ours: Callable[[ModelConfig, Mapping[str, Tensor]], State]
    shape: Callable[[Any], ModelConfig]


def check_exportable(config: ModelConfig) -> None:
    """Raises UserError for a model that no architecture has: one part or setting of it is named."""
    if not config.causal:
        raise UserError("export to hf: got an encoder (model.causal=false), expected a model that generates")
    parts: tuple[Any, ...] = (config, *config.mixer, *config.mlp, *config.local, config.norm)
    for part in dict.fromkeys(parts):
        kind = getattr(part, "kind", "model")
        if type(part) not in _SETTINGS:
            known = ", ".join(one.kind for one in _SETTINGS if one is not ModelConfig)  # type: ignore[attr-defined]
            raise UserError(f"export to hf: got the part {kind!r}, expected one of {known}")
        for field in dataclasses.fields(part):
            value = getattr(part, field.name)
            if field.name not in _SETTINGS[type(part)] and value != field.default:
                raise UserError(f"export to hf: {kind}.{field.name}: got {value!r}, expected {field.default!r}, which "
                                "exported models have")


def architecture_of(config: ModelConfig) -> Architecture:
    """The first that the model fits into.

    Raises:
        UserError: as ``check_exportable``.
    """
    check_exportable(config)
    return next(one for one in ARCHITECTURES.values() if one.fits(config))


def to_hf(model: Decoder, positions: int) -> Any:
    """A model of one member as one of transformers, float32 on the CPU; its logits are the same up to rounding.

    Args:
        positions: how long texts the config says that it was made for; a table of learnt positions overrides it.

    Raises:
        UserError: no architecture has its shape, transformers is missing, or its logits are not the same.
    """
    transformers = needed("transformers", "hf")
    config, rows = model.config, model.vocabulary
    assert model.members == 1
    architecture = architecture_of(config)
    settings = {
        "vocab_size": rows, "hidden_size": config.width, "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads, "tie_word_embeddings": config.tied, "use_cache": True,
        "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0, "initializer_range": config.init_std,
        "max_position_embeddings": config.absolute or positions, **architecture.settings(config),
    }  # fmt: skip
    found = class_of(architecture.name)(_config_class(transformers, architecture.name)(**settings)).float().eval()
    state = {name: tensor[0].detach().float().cpu() for name, tensor in model.state_dict().items()}
    weights = architecture.to_hf(config, state)
    with torch.no_grad():
        _tables(found, state["embedding.weight"][:rows], None if config.tied else state["output.weight"][:rows])
        for name, parameter in found.named_parameters():
            if name in weights:
                parameter.copy_(weights.pop(name))
            elif name.endswith("bias"):
                parameter.zero_()
            else:
                assert any(parameter is one.weight for one in _embeddings(found)), f"{name} has no value"
    assert not weights, f"no place for {', '.join(weights)}"
    _check_same(model, found)
    return found


@torch.no_grad()
def _check_same(model: Decoder, found: Any) -> None:
    """``UserError`` if this version of transformers makes another model of the same config; one read other settings."""
    places = torch.arange(2 * min(16, found.config.max_position_embeddings)).view(2, -1)
    ids = (places * places) % model.vocabulary
    ours, theirs = model.member(0)(ids[None]).logits[0, ..., : model.vocabulary], found(input_ids=ids).logits
    if not torch.allclose(ours, theirs, atol=1e-4 * max(1.0, float(ours.abs().max())), rtol=0):
        version = needed("transformers", "hf").__version__
        raise UserError(f"export to hf: transformers {version} computes other logits from these weights, by up to "
                        f"{float((ours - theirs).abs().max()):.2g}; expected another version: pip install 'physlm[hf]'")


def to_ours(found: Any, vocabulary: int) -> Decoder:
    """A model of transformers as one of ours, of one member on the CPU.

    Raises:
        UserError: another architecture, a shape that ours has not, biases that are not zero, or fewer embedding rows
            than the task has tokens.
    """
    kind = found.config.model_type
    if kind not in ARCHITECTURES:
        raise UserError(f"import from hf: got a model of the architecture {kind!r}, expected one of "
                        f"{', '.join(ARCHITECTURES)}; hf_features gives the activations of any")
    architecture = ARCHITECTURES[kind]
    config = architecture.shape(found.config)
    given = {name: tensor.detach().float().cpu() for name, tensor in found.named_parameters()}
    for name in [name for name in given if name.endswith("bias")]:
        if bool(given.pop(name).any()):
            raise UserError(f"import from hf: {name}: got values other than 0, expected a model without biases")
    tables = [one.weight.detach().float().cpu() for one in _embeddings(found)]
    config = dataclasses.replace(config, tied=len(tables) == 1,
                                 vocab_size=0 if len(tables[0]) == vocabulary else len(tables[0]))  # fmt: skip
    model = Decoder(config, vocabulary, seeds=(None,))
    state = architecture.to_ours(config, given)
    state |= dict(zip(("embedding.weight", "output.weight"), tables, strict=False))
    model.load_member(0, {name: tensor[None] for name, tensor in state.items()})
    return model


def class_of(name: str) -> Any:
    """The class of the models of an architecture."""
    if name == "physlm":
        needed("transformers", "hf")
        from physlm.hf.modeling_physlm import PhyslmForCausalLM

        return PhyslmForCausalLM
    transformers = needed("transformers", "hf")
    return {"gpt_neox": transformers.GPTNeoXForCausalLM, "llama": transformers.LlamaForCausalLM}[name]


def _config_class(transformers: Any, name: str) -> Any:
    if name == "physlm":
        return class_of(name).config_class
    return {"gpt_neox": transformers.GPTNeoXConfig, "llama": transformers.LlamaConfig}[name]


def _embeddings(found: Any) -> list[Any]:
    """The embedding, and the output where that has a table of its own."""
    embedding, output = found.get_input_embeddings(), found.get_output_embeddings()
    tied = output is None or output.weight is embedding.weight
    return [embedding] if tied else [embedding, output]


def _tables(found: Any, embedding_Vd: Tensor, output_Vd: Tensor | None) -> None:
    found.tie_weights()
    modules = _embeddings(found)
    assert len(modules) == 1 + (output_Vd is not None)
    for module, table in zip(modules, (embedding_Vd, output_Vd), strict=False):
        module.weight.copy_(table)


# ---- GPT-NeoX


def _neox_fits(config: ModelConfig) -> bool:
    return (_one_kind(config) and isinstance(config.norm, LayerNorm) and isinstance(config.mlp[0], Plain)
            and config.mixer[0].rope > 0)  # type: ignore[attr-defined]


def _neox_settings(config: ModelConfig) -> dict[str, Any]:
    mixer, mlp = config.mixer[0], config.mlp[0]
    assert isinstance(mixer, Attention) and isinstance(mlp, Plain)
    rotation = {"rope_type": "default", "rope_theta": mixer.rope_base, "partial_rotary_factor": mixer.rope}
    return {"use_parallel_residual": False, "attention_bias": False, "layer_norm_eps": EPS,
            "intermediate_size": mlp.ratio * config.width, "hidden_act": _ACTS[mlp.act], "rope_parameters": rotation}


_NEOX = {"attention_norm.weight": "input_layernorm.weight", "attention.out.weight": "attention.dense.weight",
         "mlp_norm.weight": "post_attention_layernorm.weight", "mlp.up.weight": "mlp.dense_h_to_4h.weight",
         "mlp.down.weight": "mlp.dense_4h_to_h.weight"}  # fmt: skip


def _neox_to_hf(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    found = {"gpt_neox.final_layer_norm.weight": state["final_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"gpt_neox.layers.{i}"
        found |= {f"{theirs}.{name}": _turned(state[f"{ours}.{own}"]) for own, name in _NEOX.items()}
        # ours has all queries, then all keys, then all values; theirs has the three of a head together
        qkv = state[f"{ours}.attention.qkv.weight"].T.unflatten(0, (3, config.heads, -1)).transpose(0, 1)
        found[f"{theirs}.attention.query_key_value.weight"] = qkv.flatten(0, 2)
    return found


def _neox_to_ours(config: ModelConfig, given: Mapping[str, Tensor]) -> State:
    found = {"final_norm.weight": given["gpt_neox.final_layer_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"gpt_neox.layers.{i}"
        found |= {f"{ours}.{own}": _turned(given[f"{theirs}.{name}"]) for own, name in _NEOX.items()}
        qkv = given[f"{theirs}.attention.query_key_value.weight"].unflatten(0, (config.heads, 3, -1)).transpose(0, 1)
        found[f"{ours}.attention.qkv.weight"] = qkv.flatten(0, 2).T
    return found


def _neox_shape(theirs: Any) -> ModelConfig:
    ratio, rest = divmod(theirs.intermediate_size, theirs.hidden_size)
    _expect(theirs, use_parallel_residual=(False,), layer_norm_eps=(EPS,), hidden_act=(*_GELUS, "relu2"))
    if rest:
        raise UserError(f"import from hf: intermediate_size: got {theirs.intermediate_size}, expected a multiple of "
                        f"hidden_size, {theirs.hidden_size}")
    act = "relu2" if theirs.hidden_act == "relu2" else "gelu"
    return ModelConfig(layers=theirs.num_hidden_layers, heads=theirs.num_attention_heads, width=theirs.hidden_size,
                       mixer=(_rotary(theirs, 0.25),), mlp=(Plain(ratio=ratio, act=act),))  # type: ignore[arg-type]


# ---- Llama


def _llama_fits(config: ModelConfig) -> bool:
    return (_one_kind(config) and isinstance(config.norm, RMSNorm) and isinstance(config.mlp[0], Gated)
            and config.mixer[0].rope == 1)  # type: ignore[attr-defined]


def _llama_settings(config: ModelConfig) -> dict[str, Any]:
    mixer, mlp = config.mixer[0], config.mlp[0]
    assert isinstance(mixer, Attention) and isinstance(mlp, Gated)
    rotation = {"rope_type": "default", "rope_theta": mixer.rope_base}
    return {"attention_bias": False, "mlp_bias": False, "rms_norm_eps": EPS, "rope_parameters": rotation,
            "intermediate_size": mlp.hidden(config), "hidden_act": _ACTS[mlp.act]}


_LLAMA = {"attention_norm.weight": "input_layernorm.weight", "attention.out.weight": "self_attn.o_proj.weight",
          "mlp_norm.weight": "post_attention_layernorm.weight", "mlp.down.weight": "mlp.down_proj.weight"}
_LLAMA_SEVERAL = {"attention.qkv.weight": ("self_attn.q_proj.weight", "self_attn.k_proj.weight",
                                           "self_attn.v_proj.weight"),
                  "mlp.up.weight": ("mlp.gate_proj.weight", "mlp.up_proj.weight")}  # fmt: skip


def _llama_to_hf(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    found = {"model.norm.weight": state["final_norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        found |= {f"{theirs}.{name}": _turned(state[f"{ours}.{own}"]) for own, name in _LLAMA.items()}
        for own, names in _LLAMA_SEVERAL.items():
            parts = state[f"{ours}.{own}"].T.chunk(len(names))
            found |= {f"{theirs}.{name}": part for name, part in zip(names, parts, strict=True)}
    return found


def _llama_to_ours(config: ModelConfig, given: Mapping[str, Tensor]) -> State:
    found = {"final_norm.weight": given["model.norm.weight"]}
    for i in range(config.layers):
        ours, theirs = f"blocks.{i}", f"model.layers.{i}"
        found |= {f"{ours}.{own}": _turned(given[f"{theirs}.{name}"]) for own, name in _LLAMA.items()}
        found |= {f"{ours}.{own}": torch.cat([given[f"{theirs}.{name}"] for name in names]).T
                  for own, names in _LLAMA_SEVERAL.items()}
    return found


def _llama_shape(theirs: Any) -> ModelConfig:
    _expect(theirs, rms_norm_eps=(EPS,), hidden_act=("silu", "relu2"),
            num_key_value_heads=(theirs.num_attention_heads,),
            head_dim=(theirs.hidden_size // theirs.num_attention_heads,))  # fmt: skip
    return ModelConfig(layers=theirs.num_hidden_layers, heads=theirs.num_attention_heads, width=theirs.hidden_size,
                       mixer=(_rotary(theirs, 1.0),), norm=RMSNorm(),
                       mlp=(_gated(theirs.intermediate_size, theirs.hidden_size, theirs.hidden_act),))  # fmt: skip


# ---- Remote code of ours


def _physlm_settings(config: ModelConfig) -> dict[str, Any]:
    blocks = []
    for mixer, mlp, local in zip(config.mixers, config.mlps, config.locals, strict=True):
        assert isinstance(mixer, Attention) and (local is None or isinstance(local, Canon))
        block: dict[str, Any] = {"rope": mixer.rope, "rope_base": mixer.rope_base, "qk_norm": mixer.qk_norm,
                                 "mlp": mlp.kind, "hidden": 0, "act": "gelu", "canon": "", "canon_residual": True,
                                 "canon_act": False}  # fmt: skip
        if isinstance(mlp, Plain | Gated):
            hidden = mlp.hidden(config) if isinstance(mlp, Gated) else mlp.ratio * config.width
            block |= {"hidden": hidden, "act": mlp.act}
        if local is not None:
            block |= {"canon": local.sites, "canon_residual": local.residual, "canon_act": local.act}
        blocks.append(block)
    return {"blocks": blocks, "norm": config.norm.kind, "absolute": config.absolute}


_NO_MATRICES = ("norm.weight", "positions.weight")


def _named_alike(config: ModelConfig, state: Mapping[str, Tensor]) -> State:
    """Both have the same names; the matrices of the one are transposed in the other."""
    return {name: tensor if name.endswith(_NO_MATRICES) or not name.endswith("weight") else tensor.T
            for name, tensor in state.items() if not name.startswith(("embedding.", "output."))}


def _physlm_shape(theirs: Any) -> ModelConfig:
    mixers: list[Mixer] = []
    mlps: list[MLP] = []
    locals_: list[Local] = []
    for block in theirs.blocks:
        mixers.append(Attention(rope=block["rope"], rope_base=block["rope_base"], qk_norm=block["qk_norm"]))
        if block["mlp"] == "gated":
            mlps.append(_gated(block["hidden"], theirs.hidden_size, block["act"]))
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
                       norm=RMSNorm() if theirs.norm == "rmsnorm" else LayerNorm())  # fmt: skip


def _pattern(parts: Sequence[P]) -> tuple[P, ...]:
    """The shortest one that gives these parts when it is tiled."""
    for length in range(1, len(parts)):
        if all(part == parts[place % length] for place, part in enumerate(parts)):
            return tuple(parts[:length])
    return tuple(parts)


# ---- What they share


def _one_kind(config: ModelConfig) -> bool:
    """Whether all blocks are alike, without local mixing, learnt positions and normed queries."""
    alike = len({*config.mixers}) == len({*config.mlps}) == 1
    return (alike and not config.local and not config.absolute
            and isinstance(config.mixer[0], Attention) and config.mixer[0].qk_norm == "none")


def _turned(weight: Tensor) -> Tensor:
    """(inputs, outputs) of ours as (outputs, inputs), and back; a gain as it is."""
    return weight if weight.dim() == 1 else weight.T


def _gated(hidden: int, width: int, act: Any) -> Gated:
    """A gated MLP of so many hidden units, by the usual ratio where that has as many."""
    for mlp in (Gated(act=act), Gated(ratio=hidden / width, act=act)):
        if mlp.hidden(ModelConfig(width=width)) == hidden:
            return mlp
    raise UserError(f"import from hf: intermediate_size: got {hidden}, expected a multiple of 8")


def _expect(theirs: Any, **settings: tuple[Any, ...]) -> None:
    for name, allowed in settings.items():
        if getattr(theirs, name) not in allowed:
            raise UserError(f"import from hf: {name}: got {getattr(theirs, name)!r}, expected "
                            f"{' or '.join(dict.fromkeys(map(repr, allowed)))}")


def _rotary(theirs: Any, share: float) -> Attention:
    """Of the config's ``rope_parameters``; ``share`` of a head is rotated where they do not say."""
    rotation = theirs.rope_parameters
    if rotation.get("rope_type", "default") != "default":
        raise UserError(f"import from hf: rope_type: got {rotation['rope_type']!r}, expected 'default'")
    return Attention(rope=float(rotation.get("partial_rotary_factor", share)), rope_base=float(rotation["rope_theta"]))


ARCHITECTURES = {one.name: one for one in (
    Architecture("gpt_neox", _neox_fits, _neox_settings, _neox_to_hf, _neox_to_ours, _neox_shape),
    Architecture("llama", _llama_fits, _llama_settings, _llama_to_hf, _llama_to_ours, _llama_shape),
    Architecture("physlm", lambda config: True, _physlm_settings, _named_alike, _named_alike, _physlm_shape),
)}  # fmt: skip
