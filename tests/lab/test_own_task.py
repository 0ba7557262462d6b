"""An experiment file with a task of its own: trained in two processes, asked, read back, sampled."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from physlm.config import UnknownKind, content_hash, from_dict, to_dict
from physlm.lab.experiment import load_experiment
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig

ROOT = Path(__file__).parents[2]
EXPERIMENT = '''
"""Which of the letters came last: a task that only this file knows."""

from dataclasses import dataclass
from typing import ClassVar

from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law, Quantity
from physlm.models.config import ModelConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.prompts import cut, grade_without_hints
from physlm.tasks.task import question
from physlm.tasks.vocabulary import Vocabulary
from physlm.training.config import RunSpec, TrainConfig


@dataclass(frozen=True)
class LastConfig(TaskConfig):
    kind: ClassVar[str] = "last"
    row_tokens: int = 24
    letters: int = 3
    seed: int = 0

    def vocabulary(self):
        return Vocabulary(("<bos>", "?", *"abcdefgh"[: self.letters]))

    def build(self):
        return Last(self)

    def conditions(self):
        return {("answer", "test"): {}}


class Last:
    """<bos> b a c ? c, again and again."""

    grade = staticmethod(grade_without_hints)

    def __init__(self, config, device="cpu"):
        self.config, self.vocabulary, self.device = config, config.vocabulary(), device

    def to(self, device):
        return Last(self.config, device)

    def instances(self, number, split, stream):
        from physlm import rng
        import torch

        counter = number[..., None] * 4 + torch.arange(3, device=number.device)
        drawn = 2 + rng.below(self.config.letters, rng.key("last", self.config.seed, split, stream), counter)
        return torch.cat((0 * drawn[..., :1], drawn, 0 * drawn[..., :1] + 1, drawn[..., -1:]), -1)

    def rows(self, index_R, split="train", stream=0):
        from physlm.tasks.rows import IGNORE, Rows
        import torch

        count = self.config.row_tokens // 6 + 1
        number = index_R[:, None] * count + torch.arange(count, device=index_R.device)
        ids = self.instances(number, split, stream).flatten(1)[:, : self.config.row_tokens + 1]
        return Rows(ids[:, :-1], torch.where(ids[:, :-1] == 1, ids[:, 1:], IGNORE))  # answers alone are learnt

    def texts(self, number, split="evaluation"):
        labels = ["bos", "letter", "letter", "letter", "mark", "answer"]
        return [question({"number": int(n)}, ids, labels, 5, self.vocabulary)
                for n, ids in zip(number, self.instances(number, split, 0).tolist())]

    def prompts(self, n, split="evaluation"):
        import torch

        number = torch.arange(n, device=self.device)
        ids = torch.nn.functional.pad(self.instances(number, split, "asked"), (0, 1))
        return cut(ids, torch.full_like(number, 5), torch.full_like(number, 7), ("last",), 3)


def runs(tier):
    train = TrainConfig(steps=300, batch_rows=16, learning_rate=3e-3, warmup_steps=10, precision="float32")
    return [RunSpec(LastConfig(), ModelConfig(layers=2, width=width), train) for width in (32, 48)]


def law(table):
    shares = table[(table["quantity"] == "answer") & (table["at.kind"] == "last") & (table["at.half"] == "test")]
    assert set(table["task.letters"]) == {3}
    return Law((Quantity("known", shares["value"].min(), shares["lo"].min(), shares["hi"].min(), len(shares), "1"),))


EXPERIMENT = Experiment("p9_last", "It knows the last letter.", "none", runs, ("answers",), law,
                        lambda table, law: Figure(), ())
'''


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "p9_last.py").write_text(EXPERIMENT)
    yield tmp_path
    TaskConfig._members.pop("last", None)
    sys.modules.pop("physlm_experiment_p9_last", None)


def test_from_data_to_verdict_in_two_processes_and_back(folder: Path) -> None:
    """The second call finds all runs finished: their settings are read back from the run folders."""
    command = [sys.executable, "-m", "physlm", "run", "p9_last", "--tier", "smoke", "--processes", "2",
               "--device", "cpu", "--experiments", "experiments", "--runs", "runs", "--results", "results"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for times in (1, 2):
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert ("2 of 2 runs are finished" in done.stdout) == (times == 2)
    law = json.loads((folder / "runs" / "smoke" / "p9_last" / "law.json").read_text())
    assert law["quantities"][0]["value"] > 0.9, "it has been learnt"
    (one, two) = folder.glob("runs/last-*/config.json")
    for path in (one, two):
        assert json.loads((path.parent / "vocabulary.json").read_text()) == ["<bos>", "?", "a", "b", "c"]
        with pytest.raises(UnknownKind, match=r"task\.kind: unknown name 'last'"):
            from_dict(RunSpec, json.loads(path.read_text()))
    experiment = load_experiment("p9_last", folder / "experiments")
    specs = {content_hash(spec): spec for spec in experiment.specs("smoke")}
    for path in (one, two):
        spec = from_dict(RunSpec, json.loads(path.read_text()))
        assert spec == specs[content_hash(spec)] and Store(folder / "runs").run(spec).finished()


def test_a_file_that_is_loaded_again_finds_its_runs_and_its_specs_travel(folder: Path) -> None:
    last = load_experiment("p9_last", folder / "experiments").specs("smoke")
    again = load_experiment("p9_last", folder / "experiments").specs("smoke")
    assert type(last[0].task) is not type(again[0].task) and last[0].task.kind == "last"
    assert pickle.loads(pickle.dumps(last)) == again, "as settings, read with the classes that are there"
    assert list(map(content_hash, last)) == list(map(content_hash, again))
    run = Store(folder / "runs").run(last[0])
    run.start({})
    assert from_dict(RunSpec, json.loads((run.path / "config.json").read_text())) == again[0]


def test_it_is_sampled_and_exported_by_name(folder: Path, physlm: Callable[..., Any]) -> None:
    named = ("--experiments", folder / "experiments", "--experiment", "p9_last")
    code, out, _ = physlm("data", "sample", "last", "--n", 2, *named)
    assert code == 0 and out.count("prompt  <bos>") == 2 and "number 1:" in out
    code, _, err = physlm("data", "export", "last", "--n", 4, "--out", folder / "x.jsonl", *named)
    lines = [json.loads(line) for line in (folder / "x.jsonl").read_text().splitlines()]
    assert code == 0 and [line["answer"] for line in lines] == [line["text"].split()[3] for line in lines]
    assert json.loads((folder / "x.vocabulary.json").read_text())[:2] == ["<bos>", "?"] and "vocabulary in" in err
    TaskConfig._members.pop("last")
    code, _, err = physlm("data", "sample", "last")
    assert code == 2 and "unknown name 'last'" in err


def test_an_interrupted_sweep_of_its_runs_is_no_business_of_others(folder: Path) -> None:
    """Its note names a kind that nobody has loaded: it is left alone, and still there when it is."""
    task = BioDConfig(people=12, attributes=1, name_pools=(3, 3, 3), entries_per_row=2, row_tokens=30)
    spec = RunSpec(task, ModelConfig(width=8), TrainConfig(steps=2, batch_rows=2, precision="float32"))
    store = Store(folder / "runs")
    note = store.root / "populations" / "0123456789ab.json"
    note.parent.mkdir(parents=True)
    note.write_text(json.dumps({"members": [{**to_dict(spec), "task": {"kind": "last"}}]}))
    assert store.open_populations() == []
    (run,) = sweep([spec], (), store, torch.device("cpu"), progress=False)
    assert run.finished() and note.exists()
    shutil.rmtree(note.parent)
