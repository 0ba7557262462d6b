"""However a sweep is stopped: nothing new starts, no process stays, one line says how to go on, an exit code why."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from test_workers import BASE, CPU, OTHER, alive, note_and_sleep

from physlm.commands.options import signals_stop
from physlm.errors import LostProcessError, Stopped
from physlm.lab.executors.contract import Job, finish_jobs
from physlm.lab.executors.local import Local
from physlm.lab.planner import Population
from physlm.lab.store import Store
from physlm.training.config import RunSpec

LONG = 120.0  # bounds against hangs alone, where a machine is busy; nothing here takes as long
GO_ON = "nothing that was finished is lost; the same command goes on from here"
EXPERIMENT = '''
"""Five runs of five shapes, so as many populations; each would train for minutes."""

from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=12, attributes=2, diversity=8, chunk_tokens=1, alphabet=8, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)
TRAIN = TrainConfig(exposures=1_000_000, batch_rows=4, learning_rate=1e-3, precision="float32")
EXPERIMENT = Experiment(
    "long", "It takes long.", "none",
    lambda tier: [RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8 * k), TRAIN) for k in (1, 2, 3, 4, 5)],
    ("capacity",), lambda table: Law(()), lambda table, law: Figure(), ())
'''


def descendants(pid: int) -> list[int]:
    """All processes below this one, by what Linux says of each."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    below = [pid]
    for one in below:
        below += [child for child, parent in parents.items() if parent == one]
    return below[1:]


def wait_until(enough: Callable[[], bool], seconds: float = LONG) -> bool:
    end = time.monotonic() + seconds
    while not enough() and time.monotonic() < end:
        time.sleep(0.05)
    return enough()


@contextlib.contextmanager
def sweeping(root: Path, processes: int) -> Iterator[subprocess.Popen[str]]:
    """``physlm run`` with so many populations in training, in a group of processes of its own, as a terminal has it."""
    (root / "experiments").mkdir()
    (root / "experiments" / "long.py").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "physlm", "run", "long", "--tier", "smoke", "--device", "cpu", "--processes",
               str(processes), "--experiments", str(root / "experiments"), "--runs", str(root / "runs")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                               cwd=Path(__file__).parents[2], start_new_session=True)  # fmt: skip
    try:
        assert wait_until(lambda: len(list(root.glob("runs/*/metrics.jsonl"))) == processes)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def ended(process: subprocess.Popen[str], root: Path, children: list[int]) -> tuple[int, list[str]]:
    """The exit code and the last lines; all that has to be so however it was stopped."""
    begun = len(list(root.glob("runs/*/config.json")))
    _, err = process.communicate(timeout=LONG)
    assert wait_until(lambda: not any(map(alive, children)), 5.0), "no process is left after five seconds"
    assert len(list(root.glob("runs/*/config.json"))) == begun, "nothing new was started"
    store = Store(root / "runs")
    with store.lock():
        assert len(store.open_populations()) == begun, "to be resumed"
    assert "Traceback" not in err and "Process Spawn" not in err and "leaked" not in err
    return process.returncode, [line for line in err.replace("\r", "\n").splitlines() if line.strip()]


@pytest.mark.parametrize(("number", "word", "processes", "to_all"), [
    (signal.SIGINT, "interrupted", 1, True),
    (signal.SIGINT, "interrupted", 2, True),   # as a terminal sends it
    (signal.SIGTERM, "terminated", 1, False),  # as kill sends it
    (signal.SIGTERM, "terminated", 2, True),   # as timeout and Slurm send it
])  # fmt: skip
def test_a_signal_ends_all(tmp_path: Path, number: signal.Signals, word: str, processes: int, to_all: bool) -> None:
    with sweeping(tmp_path, processes) as process:
        children = descendants(process.pid)
        assert len(children) >= (processes if processes > 1 else 0)
        (os.killpg if to_all else os.kill)(process.pid, number)
        code, lines = ended(process, tmp_path, children)
        assert (code, lines[-1]) == (128 + number, f"{word}: {GO_ON}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_ends_all(tmp_path: Path, number: signal.Signals) -> None:
    with sweeping(tmp_path, 2) as process:
        children = descendants(process.pid)
        workers = [pid for pid in children if "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()]
        assert len(workers) == 2
        os.kill(workers[0], number)
        code, lines = ended(process, tmp_path, children)
        assert code == 1 and lines[-1].startswith(f"error: process {workers[0]}") and lines[-1].endswith(GO_ON)
        assert f"was killed by {number.name}" in lines[-1]


def test_a_killed_parent_ends_all(tmp_path: Path) -> None:
    with sweeping(tmp_path, 2) as process:
        children = descendants(process.pid)
        process.kill()
        assert ended(process, tmp_path, children)[0] == -signal.SIGKILL


def test_a_crew_that_is_left_early_leaves_no_process(tmp_path: Path) -> None:
    jobs, children = [Job(Population((spec,))) for spec in (BASE, OTHER)], []
    with contextlib.suppress(Stopped), Local(CPU, 2).crew(partial(first_only, tmp_path), 2, tmp_path) as crew:
        assert next(finish_jobs(jobs, crew)) == jobs[0]
        children = descendants(os.getpid())
        assert any(map(working, children))
        raise Stopped(signal.SIGTERM)
    assert len(children) >= 2 and not any(map(working, children))


def working(pid: int) -> bool:
    try:
        return alive(pid) and "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False


def test_a_process_that_dies_without_a_job_is_noticed(tmp_path: Path) -> None:
    jobs = [Job(Population((spec,))) for spec in (BASE, OTHER)]
    with Local(CPU, 2).crew(partial(first_only, tmp_path), 2, tmp_path) as crew:
        doing = finish_jobs(jobs, crew)
        assert next(doing) == jobs[0]
        idle = int((tmp_path / "first").read_text())
        os.kill(idle, signal.SIGKILL)
        with pytest.raises(LostProcessError, match=f"process {idle}, .* was killed by SIGKILL"):
            next(doing)


def first_only(folder: Path, work: Population | RunSpec) -> None:
    """The first job ends at once, any other after ten minutes."""
    if work == Population((BASE,)):
        (folder / "first").write_text(str(os.getpid()))
    else:
        note_and_sleep(folder, work)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_while_a_command_runs_unless_it_is_ignored(number: signal.Signals) -> None:
    def kill() -> None:
        os.kill(os.getpid(), number)
        time.sleep(LONG if signal.getsignal(number) is not signal.SIG_IGN else 0.0)

    before = signal.getsignal(number)
    with pytest.raises(Stopped) as caught, signals_stop():
        kill()
    assert caught.value.number == number and signal.getsignal(number) is before
    signal.signal(number, signal.SIG_IGN)
    try:
        with signals_stop():
            kill()
    finally:
        signal.signal(number, before)


def test_an_interrupt_inside_of_a_text_that_is_executed_ends_with_the_exit_code(tmp_path: Path) -> None:
    """Python keeps a note of a KeyboardInterrupt there, and ``python -m`` then kills itself by SIGINT at its end."""
    code = ("import os, signal, sys, typer\nfrom physlm import cli\nfrom physlm.commands.options import command\n"
            "@cli.app.command('now')\n@command\ndef now() -> None:\n"
            "    exec('os.kill(os.getpid(), signal.SIGINT)\\nwhile True: pass')\n"
            "sys.argv = ['physlm', 'now']\ncli.main()\n")
    (tmp_path / "stopped_now.py").write_text(code)
    done = subprocess.run([sys.executable, "-m", "stopped_now"], capture_output=True, text=True, check=False,
                          timeout=LONG, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])})
    assert (done.returncode, done.stderr) == (130, f"interrupted: {GO_ON}\n")
