"""The exact checker of iGSM: problem text and solution text in, verdict out, apart from the generator.

A solution is right if it reads as sentences of the format, each defines a parameter of the problem once and after all
that it is computed from, by the problem's own formula, with every number right, and the last one, and no one before
it, defines the parameter that is asked for.  Formulas are compared as expression trees, not by their values.

Free are: the letters; the order of the sentences, as far as each can be computed; the order of summands and of
factors, and the brackets among them (which intermediate results there are), as long as the expression is the same.
The generator's own solutions fold from the left with the constant last; others are right as well.  The number of
operations is the same for all of them, since nothing is multiplied out.  Parameters that are computed rightly without
being needed are no error; they are counted.

Kinds of verdict beside ``right``; the first wrong sentence counts, and in it the first mistake from the left, where
the formula is compared, and idle intermediate results are found, after the sentence is read:

    not a problem           the problem text gives no graph and question
    not a solution          the solution text does not begin with a sentence "Define ..."
  sentences
    truncated sentence      the text ends before the full stop
    malformed sentence      no sentence of the format: words, letters, numbers or signs where they cannot stand
    missing intermediate    two operations or more in one step
    unfinished retry        "Define A's B as BACK." with no sentence after it
  parameters
    unknown name            a name that is in no table of names
    absent parameter        known names, but the problem has no such parameter
    repeated parameter      a parameter that an earlier sentence defines
    not computable yet      a parameter that depends on one which no earlier sentence defines
  letters
    letter reused           a letter that already stands for another parameter or intermediate result
    undefined letter        a letter that stands for nothing here: for nothing at all, for the parameter that is being
                            defined, or for an intermediate result of another sentence
    unused intermediate     an intermediate result that the sentence does not go on with
  formulas
    wrong dependencies      other parameters than in the problem's formula, or one of them more or less often
    wrong constant          the right parameters, another constant
    wrong operator          the right parameters and constant, other operations
    wrong grouping          the right parts, tied in an order that changes the expression: b - a for a - b,
                            5 * a + b for 5 * (a + b)
  numbers
    wrong number            a number that is not the value of the letter it is put in for
    wrong result            arithmetic that does not come out
  the end
    query not reached       the solution ends before it defines the parameter that is asked for
    continues after query   a sentence after the one that defines it
    wrong answer            the number after <answer> is not its value, or there is none where one is demanded

These are 20 kinds of error, apart from "not a problem" and "not a solution".
Differences from the checker of arXiv 2407.20311's released code: that one accepts wrong constants and differences for
sums as long as the numbers fit, and parameters whose edge is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.reading import MODULUS, Graph, NotAProblem, Reader, clip
from physlm.tasks.igsm.walk import ANSWER, SENTENCE, Step, Walk, Wrong

RIGHT, NOT_A_PROBLEM, NOT_A_SOLUTION = "right", "not a problem", "not a solution"
ERRORS = (
    "truncated sentence", "malformed sentence", "missing intermediate", "unfinished retry",
    "unknown name", "absent parameter", "repeated parameter", "not computable yet",
    "letter reused", "undefined letter", "unused intermediate",
    "wrong dependencies", "wrong constant", "wrong operator", "wrong grouping",
    "wrong number", "wrong result",
    "query not reached", "continues after query", "wrong answer",
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the checker found.

    Attributes:
        kind: ``"right"``, an error, ``"not a problem"`` or ``"not a solution"``; see the module.
        sentence: number of the first wrong sentence, from 1; 0 where no sentence is meant.
        text: for readers: what stands there and what was allowed; empty if right.
        answer: the number after <answer>, else the last number of the last sentence; None if there is none.
        steps: every sentence of the text in order, also after an error.
        sentences, operations: defining sentences, and steps of arithmetic (semicolons) in them, before the first wrong
            sentence.
        unneeded_parameters, unneeded_operations: those of them that the query does not depend on.
        retries: wrong starts, "Define A's B as BACK.", in the whole text.
    """

    kind: str
    sentence: int
    text: str
    answer: int | None
    steps: tuple[Step, ...]
    sentences: int
    operations: int
    unneeded_parameters: int
    unneeded_operations: int
    retries: int

    @property
    def right(self) -> bool:
        """If nothing is wrong."""
        return self.kind == RIGHT


def check(
    problem: str | Graph, solution: str, *, reader: Reader | None = None, retries: bool = False, answer: bool = False,
    judged: Literal["steps", "values", "answer"] = "steps",
) -> Verdict:
    """The verdict on a solution; never raises, whatever the texts are, in time linear in them.

    Args:
        problem: its text, or the problem read from it by ``reader``.
        solution: its text, with "<answer> 7" at its end or without.
        reader: names and modulus; those of this package and 23 by default.
        retries: if wrong starts are allowed; without it BACK is a malformed sentence.
        answer: if the answer is demanded; without it, it is checked where it stands.
        judged: for shorter forms of solutions (``chains``).  ``values``: sentences are "Define A's B as x; so x = 12.",
            with the value alone, and all but the formula is judged.  ``answer``: nothing is but the number after
            <answer>, which is demanded.
    """
    reader = reader or standard_reader()
    body, marked, end = solution.partition(ANSWER)
    pieces = [piece.strip() for piece in body.split(".")]
    last = pieces.pop()
    number = reader.numbers.get(end.strip() if marked else "" if last or not pieces else pieces[-1].split(" ")[-1])
    if last:
        pieces.append(last)  # without its full stop
    if isinstance(problem, str):
        try:
            problem = reader.read(problem)
        except NotAProblem as error:
            return Verdict(NOT_A_PROBLEM, 0, str(error), number, (), 0, 0, 0, 0, 0)
    if judged == "answer":
        value = problem.value(reader.modulus)
        text = f"'{clip(end.strip())}' stands after {ANSWER}, expected {value}"
        right = marked != "" and number == value
        return Verdict(RIGHT if right else "wrong answer", 0, "" if right else text, number, (), 0, 0, 0, 0, 0)
    walk = Walk(reader, problem, retries, judged == "values")
    steps = tuple([walk.step(piece) for piece in pieces])
    kind, place, text = RIGHT, 0, ""
    cut = len(pieces) == 1 and last != "" and "Define ".startswith(last)
    if not cut and not (pieces and pieces[0].startswith("Define ")):
        kind, text = NOT_A_SOLUTION, f"'{clip(solution.strip())}', expected sentences '{SENTENCE}'"
    else:
        try:
            for place, piece in enumerate(pieces, 1):
                walk.sentence(piece, whole=not last or place < len(pieces))
            walk.end()
            place = 0
            if marked or answer:
                walk.answer(end.strip() if marked else None)
        except Wrong as wrong:
            kind, text = wrong.kind, wrong.text
    needed = set(problem.needed)
    unneeded = [operations for parameter, operations in walk.operations.items() if parameter not in needed]
    return Verdict(kind, place, text, number, steps, len(walk.operations), sum(walk.operations.values()),
                   len(unneeded), sum(unneeded), sum(step.retry for step in steps))


def check_many(
    problems: Iterable[str | Graph], solutions: Iterable[str], *, reader: Reader | None = None,
    retries: bool = False, answer: bool = False,
) -> Iterator[Verdict]:
    """The verdicts of as many solutions as problems, one by one; arguments as for ``check``.

    Raises:
        ValueError: there are more problems than solutions, or the other way round.
    """
    for problem, solution in zip(problems, solutions, strict=True):
        yield check(problem, solution, reader=reader, retries=retries, answer=answer)


@cache
def standard_reader(modulus: int = MODULUS) -> Reader:
    """The reader of this package's names."""
    return Reader(CATEGORISATIONS, modulus)
