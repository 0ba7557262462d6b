"""Shorter solutions: the full one without some of its tokens, and how they are judged.

    none     Define A's B as x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. Define C's A as b; so b = x = 12.
    define   A's B x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. C's A b; so b = x = 12.
    names    Define A's B as x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. Define C as b; so b = x = 12.
    sums     Define A's B as x; so x = 12. Define C's A as b; so b = 12.
    all      A's B x; so x = 12. C b; so b = 12.

    define   without the words "Define" and "as"
    names    without the names of items and categories that the solution has written before, and without the "'s" of a
             pair that has lost one
    sums     without what stands between a parameter's letter and its value: intermediate results and the last formula
    all      without all of these

and, as the control of each, as many tokens of the full solution left out as the form leaves out, but uniformly drawn
ones, from random draws of their own.  <answer> and the number after it stay.  The compiled twin: ``compiled.chains``.

What is judged (``check_chain``):

    none, define      every step, as ``checker`` says
    sums              every sentence: that its parameter is there, new and computable, its letter new, its value right;
                      that the query is reached and nothing follows; the answer
    names, all, and whatever leaves out tokens at random: the number after <answer> alone
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from physlm.tasks.draws import GOLDEN, MASK, Stream, mix
from physlm.tasks.igsm import pieces as p
from physlm.tasks.igsm.checker import Verdict, check
from physlm.tasks.igsm.config import Chain
from physlm.tasks.igsm.draws import CHAIN_STREAM
from physlm.tasks.igsm.reading import Graph, Reader


def shortened(tokens: Sequence[str], chain: Chain, stream: int) -> list[str]:
    """The tokens of a solution that a chain keeps.

    Args:
        stream: the problem's (``record``).
    """
    drop = dropped(tokens, chain.drop)
    if chain.at_random:
        draws = Stream(mix((stream * GOLDEN + CHAIN_STREAM) & MASK))
        left = sum(drop)
        for place in range(len(tokens)):
            drop[place] = draws.below(len(tokens) - place) < left
            left -= drop[place]
    return [token for token, gone in zip(tokens, drop, strict=True) if not gone]


def dropped(tokens: Sequence[str], drop: str) -> list[bool]:
    """Which tokens of a full solution a form leaves out."""
    gone = [drop in ("define", "all") and token in (p.DEFINE, p.AS) for token in tokens]
    if drop in ("names", "all"):
        _drop_names(tokens, gone)
    if drop in ("sums", "all"):
        _drop_sums(tokens, gone)
    return gone


def _drop_names(tokens: Sequence[str], gone: list[bool]) -> None:
    written: set[str] = set()
    for at in (at for at, token in enumerate(tokens) if token == p.OWNS):
        for name in (at - 1, at + 1):
            gone[name] = tokens[name] in written
            gone[at] |= gone[name]
            written.add(tokens[name])


def _drop_sums(tokens: Sequence[str], gone: list[bool]) -> None:
    first = so = -1  # of this sentence: its first semicolon, and "so"
    for at, token in enumerate(tokens):
        if token == p.SEMICOLON and first < 0:
            first = at
        elif token == p.SO:
            so = at
        elif token == p.STOP:
            for place in (*range(first + 1, so), *range(so + 3, at - 1)):  # so x = ... = 7.
                gone[place] = True
            first = -1


def judged(chain: Chain) -> Literal["steps", "values", "answer"]:
    """How much of a solution can be read without what it leaves out."""
    if chain.drop == "none":
        return "steps"
    if chain.at_random or chain.drop in ("names", "all"):
        return "answer"
    return "values" if chain.drop == "sums" else "steps"


def check_chain(problem: str | Graph, solution: str, chain: Chain, *, reader: Reader | None = None,
                retries: bool = False, answer: bool = False) -> Verdict:  # fmt: skip
    """The verdict on a solution of this form; arguments as for ``checker.check``."""
    how = judged(chain)
    if chain.drop == "define" and how == "steps":
        solution = restored(solution)
    return check(problem, solution, reader=reader, retries=retries, answer=answer, judged=how)


def restored(solution: str) -> str:
    """A solution with "Define" and "as" in their places, as far as its sentences have a name and a letter."""
    body, marked, end = solution.partition(p.ANSWER)
    sentences = []
    for sentence in body.split("."):
        head, semicolon, steps = sentence.strip().partition(";")
        name, blank, letter = head.rpartition(" ")
        sentences.append(f"{p.DEFINE} {name} {p.AS} {letter}{semicolon}{steps}" if blank else sentence)
    return ". ".join(sentences) + marked + end
