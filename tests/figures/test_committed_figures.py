"""Figures of committed results: published numbers beside ours, and labels that say what settings are."""

from __future__ import annotations

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from sheets import assert_inside_and_apart, published

from physlm.lab.experiment import load_experiment
from physlm.lab.results import read_finding

ROOT = Path(__file__).parents[2]
# (number of people, or None where bars have no such axis; share) of the open marks, panel by panel
PUBLISHED: dict[str, list[tuple[int | None, float]]] = {
    "p32_classification": [(2_500, 0.604), (10_000, 0.759), (50_000, 0.953), (10_000, 0.803), (10_000, 0.942)],
    "p32_comparison": [(50_000, 0.856), (25_000, 0.522), (50_000, 0.539)],
    "p32_manipulation": [(None, 0.966), (None, 0.6975)],  # of comparison the mean of 0.856 and 0.539
}
LABELS = {
    "p31_encoder": ["encoder", "decoder"],
    "p31_celebrity": ["celebrities", "celebrities: other people", "without celebrities"],
    "p31_batch": [f"steps of {rows} windows, finetuned at rate {rate}" for rows in (10, 96) for rate in
                  ("3e-05", "0.0001")],
}  # fmt: skip


def drawn(claim: str) -> Figure:
    experiment = load_experiment(claim, ROOT / "experiments")
    finding = read_finding(experiment, ROOT / "results" / claim)
    return experiment.figure(finding.table, finding.law)


@pytest.mark.parametrize("claim", PUBLISHED)
def test_published_numbers_stand_beside_ours_and_the_caption_says_of_how_many_people(claim: str) -> None:
    figure = drawn(claim)
    marks = [mark for axes in figure.axes for mark in published(axes)]
    for (x, y, _), (people, share) in zip(marks, PUBLISHED[claim], strict=True):
        assert y == pytest.approx(share)
        assert people is None or x == pytest.approx(people, rel=0.05)
    caption = " ".join(text.get_text() for text in figure.texts)
    assert "Open marks: published" in caption
    assert ("50,000" in caption and "5,000" in caption.replace("50,000", "")) == (claim == "p32_manipulation")
    assert ("100,000" in caption) == (claim != "p32_manipulation")
    assert_inside_and_apart(figure)


@pytest.mark.parametrize("claim", LABELS)
def test_rows_are_called_by_words_and_not_by_settings(claim: str) -> None:
    figure = drawn(claim)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == LABELS[claim]
    assert_inside_and_apart(figure)


def test_the_published_numbers_of_celebrities_stand_in_their_rows() -> None:
    small = [text for axes in drawn("p31_celebrity").axes for text in axes.texts if float(text.get_fontsize()) < 7]
    rows = {text.get_text(): LABELS["p31_celebrity"][int(text.get_position()[1])] for text in small}
    assert rows == {"86.8": "celebrities: other people", "4.4": "without celebrities"}
