"""A run folder gives back the model that was trained, and no other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import CPU, make_spec

from physlm.errors import UserError
from physlm.lab.loading import load_model
from physlm.lab.store import Store
from physlm.models.decoder import Decoder


def test_the_stored_member_comes_back_exactly(tmp_path: Path) -> None:
    spec = make_spec()
    run, population = Store(tmp_path).run(spec), Decoder(spec.model, len(spec.task.vocabulary()), seeds=(1, 2, 3))
    run.path.mkdir()
    run.write_model(population.member(1).state_dict())
    loaded = load_model(spec, run.model_path, CPU).state_dict()
    assert all(torch.equal(loaded[name], value[1:2]) for name, value in population.state_dict().items())


def test_the_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    spec = make_spec(layers=2)
    run = Store(tmp_path).run(make_spec(layers=1))
    run.path.mkdir()
    run.write_model(Decoder(spec.model, len(spec.task.vocabulary())).state_dict())
    with pytest.raises(UserError, match="not the weights of the run's model; delete the folder"):
        load_model(run.spec, run.model_path, CPU)


def test_the_weights_of_another_vocabulary_are_refused_by_name(tmp_path: Path) -> None:
    spec = make_spec()
    run, words = Store(tmp_path).run(spec), len(spec.task.vocabulary())
    run.path.mkdir()
    run.write_model(Decoder(spec.model, words + 300).state_dict())
    with pytest.raises(UserError, match=rf"a vocabulary of \d+ rows, expected \d+, .* has {words} tokens"):
        load_model(run.spec, run.model_path, CPU)


@pytest.mark.parametrize(("damage", "words"), [
    (lambda state: {name: value.double() for name, value in state.items()}, "float64, expected"),
    (lambda state: {name: value.bfloat16() for name, value in state.items()}, "bfloat16, expected"),
    (lambda state: {name: value * float("nan") for name, value in state.items()}, "not finite"),
    (lambda state: {**state, "embedding.weight": state["embedding.weight"].clamp(min=float("inf"))}, "not finite"),
    (lambda state: dict(list(state.items())[1:]), "got nothing, expected"),
    (lambda state: {**state, "more": torch.zeros(2)}, "expected nothing"),
    (lambda state: {name: value.flatten() for name, value in state.items()}, "not the weights of the run's model"),
], ids=["double", "half", "nan", "infinite", "missing", "more", "flat"])  # fmt: skip
def test_weights_that_no_training_writes_are_refused(tmp_path: Path, damage: Any, words: str) -> None:
    spec = make_spec()
    run = Store(tmp_path).run(spec)
    run.path.mkdir()
    run.write_model(damage(Decoder(spec.model, len(spec.task.vocabulary())).state_dict()))
    with pytest.raises(UserError, match=rf"model\.safetensors: .*{words}.*; delete the folder"):
        load_model(spec, run.model_path, CPU)
