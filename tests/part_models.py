"""Models that hold a part, for the tests: each setting of it, patterns of all kinds, and a short run.

``models_of`` parts are those of which ``part_checks`` checks what every part must do; they find the parts' settings by
themselves.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.part import MLP, Local, Mixer, NormPart, Parallel, Part, Residual, Route
from physlm.models.parts.positional import Uniform
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

VOCABULARY = 11
CPU = torch.device("cpu")
BASE = ModelConfig(layers=2, heads=2, width=16)
DEEPEST = 4  # layers of a model with a pattern of all kinds
FAMILIES: dict[str, type[Any]] = {"mixer": Mixer, "mlp": MLP, "norm": NormPart, "local": Local,
                                  "residual": Residual, "route": Route, "parallel": Parallel}
# where only compiling is asked for, the rest of a block is as small as can be
SMALLEST = {"mixer": dataclasses.replace(BASE, mlp=(NoMLP(),)), "mlp": dataclasses.replace(BASE, mixer=(Uniform(),)),
            "norm": dataclasses.replace(BASE, mixer=(Uniform(),), mlp=(NoMLP(),)),
            "residual": dataclasses.replace(BASE, mixer=(Uniform(),))}  # fmt: skip
SINGLE = ("norm", "residual", "route", "parallel")  # one for all layers
Named = tuple[str, Part]  # the setting of a model that holds the part, and the part
SPEC = RunSpec(BioDConfig(people=12, attributes=2, chunks=2, diversity=5, chunk_tokens=2, alphabet=4,
                          name_pools=(3, 3, 3), entries_per_row=2, row_tokens=50), BASE,
               TrainConfig(steps=4, batch_rows=3, learning_rate=1e-2, weight_decay=0.1, warmup_steps=1))  # fmt: skip


def others(part: Part) -> Iterator[Part]:
    """The part with each of its settings at another value."""
    hints = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):  # type: ignore[arg-type]
        value = getattr(part, field.name)
        values: list[Any]
        if typing.get_origin(hints[field.name]) is typing.Literal:
            values = [option for option in typing.get_args(hints[field.name]) if option != value]
        elif isinstance(value, bool):
            values = [not value]
        elif isinstance(value, str):
            values = [value[:1], value[1:]]
        elif isinstance(value, Part):
            values = list(others(value))
        elif isinstance(value, float):
            values = [value / 2 or 1.0]
        else:
            values = [value // 2 or 2]
        for other in values:
            yield dataclasses.replace(part, **{field.name: other})  # type: ignore[type-var]


def with_part(name: str, part: Part, base: ModelConfig = BASE) -> ModelConfig:
    """A model with this part in all layers."""
    setting: dict[str, Any] = {name: part if name in SINGLE else (part,)}
    return dataclasses.replace(base, **setting)


def with_variants(name: str, part: Part) -> list[Named]:
    """The part, and the same with each of its settings at another value."""
    return [(name, part), *((name, other) for other in others(part))]


def models_of(parts: Sequence[Named]) -> list[ModelConfig]:
    """A model with each of them, and patterns of all kinds, each layer its own.

    No pattern is deeper than four layers, since roundings grow from layer to layer: of more mixers the next four have
    one with local mixing and plain MLPs.
    """
    models = [with_part(*one) for one in parts]
    kinds: dict[str, dict[str, Part]] = {name: {} for name in FAMILIES}
    for name, part in parts:
        kinds[name].setdefault(part.kind, part)
    for name in SINGLE:
        kinds.pop(name)
    patterns = {name: tuple(found.values()) for name, found in kinds.items() if found}
    for start in range(0, max(map(len, patterns.values()), default=1), DEEPEST):
        here: dict[str, Any] = {name: found[start : start + DEEPEST] for name, found in patterns.items()
                                if found[start:] or name == "local"}
        here = {name: found or patterns[name][:DEEPEST] for name, found in here.items()}
        models.append(dataclasses.replace(BASE, layers=max(2, *map(len, here.values()), 0), **here))
    return list(dict.fromkeys(models))


def compiled_models_of(parts: Sequence[Named]) -> list[tuple[ModelConfig, int]]:
    """Models and numbers of members: two with the defaults of each kind, one with another setting or where there is
    none, since parts may read the weights of one member in another way.  Other sizes are no other structure."""
    found: dict[tuple[ModelConfig, int], None] = {}
    for name, part in parts:
        if any(type(value) is int and value != field.default for field in dataclasses.fields(part)  # type: ignore[arg-type]
               for value in [getattr(part, field.name)]):
            continue
        config = with_part(name, part, SMALLEST.get(name, BASE))
        default = part == type(part)()
        found |= {(config, members): None for members in (1, 2)
                  if members == 1 + default or not dataclasses.fields(part)}  # type: ignore[arg-type]
    return list(found)


def randomised(config: ModelConfig, members: int = 2) -> Decoder:
    """Weights large enough that every part matters."""
    model = Decoder(config, VOCABULARY, tuple(range(members)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model


def ids_of(members: int, rows: int, positions: int) -> Tensor:
    return torch.arange(members * rows * positions).view(members, rows, positions) * 7 % VOCABULARY
