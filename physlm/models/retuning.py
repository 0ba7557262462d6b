"""A trained model whose attention reads in another way: changed at test time, or before temperatures are tuned.

    longer = retuned(model, rope_base=500_000.0)                              # RoPE base raised
    sharper = retuned(model, log_n=True, scale=scalable_start(256))           # scalable softmax switched on
    llama4 = retuned(model, among="unrotated", floor=256)                     # iRoPE's temperature
    uniform = retuned(model, among="unrotated", scale=1.2)                    # one lambda for all heads

The weights are those of the trained model, shared and not copied.  A scale that becomes learnt is a weight more, which
begins at ``scale``; so a run may begin with another whose attention differs in ``SETTINGS`` alone, and train these
temperatures with all else frozen (``TrainConfig.trained``, arXiv 2404.12224).

Free of torch until a model is made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.listing import model_weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.weight import TEMPERATURE

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.decoder import Decoder

# settings of attention that trained weights can be read with, whatever they were trained with
SETTINGS = ("rope_base", "window", "chunk", "scale", "learnt_scale", "log_n", "floor")
Among = Literal["all", "rotated", "unrotated"]


def changed(config: ModelConfig, among: Among = "all", **settings: Any) -> ModelConfig:
    """The config with other settings of its attention.

    Args:
        among: change all layers of attention, or those alone with or without rotary positions.
        settings: some of ``SETTINGS``.

    Raises:
        UserError: other settings, values that are not allowed, or no such layer.
    """
    if among not in get_args(Among):
        raise UserError(unknown_key("among", among, get_args(Among)))
    for name in settings:
        if name not in SETTINGS:
            raise UserError(unknown_key("model.mixer", name, SETTINGS))
    found = [isinstance(mixer, Attention) and (among == "all" or (mixer.rope > 0) == (among == "rotated"))
             for mixer in config.mixer]
    if not any(found):
        raise UserError(f"model.mixer: got {', '.join(mixer.label for mixer in config.mixer)}, expected attention in "
                        f"{'some' if among == 'all' else f'some {among}'} layers")
    mixers = (dataclasses.replace(mixer, **settings) if here else mixer  # type: ignore[type-var]
              for mixer, here in zip(config.mixer, found, strict=True))
    return dataclasses.replace(config, mixer=tuple(mixers))


def can_retune(config: ModelConfig, trained: ModelConfig) -> bool:
    """Whether the mixers of ``config`` can read with the weights of ``trained``: attention that differs in ``SETTINGS``
    alone, and has every scale that the trained one has learnt."""
    if len(config.mixers) != len(trained.mixers):
        return False
    return all(ours == theirs or _same_weights(ours, theirs)
               for ours, theirs in zip(config.mixers, trained.mixers, strict=True))


def _same_weights(ours: object, theirs: object) -> bool:
    if not (isinstance(ours, Attention) and isinstance(theirs, Attention)):
        return False
    plain = {name: getattr(ours, name) for name in SETTINGS}
    return dataclasses.replace(theirs, **plain) == ours and theirs.learnt_scale in ("none", ours.learnt_scale)


def retuned_state(
    state: Mapping[str, Tensor], trained: ModelConfig, config: ModelConfig, vocabulary: int
) -> dict[str, Tensor]:
    """The weights of a trained model, and the first values of the scales that ``config`` learns beside them."""
    members = len(state["embedding.weight"])
    known, found = model_weights(trained, vocabulary), dict(state)
    for name, weight in model_weights(config, vocabulary).items():
        if weight.role == TEMPERATURE and name not in known:
            first = weight.init.draw(0, weight.numbers, config).view(weight.shape)
            found[name] = first.repeat(members, *(1 for _ in weight.shape)).to(state["embedding.weight"].device)
    return found


def retuned(model: Decoder, among: Among = "all", **settings: Any) -> Decoder:
    """The same weights under ``changed(model.config, among, **settings)``.

    Of a scale that was learnt ``scale`` is the first value alone, so that another one changes nothing.

    Raises:
        UserError: see ``changed``; or a scale that the model has learnt would be left out.
    """
    import torch

    from physlm.models.decoder import Decoder

    config = changed(model.config, among, **settings)
    if not can_retune(config, model.config):
        raise UserError("model.mixer.learnt_scale: got another one than the trained model's, whose weights would be "
                        "left out; expected the same")
    with torch.device("meta"):
        found = Decoder(config, model.vocabulary, (None,) * model.members)
    state = retuned_state(model.state_dict(keep_vars=True), model.config, config, model.vocabulary)
    found.load_state_dict(state, assign=True)
    return found.train(model.training)
