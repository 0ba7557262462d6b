"""The measure ``forced``: planted models, its controls, and what it refuses."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.errors import NotFiniteError, UserError
from physlm.measures import forced
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.rows import IGNORE
from physlm.tasks.task import AnswerRows
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
TASK = DepoConfig(9, hops=5, row_tokens=300)
SPEC = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, precision="float32"))


class Oracle:
    """Answers what it knows: a stand-in for a decoder, whose last activations are one-hot tokens."""

    def __init__(self, answers: dict[tuple[int, ...], list[int]], words: int):
        self.answers, self.vocabulary = answers, words
        self.output_table = F.pad(torch.eye(words), (0, 0, 0, 3), value=9.0)[None]  # rows that are no token

    def hidden(self, ids_MRT: Tensor) -> tuple[Tensor, None]:
        said = torch.tensor([self.answers.get(tuple(row), [0] * len(row)) for row in ids_MRT[0].tolist()])
        return F.one_hot(said, self.vocabulary).float()[None], None


def planted(windows: AnswerRows, wrong: Tensor) -> Any:
    """Says the targets but for those that are ``wrong``, where it says <bos>."""
    said = windows.targets_RT.clamp_min(0).masked_fill(wrong, 0)
    return Oracle({tuple(row): say for row, say in zip(windows.inputs_RT.tolist(), said.tolist(), strict=True)},
                  len(TASK.vocabulary()))  # fmt: skip


def test_planted_knowledge_is_found_by_kind() -> None:
    windows = TASK.build().test_rows(8)
    asked_RT = windows.targets_RT != IGNORE
    chance = torch.rand(asked_RT.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    wrong = asked_RT & (chance & (windows.kind_R == 2)[:, None] | (windows.kind_R == 3)[:, None])
    rows = forced.forced_rows("forced", windows, forced.read(planted(windows, wrong), windows))
    assert [row.where for row in rows] == [{"kind": kind, "half": "test"} for kind in ("k1", "k2", "k4", "k5")]
    assert [row.n for row in rows] == [8] * 4 and [row.value for row in rows[:2]] == [1.0, 1.0] and rows[3].value == 0
    at_R = windows.kind_R == 2
    share = 1 - float(wrong[at_R].sum() / asked_RT[at_R].sum())
    assert rows[2].value == pytest.approx(share) and 0.6 < share < 0.8 and rows[2].lo < share < rows[2].hi


def test_batches_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    windows = TASK.build().test_rows(3)
    model = Decoder(SPEC.model, len(TASK.vocabulary()), (5,))
    whole = forced.read(model, windows)
    monkeypatch.setitem(forced.TOKENS, "cpu", 1)
    alone = forced.read(model, windows)
    assert whole.hits_R.equal(alone.hits_R) and whole.counts_R.equal(alone.counts_R) and int(whole.counts_R.min()) > 40


def test_only_answers_count_and_each_token_is_given_those_before_it() -> None:
    """A decoder that says what stands two places back is right as often as targets do."""
    windows = TASK.build().test_rows(6)

    class Back(Oracle):
        def hidden(self, ids_MRT: Tensor) -> tuple[Tensor, None]:
            return F.one_hot(F.pad(ids_MRT[0], (1, 0))[:, :-1], self.vocabulary).float()[None], None

    model: Any = Back({}, len(TASK.vocabulary()))
    expected = [sum(target != IGNORE and place > 0 and inputs[place - 1] == target
                    for place, target in enumerate(targets))
                for inputs, targets in zip(windows.inputs_RT.tolist(), windows.targets_RT.tolist(), strict=True)]
    found = forced.read(model, windows)
    assert found.hits_R.tolist() == expected and sum(expected) > 0
    assert found.counts_R.tolist() == [sum(t != IGNORE for t in row) for row in windows.targets_RT.tolist()]


def test_rows_of_a_run_with_its_controls() -> None:
    run = Trained(SPEC, CPU, lambda step: Decoder(SPEC.model, len(TASK.vocabulary()), (1,)))
    rows = {row.label: row for row in forced.measure(run)}
    assert list(rows) == [f"{name}/kind={kind}/half=test" for name in ("forced", "forced_majority", "forced_untrained")
                          for kind in ("k1", "k2", "k4", "k5")]  # fmt: skip
    windows = TASK.build().test_rows(forced.WINDOWS["cpu"])
    targets = windows.targets_RT[windows.kind_R == 1]
    counts = targets[targets != IGNORE].bincount()
    assert rows["forced_majority/kind=k2/half=test"].value == pytest.approx(float(counts.max() / counts.sum()))
    assert all(row.lo <= row.value <= row.hi and 0 < row.value < 0.5 for label, row in rows.items()
               if "majority" in label)  # fmt: skip


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(UserError, match=r"measure forced: got a run on mano .*, expected one on depo"):
        forced.check(dataclasses.replace(SPEC, task=ManoConfig()))
    with pytest.raises(UserError, match=r"measure forced: got model\.causal = false, expected a decoder"):
        forced.check(dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, causal=False)))
    model = Decoder(SPEC.model, len(TASK.vocabulary()), (1,))
    with torch.no_grad():
        model.embedding.weight.fill_(float("nan"))
    with pytest.raises(NotFiniteError, match="logits of answers"):
        forced.read(model, TASK.build().test_rows(1))
