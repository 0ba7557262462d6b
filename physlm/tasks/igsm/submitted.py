"""Solutions that somebody wrote, read from files to be checked: JSON lines, or two files of text.

    {"problem": "The number of each ... ? ...", "solution": "Define ...", "answer": 12}

Of an object ``problem`` and ``solution`` are needed.  ``answer`` is checked as if the solution ended with
``<answer> 12``; ``modulus`` is that of the arithmetic, ``retry`` above 0 allows wrong starts, and ``chain`` says what
short solutions leave out, such as ``{"drop": "sums"}``, as in the lines of ``physlm igsm sample --json``.  Other keys
are not read, empty lines are passed over.  Two files of text have problems and solutions in their lines, one each.

Free of torch and numba.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any, NamedTuple, TextIO

from physlm import storage
from physlm.config import from_dict
from physlm.errors import UserError, counted, shown
from physlm.inputs import bounded_lines
from physlm.tasks.igsm.config import Chain
from physlm.tasks.igsm.walk import ANSWER

MOST_CHARACTERS = 1 << 20  # of a line; a problem of 52 operations with its solution has about 10,000
MODULI = (2, 1000)  # as the task has them
EXPECTED = 'expected an object like {"problem": "The number of ...", "solution": "Define ..."}'


class Submitted(NamedTuple):
    """A problem and a solution, as texts.

    Attributes:
        line: its number in the file, from 1.
        modulus: None where the line names none.
        retries: if the line allows wrong starts.
        chain: what the solution leaves out.
    """

    line: int
    problem: str
    solution: str
    modulus: int | None = None
    retries: bool = False
    chain: Chain = Chain()


def read_objects(file: TextIO, name: str) -> Iterator[Submitted]:
    """The solutions of a file of JSON lines.

    Raises:
        UserError: a line is no such object, or too long; the message names it.
    """
    for number, line in enumerate(_lines(file, name), 1):
        if not line.strip():
            continue
        place = f"{name} line {number}"
        try:
            data: Any = storage.parse_json(line)
        except ValueError:
            raise UserError(f"{place}: got {shown(line.strip())}, which is no JSON; {EXPECTED}") from None
        if not isinstance(data, dict):
            raise UserError(f"{place}: got {shown(data)}, {EXPECTED}")
        yield _submitted(data, number, place)


def read_texts(problems: TextIO, solutions: TextIO, names: tuple[str, str]) -> Iterator[Submitted]:
    """Line i of the one file with line i of the other.

    Raises:
        UserError: one of the files has fewer lines.
    """
    pairs = zip_longest(*(_lines(file, name) for file, name in zip((problems, solutions), names, strict=True)))
    for number, (problem, solution) in enumerate(pairs, 1):
        for name, other, line in zip(names, reversed(names), (problem, solution), strict=True):
            if line is None:
                raise UserError(f"{name}: got {counted(number - 1, 'line')}, and more in {other}; expected a problem "
                                "in each line of the first file and its solution in the same line of the second")
        yield Submitted(number, problem, solution)


def _lines(file: TextIO, name: str) -> Iterator[str]:
    """Lines end where Python says so."""
    try:
        for line in bounded_lines(file, name, MOST_CHARACTERS):
            yield line.removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: got bytes that are no {error.encoding.upper()} text, {EXPECTED}") from None


def _submitted(data: dict[str, Any], number: int, place: str) -> Submitted:
    for key in ("problem", "solution"):
        if key not in data:
            raise UserError(f"{place}: {key!r} is missing, {EXPECTED}")
        if not isinstance(data[key], str):
            raise UserError(f"{place}: {key}: got {shown(data[key])}, expected a text in quotes")
    answer, modulus, retry = data.get("answer"), data.get("modulus"), data.get("retry", 0)
    if not (answer is None or isinstance(answer, str) or type(answer) is int):
        raise UserError(f"{place}: answer: got {shown(answer)}, expected a whole number")
    if modulus is not None and not (type(modulus) is int and MODULI[0] <= modulus <= MODULI[1]):
        raise UserError(f"{place}: modulus: got {shown(modulus)}, expected {MODULI[0]} to {MODULI[1]}")
    if not isinstance(retry, (int, float)):  # also true and false
        raise UserError(f"{place}: retry: got {shown(retry)}, expected the rate of wrong starts")
    try:
        chain = from_dict(Chain, data.get("chain", {}), "chain")
    except UserError as error:
        raise UserError(f"{place}: {error}") from None
    solution = data["solution"]
    if answer is not None and ANSWER not in solution:
        solution = f"{solution} {ANSWER} {answer}"
    return Submitted(number, data["problem"], solution, modulus, retry > 0, chain)
