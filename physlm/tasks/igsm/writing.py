"""Problems and solutions as tokens, from what was drawn; the compiled twin of this is ``compiled.writing``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

from physlm.tasks.draws import GOLDEN, MASK, Stream, as_share, mix
from physlm.tasks.igsm import pieces as p
from physlm.tasks.igsm.config import Retry
from physlm.tasks.igsm.draws import RETRY_STREAM
from physlm.tasks.igsm.record import CONSTANT, MORE, TIMES

if TYPE_CHECKING:
    from physlm.tasks.igsm.necessary import Formula
    from physlm.tasks.igsm.problem import Problem


class Parameter(NamedTuple):
    """An instance parameter, "A's B", or a total, "A's <category>"."""

    owner: str
    owned: str
    total: bool

    @property
    def name(self) -> str:
        """As solutions write it."""
        return f"{self.owner}'s {self.owned}"


class Described(Protocol):
    """What sentences are written from: parameters by name, and the formulas of edges."""

    @property
    def parameters(self) -> tuple[Parameter, ...]: ...

    @property
    def formulas(self) -> Mapping[int, Formula]: ...


def name(problem: Described, parameter: int, each: bool = False) -> list[str]:
    """"A's B", or "each A's B"."""
    found = problem.parameters[parameter]
    return [*[p.EACH] * each, found.owner, p.OWNS, found.owned]


def problem_tokens(problem: Problem, order: str, sentences: list[list[str]]) -> list[str]:
    """These sentences and the question, which comes last (``pq``) or first (``qp``)."""
    described = [token for sentence in sentences for token in sentence]
    asked = problem.parameters[problem.query]
    question = [p.HOW_MANY, asked.owned, p.DOES, asked.owner, p.HAVE, p.QUESTION_MARK]
    return described + question if order == "pq" else question + described


def sentence_tokens(problem: Described, edge: int) -> list[str]:
    """"The number of each A's B equals 7 more than the sum of each C's D and each E's F."."""
    made = problem.formulas[edge]
    owner = problem.parameters[edge]
    tokens = [p.NUMBER_OF_EACH, owner.owner, p.OWNS, owner.owned, p.EQUALS]
    if made.form:
        tokens.append(str(made.constant))
    if made.form in (MORE, TIMES):
        tokens.append(p.MORE_THAN if made.form == MORE else p.TIMES)
    if len(made.dependencies) > 1:
        tokens.append(p.DIFFERENCE_OF if made.difference else p.SUM_OF)
    last = len(made.dependencies) - 1
    for place, parameter in enumerate(made.dependencies):
        if place:
            tokens.append(p.AND if place == last else p.COMMA)
        tokens += name(problem, parameter, each=True)
    return [*tokens, p.STOP]


class Term(NamedTuple):
    """A letter or a number in a solution."""

    written: str
    value: int


class Step(NamedTuple):
    """One binary operation, and the letter of its result."""

    left: Term
    sign: str
    right: Term
    result: Term


Operand = Term | int  # a term, or the number of an earlier operation of the sentence
Operation = tuple[Operand, str, Operand]


def operations(problem: Problem, parameter: int, known: dict[int, Term]) -> tuple[list[Operation], Operand]:
    """The binary operations of a parameter, and the operand that is its value.

    Sums fold from the left and the constant comes last, as the first term of its operation.  A total of products has
    its first product, its second, their sum, its third product, the next sum, and so on, as in the released code.
    """
    made: list[Operation] = []

    def operate(left: Operand, sign: str, right: Operand) -> int:
        made.append((left, sign, right))
        return len(made) - 1

    if problem.is_total(parameter):
        value: Operand = Term("0", 0)
        for place, (edge, total) in enumerate(problem.children[parameter]):
            term: Operand = known[edge] if total is None else operate(known[edge], p.STAR, known[total])
            value = operate(value, p.PLUS, term) if place else term
        return made, value
    formula = problem.formulas[parameter]
    constant = Term(str(formula.constant), formula.constant)
    if formula.form == CONSTANT:
        return made, constant
    first, *rest = (known[dependency] for dependency in formula.dependencies)
    value = first
    for term in rest:
        value = operate(value, p.MINUS if formula.difference else p.PLUS, term)
    if formula.form in (MORE, TIMES):
        value = operate(constant, p.PLUS if formula.form == MORE else p.STAR, value)
    return made, value


def steps(made: list[Operation], own: str, letters: Iterator[str], modulus: int) -> list[Step]:
    """Operations with values; the last has the parameter's own letter, the others take the next ones."""
    done: list[Step] = []
    for left, sign, right in made:
        first, second = (done[operand].result if isinstance(operand, int) else operand for operand in (left, right))
        value = {p.PLUS: first.value + second.value, p.MINUS: first.value - second.value,
                 p.STAR: first.value * second.value}[sign] % modulus  # fmt: skip
        letter = own if len(done) == len(made) - 1 else next(letters)
        done.append(Step(first, sign, second, Term(letter, value)))
    return done


def solution_sentences(problem: Problem) -> list[list[str]]:
    """One sentence for each needed parameter, in their order, without wrong starts."""
    letters = iter(problem.letters)
    known: dict[int, Term] = {}
    sentences = []
    for parameter in problem.needed:
        own = next(letters)
        made, value = operations(problem, parameter, known)
        tokens = [p.DEFINE, *name(problem, parameter), p.AS, own]
        done = steps(made, own, letters, problem.modulus)
        for step in done:
            last = step is done[-1]
            tokens += [p.SEMICOLON, *[p.SO] * last, step.result.written, p.IS, step.left.written, step.sign,
                       step.right.written, p.IS, str(step.left.value), step.sign, str(step.right.value), p.IS,
                       str(step.result.value)]  # fmt: skip
        if done:
            known[parameter] = done[-1].result
        else:  # a number, or the letter of the only dependency
            assert isinstance(value, Term)
            copied = [] if value.written == str(value.value) else [p.IS, value.written]
            tokens += [p.SEMICOLON, p.SO, own, *copied, p.IS, str(value.value)]
            known[parameter] = Term(own, value.value)
        sentences.append([*tokens, p.STOP])
    return sentences


def template(problem: Problem) -> str:
    """The solution without its names and numbers, as released: the text whose SHA-256 the papers take.

    Numbers become 0, edges "Inst", totals "Inter", ";" becomes "."; letters are renamed in order of appearance.
    """
    renamed: dict[str, str] = {}
    words = []
    for parameter, sentence in zip(problem.needed, solution_sentences(problem), strict=True):
        words += [p.DEFINE, "Inter" if problem.is_total(parameter) else "Inst"]
        for token in sentence[4:]:
            if token.isdigit():
                words.append("0")
            elif token in p.ALPHABET:
                words.append(renamed.setdefault(token, p.ALPHABET[len(renamed)]))
            else:
                words.append(p.STOP if token == p.SEMICOLON else token)
    return " " + p.join(words)


def wrong_starts(problem: Problem, retry: Retry) -> list[list[int]]:
    """The parameters that wrong starts name, before each sentence of the solution."""
    stream = Stream(mix((int(problem.record["stream"]) * GOLDEN + RETRY_STREAM) & MASK))
    rate = as_share(retry.rate)
    starts = []
    for done in range(len(problem.needed)):
        pool = _offered(problem, done, retry)
        before: list[int] = []
        while pool and stream.chance(rate):
            before.append(pool[stream.below(len(pool))])
        starts.append(before)
    return starts


def _offered(problem: Problem, done: int, retry: Retry) -> list[int]:
    """What a wrong start may name after ``done`` sentences."""
    if retry.names == "weak":
        return sorted(problem.needed[done + 1 :])
    defined = set(problem.needed[:done])
    missing = [parameter for parameter in sorted(problem.graph) if parameter not in defined]
    if retry.names == "miss":
        return missing
    return [parameter for parameter in missing if not problem.direct[parameter] <= defined]


def solution_tokens(problem: Problem, retry: Retry | None = None) -> tuple[list[str], list[bool]]:
    """The tokens of a solution, and which of them are no targets."""
    tokens: list[str] = []
    lost: list[bool] = []
    sentences = solution_sentences(problem)
    starts = wrong_starts(problem, retry) if retry else [[] for _ in sentences]
    mask = retry.mask if retry else "none"
    for before, sentence in zip(starts, sentences, strict=True):
        for parameter in before:
            tokens += [p.DEFINE, *name(problem, parameter), p.AS, p.BACK, p.STOP]
            lost += [mask == "start", *[mask != "none"] * 3, mask == "start", False, False]
        tokens += sentence
        lost += [False] * len(sentence)
    return tokens, lost
