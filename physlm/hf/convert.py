"""Models of ours as models of transformers, and back.

Rows of the embedding that are no token of the task are left out, so that generation draws none of them.

Shape letters: V rows of the embedding, d width.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.extras import needed
from physlm.hf.architectures import ARCHITECTURES
from physlm.hf.architectures.architecture import Architecture
from physlm.hf.architectures.own import ATTENTION, PASSES
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.norms import LayerNorm, RMSNorm
from physlm.models.parts.part import Part
from physlm.models.parts.residual import Add

# parts that an exported model can have, and settings of them and of the model; any other must be at its default
_PARTS: dict[str, dict[type[Part], tuple[str, ...]]] = {
    "mixer": {Attention: ATTENTION},
    "mlp": {Plain: ("ratio", "act"), Gated: ("ratio", "act"), NoMLP: ()},
    "norm": {LayerNorm: ("eps",), RMSNorm: ("eps",)},
    "local": {Canon: ("sites", "residual", "act", "trained")},
    "residual": {Add: ()},
}
_MODEL = ("layers", "heads", "width", *_PARTS, "absolute", "vocab_size", "init_std", "tied", *PASSES)


def check_exportable(config: ModelConfig) -> None:
    """Raises UserError for a model that no architecture has: one part or setting of it is named."""
    if not config.causal:
        raise UserError("export to hf: got an encoder (model.causal=false), expected a model that generates")
    _check_settings("model", config, _MODEL)
    for name, allowed in _PARTS.items():
        setting = getattr(config, name)
        for part in dict.fromkeys(setting if isinstance(setting, tuple) else (setting,)):
            if type(part) not in allowed:
                raise UserError(f"export to hf: model.{name}: got {part.kind!r}, expected "
                                f"{' or '.join(one.kind for one in allowed)}, which exported models have")
            _check_settings(part.kind, part, allowed[type(part)])


def _check_settings(kind: str, settings: Any, allowed: Sequence[str]) -> None:
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if field.name not in allowed and value != field.default:
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
                        f"{', '.join(ARCHITECTURES)}; hf_features and physlm battery take any")
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
