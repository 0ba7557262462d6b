"""The table of answers shows what an encoder fills in beside the other controls, and only where there is one."""

from __future__ import annotations

from typing import Any

import pytest
from matplotlib.figure import Figure
from planted import Row, share, table

from physlm.config import content_hash
from physlm.figures.knowledge.answers_table import MASKED, answers_table
from physlm.lab import results
from physlm.laws.knowledge.answers import answers_law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.kinds import RETRIEVAL
from physlm.tasks.biography.question_config import QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig


def drawn(rows: list[Row], **more: Any) -> Figure:
    found = table(rows)
    return answers_table(("way",), **more)(found, answers_law(("way",))(found))


def rows(causal: bool) -> list[Row]:
    spec = RunSpec(QuestionsConfig(1000), ModelConfig(causal=causal), TrainConfig())
    run = {"run": content_hash(spec), **results.settings_of(spec)}
    found = [share(run, f"{base}/kind={kind}/half=test", p, 500) for kind in RETRIEVAL
             for base, p in (("answer", 0.4), ("majority", 0.1))]
    if not causal:
        found += [share(run, f"recall_token/attribute={name}", 0.21 + 0.1 * i, 500) for i, name in enumerate(RETRIEVAL)]
    return found


@pytest.mark.parametrize("encoder", [False, True])
def test_masked_words_are_a_row_of_the_controls(encoder: bool) -> None:
    figure = drawn([*rows(True), *(rows(False) if encoder else [])])
    labelled = [axes for axes in figure.axes if MASKED in [label.get_text() for label in axes.get_yticklabels()]]
    numbers = [text.get_text() for axes in labelled for text in axes.texts]
    caption = " ".join(" ".join(text.get_text() for text in figure.texts).split())
    assert numbers == (["10"] * 6 + ["21", "31", "41", "51", "61", "71"] if encoder else [])
    assert ("One masked word" in caption) == encoder


@pytest.mark.parametrize(("base", "more", "name"), [
    ("answer_others", {}, ": other people"), ("answer_reworded", {}, None),
    ("answer_reworded", {"besides": ("reworded",)}, ": new wordings")])  # fmt: skip
def test_what_is_asked_besides_has_rows_of_its_own(base: str, more: dict[str, Any], name: str | None) -> None:
    plain = rows(True)
    measured = ("quantity", "value", "unit", "n", "lo", "hi")
    run = {column: value for column, value in plain[0].items() if column not in measured}
    asked = [share(run, f"{base}/kind={kind}/half=test", 0.6 + 0.05 * i, 500) for i, kind in enumerate(RETRIEVAL)]
    for found, end in ((plain, None), ([*plain, *asked], name)):
        figure = drawn(found, **more)
        labels = [label.get_text() for axes in figure.axes for label in axes.get_yticklabels() if label.get_text()]
        assert labels == ["finetuned", *([f"finetuned{end}"] if end else []), "commonest answer"]
        numbers = [text.get_text() for text in figure.axes[0].texts]
        assert numbers == ["40"] * 6 + (["60", "65", "70", "75", "80", "85"] if end else [])
