"""What bench probes prints is what was timed."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from physlm.lab import bench_probes
from physlm.lab.bench_probes import FIRST, SHAPES, Times, time_probes
from physlm.measures import knowledge
from physlm.measures.igsm import settings
from physlm.measures.igsm.settings import VariableConfig
from physlm.models.config import ModelConfig
from physlm.tasks.igsm.config import FAMILIES

TINY = (dataclasses.replace(SHAPES["cpu"][0], people=40), ModelConfig(layers=1, heads=1, width=16))


def test_a_whole_probe_is_its_start_its_steps_and_its_judging() -> None:
    times = Times(steps=100, start=3.0, training=10.0, judging=2.0)
    assert times.whole(FIRST) == 5.0 and times.whole(FIRST + 100) == 15.0 and times.whole(FIRST + 250) == 30.0


def test_the_published_shape_is_timed_on_a_gpu() -> None:
    task, model = SHAPES["cuda"]
    assert (model.layers, model.width, task.people) == (12, 768, 10_000)
    assert knowledge.P_PLANS["cuda"].for_people(5_000).probe.steps == 3_000


@pytest.mark.parametrize("quick", [True, False])
def test_all_steps_are_done_or_few_and_projected(
    quick: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = knowledge.P_PLANS["cpu"]
    monkeypatch.setitem(knowledge.P_PLANS, "cpu", plan._replace(probe=dataclasses.replace(plan.probe, steps=25)))
    monkeypatch.setattr(bench_probes, "QUICK", 4)
    times, steps = time_probes(*TINY, torch.device("cpu"), quick)
    assert steps == 25 and times.steps == (4 if quick else 25 - FIRST)
    assert min(times.start, times.training, times.judging) > 0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(SHAPES, "cpu", TINY)
    monkeypatch.setitem(settings.SETTINGS, "cpu", VariableConfig(steps=9, problems=4))
    monkeypatch.setitem(bench_probes.V_SHAPES, "cpu", (FAMILIES["tiny"], TINY[1]))
    bench_probes.bench_probes(quick=quick)
    shown = capsys.readouterr().out
    assert ("projected" in shown) == quick and "25 steps" in shown and "1 x 16" in shown
    assert f"steps/s in {4 if quick else 5} steps" in shown and "three 1 x 16" in shown
