"""What every executor whose jobs are done in other processes must show, through ``physlm run`` as a user gives it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from killed import repeated
from test_stopping import GO_ON, alive, wait_until

from physlm.config import content_hash
from physlm.training.config import RunSpec

ROOT = Path(__file__).parents[2]
LONG = 900.0  # seconds; bounds against hangs alone, where a machine is busy
END = 120.0  # for a process to end
KEPT = ("config.json", "vocabulary.json", "metrics.jsonl", "measures.csv", "model.safetensors", "DONE")
EXPERIMENT = '''
"""A run that begins with another, which trains for some seconds."""

from dataclasses import dataclass, replace

from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=12, attributes=2, diversity=8, chunk_tokens=1, alphabet=8, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=36)
TRAIN = TrainConfig(exposures=1200, batch_rows=4, learning_rate=1e-3, precision="float32")
START = RunSpec(TASK, ModelConfig(layers=1, heads=1, width=8), TRAIN)
TUNED = replace(START, train=replace(TRAIN, exposures=10), start=START)
EXPERIMENT = Experiment("seconds", "It takes seconds.", "none", lambda tier: [TUNED], ("capacity",),
                        lambda table: Law(()), lambda table, law: Figure(), ())
'''


Workers = Callable[["subprocess.Popen[str]"], "list[int]"]


def command(claim: str, runs: Path, *options: str) -> list[str]:
    """``physlm run`` of a claim at tier smoke on the CPU."""
    return [sys.executable, "-m", "physlm", "run", claim, "--tier", "smoke", "--device", "cpu", "--runs", str(runs),
            "--results", str(runs / "results"), *options]


def run(claim: str, runs: Path, *options: str, env: Mapping[str, str] | None = None) -> str:
    """Give the command and wait until it ends well; what it printed."""
    done = subprocess.run(command(claim, runs, *options), capture_output=True, text=True, timeout=LONG, cwd=ROOT,
                          check=False, env={**os.environ, **(env or {})})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def found(runs: Path) -> dict[tuple[str, str], str]:
    """What must be the same wherever a run was done, by run and file: hashes of measures, weights, curves, settings."""
    return {(done.parent.name, name): hashlib.sha256(repeated(done.parent / name)).hexdigest()
            for done in sorted(runs.glob("*/DONE")) for name in KEPT}


def seconds(folder: Path, *options: str) -> list[str]:
    """Make the claim ``seconds``, to be done by one worker; the options that run it."""
    folder.mkdir(exist_ok=True)
    (folder / "seconds.py").write_text(EXPERIMENT)
    return ["--experiments", str(folder), "--processes", "1", *options]


def meet(folder: Path, work: RunSpec) -> None:
    """Stands for a job: says which GPU it has, and ends when another is at work beside it or is done."""
    (folder / f"met-{content_hash(work)}").write_text(f"{os.environ['CUDA_VISIBLE_DEVICES']} {os.getpid()}")
    assert wait_until(lambda: len(list(folder.glob("met-*"))) % 2 == 0, LONG)


def pids(*words: str) -> list[int]:
    """The processes that have all these words in their command line and are at work."""
    listed = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if all(word in path.read_bytes().decode(errors="replace") for word in words):
                listed.append(int(path.parent.name))
    return [pid for pid in listed if alive(pid)]


@contextlib.contextmanager
def training(
    runs: Path, options: Sequence[str], env: Mapping[str, str] | None = None, instead_of: int | None = None
) -> Iterator[subprocess.Popen[str]]:
    """The claim ``seconds``, when its first run is being trained, and no longer by the process ``instead_of``."""
    since = time.time()

    def begun() -> bool:
        nonlocal since
        if instead_of is not None and alive(instead_of):
            since = time.time()
        return any(path.stat().st_mtime > since for path in runs.glob("*/metrics.jsonl"))

    process = subprocess.Popen(command("seconds", runs, *options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, cwd=ROOT, env={**os.environ, **(env or {})}, start_new_session=True)
    try:
        assert wait_until(lambda: process.poll() is not None or begun(), LONG)
        assert process.poll() is None, process.communicate()[0]
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def check_killed_worker(alone: Path, runs: Path, options: Sequence[str], workers: Workers,
                        env: Mapping[str, str] | None = None, instead_of: int | None = None) -> None:
    """``kill -9`` of the one that trains: the sweep goes on and ends complete, with the bits of this process."""
    with training(runs, options, env, instead_of) as process:
        assert wait_until(lambda: len(workers(process)) == 1, LONG)  # one that ends and the next are not there at once
        (at_work,) = workers(process)
        os.kill(at_work, signal.SIGKILL)
        out, _ = process.communicate(timeout=LONG)
        assert process.returncode == 0, out
    assert out.count("lost, and begun again: 1 x bioD") == 1, out
    check_complete(alone, runs)


def check_complete(alone: Path, runs: Path) -> None:
    """Nothing is left to do, and all is as this process leaves it."""
    assert not list((runs / "populations").iterdir()) and not (runs / ".slurm").exists()
    assert found(runs) == found(alone) and len(found(alone)) == 2 * len(KEPT)


def check_terminated(runs: Path, options: Sequence[str], workers: Workers) -> None:
    """SIGTERM ends all of them, with one line that says how to go on."""
    with training(runs, options) as process:
        (at_work,) = workers(process)
        process.terminate()
        out, _ = process.communicate(timeout=LONG)
        assert process.returncode == 128 + signal.SIGTERM, out
        assert out.splitlines()[-1] == f"terminated: {GO_ON}" and "Traceback" not in out, out
        assert wait_until(lambda: not alive(at_work), END)


def check_killed_sweep(alone: Path, runs: Path, options: Sequence[str], workers: Workers) -> None:
    """Who is at work ends with the sweep, whose lock is free then; the same command goes on to the end."""
    with training(runs, options) as process:
        (at_work,) = workers(process)
        process.kill()
        assert wait_until(lambda: not alive(at_work), END)
    run("seconds", runs, *options)
    check_complete(alone, runs)
