"""The measure ``filled``: the same questions with more and more filler around them."""

from __future__ import annotations

from typing import Any, cast

from torch import Tensor
from tqdm import tqdm

from physlm.measures.answers import Sheet, grade
from physlm.measures.intervals import count_mean
from physlm.measures.length.filled import Cell, Filled
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.config import TaskConfig
from physlm.tasks.mixture import MixtureConfig
from physlm.tasks.task import AskedTask, Task

QUESTIONS = {"cuda": 500, "cpu": 50}  # of each kind
CONTROLS = {"cuda": 100, "cpu": 20}  # the first of them, for a model that has learned no answers


def ask(task: Task, config: TaskConfig, cell: Cell, count: int) -> Sheet:
    """At most ``count`` questions of each kind of a cell, of a task that was built from ``config``."""
    asked = cast(AskedTask, task)
    named: dict[str, Any] = {"task": cell.task} if isinstance(config, MixtureConfig) else {}
    return Sheet(asked, asked.prompts(count, **named, **cell.condition))


def solved(model: Decoder, sheet: Sheet, progress: bool = False) -> Tensor:
    """Whether each answer is right, and the solution before it, if the task asks for one; (B,)."""
    (grades,) = grade(model, [sheet], progress)
    return grades.hint_B & grades.answer_B


def rows(measure: Filled, run: Trained) -> list[Row]:
    """Everything that ``filled`` promises, of one run."""
    config, kind = run.spec.task, run.device.type
    task = config.build().to(run.device)
    model, untrained = run.ready(run.model), run.ready(run.untrained)
    count = measure.questions or QUESTIONS[kind]
    found: list[Row] = []
    members = config.members if isinstance(config, MixtureConfig) else {}
    cells = list(measure.cells(config))
    for cell in tqdm(cells, desc="filled windows", leave=False, disable=None if run.progress else True):
        sheet, few = (ask(task, config, cell, n) for n in (count, min(count, CONTROLS[kind])))
        shares = [("solved", sheet, solved(model, sheet)), ("solved_untrained", few, solved(untrained, few)),
                  ("solved_constant", sheet, sheet.commonest())]  # fmt: skip
        if members.get(cell.task, config).guesses_from_text:
            shares.append(("solved_guess", sheet, sheet.guessed()))
        for quantity, one, right_B in shares:
            for row in one.rows(quantity, "test", right_B):
                where = {**row.where, **cell.where(str(row.where["kind"]))}
                found += [Row(quantity, row.value, row.unit, row.n, row.lo, row.hi, {**where, "filler": filler})
                          for filler in cell.fillers]
        lengths = count_mean(sheet.prompts.lengths_B.cpu().numpy())
        found += [lengths.row("tokens", len(sheet.prompts.lengths_B), unit="tokens", where={
            "task": cell.task, "steps": cell.steps, "filled": cell.filled, "filler": filler})
            for filler in cell.fillers]  # fmt: skip
    return found
