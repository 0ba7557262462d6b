"""The flip-flop language: rows read by the definition, shares and distances by their laws, three distributions."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

import pytest
import torch
from chance import near

from physlm.errors import UserError
from physlm.tasks.rows import IGNORE
from physlm.tasks.state.flip_flop import FIRST_BIT, IGNORED, READ, WRITE, FlipFlopConfig

SMALL = FlipFlopConfig(0.3, 0.3, row_tokens=24)


@pytest.mark.parametrize("config", [
    SMALL, FlipFlopConfig(), FlipFlopConfig(0.01, 0.01), FlipFlopConfig(0.45, 0.45), FlipFlopConfig(0.5, 0.5),
    FlipFlopConfig(0.0, 0.0, row_tokens=10), FlipFlopConfig(1.0, 0.0, row_tokens=10),
    FlipFlopConfig(0.2, 0.2, row_tokens=4), FlipFlopConfig(0.2, 0.2, "all", row_tokens=31),
], ids=lambda config: config.title)  # fmt: skip
def test_every_read_has_the_bit_that_was_written_last(config: FlipFlopConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(50))
    for row, answers in zip(inputs.tolist(), targets.tolist(), strict=True):
        whole, kept = [*row, answers[-1] if config.row_tokens % 2 == 0 else 0], None
        assert whole[:2] == [0, WRITE] and (whole[-2] if config.row_tokens % 2 == 0 else whole[-3]) == READ
        for at in range(1, config.row_tokens // 2 * 2, 2):
            instruction, bit = whole[at : at + 2]
            assert instruction in (WRITE, READ, IGNORED) and bit in (FIRST_BIT, FIRST_BIT + 1)
            if instruction == WRITE:
                kept = bit
            if instruction == READ:
                assert bit == kept == answers[at]
            elif config.loss == "answer":
                assert answers[at] == IGNORE
        if config.loss == "all":
            learnt = 2 * (config.row_tokens // 2)
            assert answers[:learnt] == whole[1 : learnt + 1] and answers[learnt:] == [IGNORE] * (len(row) - learnt)
        else:
            assert answers[::2] == [IGNORE] * len(answers[::2])


@pytest.mark.parametrize("distribution", ["training", "sparse", "dense"])
def test_instructions_bits_and_distances_have_their_laws(distribution: str) -> None:
    rows = FlipFlopConfig(0.1, 0.1, "all").build().test_rows(400)
    at = rows.kind_R == rows.kinds.index(distribution)
    inputs = rows.inputs_RT[at]
    instruction, bit = inputs[:, 1::2], inputs[:, 2::2]
    inner = instruction[:, 1:-1]
    write, read = {"training": (0.1, 0.1), "sparse": (0.01, 0.01), "dense": (0.45, 0.45)}[distribution]
    for token, share in ((WRITE, write), (READ, read), (IGNORED, 1 - write - read)):
        assert near(int((inner == token).sum()), inner.numel(), share)
    free = (instruction != READ)[:, :-1]
    assert near(int((bit == FIRST_BIT)[free].sum()), int(free.sum()), 0.5)
    for token in (WRITE, IGNORED):  # whatever the instruction
        these = (inner == token)
        assert near(int((bit[:, 1:] == FIRST_BIT)[these].sum()), int(these.sum()), 0.5)
    # the last read: its write is d instructions back with probability w (1 - w)^(d - 1), or the first one
    last = torch.where(instruction == WRITE, torch.arange(256), 0).amax(1)
    for d in (1, 2, 5):
        assert near(int((255 - last == d).sum()), len(last), write * (1 - write) ** (d - 1))
    assert near(int((last == 0).sum()), len(last), (1 - write) ** 254)


def test_test_rows_are_of_three_distributions_and_ask_for_every_read() -> None:
    rows = FlipFlopConfig(loss="all", row_tokens=64).build().test_rows(30, window=128)
    assert rows.kinds == ("training", "sparse", "dense") and rows.inputs_RT.shape == (90, 128)
    asked = torch.nn.functional.pad(rows.targets_RT != IGNORE, (1, 0))[:, :-1]  # the bit's place
    assert ((rows.inputs_RT == READ)[:, 1:-1] == asked[:, 2:]).all() and (rows.targets_RT[:, -1] != IGNORE).all()
    counts = [(rows.targets_RT[rows.kind_R == k] != IGNORE).sum() / (30 * 64) for k in range(3)]
    assert counts[1] < 0.05 < counts[0] < 0.2 < 0.4 < counts[2]


def test_every_read_of_a_string_is_asked_as_often() -> None:
    prompts = FlipFlopConfig(0.0, 1.0, row_tokens=12).build().prompts(5000)  # a write, then five reads
    assert all(near(n, 5000, 1 / 5) for n in prompts.lengths_B.bincount()[4::2].tolist())
    assert (prompts.ids_BP.gather(1, prompts.lengths_B[:, None] - 1) == READ).all()


@pytest.mark.parametrize("condition", [{}, {"distribution": "sparse"}, {"distribution": "dense", "window": 100}])
def test_questions_of_every_distribution_are_right_by_the_verifier(condition: dict[str, Any]) -> None:
    task = SMALL.build()
    prompts = task.prompts(200, **condition)
    assert prompts.kinds == (condition.get("distribution", "training"),)
    for ids, n, answer in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), prompts.answers_BQ.tolist(),
                              strict=True):  # fmt: skip
        assert task.fault([*ids[:n], *answer]) == ""


def test_its_own_samples_pass_the_verifier() -> None:
    task = FlipFlopConfig(0.2, 0.2, row_tokens=32).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> w 1 r 1", ""), ("<bos> w 1 i 0 r 1 w 0 r 0 <bos>", ""),
    ("<bos> w 1 i 0 r 0", "got a read of another bit than was written last"),
    ("<bos> w 1 r 0 w 0 r 0", "got a read of another bit than was written last"),
    ("<bos> i 1 w 1 r 1", "got no <bos> and pairs"), ("<bos> w 1 i 1", "got no <bos> and pairs"),
    ("<bos> w 1 r", "got no <bos> and pairs"), ("<bos> w 1", "got no <bos> and pairs"),
    ("<bos> w i 1 1 r 1", "got something other than an instruction and a bit"),
    ("<bos> w 1 <bos> 1 r 1", "got something other than an instruction and a bit"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = SMALL.build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and (fault or not found)


@pytest.mark.parametrize(("settings", "message"), [
    ({"write": 1.1}, r"task\.write: got 1\.1, expected between 0 and 1"),
    ({"write": float("nan")}, r"task\.write: got nan"),
    ({"write": 0.6, "read": 0.5}, r"task\.read: got 0\.5, expected between 0 and 0\.4"),
    ({"row_tokens": 3}, r"task\.row_tokens: got 3, expected between 4 and 1,048,576"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(FlipFlopConfig(), **settings)


def test_writes_and_reads_alone_are_a_language() -> None:
    """Shares whose difference from 1 a float rounds down."""
    for write, read in ((0.8, 0.2), (0.9, 0.1), (0.3, 0.7)):
        row = FlipFlopConfig(write, read, row_tokens=64).build().rows(torch.arange(20)).inputs_RT
        assert {*row[:, 1::2].flatten().tolist()} == {WRITE, READ}
    with pytest.raises(UserError, match=r"task\.read: got 0\.5, expected between 0 and 0\.2$"):
        FlipFlopConfig(0.8, 0.5)


def test_other_distributions_and_windows_are_refused() -> None:
    task = SMALL.build()
    with pytest.raises(UserError, match=r"distribution: unknown name 'spars'.*sparse"):
        task.prompts(3, distribution="spars")
    with pytest.raises(UserError, match="got a window of 3 tokens, expected between 4 and"):
        task.prompts(3, window=3)
