"""Output gates and learnt sinks of attention, written out, and at the ends of their range."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from part_checks import CHECKS
from part_models import BASE, ids_of, randomised, with_part
from torch import Tensor

from physlm.models.config import ModelConfig
from physlm.models.counting import training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts import attend as attending
from physlm.models.parts.attend import attend, everywhere, with_sink, without_sink
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Whole

SEEN = [
    Attention(), Attention(window=5), Attention(chunk=5), Attention(rope=0, bias="alibi"), Attention(bias="t5"),
    Attention(rope=0, bias="alibi", window=7), Attention(bias="t5", chunk=7, log_n=True), Attention(group=2),
    Attention(group=2, bias="t5", window=5), Attention(qk_norm="head", scale=2.0, learnt_scale="head"),
]  # fmt: skip
FOUR = dataclasses.replace(BASE, heads=4, width=32)


def filled(model: Decoder, name: str, value: float) -> Decoder:
    with torch.no_grad():
        for weight_name, p in model.named_parameters():
            if weight_name.endswith(name):
                p.fill_(value)
    return model


def copied(model: Decoder, mixer: Attention, config: ModelConfig) -> Decoder:
    """The same weights, without what this mixer has not."""
    found = Decoder(with_part("mixer", mixer, config), model.vocabulary, (None,) * model.members)
    ours = model.state_dict()
    found.load_state_dict({name: ours[name] for name in found.state_dict()})
    return found.double()


@pytest.mark.parametrize("mixer", SEEN, ids=lambda mixer: mixer.label)
def test_a_sink_at_minus_infinity_is_none(mixer: Attention) -> None:
    for config in (FOUR, dataclasses.replace(FOUR, causal=False)):
        if not config.causal and mixer not in (SEEN[0], SEEN[7]):
            continue
        sunk = randomised(with_part("mixer", dataclasses.replace(mixer, sink=True), config)).double()
        filled(sunk, "sink", -math.inf)
        ids = ids_of(2, 3, 40)
        torch.testing.assert_close(sunk.hidden(ids)[0], copied(sunk, mixer, config).hidden(ids)[0],
                                   atol=1e-10, rtol=1e-10)  # fmt: skip


@pytest.mark.parametrize("mixer", SEEN, ids=lambda mixer: mixer.label)
def test_whole_rows_are_steps_with_a_sink_and_a_gate(mixer: Attention) -> None:
    for gate in ("head", "element"):
        model = randomised(with_part("mixer", dataclasses.replace(mixer, sink=True, gate=gate), FOUR)).double()
        ids = ids_of(2, 3, 40)
        reading = model.remember(3, 40)
        parts = [model.read(ids[..., :9], reading)]
        parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(9, 40)]
        torch.testing.assert_close(torch.cat(parts, 2), model.hidden(ids)[0], atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("mixer", SEEN, ids=lambda mixer: mixer.label)
def test_every_check_of_parts_holds_for_compositions(mixer: Attention) -> None:
    for check in CHECKS:
        check(with_part("mixer", dataclasses.replace(mixer, sink=True, gate="head"), FOUR))


@pytest.mark.parametrize(("window", "chunk", "biased"), [(0, 0, False), (3, 0, False), (0, 7, False), (3, 0, True),
                                                         (0, 0, True), (20, 0, True), (0, 33, True)])  # fmt: skip
def test_a_sink_joins_the_softmax_and_has_no_value(
    window: int, chunk: int, biased: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against exp and sums, with gradients; and the safe form: what is mixed without it times
    sigmoid(log Sum exp a - s)."""
    monkeypatch.setattr(attending, "LEAST_BLOCK", 16)
    monkeypatch.setattr(attending, "QUERIES", 16)
    generator = torch.Generator().manual_seed(window)
    q, k, v = (torch.randn(4, 2, 70, 8, generator=generator, dtype=torch.float64).requires_grad_() for _ in range(3))
    sink = torch.randn(4, 2, 1, 1, generator=generator, dtype=torch.float64).requires_grad_()
    bias = torch.randn(2, 2, 70, generator=generator, dtype=torch.float64) if biased else None
    ours = without_sink(attend(*with_sink(q, k, v, sink), bias, window, chunk, sink=True))
    scores = (q @ k.mT) / 8**0.5
    at = torch.arange(70)
    distance = at[:, None] - at
    if bias is not None:
        scores = scores + bias.repeat_interleave(2, 0)[..., distance.clamp(min=0)]
    hidden = (distance < 0) | ((distance >= window) if window else distance < 0)
    hidden |= (at[:, None] // chunk != at // chunk) if chunk else hidden
    scores = scores.masked_fill(hidden, -math.inf)
    weights = scores.exp() / (sink.exp() + scores.exp().sum(-1, keepdim=True))
    torch.testing.assert_close(ours, weights @ v, atol=1e-12, rtol=1e-12)
    plain = attend(q, k, v, bias, window, chunk)
    safe = plain * (scores.logsumexp(-1, keepdim=True) - sink).sigmoid()
    torch.testing.assert_close(ours, safe, atol=1e-12, rtol=1e-12)
    up = torch.randn(ours.shape, generator=generator, dtype=torch.float64)
    gradients = [torch.autograd.grad((y * up).sum(), (q, k, v, sink), retain_graph=True) for y in (ours, weights @ v)]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-11, rtol=1e-11)


def test_a_sink_is_a_key_without_a_value() -> None:
    """Of score 0 where s is 0: softmax plus one."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, 2, 9, 8, generator=generator, dtype=torch.float64) for _ in range(3))
    none = torch.zeros(1, 2, 1, 8, dtype=torch.float64)
    ours = without_sink(everywhere(*with_sink(q, k, v, torch.zeros(1, 2, 1, 1, dtype=torch.float64)), sink=True))
    torch.testing.assert_close(ours, everywhere(q, torch.cat((none, k), 2), torch.cat((none, v), 2)))


def test_many_rows_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a sink, and with a mask of each row."""
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(7, 2, 9, 8, generator=generator) for _ in range(3))
    sink = torch.randn(7, 2, 1, 1, generator=generator)
    mask = (torch.rand(7, 1, 9, 9, generator=generator) > 0.5) | torch.eye(9, dtype=torch.bool)

    def both() -> list[Tensor]:
        sunk = with_sink(q, k, v, sink)
        return [attend(*sunk, sink=True), attending.masked(*sunk, mask, sink=True), attending.masked(q, k, v, mask)]

    at_once = both()
    monkeypatch.setattr(attending, "MOST_ROWS", 3)
    for a, b in zip(at_once, both(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_weights_shown_leave_room_for_the_sink() -> None:
    mixer = Attention(sink=True)
    model = filled(randomised(with_part("mixer", mixer, FOUR), 1), "sink", 3.0)
    x = torch.randn(1, 2, 9, 32, generator=torch.Generator().manual_seed(0))
    block, where = model._blocks()[0], Whole(model._shared(9)[mixer])
    q, k, v = mixer._project(block.attention, x, None, where)
    weights = mixer.attention(block.attention, x, where)
    mixed = without_sink(attend(*with_sink(q, k, v, block.attention.sink[0][:, None, None]), sink=True))
    torch.testing.assert_close((weights[0] @ v), mixed)
    assert bool((weights.sum(-1) < 1).all())


def test_a_gate_of_zeros_and_twice_the_output_is_none() -> None:
    for gate in ("head", "element"):
        gated = filled(randomised(with_part("mixer", Attention(gate=gate), FOUR)), "attention.gate.weight", 0.0)
        plain = copied(gated, Attention(), FOUR)
        with torch.no_grad():
            for name, p in gated.named_parameters():
                if name.endswith("attention.out.weight"):
                    p.mul_(2)
        ids = ids_of(2, 3, 20)
        torch.testing.assert_close(gated.double().hidden(ids)[0], plain.hidden(ids)[0], atol=1e-10, rtol=1e-10)


def test_a_gate_of_heads_is_one_of_elements_that_are_alike_in_a_head() -> None:
    heads = randomised(with_part("mixer", Attention(gate="head"), FOUR))
    elements = Decoder(with_part("mixer", Attention(gate="element"), FOUR), heads.vocabulary, (None, None))
    state = {name: p.repeat_interleave(8, -1) if name.endswith("gate.weight") else p
             for name, p in heads.state_dict().items()}  # fmt: skip
    elements.load_state_dict(state)
    ids = ids_of(2, 3, 20)
    torch.testing.assert_close(heads.hidden(ids)[0], elements.hidden(ids)[0])


def test_costs_by_hand() -> None:
    """A gate is one matrix more; a sink is one position more to look at, and a number a head."""
    def flops(mixer: Attention) -> float:
        return training_flops(with_part("mixer", mixer, FOUR), 7, 64)

    assert flops(Attention(gate="element")) - flops(Attention()) == 2 * 6 * 32 * 32
    assert flops(Attention(gate="head")) - flops(Attention()) == 2 * 6 * 32 * 4
    assert flops(Attention(sink=True)) - flops(Attention()) == 2 * 3 * 4 * 32
