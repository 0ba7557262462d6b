"""A mixer with a recurrent state, a task and a measure in one experiment file: nothing of them is in the package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest
import torch
from killed import CPU, contents, sweep_killed
from part_checks import CHECKS, check_compiles, check_labels_tell_models_apart, check_settings_are_live
from part_models import compiled_models_of, ids_of, models_of, randomised, with_part, with_variants
from torch import Tensor
from torch.nn import functional as F

from physlm.lab.experiment import load_experiment
from physlm.lab.results import results_table
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.measures.generation import generate
from physlm.measures.measure import Measure
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Mixer, Whole
from physlm.tasks.config import TaskConfig

ROOT, HERE = Path(__file__).parents[2], Path(__file__).parent / "experiments"
NAME = "p9_linear"


@pytest.fixture(scope="module")
def file() -> Iterator[ModuleType]:
    """The experiment file as a module; afterwards its kinds are forgotten."""
    known = {family: dict(family._members) for family in (Mixer, TaskConfig, Measure)}
    load_experiment(NAME, HERE)
    yield sys.modules[f"physlm_experiment_{NAME}"]
    del sys.modules[f"physlm_experiment_{NAME}"]
    for family, members in known.items():
        family._members.clear()
        family._members.update(members)


def test_the_file_is_short() -> None:
    assert len((HERE / f"{NAME}.py").read_text().splitlines()) <= 120


# --- the part --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
def test_its_mixer_does_what_every_part_must(file: ModuleType, check: Callable[[ModelConfig], None]) -> None:
    models = models_of([*with_variants("mixer", file.Linear()), ("mixer", Attention())])
    assert any(len(config.mixer) > 1 for config in models)
    for config in models[:1] + models[-1:]:
        check(config)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
def test_its_mixer_compiles(file: ModuleType) -> None:
    torch._dynamo.reset()
    for config, members in compiled_models_of(with_variants("mixer", file.Linear())):
        check_compiles(config, members)
    torch._dynamo.reset()


def test_its_settings_and_labels(file: ModuleType) -> None:
    check_settings_are_live("mixer", file.Linear())
    check_labels_tell_models_apart(models_of([("mixer", file.Linear()), ("mixer", Attention())]))


def test_its_mixer_is_its_recurrence(file: ModuleType) -> None:
    """One token, one head and one member at a time, in float64."""
    config = with_part("mixer", file.Linear())
    model, x = randomised(config), torch.randn(2, 3, 7, config.width, generator=torch.Generator().manual_seed(0))
    w: Any = model.get_submodule("blocks.0.attention")
    found = w(x, Whole())
    k = config.head_width
    for m in range(2):
        qkv_w, out_w = w.qkv.weight[m].double(), w.out.weight[m].double()
        for b in range(3):
            S, z = torch.zeros(config.heads, k, k).double(), torch.zeros(config.heads, k).double()
            for t in range(7):
                q, key, value = (x[m, b, t].double() @ qkv_w).view(3, config.heads, k)
                heads = []
                for h in range(config.heads):
                    S[h] += torch.outer(_phi(key[h]), value[h])
                    z[h] += _phi(key[h])
                    heads.append(S[h].T @ _phi(q[h]) / (_phi(q[h]) @ z[h]))
                torch.testing.assert_close(found[m, b, t].double(), torch.cat(heads) @ out_w, atol=1e-5, rtol=1e-5)


def _phi(x: Tensor) -> Tensor:
    return F.elu(x) + 1


@pytest.mark.parametrize("columns", [1, 4])
def test_a_hybrid_population_generates_what_whole_rows_say(file: ModuleType, columns: int) -> None:
    """A pattern of linear and softmax attention; three batches of rows, one after the other."""
    config = ModelConfig(layers=3, heads=2, width=16, mixer=(Attention(rope=0.0), file.Linear(), Attention()))
    model = randomised(config)
    prompts = ids_of(1, 7, 4)[0, :, :columns]
    greedy = generate(model, prompts, 9, temperature=0.0, rows_at_once=3)
    for m in range(2):
        ids = prompts
        for _ in range(9):
            ids = torch.cat((ids, model.member(m)(ids[None]).logits[0, :, -1].argmax(-1)[:, None]), 1)
        inside = torch.arange(ids.shape[1]) < greedy.lengths[m][:, None]
        assert greedy.ids[m][inside].equal(ids[inside])


# --- the claim -------------------------------------------------------------------------------------------------------

def test_from_data_to_verdict(file: ModuleType, tmp_path: Path, physlm: Callable[..., Any]) -> None:
    """Killed in training, taken up by two processes, which end with the bytes of a sweep that was never killed; drawn
    again, verified."""
    specs, root = file.EXPERIMENT.specs("smoke"), tmp_path / "runs"
    reference = Store(tmp_path / "reference")
    finished = sweep(specs, file.EXPERIMENT.measures, reference, CPU, progress=False)
    table = results_table(finished, file.EXPERIMENT.measure_names)
    assert set(table["model.mixer"]) == {"elu_linear", "nope,elu_linear"} and "nats" in set(table["quantity"])

    step = sweep_killed(specs, file.EXPERIMENT.measures, root)
    command = [sys.executable, "-m", "physlm", "run", NAME, "--tier", "smoke", "--processes", "2", "--device", "cpu",
               "--experiments", str(HERE), "--runs", str(root), "--results", str(tmp_path / "results")]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert contents(root) == contents(reference.root)
    timings = [json.loads(path.read_text())["first_step"] for path in root.glob("missing-*/timing.json")]
    assert sorted(timings) == [0, step], "one of them was taken up where it was killed"
    (result,) = (root / "smoke").iterdir()
    law = {q["name"]: q["value"] for q in json.loads((result / "law.json").read_text())["quantities"]}
    assert law["answer@mixer=elu_linear"] > 0.9 and law["nats@mixer=elu_linear"] < 0.3, "it has been learnt"
    assert (result / "VERDICT.md").read_text().count("holds") >= 2 and " fails" not in done.stdout

    figure = (result / "figure.png").read_bytes()
    (result / "figure.png").unlink()
    where = ("--experiments", HERE, "--runs", root, "--results", tmp_path / "results")
    code, _, err = physlm("figure", NAME, "--tier", "smoke", *where)
    assert code == 0, err
    assert (result / "figure.png").read_bytes() == figure
    code, out, err = physlm("verify", NAME, "--experiments", HERE, "--results", result.parent)
    assert code == 0 and out.count("holds\n") == 2, err
    table = pd.read_csv(result / "measures.csv")
    table.loc[table["quantity"] == "nats", "value"] += 1e-3
    table.to_csv(result / "measures.csv", index=False)
    assert physlm("verify", NAME, "--experiments", HERE, "--results", result.parent)[0] == 1, "it is refitted"
