"""The whole pipeline with the real trainer: killed again and again, it ends with the same bytes as if never."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from killed import contents

from physlm.lab.experiment import load_experiment
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.storage import load_tensors

EXPERIMENT = '''
"""Four runs of two shapes, so two populations; slow enough for another process to interrupt them where it wants."""

import os
import time

from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law, Quantity
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=12, attributes=2, diversity=8, chunk_tokens=1, alphabet=8, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)


def runs(tier):
    return [RunSpec(TASK, ModelConfig(layers=layers, heads=1, width=8),
                    TrainConfig(exposures=10, batch_rows=4, learning_rate=rate, precision="float32"))
            for layers in (1, 2) for rate in (5e-3, 1e-2)]


def law(table):
    bits = table[table["quantity"] == "bits_signed"]["value"]
    return Law((Quantity("most", bits.max(), bits.max(), bits.max(), len(bits), "bits"),))


EXPERIMENT = Experiment("tiny", "Tiny models learn.", "none", runs, ("capacity",), law, lambda table, law: Figure(), ())

if "PHYSLM_TEST_SLOW" in os.environ:
    from physlm.lab.run import Run
    from physlm.training import loop

    # a checkpoint at every log point, and some time between any two things that are done
    loop.train_population.__kwdefaults__["checkpoint_seconds"] = 0.0

    def slow(owner, name, seconds):
        act = getattr(owner, name)

        def slowly(*args, **kwargs):
            done = act(*args, **kwargs)
            time.sleep(seconds)
            return done

        setattr(owner, name, slowly)

    slow(loop, "_save", 0.05)
    slow(Run, "finish", 0.25)
'''


@pytest.fixture
def experiments(tmp_path: Path) -> Path:
    folder = tmp_path / "experiments"
    folder.mkdir()
    (folder / "tiny.py").write_text(EXPERIMENT)
    return folder


def done_times(root: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.glob("*/DONE")}


def step_of(checkpoint: Path) -> int:
    return int(load_tensors(checkpoint)[0]["step"])


class Command:
    """``physlm run tiny`` as a process of its own."""

    def __init__(self, experiments: Path, root: Path, slow: bool):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        environment.pop("PHYSLM_TEST_SLOW", None)
        if slow:
            environment["PHYSLM_TEST_SLOW"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "physlm", "run", "tiny", "--tier", "smoke", "--device", "cpu",
             "--experiments", str(experiments), "--runs", str(root)],
            env=environment, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def kill_when(self, moment: Callable[[], bool]) -> None:
        """SIGKILL, as soon as it has come so far."""
        end = time.monotonic() + 120
        while not moment():
            if self.process.poll() is not None or time.monotonic() > end:
                self.process.kill()
                raise AssertionError(f"ended before it could be killed:\n{self.process.communicate()[0]}")
            time.sleep(0.002)
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode == -signal.SIGKILL

    def finish(self) -> str:
        output = self.process.communicate(timeout=120)[0]
        assert self.process.returncode == 0, output
        return output


def test_killed_and_started_again(experiments: Path, tmp_path: Path) -> None:
    root, reference = tmp_path / "runs", tmp_path / "reference"
    populations = root / "populations"

    def checkpoints() -> list[Path]:
        return sorted(populations.glob("*.safetensors"))

    def models() -> int:
        return len(list(root.glob("*/model.safetensors")))

    # in the middle of the first population's training
    command = Command(experiments, root, slow=True)
    specs = load_experiment("tiny", experiments).specs("smoke")
    sweep(specs, ("capacity",), Store(reference), torch.device("cpu"), progress=False)  # meanwhile, and uninterrupted
    expected = contents(reference)
    command.kill_when(lambda: any(len(path.read_text().splitlines()) >= 6 for path in root.glob("*/metrics.jsonl")))
    (checkpoint,) = checkpoints()
    reached = step_of(checkpoint)
    assert 0 < reached < specs[0].steps and models() == 0 and not done_times(root)

    # one of its two members is finished, the other one has only its model
    Command(experiments, root, slow=True).kill_when(lambda: len(done_times(root)) == 1)
    assert models() == 2 and len(done_times(root)) == 1
    timings = [json.loads(path.read_text()) for path in root.glob("*/timing.json")]
    assert [t["first_step"] >= reached for t in timings] == [True, True], "it was resumed, not trained again"
    first = done_times(root)
    untouched = {name: data for name, data in contents(root).items() if name.startswith(tuple(first))}

    # the first population is finished, the second one is in training
    Command(experiments, root, slow=True).kill_when(
        lambda: len(done_times(root)) == 2 and len(list(populations.glob("*.safetensors"))) == 1
    )
    (checkpoint,) = checkpoints()
    assert 0 < step_of(checkpoint) <= specs[-1].steps and models() <= 3
    before = done_times(root)
    assert first.items() <= before.items(), "a finished run was written again"

    output = Command(experiments, root, slow=False).finish()
    assert "2 of 4 runs are finished" in output
    assert before.items() <= done_times(root).items() and len(done_times(root)) == 4
    after = contents(root)
    assert untouched.items() <= after.items()
    assert after == expected
    names = {Path(name).name for name in expected}
    assert names == {"config.json", "vocabulary.json", "metrics.jsonl", "model.safetensors", "measures.csv", "DONE"}
    assert len(expected) == 4 * len(names)
    assert not list(root.rglob("*.tmp")) and not list(populations.iterdir())

    # what the command reports is what the uninterrupted sweep measured
    law = json.loads((root / "smoke" / "tiny" / "law.json").read_text())
    signed = [float(line.split(",")[2]) for name, data in expected.items() if name.endswith("measures.csv")
              for line in data.decode().splitlines() if line.startswith("capacity,bits_signed,")]  # fmt: skip
    assert law["quantities"][0]["value"] == max(signed) and law["quantities"][0]["n"] == len(signed) == 4
