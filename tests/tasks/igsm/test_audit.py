"""The comparison of kernel, twin and checker takes every setting, and finds each kind of difference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from physlm.tasks.igsm import audit, kernel
from physlm.tasks.igsm.audit import COMPARED, compare_twins
from physlm.tasks.igsm.config import Chain, Noise, Retry
from physlm.tasks.igsm.kernel import Batch
from physlm.tasks.igsm.pieces import ID, SOLUTION, pieces

MASKED = "med retry masked start"


def test_every_family_is_compared() -> None:
    found = list(compare_twins(count := 4 * len(COMPARED) + 1))
    assert [one.wrong for one in found] == [None] * count
    assert {one.family for one in found} == set(COMPARED) and all(one.seconds > 0 for one in found)


def test_a_solution_that_begins_anywhere_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where its first words were left out at random it may begin with a full stop, or with "'s"."""
    family = "small8 without all at random"
    monkeypatch.setattr(audit, "COMPARED", {family: COMPARED[family]})
    assert not [one.wrong for one in compare_twins(500) if one.wrong]
    batch = kernel.problems(COMPARED[family], np.arange(250))
    begins = [row[row.tolist().index(ID[SOLUTION]) + 1] for row in batch.ids_NW]
    assert {ID["'s"], ID["."]} & set(begins)


def test_every_setting_of_wrong_starts_noise_and_chains_is_compared() -> None:
    for part, name in ((Retry, "retry"), (Noise, "noise"), (Chain, "chain")):
        used = [getattr(config, name) for config in COMPARED.values()]
        for field in fields(part):
            values = {getattr(one, field.name) for one in used}
            told = {"names": 3, "mask": 3, "sentences": 5, "drop": 5}
            assert len(values) >= told.get(field.name, 2), field.name


def spoil_record(batch: Batch) -> None:
    batch.records_N["constant"][3, 0] += 1


def spoil_length(batch: Batch) -> None:
    batch.lengths_N[3] -= 1


def spoil_token(batch: Batch) -> None:
    end = pieces(COMPARED[MASKED]).vocabulary.id(".")
    place = int((batch.ids_NW[3] == end).argmax())
    batch.ids_NW[3, place] = end - 1


def spoil_id(batch: Batch) -> None:
    batch.ids_NW[3, 5] = 60_000


def spoil_answer(batch: Batch) -> None:
    batch.ids_NW[3, batch.lengths_N[3] - 1] = pieces(COMPARED[MASKED]).vocabulary.id("<answer>")


def spoil_mask(batch: Batch) -> None:
    batch.lost_NW[3, 0] = 1


def spoil_rest(batch: Batch) -> None:
    batch.ids_NW[3, batch.lengths_N[3] :] = 1


@pytest.mark.parametrize(("spoil", "words"), [
    (spoil_record, ["the records differ in constant"]),
    (spoil_length, ["tokens, the twin", "the masks differ", "stands behind", "the checker finds wrong answer"]),
    (spoil_token, ["of the kernel, '.' of the twin", "the checker finds not a problem"]),
    (spoil_id, ["the token id 60000, of "]),
    (spoil_answer, ["is '<answer>' of the kernel", "the checker finds wrong answer"]),
    (spoil_mask, ["the masks differ"]),
    (spoil_rest, ["something stands behind the kernel's last token"]),
])  # fmt: skip
def test_a_planted_difference_is_named(
    spoil: Callable[[Batch], None], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = kernel.problems

    def spoilt(*args: object) -> Batch:
        batch = make(*args)  # type: ignore[arg-type]
        wider = ((0, 0), (0, 1))
        batch = batch._replace(ids_NW=np.pad(batch.ids_NW, wider), lost_NW=np.pad(batch.lost_NW, wider))
        if args[2] == "evaluation" and len(batch.records_N) > 3:
            spoil(batch)
        return batch

    monkeypatch.setattr(audit, "COMPARED", {MASKED: COMPARED[MASKED]})
    monkeypatch.setattr(kernel, "problems", spoilt)
    found = [one.wrong for one in compare_twins(16)]
    (named,) = (wrong for wrong in found if wrong)
    assert found.index(named) == 8 + 3 and named.startswith(f"{MASKED}, problem 3 of evaluation: ")
    assert all(word in named for word in words), named
    assert named.count(";") == len(words) - 1, "and nothing else"
