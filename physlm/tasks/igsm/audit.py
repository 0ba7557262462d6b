"""Kernel, plain twin and checker held against each other, on problems of every family and setting.

    wrong = [one.wrong for one in check_generated(200_000) if one.wrong]     # physlm igsm check --generated 200000
    wrong = [one.wrong for one in compare_twins(20_000) if one.wrong]        # physlm igsm check --twin 20000

``check_generated``: the checker calls the kernel's problems right, with the generator's own counts.
``compare_twins``: kernel and twin make the same record, token ids, length and mask of each, bit for bit, and the
checker calls it right, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from physlm.tasks.igsm import plain
from physlm.tasks.igsm.chains import check_chain, judged
from physlm.tasks.igsm.checker import Verdict, standard_reader
from physlm.tasks.igsm.config import FAMILIES, Chain, IgsmConfig, Noise, Retry
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.pieces import ID, SOLUTION, pieces
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.record import RECORD

BATCH = 1024  # problems made at once
SPLITS = ("train", "evaluation")
MED, HARD, SMALL = FAMILIES["med"], FAMILIES["hard"], FAMILIES["small8"]
CHECKED: Mapping[str, IgsmConfig] = {
    **FAMILIES,
    **{f"med op={op}": MED.exactly(op) for op in (15, 20, 23)},
    **{f"hard op={op}": HARD.exactly(op) for op in (21, 28, 32, 45)},
    "med qp": replace(MED, order="qp"),
    "med released": replace(MED, method="released", dependency_order="released"),
    "med op=20 reask": replace(MED.exactly(20), reask=True),
    "hard op=28 reask": replace(HARD.exactly(28), reask=True),
    **{f"med retry {names}": replace(MED, retry=Retry(0.5, names)) for names in ("wrong", "weak", "miss")},
}
_NOISY = replace(MED, noise_words=True)
COMPARED: Mapping[str, IgsmConfig] = {
    **CHECKED,
    **{f"med retry masked {mask}": replace(MED, retry=Retry(0.2, "wrong", mask)) for mask in ("name", "start")},
    **{f"med noise {kind}": replace(_NOISY, noise=Noise(kind)) for kind in ("graph", "style", "facts", "all")},
    "med noise varied": replace(_NOISY, noise=Noise("all", 0.9, amount="uniform", rate=0.7)),
    "small8 noise long": replace(SMALL, noise=Noise("graph", tokens=900)),
    **{f"small8 without {drop}{' at random' * at_random}": replace(SMALL, chain=Chain(drop, at_random))
       for drop in ("define", "names", "sums", "all") for at_random in (False, True)},
}  # fmt: skip


def verdict_of(config: IgsmConfig, problem: str, solution: str) -> Verdict:
    """The verdict on a solution with its answer, under the settings of a family."""
    retries = config.retry.rate > 0
    return check_chain(problem, solution, config.chain, reader=standard_reader(config.modulus), retries=retries,
                       answer=True)  # fmt: skip


def agrees(verdict: Verdict, made: Problem) -> bool:
    """Whether the verdict says what the record of the problem says, in every number that can still be read."""
    how = judged(made.config.chain)
    found: list[object] = [verdict.right, verdict.answer, verdict.unneeded_parameters]
    expected: list[object] = [True, made.answer, 0]
    if how != "answer":
        found.append([step.parameter for step in verdict.steps if not step.retry])
        expected.append([made.parameters[parameter].name for parameter in made.needed])
    if how == "steps":
        retry = made.config.retry
        found += [verdict.operations, verdict.retries]
        expected += [made.op, sum(map(len, made.wrong_starts(retry))) if retry.rate else 0]
    return found == expected


class Checked(NamedTuple):
    """One generated problem.

    Attributes:
        family: its name among those that are tried.
        seconds: of processor time: of the checker; of a comparison, of kernel, twin and checker.
        wrong: the whole case where they do not agree.
    """

    family: str
    seconds: float
    wrong: str | None


class _Made(NamedTuple):
    """One problem of the kernel's; W is as wide as the widest of its batch."""

    family: str
    config: IgsmConfig
    split: str
    number: int
    record: np.ndarray
    ids_W: np.ndarray
    length: int
    lost_W: np.ndarray
    seconds: float

    def texts(self) -> tuple[str, str]:
        """The problem, and the solution with its answer, as the token ids have them."""
        ids, decode = self.ids_W[: self.length].tolist(), pieces(self.config).vocabulary.decode
        end = ids.index(ID[SOLUTION]) if ID[SOLUTION] in ids else len(ids)  # of the problem
        return decode(ids[2:end]), decode(ids[end + 1 :])


def check_generated(count: int) -> Iterator[Checked]:
    """Checks ``count`` problems of the compiled generator, as many of each family, half of them for evaluation."""
    for made in _generated(count, CHECKED):
        problem, solution = made.texts()
        began = time.process_time()
        verdict = verdict_of(made.config, problem, solution)
        seconds = time.process_time() - began
        case = f"{made.config.title}: {verdict}\n{problem}\n{solution}"
        yield Checked(made.family, seconds, None if agrees(verdict, Problem(made.record, made.config)) else case)


def compare_twins(count: int) -> Iterator[Checked]:
    """Makes ``count`` problems with kernel and twin, as many of each family, and checks them; says how they differ."""
    for made in _generated(count, COMPARED):
        began = time.process_time()
        twin = plain.generate(made.config, stream_key(made.config, made.split), made.number, made.split)
        found = _differences(made, twin)
        seconds = made.seconds + time.process_time() - began
        where = f"{made.family}, problem {made.number} of {made.split}: "
        yield Checked(made.family, seconds, where + "; ".join(found) if found else None)


def _differences(made: _Made, twin: Problem) -> list[str]:
    """In what a problem of the kernel's differs from the twin's, and what the checker does not find right."""
    found: list[str] = []
    if twin.record.tobytes() != made.record.tobytes():
        names = [name for name in RECORD.names or () if not np.array_equal(twin.record[name], made.record[name])]
        found.append(f"the records differ in {', '.join(names)}")
    tokens, lost = twin.tokens()
    if made.length != len(tokens):
        found.append(f"the kernel has {made.length} tokens, the twin {len(tokens)}")
    ids, words = made.ids_W[: made.length].tolist(), pieces(made.config).vocabulary.words
    if max(ids, default=0) >= len(words):
        return [*found, f"the kernel has the token id {max(ids)}, of {len(words)} words"]
    for place, (theirs, ours) in enumerate(zip(map(words.__getitem__, ids), tokens, strict=False)):
        if theirs != ours:
            found.append(f"token {place} is {theirs!r} of the kernel, {ours!r} of the twin")
            break
    if made.config.retry.mask != "none" and made.lost_W[: made.length].astype(bool).tolist() != lost:
        found.append("the masks differ")
    if made.ids_W[made.length :].any() or made.lost_W[made.length :].any():
        found.append("something stands behind the kernel's last token")
    verdict = verdict_of(made.config, *made.texts())
    if not agrees(verdict, twin):
        found.append(f"the checker finds {verdict.kind}, {verdict.operations} operations and the answer "
                     f"{verdict.answer}, the twin has {twin.op} and {twin.answer}")  # fmt: skip
    return found


def _generated(count: int, families: Mapping[str, IgsmConfig]) -> Iterator[_Made]:
    """``count`` problems of the kernel's, as many of each family and split, each with its share of the seconds."""
    from physlm.tasks.igsm.kernel import problems

    sources = [(family, split) for family in families for split in SPLITS]
    for place, (family, split) in enumerate(sources):
        config, end = families[family], count * (place + 1) // len(sources) - count * place // len(sources)
        problems(config, [0], split)  # compiled before anything is timed
        for first in range(0, end, BATCH):
            numbers = np.arange(first, min(first + BATCH, end))
            began = time.process_time()
            batch = problems(config, numbers, split)
            seconds = (time.process_time() - began) / len(numbers)
            for at, number in enumerate(numbers.tolist()):
                yield _Made(family, config, split, number, batch.records_N[at], batch.ids_NW[at],
                            int(batch.lengths_N[at]), batch.lost_NW[at], seconds)  # fmt: skip
