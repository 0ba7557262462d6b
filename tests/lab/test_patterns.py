"""Rope, rope, rope, none: what is done with models is done with patterns of layers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from digit_texts import DIGITS, QUICK, WIDTH, digits, model_of, source_of
from killed import CPU, contents, sweep_killed
from part_checks import CHECKS
from part_models import BASE, ids_of, randomised

from physlm.config import from_dict, to_dict
from physlm.lab.loading import load_model
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.knowledge_probes import knowledge_probe
from physlm.measures.probes import Labelled, ProbeConfig, Target, probe, tap_features
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.tasks.biography.question_config import Ask, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

MIXERS = (Attention(),) * 3 + (Attention(rope=0),)
PATTERN = replace(BASE, layers=4, mixer=MIXERS)
TASK = QuestionsConfig(people=12, entries_per_row=2, row_tokens=40, ask=Ask(kinds=("birth_year",)))
TRAIN = TrainConfig(steps=6, batch_rows=3, learning_rate=1e-2, warmup_steps=1, precision="float32")
SPECS = [RunSpec(TASK, PATTERN, replace(TRAIN, seed=seed)) for seed in (1, 2)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_a_pattern_does_what_every_part_must(check: Callable[[ModelConfig], None]) -> None:
    check(PATTERN)


def test_the_pattern_is_tiled_and_its_last_layer_knows_no_positions() -> None:
    assert ModelConfig(layers=8, mixer=MIXERS).mixers == MIXERS * 2
    assert PATTERN.facts()["position"] == "rope,rope,rope,none" and PATTERN.label == "4-2x8-rope+rope+rope+nope"
    assert from_dict(ModelConfig, to_dict(PATTERN)) == PATTERN
    model, ids = randomised(PATTERN), ids_of(2, 2, 9)
    rotated = Decoder(replace(PATTERN, mixer=(Attention(),)), model.vocabulary, (0, 1))
    rotated.load_state_dict(model.state_dict())
    taps = [f"block.{i}.out" for i in range(4)]
    ours, theirs = model(ids, taps=taps).taps, rotated(ids, taps=taps).taps
    assert [ours[tap].equal(theirs[tap]) for tap in taps] == [True, True, True, False]


def test_a_population_is_resumed_exported_and_tuned(tmp_path: Path, physlm: Callable[..., Any]) -> None:
    whole, root = Store(tmp_path / "whole"), tmp_path / "killed"
    finished = sweep(SPECS, ("answers",), whole, CPU, progress=False)
    sweep_killed(SPECS, ("answers",), root)
    sweep(SPECS, ("answers",), Store(root), CPU, progress=False)
    assert contents(root) == contents(whole.root)
    words = list(TASK.vocabulary().words)
    for spec, run in zip(SPECS, finished, strict=True):
        assert from_dict(RunSpec, json.loads((run.path / "config.json").read_text())) == spec
        assert json.loads((run.path / "vocabulary.json").read_text()) == words
    code, _, err = physlm("data", "export", "bioQA", "--n", 3, "--out", tmp_path / "x.jsonl", "--set", "people=12",
                          "--set", 'ask.kinds=["birth_year"]')  # fmt: skip
    assert code == 0, err
    assert json.loads((tmp_path / "x.vocabulary.json").read_text()) == words

    low = [replace(spec, train=replace(spec.train, lora_rank=2), start=spec) for spec in SPECS]
    for spec, run, base in zip(low, sweep(low, (), whole, CPU, progress=False), finished, strict=True):
        before, after = (load_model(spec, one.path / "model.safetensors", CPU).state_dict() for one in (base, run))
        moved = {name for name, value in after.items() if not value.equal(before[name])}
        assert moved == {f"blocks.{i}.attention.qkv.weight" for i in range(4)}


def test_probes_read_a_pattern() -> None:
    """Linear probes at every layer, and P-probes, find digits where they were read."""
    model = model_of(0, 1, config=ModelConfig(layers=4, heads=2, width=WIDTH, mixer=MIXERS))

    def own_digit(split: str, number: int) -> Labelled:
        ids = digits(32 * (number % 3 + 1) + 200 * (split == "train"))[-32:][None]
        return Labelled(ids, ids[..., None], torch.ones_like(ids, dtype=torch.bool))

    taps = tuple(f"block.{i}.out" for i in range(4))
    quick = ProbeConfig(heads=2, position_dims=8, max_positions=16, steps=60, learning_rate=0.03, evaluation_batches=2)
    scores = probe(tap_features(model, taps), own_digit, [Target("digit", DIGITS, mask="diagonal")], quick)
    assert float(scores.accuracy.value.min()) > 0.9
    found = knowledge_probe(model, source_of(digits()[:, 4:5]), [Target("digit", DIGITS)], replace(QUICK, steps=80))
    early, late = found.accuracy.value[..., 0].max(), found.accuracy.value[..., 1].min()
    assert early < 0.5 and late > 0.8
