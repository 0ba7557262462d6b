"""Temperatures of attention tuned alone: a run that begins with another, all of whose weights stay as they are."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import SPEC

from physlm.config import override
from physlm.errors import UserError
from physlm.lab.results import settings_of
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.training.config import RunSpec
from physlm.training.step import Population

CPU = torch.device("cpu")
NOPE = ModelConfig(layers=2, heads=2, width=16, mixer=(Attention(rope=0),))
START = dataclasses.replace(SPEC, model=NOPE)


def tuned(learnt: str, precision: str = "float32", *texts: str) -> RunSpec:
    settings = [f"model.mixer.learnt_scale={learnt}", "model.mixer.scale=1.5", f"train.precision={precision}"]
    spec = override(dataclasses.replace(override(START, settings), start=START), texts)
    return dataclasses.replace(spec, train=dataclasses.replace(spec.train, trained="scales"))


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize(("learnt", "scales"), [
    ("head", {"blocks.0.attention.scale": (1, 2), "blocks.1.attention.scale": (1, 2)}),
    ("one", {"scale.weight": (1, 1)}),
])  # fmt: skip
def test_scales_alone_are_moved_and_go_on_from_their_state(
    learnt: str, scales: dict[str, tuple[int, ...]], precision: str
) -> None:
    specs = [tuned(learnt, precision), tuned(learnt, precision, "train.learning_rate=0.003")]
    starts = [Population([override(START, [f"train.seed={seed}"])], CPU).model_of(0).state_dict() for seed in (0, 1)]
    whole, cut = (Population(specs, CPU, initial=starts) for _ in range(2))
    for name, shape in scales.items():
        assert whole.model_of(1).state_dict()[name].equal(torch.full(shape, 1.5))
    for _ in range(4):
        whole.advance()
    for _ in range(2):
        cut.advance()
    resumed = Population(specs, CPU, initial=starts)
    resumed.load({name: tensor.clone() for name, tensor in cut.tensors().items()})
    for _ in range(2):
        resumed.advance()
    for m, start in enumerate(starts):
        ended = whole.model_of(m).state_dict()
        assert all(ended[name].equal(value) for name, value in start.items()), "frozen, and exactly as in the start"
        assert set(ended) - set(start) == set(scales)
        assert all(bool((ended[name] != 1.5).all()) and ended[name].isfinite().all() for name in scales)
        assert all(ended[name].equal(value) for name, value in resumed.model_of(m).state_dict().items())
    state = sum(tensor.numel() for tensor in whole.tensors().values())
    assert state < 200, "of what is frozen the optimiser keeps nothing"


def test_the_loss_falls_by_a_temperature() -> None:
    """The queries of the start were made four times too small; one number repairs them."""
    spec = tuned("one", "float32", "model.mixer.scale=1", "train.steps=60", "train.learning_rate=0.1")
    population = Population([override(START, ["train.steps=200"])], CPU, window=1)
    for _ in range(200):
        population.advance()
    state = population.model_of(0).state_dict()
    for layer in range(2):
        state[f"blocks.{layer}.attention.qkv.weight"][..., :16] /= 4
    tuning = Population([spec], CPU, window=60, initial=[state])
    for _ in range(60):
        tuning.advance()
    found = tuning.model_of(0).state_dict()["scale.weight"]
    assert 2 < float(found) < 8


def test_a_run_may_begin_with_attention_that_reads_in_another_way() -> None:
    spec = dataclasses.replace(override(START, ["model.mixer.log_n=true", "model.mixer.floor=8"]), start=START)
    assert spec.retuned and not spec.upcycled
    columns = settings_of(spec)
    assert (columns["model.mixer"], columns["start.model.mixer"]) == ("nope_floor8_logn", "nope")
    assert "start.model.mixer" not in settings_of(dataclasses.replace(START, start=START))
    state = Population([START], CPU).model_of(0).state_dict()
    model = Population([spec], CPU, initial=[state]).model_of(0)
    assert all(value.equal(state[name]) for name, value in model.state_dict().items())
    experts = dataclasses.replace(spec.model, mlp=(MoE(experts=2, top_k=2, expert=Plain()),))
    grown = override(dataclasses.replace(spec, model=experts), ["model.mixer.learnt_scale=head"])
    assert grown.upcycled and grown.retuned
    names = set(Population([grown], CPU, initial=[state]).model_of(0).state_dict())
    assert {"blocks.0.attention.scale", "blocks.0.mlp.router"} <= names


def test_what_cannot_be_tuned_is_refused() -> None:
    for change, message in (
        (lambda: override(START, ["train.trained=scales", "model.mixer.learnt_scale=one"]), "without a start"),
        (lambda: tuned("none"), "got scales of a model that learns none"),
        (lambda: tuned("head", "float32", "train.lora_rank=1"), "with low-rank updates"),
        (lambda: dataclasses.replace(START, start=tuned("head")), r"start.model.mixer: .* differs in rope_base, "),
        (lambda: dataclasses.replace(override(START, ["model.mixer.bias=alibi"]), start=START), "start.model.mixer"),
    ):
        with pytest.raises(UserError, match=message):
            change()
