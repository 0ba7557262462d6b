"""The memory of n-grams: its hash, its reading written out, and its controls."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from part_checks import CHECKS, check_steps_are_whole_rows
from part_models import BASE, VOCABULARY, ids_of, randomised, with_part

from physlm.errors import UserError
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.ngram import MULTIPLIERS, NGram
from physlm.models.parts.part import Whole

SETTINGS = [NGram(rows=50), NGram(mlp=Gated(), rows=7, longest=4, hashes=1), NGram(rows=1), NGram(longest=1, rows=30),
            NGram(hashed="places", rows=50)]  # fmt: skip


def test_rows_by_hand() -> None:
    part, ids = NGram(rows=50), ids_of(2, 3, 9)
    assert part.orders == (2, 2, 3, 3) and part.sizes() == (53, 59, 61, 67)
    found = part.rows_of(torch.zeros(2, 3, 9, 16), None, Whole(ids_MBT=ids))
    for m, b, t in itertools.product(range(2), range(3), range(9)):
        last = [int(ids[m, b, t - i]) + 1 if i <= t else 0 for i in range(3)]
        first = 0
        for table, (n, size) in enumerate(zip(part.orders, part.sizes(), strict=True)):
            mixed = 0
            for i in range(n):
                mixed ^= last[i] * MULTIPLIERS[table % 2][i] % 2**64
            signed = mixed - 2**64 if mixed >= 2**63 else mixed
            assert int(found[m, b, t, table]) == first + signed % size
            first += size


def test_the_hash_spreads_as_a_random_one_does() -> None:
    """4000 different trigrams in about 1000, 4000 and 16000 rows: as many are met as of random draws, in each hash."""
    pairs = torch.randperm(40**3, generator=torch.Generator().manual_seed(0))[:4000]
    ids = torch.stack((pairs // 1600, pairs // 40 % 40, pairs % 40), -1)[None]
    for rows in (1000, 4000, 16000):
        part = NGram(rows=rows)
        found = part.rows_of(torch.zeros(1, 4000, 3, 16), None, Whole(ids_MBT=ids))[0, :, 2]
        for table in (2, 3):
            size = part.sizes()[table]
            expected = size * (1 - (1 - 1 / size) ** 4000)
            assert len(found[:, table].unique()) == pytest.approx(expected, rel=0.05)
    assert (found[:, 2] - found[:, 2].min()).ne(found[:, 3] - found[:, 3].min()).any()


@pytest.mark.parametrize("part", SETTINGS, ids=lambda part: part.label)
def test_written_out(part: NGram) -> None:
    w = Weights(part, BASE, 2, part.weights(BASE)).double()
    generator = torch.Generator().manual_seed(0)
    for p in w.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x, ids = torch.randn(2, 3, 9, 16, generator=generator, dtype=torch.float64), ids_of(2, 3, 9)
    rows, plain = part.rows_of(x, None, Whole(ids_MBT=ids)), part.mlp.read(w, x, None, Whole())
    found = w(x, Whole(ids_MBT=ids))
    for m in range(2):
        e = w.table[m][rows[m]].flatten(-2)
        key = e @ w.key.weight[m]
        normed = [y / (y.square().mean(-1, keepdim=True) + 1e-6).sqrt() for y in (x[m], key)]
        gate = torch.sigmoid((normed[0] * normed[1]).sum(-1, keepdim=True) / 4)
        torch.testing.assert_close(found[m], plain[m] + gate * (e @ w.value.weight[m]), atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("part", SETTINGS, ids=lambda part: part.label)
def test_whole_rows_are_steps_in_float64(part: NGram) -> None:
    config = dataclasses.replace(with_part("mlp", part), local=(Canon(),))
    check_steps_are_whole_rows(randomised(config).double(), 20, (1, 2, 9), 1e-4)  # Canon layers round to float32
    plain, ids = randomised(with_part("mlp", part)).double(), ids_of(2, 3, 20)
    reading = plain.remember(3, 20)
    parts = [plain.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(20)]
    torch.testing.assert_close(torch.cat(parts, 2), plain.hidden(ids)[0], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("part", SETTINGS[1:], ids=lambda part: part.label)
def test_every_check_of_parts_holds_for_other_settings(part: NGram) -> None:
    for check in CHECKS:
        check(with_part("mlp", part))


@pytest.mark.parametrize("part", SETTINGS, ids=lambda part: part.label)
def test_values_of_zeros_are_the_mlp_alone(part: NGram) -> None:
    model, plain = Decoder(with_part("mlp", part), VOCABULARY), Decoder(with_part("mlp", part.mlp), VOCABULARY)
    ids = ids_of(1, 3, 9)
    assert not model(ids).logits.allclose(plain(ids).logits, atol=1e-9, rtol=0)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("mlp.value.weight"):
                p.zero_()
    assert model(ids).logits.equal(plain(ids).logits)


def test_controls_know_nothing_of_the_tokens() -> None:
    """Other tokens have the same rows: the one row, or those of the places, of which each has its own."""
    x = torch.zeros(1, 1, 9, 16)
    for part in (NGram(rows=1), NGram(hashed="places")):
        rows = [part.rows_of(x, None, Whole(ids_MBT=ids))[0, 0] for ids in (ids_of(1, 1, 9), ids_of(1, 1, 9) * 3 % 11)]
        assert rows[0].equal(rows[1])
    assert len(rows[0][:, 0].unique()) == 9
    assert len(NGram(rows=1).rows_of(x, None, Whole(ids_MBT=ids_of(1, 1, 9))).unique()) == 4, "one of each table"


def test_counts_by_hand() -> None:
    part, plain = NGram(rows=50, channels=8), with_part("mlp", Plain())
    config, rows = with_part("mlp", part), 53 + 59 + 61 + 67
    ours, theirs = parameter_counts(config, 11), parameter_counts(plain, 11)
    assert ours["params_all"] - theirs["params_all"] == 2 * (rows * 8 + 2 * 4 * 8 * 16)
    assert ours["params_active"] - theirs["params_active"] == 2 * (4 * 8 + 2 * 4 * 8 * 16)
    assert training_flops(config, 11, 64) - training_flops(plain, 11, 64) == 2 * 6 * 2 * 4 * 8 * 16


@pytest.mark.parametrize(("settings", "message"), [
    (dict(rows=0), "model.mlp.rows: got 0, expected 1 to 1048576"),
    (dict(longest=9), "longest: got 9, expected 1 to 8"),
    (dict(mlp=MoE()), "model.mlp.mlp: got moe, expected an MLP without losses"),
    (dict(mlp=NoMLP()), "model.mlp.mlp: got none"), (dict(mlp=NGram()), "model.mlp.mlp: got ngram"),
])  # fmt: skip
def test_what_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_part("mlp", NGram(**settings))


def test_a_vocabulary_that_float32_cannot_hold_is_refused() -> None:
    """The state holds tokens from 1 on in float32, exact up to 2^24; the control has no tokens."""
    for part in (NGram(), NGram(mlp=Gated(), longest=2)):
        config = with_part("mlp", part)
        assert config.embedding_rows((1 << 24) - 1) == (1 << 24) - 1
        with pytest.raises(UserError, match="model.mlp: got ngram with a vocabulary of 16777216, expected at most"):
            config.embedding_rows(1 << 24)
        with pytest.raises(UserError, match="got ngram with a vocabulary of 33554432"):
            dataclasses.replace(config, vocab_size=1 << 25).embedding_rows(VOCABULARY)
    assert with_part("mlp", NGram(hashed="places")).embedding_rows(1 << 24) == 1 << 24
