"""Which run is which: names from the columns of a results table, beside those that the tasks give themselves."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from learning import through_csv

from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab import results
from physlm.laws.knowledge.answers import answers_law
from physlm.laws.knowledge.settings import kind_title, with_settings
from physlm.laws.knowledge.without_layer import without_layer_law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import AUGMENTATIONS, COUPLES, REVERSED, augmentation
from physlm.tasks.biography.config import BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

PEOPLE = 1000


def columns(spec: RunSpec) -> dict[str, Any]:
    """A run's columns in a results table."""
    return {"run": f"{spec.slug}-{content_hash(spec)}", **results.settings_of(spec)}


def biographies(name: str) -> RunSpec:
    return RunSpec(BioSConfig(PEOPLE, questions=True, **augmentation(name)), ModelConfig(), TrainConfig())


def finetuned(**ask: Any) -> dict[str, Any]:
    task = QuestionsConfig(PEOPLE, ask=Ask(**ask))
    return columns(RunSpec(task, ModelConfig(), TrainConfig(), biographies("single")))


def mixed(name: str, part: float = 0.8, causal: bool = True) -> dict[str, Any]:
    task = MixedConfig(PEOPLE, share=part, **augmentation(name))
    return columns(RunSpec(task, ModelConfig(causal=causal), TrainConfig()))


def settings_of(runs: list[dict[str, Any]], by: tuple[str, ...]) -> list[str]:
    return list(with_settings(pd.DataFrame(runs), by)["setting"])


def test_augmentations_are_named_as_the_task_names_them(tmp_path: Path) -> None:
    """Beside the tasks' own name, for all published data and for settings without a published name."""
    tasks = [BioSConfig(PEOPLE, **augmentation(name)) for name in (*AUGMENTATIONS, *COUPLES, *REVERSED)]
    tasks += [BioSConfig(PEOPLE, fresh=False, fullname=f, reverse=r) for f, r in ((False, 0), (True, 0), (False, 6))]
    tasks += [BioSConfig(PEOPLE, fresh=fresh, texts=texts, fullname=f, rewritten=True)
              for fresh, texts, f in ((False, 0, False), (True, 1, True), (True, 40, False))]
    tasks += [BioSConfig(PEOPLE, fresh=False, couples=True), BioSConfig(PEOPLE, texts=3, permute=2, couples=True)]
    fresh = [BioSConfig(PEOPLE), BioSConfig(PEOPLE, fullname=True), BioSConfig(PEOPLE, couples=True, reverse=2),
             BioSConfig(PEOPLE, rewritten=True)]
    runs = pd.DataFrame([columns(RunSpec(task, ModelConfig(), TrainConfig())) for task in (*tasks, *fresh)])
    for found in (runs, through_csv(runs, tmp_path)):
        names = list(with_settings(found)["augmentation"])
        assert names[:len(tasks)] == [task.augmentation for task in tasks]
        assert names[len(tasks):] == ["fresh", "fresh+fullname", "fresh+couple+reverse2", "fresh+rewritten"]


def test_people_are_counted_as_the_task_counts_them(tmp_path: Path) -> None:
    tasks = [QuestionsConfig(people, celebrities, ask=Ask(half=half, group=group, most=most))  # type: ignore[arg-type]
             for people, celebrities, half, group, most in itertools.product(
                 (101, 200), (0, 33), ("train", "test", "all"), ("all", "celebrities", "others"), (0, 1, 10))
             if celebrities or group == "all"]
    runs = pd.DataFrame([columns(RunSpec(task, ModelConfig(), TrainConfig())) for task in tasks])
    for found in (runs, through_csv(runs, tmp_path)):
        assert list(with_settings(found)["people"]) == [task.asked for task in tasks]


def test_a_run_has_the_biographies_that_it_began_with(tmp_path: Path) -> None:
    """Whatever else is in the table: finetuned once or twice, mixed, the biographies themselves, or none."""
    base = biographies("multi5+permute")
    questions = QuestionsConfig(PEOPLE, ask=Ask())
    once = RunSpec(questions, ModelConfig(), TrainConfig(), base)
    twice = RunSpec(dataclasses.replace(questions, ask=Ask(most=7)), ModelConfig(), TrainConfig(lora_rank=8), once)
    runs = [columns(spec) for spec in (base, once, twice, RunSpec(questions, ModelConfig(), TrainConfig()))]
    vera = dataclasses.replace(twice, train=TrainConfig(lora_rank=8, lora_kind="vera"))
    assert list(with_settings(pd.DataFrame([columns(vera)]), ("way",))["setting"]) == ["vera"]
    table = pd.DataFrame([*runs, mixed("single+fullname"), mixed("single", causal=False)])
    for found in (table, through_csv(table, tmp_path)):
        named = with_settings(found, ("way", "augmentation"))
        assert list(named["setting"]) == [
            "pretrained/multi5+permute", "finetuned/multi5+permute", "lora/multi5+permute", "finetuned/none",
            "mixed/single+fullname", "encoder/single"]
        assert list(named["people"]) == [0, 500, 7, 500, 500, 500]


def test_texts_of_a_language_model_are_named_by_their_number(tmp_path: Path) -> None:
    (file := tmp_path / "bior.jsonl").write_text('{"person": 0, "text": "Nobody reads this here."}\n')
    tasks = [BioRConfig(PEOPLE, str(file), texts=1), BioRConfig(PEOPLE, str(file), texts=5, fullname=True),
             BioRConfig(PEOPLE, str(file))]  # fmt: skip
    read = [RunSpec(task, ModelConfig(), TrainConfig()) for task in tasks]
    asked = QuestionsConfig(PEOPLE, ask=Ask(), file=str(file))
    answered = [RunSpec(asked, ModelConfig(), TrainConfig(), spec) for spec in read]
    named = with_settings(pd.DataFrame(list(map(columns, (*read, *answered)))), ("way", "augmentation"))
    names = ["bioR single", "bioR multi5+fullname", "bioR all"]
    assert list(named["setting"]) == [f"{way}/{name}" for way in ("pretrained", "finetuned") for name in names]
    assert list(named["people"]) == [0, 0, 0, 500, 500, 500]


def test_settings_have_the_names_that_were_asked_for() -> None:
    runs = [finetuned(kinds=("month_mod2",), hints=0.5, most=250), finetuned(kinds=("all_to_full",), forms=20)]
    assert settings_of(runs, ("hints", "people")) == ["hints/people=250", "plain/people=500"]
    assert settings_of(runs, ("forms", "group")) == ["1 form/all", "20 forms/all"]
    assert settings_of(runs, ()) == ["", ""]
    assert settings_of([mixed("single", part=0.25), *runs], ("task.share",)) == ["share=0.25", *["share=none"] * 2]
    assert settings_of(runs, ("train.lora_rank",)) == ["lora_rank=0"] * 2


def test_what_is_no_setting_is_refused() -> None:
    run = pd.DataFrame([finetuned()])
    with pytest.raises(UserError, match="'augmentations'; did you mean 'augmentation'"):
        with_settings(run, ("augmentations",))
    with pytest.raises(UserError, match="got task.kind 'cfg'"):
        with_settings(run.assign(**{"task.kind": "cfg"}))
    for law in (answers_law(()), without_layer_law):
        with pytest.raises(UserError, match="is missing"):
            law(pd.DataFrame({"run": ["a"], "quantity": ["x"]}))


def test_kinds_are_written_for_readers() -> None:
    assert [kind_title(name) for name in ("birth_date", "employer_city+employer", "month_mod12", "all_to_full")] == [
        "birth date", "employer city + employer", "month mod 12", "all to full"]
