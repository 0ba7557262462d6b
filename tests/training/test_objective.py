"""Masked rows: how many places are chosen, what is shown there, and that nothing else is touched."""

import pytest
import torch

from physlm.tasks.rows import IGNORE, Rows
from physlm.training.objective import masked_rows

WORDS, RATE = 50, 0.15
TOKENS = torch.arange(400 * 200).view(400, 200) * 7 % WORDS
ROWS = Rows(TOKENS, torch.where(torch.arange(200) < 180, TOKENS, IGNORE))  # the last 20 places are padding


def test_shares_of_masked_random_and_kept_tokens() -> None:
    inputs, targets = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=3)
    chosen = targets != IGNORE
    assert not chosen[:, 180:].any() and targets[chosen].equal(TOKENS[chosen])
    assert inputs[~chosen].equal(TOKENS[~chosen])
    count = int(chosen.sum())
    assert count / (400 * 180) == pytest.approx(RATE, abs=4 * (RATE * (1 - RATE) / 72_000) ** 0.5)
    shown, hidden = inputs[chosen], TOKENS[chosen]
    kept = 0.1 + 0.1 / WORDS  # a random token may be the same
    for share, wanted in (((shown == WORDS).sum() / count, 0.8), ((shown == hidden).sum() / count, kept)):
        assert float(share) == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / count) ** 0.5)
    assert shown[shown < WORDS].unique().numel() == WORDS


def test_a_row_depends_on_its_number_and_the_key_alone() -> None:
    whole = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=3)
    part = masked_rows(Rows(*(x[7:9] for x in ROWS)), torch.arange(7, 9), RATE, WORDS, key=3)
    assert all(a[7:9].equal(b) for a, b in zip(whole, part, strict=True))
    other = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=4)
    assert not other.targets_RT.equal(whole.targets_RT)
