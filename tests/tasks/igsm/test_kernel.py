"""The compiled generator of iGSM against the plain one, bit for bit, and how rows are packed."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import EVERY, HARD, MED, TINY

from physlm.errors import UserError
from physlm.tasks.igsm import kernel, plain
from physlm.tasks.igsm.compiled.building import SOURCES
from physlm.tasks.igsm.config import IgsmConfig, Retry
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.record import RECORD


@pytest.mark.parametrize("split", ["train", "evaluation"])
@pytest.mark.parametrize("name", EVERY)
def test_twin_and_kernel_are_equal_bit_for_bit(name: str, split: str) -> None:
    config = EVERY[name]
    numbers = [*range(15 if name in ("letters", "hard32") else 70), 12345, 2**40 + 3]
    batch, key = kernel.problems(config, numbers, split, stream=3), stream_key(config, split, 3)
    for place, number in enumerate(numbers):
        record: Any = batch.records_N[place]
        length = int(batch.lengths_N[place])
        ids, lost = batch.ids_NW[place], batch.lost_NW[place]
        twin = plain.generate(config, key, number, split)
        for field in RECORD.names or ():
            assert np.array_equal(twin.record[field], record[field]), (number, field)
        assert ids[:length].tolist() == twin.ids() and not ids[length:].any()
        if config.retry.mask == "none":
            assert len(lost) == 0
        else:
            assert lost[:length].astype(bool).tolist() == twin.tokens()[1] and not lost[length:].any()
        again = Problem(record, config)
        assert (again.text(), again.solution(), again.answer) == (twin.text(), twin.solution(), twin.answer)


def test_problems_are_the_same_in_any_company_and_on_any_number_of_threads() -> None:
    config = EVERY["wrong"]
    whole = kernel.problems(config, np.arange(300))
    others = kernel.problems(config, np.arange(300)[::-1], threads=3)
    for field in whole._fields:
        assert np.array_equal(getattr(whole, field), getattr(others, field)[::-1]), field
    alone = kernel.problems(config, [17])
    assert alone.records_N.tobytes() == whole.records_N[17].tobytes()
    assert np.array_equal(alone.ids_NW[0], whole.ids_NW[17, : alone.lengths_N[0]])
    assert len({tuple(kernel.problems(c, [0], split, stream).ids_NW[0]) for c in (config, replace(config, seed=1))
                for split in ("train", "validation", "evaluation") for stream in (0, "x")}) == 12  # fmt: skip


def test_no_problem_is_too_long_to_be_written() -> None:
    batch = kernel.problems(EVERY["letters"], np.arange(64))
    assert batch.lengths_N.max() > kernel.USUAL_WIDTH and batch.ids_NW.shape[1] == batch.lengths_N.max()
    assert kernel.problems(MED, []).ids_NW.shape == (0, 0)


@pytest.mark.parametrize("config", [TINY, replace(MED, row_tokens=300), replace(HARD, row_tokens=512, order="qp",
                                    retry=Retry(0.5, "wrong", "start"))])  # fmt: skip
def test_rows_are_problems_without_those_that_are_too_long(config: IgsmConfig) -> None:
    index, width = np.array([0, 1, 5, 2**40]), config.row_tokens + 1
    ids, lost = kernel.rows(config, index, "validation", 2)
    dropped = 0
    for row, tokens, masked in zip(index.tolist(), ids, lost, strict=True):
        batch = kernel.problems(config, row * kernel.ROW_PROBLEMS + np.arange(40), "validation", 2)
        kept = batch.lengths_N <= config.row_tokens
        expected = [ids[:length] for ids, length in zip(batch.ids_NW[kept], batch.lengths_N[kept], strict=True)]
        assert np.array_equal(np.concatenate(expected)[:width], tokens)
        dropped += int((~kept).sum())
        if config.retry.mask != "none":
            expected = [lost[:length] for lost, length in zip(batch.lost_NW[kept], batch.lengths_N[kept], strict=True)]
            assert np.array_equal(np.concatenate(expected)[:width], masked) and masked.any()
        else:
            assert masked.shape == (0,)
    assert dropped > 0 or config is TINY
    assert ids.dtype == np.uint16 and (ids[:, 0] == 0).all(), "a row begins with <bos>"
    ids_2, lost_2 = kernel.rows(config, index[::-1], "validation", 2, threads=2)
    assert np.array_equal(ids_2[::-1], ids) and np.array_equal(lost_2[::-1], lost)
    shorter = replace(config, row_tokens=config.row_tokens - 1)
    if config is TINY:
        assert np.array_equal(kernel.rows(shorter, index, "validation", 2)[0], ids[:, :-1])


def test_where_there_is_no_problem_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"task\.row_tokens: got 32, and hardly any problem of iGSM op=30"):
        kernel.rows(replace(MED, op=30, row_tokens=32, templates="all"), [0])
    monkeypatch.setattr(IgsmConfig, "bins", lambda self, split, op=0: range(0))
    config = replace(TINY, modulus=11, op=3)
    for make in (kernel.problems, kernel.rows):
        with pytest.raises(UserError, match="no problem of op = 3 of the split 'train'"):
            make(config, [0])


def test_benchmark() -> None:
    problems, tokens = kernel.problems_per_second(MED, 0.05)
    assert tokens > 100 * problems > 0


def test_kept_machine_code_is_never_out_of_date() -> None:
    # the stamp in an entry's key has to cover every module of the generator that compiled code takes anything from
    folder = Path(kernel.__file__).parent
    root = folder.parents[2]
    assert {path for path in SOURCES if path.parent.name == "compiled"} == set((folder / "compiled").glob("*.py"))
    taken = set()
    for path in sorted((folder / "compiled").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("physlm.tasks"):
                names = [str(node.module), *(f"{node.module}.{one.name}" for one in node.names)]
                files = [root / f"{name.replace('.', '/')}.py" for name in names]
                taken |= {file for file in files if file.exists()}
    assert taken <= set(SOURCES), "unless they are tables that come in as arguments"
