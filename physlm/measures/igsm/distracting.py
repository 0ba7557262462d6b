"""The measure ``distraction``: the same problems with and without noise, solved by a model and compared one by one.

Shape letter: B problems.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from physlm.measures.igsm.distraction import Distraction, Noisy
from physlm.measures.igsm.settings import family_of
from physlm.measures.igsm.solving import Bools, ask, judge, solve, truth
from physlm.measures.intervals import count_mean, difference_mean, share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.tasks.igsm.task import Igsm

PROBLEMS = {"cuda": 1000, "cpu": 100}  # of each set
CONTROLS = {"cuda": 200, "cpu": 50}  # the first of them, whose true solutions are judged


def rows(config: Distraction, run: Trained) -> list[Row]:
    """Everything that ``distraction`` promises, of one run."""
    task = family_of(run.spec).build().to(run.device)
    count = config.problems or PROBLEMS[run.device.type]
    cells = config.cells(task.config)
    asked = {cell: ask(task, cell, count) for cell in cells}
    right: dict[Noisy, Bools] = {}
    model = run.ready(run.model)
    for longer in (False, True):  # apart: the memory of a model is as long as the longest prompt
        some = [cell for cell in cells if (cell.amount == "longer") == longer]
        judged = solve(task, model, [asked[cell] for cell in some], config.room, run.progress)
        right |= {cell: one.right_B for cell, one in zip(some, judged, strict=True)}
    found: list[Row] = []
    clean = cells[0]
    for cell in cells:
        found.append(share(right[cell].astype(float), np.ones(count)).row("solved", count, where=cell.where))
        if cell.noise == "none":
            clean = cell
        else:
            found += _costs(cell, right[clean], right[cell])
            added_B = (asked[cell].prompts.lengths_B - asked[clean].prompts.lengths_B).cpu().numpy()
            found.append(count_mean(added_B).row("noise_tokens", count, unit="tokens", where=cell.where))
        found.append(_truth(task, cell, min(count, CONTROLS[run.device.type])))
    return found


def _costs(cell: Noisy, clean_B: Bools, noisy_B: Bools) -> Iterator[Row]:
    """In points, and of what is solved without noise."""
    drops_B = clean_B.astype(int) - noisy_B
    yield difference_mean(drops_B).row("drop", len(drops_B), where=cell.where)
    if clean_B.any():
        lost_B = ~noisy_B[clean_B]
        yield share(lost_B.astype(float), np.ones(len(lost_B))).row("lost", len(lost_B), where=cell.where)


def _truth(task: Igsm, cell: Noisy, count: int) -> Row:
    """The true solutions of the first problems, judged."""
    prompts = ask(task, cell, count).prompts
    value = float(judge(task, prompts, truth(prompts), np.ones(count, bool)).right_B.mean())
    return Row("solved_truth", value, "1", count, value, value, cell.where)
