"""The schedule and AdamW's bias corrections against numbers worked out by hand."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from physlm.training.config import TrainConfig
from physlm.training.schedule import adam_coefficients, schedule


def values(steps: int, warmup: int, final: float = 0.1) -> list[float]:
    return schedule(TrainConfig(warmup_steps=warmup, final_fraction=final), steps).tolist()


def test_twenty_steps_by_hand() -> None:
    """Two steps of warm-up (a tenth of 20), then half a cosine over the other 18."""
    found = values(20, 1000, final=0.2)
    assert found[:3] == pytest.approx([0.5, 1.0, 1.0], abs=1e-7)
    # a sixth, a third, a half and two thirds of the way down: (1 + cos) / 2 = 0.933..., 0.75, 0.5, 0.25
    assert found[5] == pytest.approx(0.2 + 0.8 * (0.5 + math.sqrt(3) / 4), abs=1e-6)
    assert found[8] == pytest.approx(0.2 + 0.8 * 0.75, abs=1e-6)
    assert found[11] == pytest.approx(0.2 + 0.8 * 0.5, abs=1e-6)
    assert found[14] == pytest.approx(0.2 + 0.8 * 0.25, abs=1e-6)
    assert len(found) == 20 and found[19] < found[18] < 0.23


def test_warmup_as_given_where_it_is_less_than_a_tenth() -> None:
    found = values(100, 4)
    assert found[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert found[52] == pytest.approx(0.1 + 0.9 * 0.5, abs=1e-6)  # half of 96 steps later


def test_no_warmup() -> None:
    found = values(8, 0, final=0.0)
    assert found[0] == 1.0
    assert found[4] == pytest.approx(0.5, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_fewer_steps_than_ten_have_no_warmup(steps: int) -> None:
    found = values(steps, 1000)
    assert len(found) == steps and found[0] == 1.0
    assert found == values(steps, 0)


def test_a_final_fraction_of_one_is_constant() -> None:
    assert values(50, 5, final=1.0)[5:] == [1.0] * 45


@given(st.integers(1, 3000), st.integers(0, 2000), st.floats(0, 1))
def test_rises_to_one_and_falls_towards_the_final_fraction(steps: int, warmup: int, final: float) -> None:
    found = schedule(TrainConfig(warmup_steps=warmup, final_fraction=final), steps)
    peak = min(warmup, steps // 10)
    assert found.dtype == torch.float32 and found.shape == (steps,)
    assert found.max() == 1.0 and found.min() >= 0.0
    assert found[peak] == 1.0, "the first step after the warm-up has the peak rate"
    assert bool((found[:peak].diff() > 0).all()) and bool((found[peak:].diff() <= 0).all())
    assert bool((found[peak:] >= final - 1e-6).all())
    # the last step is one step of the cosine above the final fraction
    last = final + (1 - final) * (1 - math.cos(math.pi / (steps - peak))) / 2
    assert found[-1].item() == pytest.approx(last, abs=1e-6) or steps - peak == 1


def test_bias_corrections_by_hand() -> None:
    config = TrainConfig(betas=(0.9, 0.75), warmup_steps=0)
    table = adam_coefficients(config, 3)
    assert table.shape == (3, 3) and table.dtype == torch.float32
    assert table[:, 0].equal(schedule(config, 3))
    assert table[:, 1].tolist() == pytest.approx([1 / 0.1, 1 / 0.19, 1 / 0.271])
    assert table[0, 2].item() == pytest.approx(2.0)  # 1 / sqrt(1 - 0.75)
    assert table[1, 2].item() == pytest.approx(1 / math.sqrt(1 - 0.5625))


def test_betas_of_zero_need_no_correction() -> None:
    assert adam_coefficients(TrainConfig(betas=(0.0, 0.0)), 4)[:, 1:].tolist() == [[1.0, 1.0]] * 4


def test_the_schedule_is_a_fraction_of_the_peak() -> None:
    """Members differ in learning rate alone and share one table."""
    config = TrainConfig(learning_rate=1e-3)
    assert schedule(config, 30).equal(schedule(dataclasses.replace(config, learning_rate=7.0), 30))


def test_a_linear_decay_by_hand() -> None:
    """Ten steps of warm-up, then a line from 1 to 0.2 over the other 90."""
    found = schedule(TrainConfig(warmup_steps=10, decay="linear", final_fraction=0.2), 100).tolist()
    assert found[:10] == pytest.approx([(t + 1) / 10 for t in range(10)])
    assert found[10:] == pytest.approx([1 - 0.8 * t / 90 for t in range(90)], abs=1e-6)


def test_a_stable_phase_and_a_decay_by_hand() -> None:
    """100 steps: ten of warm-up, the peak up to 80, then 1 - sqrt over the last twenty, to a tenth."""
    config = TrainConfig(stable=0.8, decay="sqrt")
    found = schedule(config, 100).tolist()
    assert found[:10] == pytest.approx([step / 10 for step in range(1, 11)])
    assert found[10:81] == [1.0] * 71
    # a twentieth, a fifth and four fifths of the way
    for step, u in ((81, 0.05), (84, 0.2), (96, 0.8)):
        assert found[step] == pytest.approx(0.1 + 0.9 * (1 - math.sqrt(u)), abs=1e-6)
    assert found[80:] == sorted(found[80:], reverse=True)


def test_all_stable_stays_at_the_peak_and_none_is_the_schedule_without_it() -> None:
    assert schedule(TrainConfig(stable=1.0), 40).tolist() == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 37])
    for decay in ("cosine", "linear", "sqrt"):
        config = TrainConfig(decay=decay)
        assert schedule(dataclasses.replace(config, stable=0.05), 40).equal(schedule(config, 40)), "within the warm-up"


def test_up_to_its_decay_a_run_has_the_rates_of_the_constant_one() -> None:
    long = schedule(TrainConfig(stable=1.0, warmup_steps=5), 200)
    for steps in (50, 100, 200):
        short = schedule(TrainConfig(stable=0.8, warmup_steps=5, decay="linear"), steps)
        assert short[: steps * 4 // 5].equal(long[: steps * 4 // 5]) and short[-1] < 0.2
