"""Parts that add nothing, against models that have no such part; one that needs some of its parts and not others."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from positions import way

from physlm.measures import answers, without_layer
from physlm.measures.trained import Trained
from physlm.measures.without_layer import without
from physlm.models.block import Block
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.part import Whole
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
CONFIG = ModelConfig(layers=3, heads=2, width=16)


def opinionated(config: ModelConfig) -> Decoder:
    model = Decoder(config, 40, (1,))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.endswith("norm.weight"):
                weight.mul_(10.0)
    return model


@torch.no_grad()
@pytest.mark.parametrize("position", ["rope", "position_only", "relative"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_without_a_block_it_is_the_model_that_skips_it(layer: int, position: Any) -> None:
    config = dataclasses.replace(CONFIG, **way(position))
    model = opinionated(config)
    shorter = Decoder(dataclasses.replace(config, layers=2), 40, (1,))
    kept = [i for i in range(3) if i != layer]
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("blocks.")}
    for new, old in enumerate(kept):
        state |= {f"blocks.{new}.{name}": value for name, value in model.blocks[old].state_dict().items()}
    shorter.load_state_dict(state)
    ids = torch.randint(40, (1, 4, 12), generator=torch.Generator().manual_seed(0))
    before = model(ids).logits
    assert without(model, layer, "block")(ids).logits.equal(shorter(ids).logits)
    assert not before.allclose(shorter(ids).logits, atol=0.1) and model(ids).logits.equal(before), "a copy was changed"


@torch.no_grad()
@pytest.mark.parametrize("part", ["attention", "mlp"])
def test_without_a_part_the_other_one_is_left(part: str) -> None:
    model = opinionated(CONFIG)
    ids = torch.randint(40, (1, 4, 12), generator=torch.Generator().manual_seed(0))
    x = model.embedding(ids)
    (shared,) = model._shared(12).values()
    for i, block in enumerate(model.blocks):
        assert isinstance(block, Block) and block.mlp is not None and block.mlp_norm is not None
        if (i, part) != (1, "attention"):
            x = x + block.attention(block.attention_norm(x, torch.float32), Whole(shared))
        if (i, part) != (1, "mlp"):
            x = x + block.mlp(block.mlp_norm(x, torch.float32), Whole(shared))
    wanted = model.final_norm(x, torch.float32)
    assert without(model, 1, part).hidden(ids)[0].equal(wanted)
    assert not model.hidden(ids)[0].allclose(wanted, atol=0.1)


TASK = QuestionsConfig(12, entries_per_row=2, row_tokens=32, ask=Ask(kinds=("employer",), half="all"))
TRAIN = TrainConfig(steps=150, batch_rows=8, learning_rate=5e-3, warmup_steps=10, precision="float32")


@pytest.fixture(scope="module")
def sandwich() -> Decoder:
    """One block that has learnt all answers, those of the test half too, between two that add nothing."""
    small = ModelConfig(layers=1, heads=1, width=64)
    population = Population([RunSpec(TASK, small, TRAIN)], CPU)
    while population.step < population.steps:
        population.advance()
    learnt = population.model_of(0)
    model = Decoder(dataclasses.replace(small, layers=3), learnt.vocabulary, (3,))
    state = {name.replace("blocks.0.", "blocks.1."): value for name, value in learnt.state_dict().items()}
    model.load_state_dict({**model.state_dict(), **state})
    return without(without(model, 0, "block"), 2, "block")


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_needed_block_is_found_and_one_that_does_nothing_too(sandwich: Decoder, precision: Any) -> None:
    asked = dataclasses.replace(TASK, ask=dataclasses.replace(TASK.ask, half="train"))
    spec = RunSpec(asked, sandwich.config, dataclasses.replace(TRAIN, precision=precision))
    run = Trained(spec, CPU, lambda step: sandwich)
    whole = next(row for row in answers.measure(run) if row.label == "answer/kind=employer/half=test")
    rows = {row.label: row for row in without_layer.measure(run)}
    names = {(i, part): f"answer_without/kind=employer/half=test/layer={i}/part={part}"
             for i in range(3) for part in ("block", "attention", "mlp")}  # fmt: skip
    assert set(rows) == set(names.values()) and whole.value == 1.0
    for (i, part), name in names.items():
        if i != 1:
            assert dataclasses.replace(rows[name], quantity=whole.quantity, where=whole.where) == whole
        elif part != "mlp":
            assert rows[name].value < 0.5 and rows[name].n == whole.n == 6
