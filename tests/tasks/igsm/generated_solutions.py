"""The checker held against the generator: problems of every family are right, with the generator's own counts.

    python tests/tasks/igsm/generated_solutions.py 200000     checks as many, written by the compiled generator
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace

import numpy as np

from physlm.tasks.igsm.checker import Verdict, check, standard_reader
from physlm.tasks.igsm.config import FAMILIES, LETTERS, IgsmConfig, Retry
from physlm.tasks.igsm.problem import Problem

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


def disagreement(made: Problem, problem: str, solution: str) -> Verdict | None:
    """The verdict on the texts of a problem where it does not say what the record says."""
    retry = made.config.retry
    verdict = check(problem, solution, reader=standard_reader(made.modulus), retries=retry.rate > 0, answer=True)
    defined = [step.parameter for step in verdict.steps if not step.retry]
    found = (verdict.right, verdict.operations, verdict.answer, verdict.unneeded_parameters, verdict.retries, defined)
    starts = sum(map(len, made.wrong_starts(retry))) if retry.rate else 0
    names = [made.parameters[parameter].name for parameter in made.needed]
    return verdict if found != (True, made.op, made.answer, 0, starts, names) else None


def main(count: int) -> None:
    """Checks ``count`` problems, as many of each family, half of them of the evaluation split."""
    from physlm.tasks.igsm.kernel import problems
    from physlm.tasks.igsm.pieces import pieces

    checked, wrong, seconds = 0, 0, 0.0
    for config in CONFIGS:
        for split in ("train", "evaluation"):
            batch = problems(config, np.arange(count // (2 * len(CONFIGS)) + 1), split)
            texts = [pieces(config).vocabulary.decode(ids[:length]) for ids, length in
                     zip(batch.ids_NW.tolist(), batch.lengths_N, strict=True)]  # fmt: skip
            began = time.process_time()
            for record, text in zip(batch.records_N, texts, strict=True):
                made = Problem(record, config)
                if made.op > LETTERS:
                    continue  # after another question a problem may need more letters than there are
                problem, _, solution = text.removeprefix("<bos> <problem> ").partition(" <solution> ")
                verdict = disagreement(made, problem, solution)
                checked += 1
                wrong += verdict is not None
                if verdict and wrong < 10:
                    print(config.title, verdict, problem, solution, sep="\n", end="\n\n")
            seconds += time.process_time() - began
    print(f"{checked:,} checked, {wrong:,} disagree; {checked / seconds:,.0f}/s with the comparison")


if __name__ == "__main__":
    main(int(sys.argv[1]))
