"""What pages are made of: numbers, bars, losses, samples, figures."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from physlm.errors import UserError
from physlm.lab.experiment import load_experiment
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.laws.law import Quantity
from physlm.laws.verdict import Expectation, bound, judge, published
from physlm.report.bars import interval_bar
from physlm.report.content import AGREES
from physlm.report.curves import LINES, curves_of
from physlm.report.figures import WALL_WIDTH, pictures
from physlm.report.numbers import duration, number, pieces
from physlm.report.samples import sample_of
from physlm.tasks.config import TaskConfig
from physlm.tasks.task import Text

ROOT = Path(__file__).parents[2]


# ---- Numbers


@pytest.mark.parametrize(("value", "text"), [
    (0.0, "0"), (0.99463, "0.9946"), (-0.25, "−0.25"), (2000.0, "2000"), (195_480.0, "195,500"),
    (4.631e-05, "4.631 × 10⁻⁵"), (0.00012, "0.00012"), (1e-7, "1 × 10⁻⁷"), (3e12, "3 × 10¹²"), (-123456.0, "−123,500"),
])  # fmt: skip
def test_numbers_have_four_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_durations_and_names() -> None:
    assert [duration(s) for s in (40, 720, 12_240)] == ["40 s", "12 min", "3.4 h"]
    assert pieces("answer@1 form/a+b") == ["answer@", "1 form/", "a+", "b"]
    assert "".join(pieces("/x//y=")) == "/x//y="


# ---- Bars


numbers = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
RELATIONS = st.sampled_from(["at least", "at most", "about"])


@given(st.tuples(numbers, numbers, numbers), numbers, st.floats(0, 10), RELATIONS, st.sampled_from(["1", "bits"]))
def test_a_bar_shows_the_verdict(ends, asked, slack, relation, unit) -> None:
    """An interval agrees where the judge says so: as far as places of two digits tell."""
    lo, value, hi = sorted(ends)
    ours = Quantity("q", value, lo, hi, 5, unit)
    expectation = Expectation("q", asked, relation, slack, unit, "paper", reason="why")
    bar = interval_bar(ours, asked, expectation, expectation.wanted)
    assert 0 <= bar.lo <= bar.value <= bar.hi <= 100 and 0 <= bar.published <= 100 and bar.region is not None
    first, last = bar.region
    assert first <= bar.published <= last
    agrees = judge(expectation, ours) in AGREES
    gap = 0.011
    if relation == "at least":
        assert last == 100 and (bar.lo >= first - gap if agrees else bar.lo <= first + gap)
    elif relation == "at most":
        assert first == 0 and (bar.hi <= last + gap if agrees else bar.hi >= last - gap)
    else:
        meets = bar.lo <= last + gap and bar.hi >= first - gap
        assert meets if agrees else bar.lo >= last - gap or bar.hi <= first + gap


def test_shares_that_span_much_can_be_compared_by_eye_and_never_leave_their_range() -> None:
    wide = interval_bar(Quantity("q", 0.3, 0.25, 0.35, 9, "1"), 0.9, bound("q", "at least", 0.9, "paper", "why"), "")
    assert (wide.first, wide.last, wide.value, wide.published) == ("0", "1", 30, 90)
    near = interval_bar(Quantity("q", 1.0, 0.998, 1.0, 9, "1"), 0.9, bound("q", "at least", 0.9, "paper", "why"), "")
    assert near.last == "1" and near.value == 100 and 0.8 < float(near.first) < 0.9
    zero = interval_bar(Quantity("q", 0.0, 0.0, 0.0, 9, "1"), 0.0, published("q", 0, "paper", slack=0, reason=""), "")
    assert zero.first == "0" and zero.value == zero.published == 0


def test_a_bar_says_in_words_what_it_draws() -> None:
    text = interval_bar(Quantity("q", 0.5, 0.4, 0.6, 9, "1"), 0.9, None, "0.9").text
    assert "asked for 0.9" in text and "ours 0.5" in text and "0.4 to 0.6" in text


# ---- Losses


def logged(run: Run, points: int, start: float) -> None:
    run.path.mkdir(parents=True)
    lines = [f'{{"step": {i}, "loss": {start / i}, "tokens": {100 * i}}}\n' for i in range(1, points + 1)]
    (run.path / "metrics.jsonl").write_text("".join(lines) + '{"step": 9999, "loss": null, "tokens": 5}\n{"step"')


def test_losses_of_the_runs_that_are_there(tmp_path: Path) -> None:
    experiment, store = load_experiment("p33_capacity", ROOT / "experiments"), Store(tmp_path)
    assert curves_of(experiment, "gpu", store) is None
    runs = [store.run(spec) for spec in experiment.specs("demo")]
    assert len(runs) > LINES
    logged(runs[0], 2, 1.0)
    assert curves_of(experiment, "gpu", store) is None, "two points are no curve"
    for place, run in enumerate(runs[1:]):
        logged(run, 500, 5.0 + place)
    found = curves_of(experiment, "gpu", store)
    assert found is not None and (found.tier, found.runs, len(found.lines)) == ("demo", len(runs) - 1, LINES)
    assert (found.first, found.last) == ("100", "50,000")
    for line in found.lines:
        points = [tuple(map(float, point.split(","))) for point in line.points.split()]
        assert points[0][0] == 0 and points[-1][0] == 100 and 100 < len(points) <= 120
        assert all(0 <= x <= 100 and 0 <= y <= 100 for x, y in points)
        steep = (points[-1][1] - points[0][1]) / 100
        assert all(math.isclose(y - points[0][1], steep * x, abs_tol=0.25) for x, y in points), "a power law is a line"


# ---- Samples


def test_tokens_of_one_role_stand_together() -> None:
    config = TaskConfig.of_kind("bioS")()
    (text,) = config.build().texts(torch.arange(1))
    roles: dict[str, int] = {}
    sample = sample_of(text, config.vocabulary(), roles)
    assert "".join(span.blank + span.text for span in sample.spans) == config.vocabulary().decode(text.ids)
    marked = [span for span in sample.spans if span.hue is not None]
    assert {span.role.replace(" ", "_") for span in marked} == set(text.labels) - {"text"} == set(roles)
    assert len({span.hue for span in marked}) == len(roles) and sample.about == "person 0" and not sample.levels
    assert sample_of(text, config.vocabulary(), dict(roles)) == sample


def test_levels_of_a_tree_span_all_tokens() -> None:
    config = TaskConfig.of_kind("grammar")()
    (text,) = config.build().texts(torch.arange(1))
    sample = sample_of(text, config.vocabulary(), {})
    tokens = len(text.ids) - 2
    assert len(sample.levels[0]) == 1 and len(sample.levels[-1]) == tokens
    assert all(sum(cell.tokens for cell in level) == tokens for level in sample.levels)
    for place, line in enumerate(text.lines):
        assert line.split()[2:] == [cell.symbol for cell in sample.levels[place]]


def test_neighbours_of_one_symbol_are_two_subtrees() -> None:
    level = {"symbols": [None, "a", "a", "a", None], "subtrees": [None, 0, 1, 1, None], "ends": [None, 1, 0, 1, None]}
    config = TaskConfig.of_kind("grammar")()
    sample = sample_of(Text({"string": 0}, [0, 1, 1, 1, 0], ["eos", *["token"] * 3, "eos"], {"levels": [level]}),
                       config.vocabulary(), {})
    assert [cell.tokens for cell in sample.levels[0]] == [1, 2]


# ---- Figures


def test_figures_keep_every_pixel(tmp_path: Path) -> None:
    source = ROOT / "results" / "p41_mano" / "figure.png"
    whole, small = pictures(source)
    with Image.open(source) as before, Image.open(io.BytesIO(whole.data)) as after:
        assert before.convert("RGB").tobytes() == after.convert("RGB").tobytes()
        assert (whole.width, whole.height) == before.size
    assert len(whole.data) < source.stat().st_size / 2 and small.width == WALL_WIDTH and len(small.data) < 40_000


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 30])
def test_a_damaged_figure_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "figure.png").write_bytes(content)
    with pytest.raises(UserError, match=r"figure\.png: expected a PNG figure"):
        pictures(tmp_path / "figure.png")
    whole = (ROOT / "results" / "p41_mano" / "figure.png").read_bytes()
    (tmp_path / "figure.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"figure\.png: expected a PNG figure"):
        pictures(tmp_path / "figure.png")


def test_a_figure_is_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "figure.png").symlink_to(ROOT / "results" / "p41_mano" / "figure.png")
    with pytest.raises(UserError, match="symbolic link"):
        pictures(tmp_path / "figure.png")
