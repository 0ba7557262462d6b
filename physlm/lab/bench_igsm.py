"""How fast iGSM is made, checked and trained on, on this machine.

The first table: problems as token ids, on one core in processor time, on all cores by the clock; and solutions read and
checked on one core, the reading of their problems included.  Compilation is outside.

Below it: tokens/s of training on iGSM beside those on biographies in rows of the same length, with the same model and
as many tokens a step.  A model that never waits for problems trains as fast on them.  The two take turns.
"""

from __future__ import annotations

import time

from physlm.errors import counted
from physlm.lab.bench_training import Case, time_training
from physlm.machine import cpu_cores
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig

SHOWN = ("med", "hard", "small8")
WANTED = 0.95  # of the speed on biographies, a bound of ours
VOCABULARY = 4096  # rows of the embedding, for either task
TRAINED = FAMILIES["med"]
BIOGRAPHIES = BioSConfig(people=20_000, row_tokens=TRAINED.row_tokens)


CASES = {
    "cuda": Case(ModelConfig(layers=4, heads=2, width=128, vocab_size=VOCABULARY), rows=64),
    "cpu": Case(ModelConfig(layers=1, heads=1, width=16, vocab_size=VOCABULARY), rows=32),
}


def time_problems(config: IgsmConfig, threads: int, seconds: float) -> tuple[float, float]:
    """Problems and tokens a second, by the clock, on that many threads."""
    import numpy as np

    from physlm.tasks.igsm.kernel import problems

    problems(config, np.arange(16))
    batch, made, tokens, begun = 4096 * threads, 0, 0, time.perf_counter()
    while made == 0 or time.perf_counter() - begun < seconds:
        tokens += int(problems(config, np.arange(made, made + batch), "train", "bench", threads).lengths_N.sum())
        made += batch
    spent = time.perf_counter() - begun
    return made / spent, tokens / spent


def time_checker(config: IgsmConfig, count: int) -> float:
    """Solutions a second of processor time, each with its problem, from their texts."""
    import torch

    from physlm.tasks.igsm.checker import check

    task = config.build()
    parts = [text.more for text in task.texts(torch.arange(count))]
    problems = [part["prompt"].removeprefix("<bos> <problem> ").removesuffix(" <solution>") for part in parts]
    begun = time.process_time()
    verdicts = [check(problem, part["answer"], reader=task.reader, answer=True)
                for problem, part in zip(problems, parts, strict=True)]  # fmt: skip
    spent = time.process_time() - begun
    assert all(verdict.right for verdict in verdicts), "right solutions are what is timed"
    return count / spent


def bench_igsm(quick: bool = False) -> None:
    """Print the table, line by line as it is measured, and how training compares."""
    import torch

    from physlm.tasks.igsm.kernel import problems_per_second

    seconds, checked = (0.2, 50) if quick else (3.0, 2000)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = f", {torch.cuda.get_device_name()}" if device.type == "cuda" else ""
    print(f"{counted(cpu_cores(), 'CPU core')}{name}; torch {torch.__version__}")
    columns = ("family", "problems/s", "M tokens/s", f"on {counted(cpu_cores(), 'core')}", "M tokens/s", "checked/s")
    print("{:>8} {:>12} {:>11} {:>14} {:>11} {:>10}".format(*columns))
    for family in SHOWN:
        config = FAMILIES[family]
        one, every = problems_per_second(config, seconds), time_problems(config, cpu_cores(), seconds)
        print(f"{family:>8} {one[0]:>12,.0f} {one[1] / 1e6:>11.1f} {every[0]:>14,.0f} {every[1] / 1e6:>11.1f} "
              f"{time_checker(config, checked):>10,.0f}", flush=True)  # fmt: skip
    case = CASES[device.type]
    ours, plain = time_training((TRAINED, BIOGRAPHIES), case, device, seconds)
    title = case.title(TRAINED.row_tokens)
    print(f"training {title}, vocabulary {VOCABULARY}: {ours / 1e6:.3g} M tokens/s, on biographies "
          f"{plain / 1e6:.3g}; ratio {ours / plain:.3f}, wanted at least {WANTED}")  # fmt: skip
