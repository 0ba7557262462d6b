"""A Slurm of one machine: what sbatch, srun, squeue, sacct, scancel and sinfo do there, as far as submitit asks.

Called by these names; the folder ``$FAKE_SLURM`` holds a file a job, named after the process that runs it.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

NAMES = ("sbatch", "srun", "squeue", "sacct", "scancel", "sinfo")


def install(folder: Path, gpus: str = "(null)") -> dict[str, str]:
    """Make the commands; the environment in which they are found.  ``gpus`` is what sinfo says: ``gpu:8``."""
    bin_, jobs, here = folder / "bin", folder / "jobs", str(Path(__file__).parent.absolute())
    bin_.mkdir(parents=True)
    jobs.mkdir()
    for name in NAMES:
        path = bin_ / name
        path.write_text(f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {here!r})\n"
                        f"import fake_slurm\nfake_slurm.{name}(*sys.argv[1:])\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}", "FAKE_SLURM": str(jobs), "FAKE_GPUS": gpus}


def submitted(folder: Path) -> list[dict[str, str]]:
    """The options of all jobs that were submitted, by their names."""
    return [json.loads(path.read_text()) for path in sorted((folder / "jobs").iterdir())]


def sbatch(script: str) -> None:
    text = Path(script).read_text()
    options = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", text, re.M))
    started = Path(os.environ["FAKE_SLURM"])
    code = f"exec bash {script}"
    process = subprocess.Popen(["bash", "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL, start_new_session=True,
                               env={**os.environ, "SLURM_JOB_NODELIST": "here", "SLURM_NTASKS": "1",
                                    "SLURM_JOB_NUM_NODES": "1", "SLURM_NODEID": "0", "SLURM_PROCID": "0",
                                    "SLURM_LOCALID": "0"})  # fmt: skip
    (started / str(process.pid)).write_text(json.dumps(options))
    print(f"Submitted batch job {process.pid}")


def srun(*words: str) -> None:
    command = [word for word in words[words.index("-u") - 1:]]
    number = str(os.getppid()) if "SLURM_JOB_ID" not in os.environ else os.environ["SLURM_JOB_ID"]
    place = dict(itertools.pairwise(words))
    for option, stream in (("--output", 1), ("--error", 2)):
        path = place[option].replace("%j", number).replace("%t", "0")
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    os.execvpe(command[0], command, {**os.environ, "SLURM_JOB_ID": number})


def alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def jobs() -> dict[str, dict[str, str]]:
    folder = Path(os.environ["FAKE_SLURM"])
    return {path.name: json.loads(path.read_text()) for path in folder.iterdir() if path.name.isdigit()}


def squeue(*words: str) -> None:
    (name,) = [word.partition("=")[2] for word in words if word.startswith("--name=")]
    print(*(number for number, options in jobs().items() if options["job-name"] == name and alive(int(number))),
          sep="\n")


def sacct(*words: str) -> None:
    print("JobID|State|NodeList")
    for number in [word for word in words if word.isdigit()]:
        print(f"{number}|{'RUNNING' if alive(int(number)) else 'COMPLETED'}|here")


def scancel(*words: str) -> None:
    for number in words:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(number), signal.SIGKILL)


def sinfo(*words: str) -> None:
    print(os.environ["FAKE_GPUS"])
