"""The checker held against the generator: problems of every family are right, with the generator's own counts.

    wrong = sum(one.wrong is not None for one in check_generated(200_000))      # physlm igsm check --generated 200000
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from physlm.tasks.igsm.checker import Verdict, check, standard_reader
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig, Retry
from physlm.tasks.igsm.pieces import pieces
from physlm.tasks.igsm.problem import Problem

BATCH = 1024  # problems made at once
MED, HARD = FAMILIES["med"], FAMILIES["hard"]
CONFIGS: tuple[IgsmConfig, ...] = (
    *FAMILIES.values(),
    *(MED.exactly(op) for op in (15, 20, 23)),
    *(HARD.exactly(op) for op in (21, 28, 32, 45)),
    replace(MED, order="qp"),
    replace(MED, method="released", dependency_order="released"),
    *(replace(config.exactly(op), reask=True) for config, op in ((MED, 20), (HARD, 28))),
    *(replace(MED, retry=Retry(0.5, names)) for names in ("wrong", "weak", "miss")),
)


def verdict_of(config: IgsmConfig, problem: str, solution: str) -> Verdict:
    """The verdict on a solution with its answer, under the settings of a family."""
    retries = config.retry.rate > 0
    return check(problem, solution, reader=standard_reader(config.modulus), retries=retries, answer=True)


def agrees(verdict: Verdict, made: Problem) -> bool:
    """Whether the verdict says what the record of the problem says, in every number."""
    retry = made.config.retry
    defined = [step.parameter for step in verdict.steps if not step.retry]
    found = (verdict.right, verdict.operations, verdict.answer, verdict.unneeded_parameters, verdict.retries, defined)
    starts = sum(map(len, made.wrong_starts(retry))) if retry.rate else 0
    names = [made.parameters[parameter].name for parameter in made.needed]
    return found == (True, made.op, made.answer, 0, starts, names)


class Checked(NamedTuple):
    """One generated problem: the seconds of the checker, and the whole case where it does not agree."""

    seconds: float
    wrong: str | None


def check_generated(count: int) -> Iterator[Checked]:
    """Checks ``count`` problems of the compiled generator, as many of each family, half of them for evaluation."""
    from physlm.tasks.igsm.kernel import problems

    sources = [(config, split) for config in CONFIGS for split in ("train", "evaluation")]
    for place, (config, split) in enumerate(sources):
        first, end = 0, count * (place + 1) // len(sources) - count * place // len(sources)
        decode = pieces(config).vocabulary.decode
        while first < end:
            batch = problems(config, np.arange(first, min(first + BATCH, end)), split)
            for ids, length, record in zip(batch.ids_NW, batch.lengths_N.tolist(), batch.records_N, strict=True):
                text = decode(ids[:length].tolist()).removeprefix("<bos> <problem> ")
                problem, _, solution = text.partition(" <solution> ")
                began = time.process_time()
                verdict = verdict_of(config, problem, solution)
                seconds = time.process_time() - began
                case = f"{config.title}: {verdict}\n{problem}\n{solution}"
                yield Checked(seconds, None if agrees(verdict, Problem(record, config)) else case)
            first += BATCH
