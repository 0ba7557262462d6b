"""Value embeddings: a row of a table for each token, gated, in the values of attention."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_checks import CHECKS, check_steps_are_whole_rows
from part_models import BASE, ids_of, randomised, with_part

from physlm.errors import UserError
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Whole
from physlm.models.parts.value_embeddings import looked_up

FOUR = dataclasses.replace(BASE, heads=4, width=32)
MIXERS = [Attention(value_rows=16), Attention(value_rows=4, group=2), Attention(rope=0, value_rows=16, window=5)]


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.label)
def test_written_out(mixer: Attention) -> None:
    """v_t + 2 sigmoid(x_t W_h) E[token modulo rows], and the weights are those of plain attention."""
    config = with_part("mixer", mixer, FOUR)
    w = Weights(mixer, config, 2, mixer.weights(config)).double()
    generator = torch.Generator().manual_seed(0)
    for p in w.parameters():
        p.data = 0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    x, ids = torch.randn(2, 3, 9, 32, generator=generator, dtype=torch.float64), ids_of(2, 3, 9)
    where = Whole(mixer.shared(mixer.tables(config, 16, torch.device("cpu")), (), 9), ids)
    found, weights = w(x, where), mixer.attention(w, x, where)
    for m in range(2):
        values = (x[m] @ w.qkv.weight[m])[..., -mixer.key_channels(config) :]
        gate = 2 * torch.sigmoid(x[m] @ w.value_gate.weight[m]).repeat_interleave(8, -1)
        values = values + gate * w.values[m][ids[m] % mixer.value_rows]
        values = values.unflatten(-1, (-1, 8)).repeat_interleave(mixer.group, 2)
        mixed = torch.einsum("bhij,bjhk->bihk", weights[m], values).flatten(2)
        torch.testing.assert_close(found[m], mixed @ w.out.weight[m], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("mixer", MIXERS, ids=lambda mixer: mixer.label)
def test_whole_rows_are_steps_in_float64(mixer: Attention) -> None:
    check_steps_are_whole_rows(randomised(with_part("mixer", mixer, FOUR)).double(), 40, (9,), 1e-10)


def test_every_check_of_parts_holds_beside_other_settings() -> None:
    for check in CHECKS:
        check(with_part("mixer", Attention(value_rows=4, group=2, sink=True, gate="head"), FOUR))


def test_a_table_of_zeros_is_plain_attention() -> None:
    model = randomised(with_part("mixer", MIXERS[0], FOUR))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("attention.values"):
                p.zero_()
    plain = Decoder(with_part("mixer", Attention(), FOUR), model.vocabulary, (None, None))
    plain.load_state_dict({name: model.state_dict()[name] for name in plain.state_dict()})
    ids = ids_of(2, 3, 12)
    torch.testing.assert_close(model(ids).logits, plain(ids).logits)


def test_the_factor_begins_at_one_and_tokens_alike_modulo_the_rows_share_one() -> None:
    model = Decoder(with_part("mixer", Attention(value_rows=4), FOUR), 11)
    w = model._blocks()[0].attention
    assert not w.value_gate.weight.any()
    rows = looked_up(w, torch.randn(1, 1, 3, 32), torch.tensor([[[1, 5, 2]]]), rows=4)
    assert rows[0, :, 0].equal(rows[0, :, 1]) and not rows[0, :, 0].equal(rows[0, :, 2])
    torch.testing.assert_close(rows[0].transpose(0, 1).flatten(1)[0], w.values[0, 1])


def test_counts_by_hand() -> None:
    """The table is stored in full; a token uses one row of it, and multiplies with the gate alone."""
    with_table, plain = with_part("mixer", Attention(value_rows=64), FOUR), with_part("mixer", Attention(), FOUR)
    counts = [parameter_counts(config, 11) for config in (with_table, plain)]
    assert counts[0]["params_all"] - counts[1]["params_all"] == 2 * (64 * 32 + 32 * 4)
    assert counts[0]["params_active"] - counts[1]["params_active"] == 2 * (32 + 32 * 4)
    assert training_flops(with_table, 11, 64) - training_flops(plain, 11, 64) == 2 * 6 * 32 * 4


def test_embeddings_without_tokens_are_refused() -> None:
    model = randomised(with_part("mixer", Attention(value_rows=4), FOUR))
    assert not model.has_aside and not model.config.reads_among
    with pytest.raises(UserError, match="rope_values4: got embeddings to read, expected tokens, whose ids it looks up"):
        model.hidden_from(torch.zeros(2, 3, 9, 32))
    with pytest.raises(UserError, match="model.mixer.value_rows: got -1, expected at least 1 token, or 0"):
        Attention(value_rows=-1)
