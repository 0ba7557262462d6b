"""Several processes do what one would do, in an order that suits them; a failure ends with its error."""

from __future__ import annotations

import ast
import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
from sweeps import contents

from physlm.config import override
from physlm.errors import UserError
from physlm.lab.executors.contract import Do, Job, finish_jobs
from physlm.lab.executors.local import Local
from physlm.lab.planner import Population, plan, with_starts
from physlm.lab.store import Store
from physlm.lab.sweep import sweep
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
BASE = RunSpec(
    BioSConfig(people=6, texts=1, pool_size=3, entries_per_row=1, row_tokens=70),
    ModelConfig(layers=1, heads=1, width=8),
    TrainConfig(exposures=2, batch_rows=3, learning_rate=1e-2, warmup_steps=1, precision="float32"),
)
OTHER = override(BASE, ["model.width=16"])
TUNED = [dataclasses.replace(one, train=dataclasses.replace(one.train, seed=3), start=one) for one in (BASE, OTHER)]


def test_two_processes_leave_what_one_leaves(tmp_path: Path) -> None:
    specs = [*TUNED, OTHER]
    for name, processes in (("one", 1), ("two", 2)):
        runs = sweep(specs, (), Store(tmp_path / name), CPU, processes=processes, progress=False)
        assert all(run.finished() for run in runs)
        # measured afterwards, as by another claim
        sweep(specs[2:], ("recall",), Store(tmp_path / name), CPU, processes=processes, progress=False)
    found = contents(tmp_path / "one")
    assert found == contents(tmp_path / "two") and len([name for name in found if name.endswith("DONE")]) == 4


def test_bars_are_for_terminals(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A log of a sweep, such as Slurm keeps, has its lines and no bar, of this process or of others."""
    for processes in (1, 2):
        sweep([BASE, OTHER], ("capacity",), Store(tmp_path / str(processes)), CPU, processes=processes)
        out, err = capfd.readouterr()
        assert "using" in out and err == ""


def test_no_bar_is_shown_regardless_of_where_it_goes() -> None:
    """``disable=None`` is tqdm's way to show a bar on terminals alone; false shows it everywhere."""
    for path in (Path(__file__).parents[2] / "physlm").rglob("*.py"):
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            if isinstance(call.func, ast.Name) and call.func.id == "tqdm":
                (given,) = [ast.unparse(word.value) for word in call.keywords if word.arg == "disable"]
                assert re.fullmatch(r"None( if [\w.]+ else True)?|quiet", given), f"{path}:{call.lineno}: {given}"


def finish(jobs: Sequence[Job], do: Do, processes: int) -> list[Job]:
    """All jobs, in the order in which they are done."""
    with Local(CPU, processes).crew(do, processes, Path()) as crew:
        return list(finish_jobs(jobs, crew))


def note(folder: Path, work: Population | RunSpec) -> None:
    """Stands for a job: leaves a file, and looks whether what it begins with has left one."""
    assert isinstance(work, Population)
    if work.members[0].train.seed == 99:
        raise UserError("this one fails")
    if work.members[0].train.seed == 98:
        raise ZeroDivisionError
    missing = [one for spec in work.members for one in spec.starts if not (folder / Population((one,)).name).exists()]
    (folder / work.name).write_text(f"{len(missing)}")


def test_no_job_starts_before_what_it_begins_with(tmp_path: Path) -> None:
    specs = with_starts([TUNED[0], dataclasses.replace(TUNED[0], start=TUNED[0]), TUNED[1]])
    jobs = [Job(population) for population in plan(specs, [], 1)]
    assert sorted(len(job.needs) for job in jobs) == [0, 0, 1, 1, 1]
    done = finish(jobs, partial(note, tmp_path), 2)
    assert sorted(map(hash, done)) == sorted(map(hash, jobs))
    assert {path.read_text() for path in tmp_path.iterdir()} == {"0"} and len(list(tmp_path.iterdir())) == 5


def test_an_error_is_raised_and_nothing_more_is_begun(tmp_path: Path) -> None:
    bad = override(BASE, ["train.seed=99"])
    jobs = [Job(Population((spec,))) for spec in (BASE, bad, dataclasses.replace(TUNED[0], start=bad))]
    with pytest.raises(UserError, match="this one fails"):
        finish(jobs, partial(note, tmp_path), 2)
    assert [path.name for path in tmp_path.iterdir()] == [jobs[0].work.name]  # type: ignore[union-attr]


def test_a_bug_in_a_process_keeps_its_traceback(tmp_path: Path) -> None:
    bug = Job(Population((override(BASE, ["train.seed=98"]),)))
    with pytest.raises(RuntimeError, match="Traceback (?s:.*)in note\n(?s:.*)ZeroDivisionError") as caught:
        finish([bug], partial(note, tmp_path), 2)
    assert not isinstance(caught.value, UserError)


def test_they_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    """Else they would go on in a store that nobody holds the lock of; the job takes ten minutes."""
    code = (
        "import sys, torch; from functools import partial; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import test_workers as t\n"
        "if __name__ == '__main__':\n"
        "    jobs = [t.Job(t.Population((spec,))) for spec in (t.BASE, t.OTHER)]\n"
        f"    t.finish(jobs, partial(t.note_and_sleep, Path({str(tmp_path)!r})), 2)\n"
    )
    (tmp_path / "main.py").write_text(code)
    parent = subprocess.Popen([sys.executable, str(tmp_path / "main.py")])
    pids = _wait_for(lambda: [int(path.name) for path in tmp_path.glob("[0-9]*")], lambda found: len(found) == 2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _wait_for(lambda: [pid for pid in pids if alive(pid)], lambda left: not left) == []


def note_and_sleep(folder: Path, work: Population | RunSpec) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(600)


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _wait_for(look: Callable[[], list[int]], enough: Callable[[list[int]], bool]) -> list[int]:
    end = time.monotonic() + 60.0
    while not enough(found := look()) and time.monotonic() < end:
        time.sleep(0.1)
    return found
