"""What every part must do, whichever it is: parts are found in the tables of the package, none is named here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import pytest
import torch
from part_checks import CHECKS, check_compiles, check_labels_tell_models_apart, check_settings_are_live
from part_models import BASE, FAMILIES, Named, compiled_models_of, models_of, with_variants

from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import Part

# no parts, and held to the same
UNTIED = dataclasses.replace(BASE, tied=False)
LOOPED = dataclasses.replace(BASE, layers=3, mixer=(GatedDeltaNet(), Attention()), mlp=(Plain(), MoE()), loops=2,
                             prelude=1)
DEFAULTS: list[Named] = [(name, family.of_kind(kind)()) for name, family in FAMILIES.items() for kind in family.table]
PARTS = [one for named in DEFAULTS for one in with_variants(*named)]
MODELS = [*models_of(PARTS), UNTIED, LOOPED]


def test_kinds_are_those_of_the_tables() -> None:
    for family in FAMILIES.values():
        for kind in family.table:
            assert family.of_kind(kind).kind == kind and family.of_kind(kind).__doc__


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)
def test_every_part(config: ModelConfig, check: Callable[[ModelConfig], None]) -> None:
    check(config)


def test_labels_tell_models_apart() -> None:
    check_labels_tell_models_apart(MODELS)


@pytest.fixture(scope="module")
def compiler() -> Iterator[None]:
    """What it knows of other modules is forgotten, and what it learns here."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize(("config", "members"), compiled_models_of(PARTS),
                         ids=lambda x: str(x) if isinstance(x, int) else x.label)
def test_blocks_compile_as_whole_graphs_for_any_number_of_rows(config: ModelConfig, members: int) -> None:
    check_compiles(config, members)


@pytest.mark.parametrize(("name", "part"), DEFAULTS, ids=lambda x: x if isinstance(x, str) else x.label)
def test_every_setting_of_a_part_is_live(name: str, part: Part) -> None:
    check_settings_are_live(name, part)
