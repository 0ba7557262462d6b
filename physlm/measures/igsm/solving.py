"""The measure ``solutions``: problems are solved by a model, the solutions judged and counted.

Shape letters: B problems, P positions of prompts, W positions of prompts with what was written.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random
from typing import NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from physlm.measures.generation import generate
from physlm.measures.igsm.solutions import Cell, Solutions
from physlm.measures.intervals import count_mean, share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.places import Place
from physlm.tasks.igsm.checker import ERRORS, NOT_A_SOLUTION, RIGHT, Verdict
from physlm.tasks.igsm.config import IgsmConfig
from physlm.tasks.igsm.reading import Graph
from physlm.tasks.igsm.task import Igsm
from physlm.tasks.igsm.walk import ANSWER
from physlm.tasks.prompts import Prompts

PROBLEMS = {"cuda": 2500, "cpu": 200}  # of each set
CONTROLS = {"cuda": 500, "cpu": 200}  # the first of them, for controls and learning curves
CUT = "cut"
KINDS = (*ERRORS, NOT_A_SOLUTION, CUT)
NO_ANSWER = -1

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


class Judged(NamedTuple):
    """What was found in the solutions of B problems.

    Attributes:
        kinds: of the first errors; ``right``; ``cut`` where the end of the room is the only thing that is wrong.
        number_B: after <answer>, or ``NO_ANSWER``.
        parameters_B, operations_B: unneeded ones.
        retries_B: wrong starts.
        ended_B: the rest was cut.
    """

    kinds: tuple[str, ...]
    number_B: Ints
    parameters_B: Ints
    operations_B: Ints
    retries_B: Ints
    ended_B: Bools

    @property
    def right_B(self) -> Bools:
        """Whether all is right."""
        return np.array([kind == RIGHT for kind in self.kinds])


class Asked(NamedTuple):
    """The problems of one cell."""

    cell: Cell
    prompts: Prompts
    answer_B: Ints
    short_B: Bools  # the whole text is no longer than a row of training

    @property
    def problems(self) -> int:
        """How many there are."""
        return len(self.answer_B)


def rows(config: Solutions, run: Trained) -> list[Row]:
    """Everything that ``solutions`` promises, of one run."""
    settings = cast(IgsmConfig, run.spec.task)
    task = settings.build().to(run.device)
    few = CONTROLS[run.device.type]
    asked = [ask(task, cell, config.problems or PROBLEMS[run.device.type]) for cell in config.cells(settings)]
    largest = max((one for one in asked if one.cell.set == "exact"), key=lambda one: one.cell.op)
    found: list[Row] = []
    for one, judged in zip(asked, solve(task, run.ready(run.model), asked, config.room, run.progress), strict=True):
        found += _shares(one, judged)
        found += _steps(task, one, judged, few)
        if settings.retry.rate:
            found += _retries(one, judged)
        if one.cell.set != "exact" or one is largest:
            found += _errors(one, judged)
        found.append(_truth(task, one.cell, few))
        found.append(_tokens(one))
    drawn = ask(task, asked[0].cell, few)
    for name, model, where in _others(run):
        (judged,) = solve(task, run.ready(model), [drawn], config.room, run.progress)
        found.append(_share(name, judged.right_B, {**drawn.cell.where, "filter": "all", **where}))
    return found


def ask(task: Igsm, cell: Cell, count: int) -> Asked:
    """The problems of a cell."""
    prompts = task.prompts(count, **cell.changes)
    told = prompts.told()
    answer_B = told.answers_BQ[:, 0].cpu().numpy() - task.vocabulary.id("0")
    short_B = (told.lengths_B + told.answer_lengths_B - 1 <= task.config.row_tokens).cpu().numpy()  # without the <bos>
    return Asked(cell, prompts, answer_B, short_B)


def solve(task: Igsm, model: Decoder, asked: Sequence[Asked], room: float, progress: bool = False) -> list[Judged]:
    """What a model writes for the problems of each cell, judged; all of them in one pass.

    Args:
        room: for a solution, in lengths of the longest true one.
    """
    prompts = [one.prompts for one in asked]
    columns = max(p.ids_BP.shape[1] for p in prompts)
    new_tokens = math.ceil(room * max(int(p.answer_lengths_B.max()) for p in prompts))
    made = generate(model, torch.cat([F.pad(p.ids_BP, (0, columns - p.ids_BP.shape[1])) for p in prompts]), new_tokens,
                    lengths=torch.cat([p.lengths_B for p in prompts]), temperature=0.0, progress=progress)
    counts = [one.problems for one in asked]
    parts = zip(prompts, made.ids.split(counts), made.ended.cpu().split(counts), strict=True)
    return [judge(task, p, ids_BW, ended_B.numpy()) for p, ids_BW, ended_B in parts]


class Written(NamedTuple):
    """One problem with what a model wrote, for readers.

    Attributes:
        title: of the problems.
        sentences: of the solution, as far as they have full stops, and the rest.
        answer: the true one.
        ended: whether the model ended its text.
    """

    number: int
    title: str
    problem: str
    sentences: tuple[str, ...]
    answer: int
    verdict: Verdict
    ended: bool


def written(run: Trained, op: int | None = None, number: int = 0) -> Written:
    """What the trained model writes for problem ``number`` of exactly ``op`` operations, or of op as in training.

    Raises:
        UserError: no problem of the task has so many operations.
    """
    config = Solutions(ops=() if op is None else (op,))
    config.check(run.spec)
    settings = cast(IgsmConfig, run.spec.task)
    task = settings.build().to(run.device)
    cell = config.cells(settings)[0 if op is None else 1]
    prompts = task.prompts(number + 1, **cell.changes)
    one = Prompts(*(part[number:] if isinstance(part, Tensor) else part for part in prompts))  # type: ignore[arg-type]
    length, room = int(one.lengths_B), math.ceil(config.room * int(one.answer_lengths_B))
    made = generate(run.ready(run.model), one.ids_BP[:, :length], room, temperature=0.0)
    (verdict,) = task.verdicts(one, made.ids)
    text, _, _ = task.vocabulary.decode(made.ids[0, length : int(made.lengths[0])].tolist()).partition(f" {ANSWER}")
    sentences = tuple(part.strip() + "." * (place < text.count(".")) for place, part in enumerate(text.split("."))
                      if part.strip())  # fmt: skip
    title = run.spec.task.title if op is None else replace(settings, op=op).title
    answer = int(one.told().answers_BQ[0, 0]) - task.vocabulary.id("0")
    return Written(number, title, task.vocabulary.decode(one.ids_BP[0, 2 : length - 1].tolist()), sentences, answer,
                   verdict, bool(made.ended[0]))  # fmt: skip


def judge(task: Igsm, prompts: Prompts, ids_BW: Tensor, ended_B: Bools) -> Judged:
    """What the checker says; ``ended`` says which solutions were written to their end."""
    verdicts = list(task.verdicts(prompts, ids_BW))

    def numbers(name: str) -> Ints:
        return np.array([getattr(verdict, name) for verdict in verdicts], np.int64)

    answers = [NO_ANSWER if verdict.answer is None else verdict.answer for verdict in verdicts]
    kinds = tuple(_kind(verdict, bool(ended)) for verdict, ended in zip(verdicts, ended_B, strict=True))
    return Judged(kinds, np.array(answers, np.int64), numbers("unneeded_parameters"), numbers("unneeded_operations"),
                  numbers("retries"), ended_B)


def truth(prompts: Prompts) -> Tensor:
    """Prompts with the generator's own solutions after them, (B, W), as if they had been generated."""
    at_W = torch.arange(int((prompts.lengths_B + prompts.answer_lengths_B).max()), device=prompts.lengths_B.device)
    place_BW = at_W - prompts.lengths_B[:, None]
    answers_BW = prompts.answers_BQ.gather(1, place_BW.clamp(0, prompts.answers_BQ.shape[1] - 1))
    ids_BW = F.pad(prompts.ids_BP, (0, max(0, len(at_W) - prompts.ids_BP.shape[1])))[:, : len(at_W)]
    inside_BW = (place_BW >= 0) & (place_BW < prompts.answer_lengths_B[:, None])
    return torch.where(inside_BW, answers_BW, ids_BW)


def unplanned(problem: Graph, seed: int) -> int:
    """Unneeded parameters of a solver without a plan: of all that can be computed next, any one is, up to the query.

    Its parameters are those that the text describes, and the totals that these need.
    """
    needs: dict[str, tuple[str, ...]] = {}
    open_ = [*problem.described, problem.query]
    while open_:
        parameter = open_.pop()
        formula = problem.formula(parameter)
        assert formula is not None, parameter
        if parameter not in needs:
            needs[parameter] = formula.needs
            open_ += formula.needs
    draws, done, rest = Random(seed), set[str](), sorted(needs)
    while problem.query not in done:
        chosen = draws.choice([one for one in rest if done.issuperset(needs[one])])
        rest.remove(chosen)
        done.add(chosen)
    return len(done.difference(problem.needed))


def _kind(verdict: Verdict, ended: bool) -> str:
    """Of the first error.  In a cut solution one in its last sentence, or of the whole, is that it was cut."""
    if not ended and verdict.sentence in (0, len(verdict.steps)):
        return CUT
    return verdict.kind


def _shares(asked: Asked, judged: Judged) -> Iterator[Row]:
    common = np.bincount(asked.answer_B).argmax()
    for name, some in (("all", np.ones_like(asked.short_B)), ("published", asked.short_B)):
        if some.any():
            where = {**asked.cell.where, "filter": name}
            yield _share("solved", judged.right_B[some], where)
            yield _share("number", (judged.number_B == asked.answer_B)[some], where)
            yield _share("number_constant", (asked.answer_B == common)[some], where)
    yield _share("cut", ~judged.ended_B, {**asked.cell.where, "filter": "all"})


def _steps(task: Igsm, asked: Asked, judged: Judged, few: int) -> Iterator[Row]:
    """What right solutions hold beside what is needed; the control of the first ``few`` of them."""
    where, right_B = {**asked.cell.where, "filter": "all"}, judged.right_B
    if not right_B.any():
        return
    spare = (judged.parameters_B, judged.operations_B)
    yield _share("shortest", (spare[0] == 0)[right_B], where)
    for name, counts_B in zip(("unneeded_parameters", "unneeded_operations"), spare, strict=True):
        yield count_mean(counts_B[right_B]).row(name, int(right_B.sum()), unit="1/solution", where=where)
    counts_B = np.array([unplanned(_graph(task, asked, b), seed=b) for b in np.flatnonzero(right_B)[:few].tolist()])
    yield count_mean(counts_B).row("unneeded_unplanned", len(counts_B), unit="1/solution", where=where)


def _retries(asked: Asked, judged: Judged) -> Iterator[Row]:
    for name, some in (("right", judged.right_B), ("wrong", ~judged.right_B)):
        if some.any():
            yield count_mean(judged.retries_B[some]).row("retries", int(some.sum()), unit="1/solution",
                                                   where={**asked.cell.where, "filter": "all", "outcome": name})


def _errors(asked: Asked, judged: Judged) -> Iterator[Row]:
    counts = Counter(judged.kinds)
    assert set(counts) <= {RIGHT, *KINDS}, counts
    for kind in KINDS:
        wrong_B = np.array([one == kind for one in judged.kinds])
        yield _share("error", wrong_B, {**asked.cell.where, "filter": "all", "error": kind.replace(" ", "_")})


def _truth(task: Igsm, cell: Cell, count: int) -> Row:
    asked = ask(task, cell, count)
    judged = judge(task, asked.prompts, truth(asked.prompts), np.ones(asked.problems, bool))
    value = float((judged.right_B & (judged.number_B == asked.answer_B)).mean())
    return Row("solved_truth", value, "1", asked.problems, value, value, {**asked.cell.where, "filter": "all"})


def _tokens(asked: Asked) -> Row:
    tokens_B = asked.prompts.hint_lengths_B.cpu().numpy()
    return count_mean(tokens_B).row("solution_tokens", asked.problems, unit="tokens/solution",
                                    where={**asked.cell.where, "filter": "all"})


def _others(run: Trained) -> Iterator[tuple[str, Decoder, dict[str, Place]]]:
    """The untrained model, and snapshots of training up to its end."""
    yield "solved_untrained", run.untrained, {}
    steps = run.spec.snapshot_steps
    for step in (*steps, run.spec.steps) if steps else ():
        yield "solved_after", run.load(step), {"step": step}


def _graph(task: Igsm, asked: Asked, number: int) -> Graph:
    """A problem as it is read from its prompt."""
    ids, length = asked.prompts.ids_BP[number].tolist(), int(asked.prompts.lengths_B[number])
    return task.reader.read(task.vocabulary.decode(ids[2 : length - 1]))


def _share(name: str, hits_B: Bools, where: dict[str, Place]) -> Row:
    return share(hits_B.astype(float), np.ones(len(hits_B))).row(name, len(hits_B), where=where)
