"""A run folder gives back the model that was trained, and no other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fakes import CPU, make_spec

from physlm.errors import UserError
from physlm.lab.store import Store
from physlm.lab.sweep import load_model
from physlm.models.decoder import Decoder


def test_the_stored_member_comes_back_exactly(tmp_path: Path) -> None:
    spec = make_spec()
    run, population = Store(tmp_path).run(spec), Decoder(spec.model, len(spec.task.vocabulary()), seeds=(1, 2, 3))
    run.write_model(population.member(1).state_dict())
    loaded = load_model(spec, run.model_path, CPU).state_dict()
    assert all(torch.equal(loaded[name], value[1:2]) for name, value in population.state_dict().items())


def test_the_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    spec = make_spec(layers=2)
    run = Store(tmp_path).run(make_spec(layers=1))
    run.write_model(Decoder(spec.model, len(spec.task.vocabulary())).state_dict())
    with pytest.raises(UserError, match="not the weights of the run's model; delete the folder"):
        load_model(run.spec, run.model_path, CPU)


def test_the_weights_of_another_vocabulary_are_refused_by_name(tmp_path: Path) -> None:
    spec = make_spec()
    run, words = Store(tmp_path).run(spec), len(spec.task.vocabulary())
    run.write_model(Decoder(spec.model, words + 300).state_dict())
    with pytest.raises(UserError, match=rf"a vocabulary of \d+ rows, expected \d+, .* has {words} tokens"):
        load_model(run.spec, run.model_path, CPU)
