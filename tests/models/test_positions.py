"""Positions and scores of attention together: what every part must do (``part_checks``), where settings compose.

``test_parts`` checks each setting of attention alone; here are those that meet in one model, or in one layer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch
from part_checks import CHECKS
from part_models import BASE, ids_of, randomised, with_part

from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.patterns import irope, rotary_windows

CANON = dataclasses.replace(BASE, local=(Canon(),))
COMPOSED = [
    with_part("mixer", Attention(rope=0.0, bias="alibi", window=5, log_n=True, learnt_scale="head")),
    with_part("mixer", Attention(rope=0.0, bias="hard_alibi", chunk=6, floor=3)),
    with_part("mixer", Attention(bias="t5", window=18, learnt_scale="one", scale=0.5), CANON),
    with_part("mixer", Attention(rope=0.5, rope_heads=0.5, chunk=7, log_n=True, qk_norm="unit")),
    dataclasses.replace(BASE, mixer=irope(5, 2, Attention(qk_norm="unit"))),
    dataclasses.replace(CANON, mixer=rotary_windows(17, 2)),
]
TOKENS = 60


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("config", COMPOSED, ids=lambda config: config.label)
def test_settings_that_meet(config: ModelConfig, check: Callable[[ModelConfig], None]) -> None:
    check(config)


@pytest.mark.parametrize("config", COMPOSED, ids=lambda config: config.label)
def test_what_is_written_with_a_short_memory_is_what_whole_rows_say(config: ModelConfig) -> None:
    """Greedily, long after windows and chunks have come round."""
    model = randomised(config, 2)
    made = generate(model, ids_of(1, 3, 4)[0], TOKENS, temperature=0.0, end=-1)
    logits = model(made.ids[..., :-1]).logits[..., : model.vocabulary]
    drawn = made.ids[:, :, 4:]
    first, second = logits[:, :, 3:].topk(2, -1).values.unbind(-1)
    sure = first - second > 1e-3
    assert sure.double().mean() > 0.9 and drawn.shape[-1] == TOKENS
    assert (logits[:, :, 3:].argmax(-1) == drawn)[sure].all()
    assert len({tuple(row) for row in drawn.flatten(0, 1).tolist()}) > 1


@pytest.mark.parametrize(("mixer", "kept"), [
    (Attention(window=16), 16), (Attention(window=17), 32), (Attention(rope=0.0, bias="alibi", window=1), 16),
    (Attention(chunk=40), 48), (Attention(bias="t5", chunk=3), 16), (Attention(rope=0.0, bias="alibi"), 512),
    (Attention(log_n=True), 512), (Attention(rope=0.0, bias="hard_alibi"), 512),
], ids=lambda x: x.label if isinstance(x, Attention) else "")  # fmt: skip
def test_the_memory_of_generation_holds_what_is_in_sight(mixer: Attention, kept: int) -> None:
    """Keys and values of so many tokens, of a row of 512, in each of two layers."""
    model = Decoder(with_part("mixer", mixer), 11)
    assert model.state_bytes(512) == 2 * kept * 2 * BASE.width * 4
    reading = model.remember(rows=3, positions=512)
    assert [state["attention"]["keys"].shape[3] for state in reading.states] == [kept, kept]


@pytest.mark.parametrize("mixer", [
    Attention(scale=300.0), Attention(log_n=True, learnt_scale="head", scale=300.0),
    Attention(rope=0.0, learnt_scale="one", scale=300.0), Attention(rope=0.0, bias="alibi", scale=300.0, window=3),
    Attention(rope=0.0, bias="t5", scale=300.0), Attention(rope=0.0, bias="hard_alibi", scale=300.0, chunk=4),
    Attention(rope=0.0, floor=1, scale=300.0), Attention(qk_norm="unit", scale=3000.0),
], ids=lambda mixer: mixer.label)  # fmt: skip
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_gradients_are_finite_where_scores_are_in_the_thousands(mixer: Attention, precision: torch.dtype) -> None:
    model = randomised(with_part("mixer", mixer), 2)
    if precision == torch.bfloat16:
        model = model.in_bfloat16()
    ids = ids_of(2, 3, 20)
    with torch.no_grad():
        weights = model(ids, taps=("block.0.attention",)).taps["block.0.attention"]
        assert weights.isfinite().all() and (weights > 0.999).any(-1).double().mean() > 0.5, "softmax is at its end"
    model.hidden(ids)[0].float().square().mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name
