"""A solution read sentence by sentence, up to its first mistake; ``checker`` lists the kinds of mistake.

    Define A's B as x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12.

Each sentence gives an expression of earlier parameters, which is compared with the problem's formula.
"""

from __future__ import annotations

from collections import Counter
from string import ascii_letters
from typing import NamedTuple

from physlm.tasks.igsm.expressions import OPERATORS, Expression, combined, evaluated, leaves, normal, written
from physlm.tasks.igsm.reading import Formula, Graph, Reader, clip

ANSWER = "<answer>"
BACK = "BACK"
LETTERS = frozenset(ascii_letters)
SENTENCE = "Define A's B as x; ...; so x = ... = 7."
OUTSIDE = -1  # a number that is not 0 .. modulus - 1: equal to no value


class Step(NamedTuple):
    """One sentence of a solution, right or wrong: the problem's parameter that it names, and if it takes it back."""

    parameter: str | None  # None where it names none of the problem's
    retry: bool


class Wrong(Exception):
    """The first mistake: its kind and its description."""

    def __init__(self, kind: str, text: str):
        self.kind, self.text = kind, text


class Walk:
    """A solution as far as it is right: what its letters stand for, and which parameters have values."""

    def __init__(self, reader: Reader, problem: Graph, retries: bool, values_alone: bool):
        self.numbers, self.modulus, self.names = reader.numbers, reader.modulus, reader.names
        self.problem, self.retries, self.values_alone = problem, retries, values_alone
        self.used: set[str] = set()  # letters, of intermediate results too
        self.letters: dict[str, tuple[Expression, int]] = {}  # of parameters
        self.local: dict[str, tuple[Expression, int]] = {}  # of intermediate results of this sentence
        self.idle: set[str] = set()  # intermediate results that nothing has used yet
        self.operators = ""  # of this sentence, as they stand there
        self.operations: dict[str, int] = {}  # parameter -> operations of its sentence
        self.values: dict[str, int] = {}
        self.retrying = False

    def step(self, piece: str) -> Step:
        """Which parameter a sentence names, right or wrong."""
        name, _, letter = _head(piece)
        known = name if self.problem.formula(name) is not None else None
        return Step(known, letter == BACK)

    def sentence(self, piece: str, whole: bool) -> None:
        """Reads one sentence, ``whole`` with its full stop, or raises the first mistake in it."""
        if self.problem.query in self.values:
            raise Wrong("continues after query", f"'{clip(piece)}' stands after the sentence that defines "
                                                 f"'{self.problem.query}', expected the end of the solution")
        if not whole:
            raise Wrong("truncated sentence", f"'{clip(piece)}' has no full stop, expected '{SENTENCE}'")
        head, *steps = piece.split("; ")
        name, as_, letter = _head(head)
        if not as_:
            raise _malformed(piece, f"'{SENTENCE}'")
        formula = self._parameter(name)
        self.retrying = letter == BACK and not steps
        if self.retrying:
            if not self.retries:
                raise _malformed(piece, "a letter after 'as', since no wrong starts were asked for")
            return
        if name in self.values:
            raise Wrong("repeated parameter", f"'{name}' is defined a second time, expected each parameter once")
        missing = [need for need in formula.needs if need not in self.values]
        if missing:
            raise Wrong("not computable yet", f"'{name}' depends on '{missing[0]}', which no earlier sentence "
                                              "defines, expected a parameter whose dependencies are all defined")
        self._take(letter, piece)
        self.local, self.idle, self.operators = {}, set(), ""
        if not steps or not steps[-1].startswith("so "):
            raise _malformed(piece, f"'{SENTENCE}'")
        if self.values_alone:
            value = self._value(steps, letter, formula)
        else:
            for step in steps[:-1]:
                self._intermediate(step)
            expression, value = self._last(steps[-1][3:], letter)
            self._compare(name, formula, expression)
        if self.idle:
            raise Wrong("unused intermediate", f"'{min(self.idle)}' is computed for '{name}' and not used, expected "
                                               "only intermediate results that the sentence goes on with")
        self.letters[letter] = name, value
        self.values[name] = value
        self.operations[name] = len(steps)

    def end(self) -> None:
        """Raises unless the query is defined."""
        if self.retrying:
            raise Wrong("unfinished retry", "the solution ends with a wrong start, expected a sentence after it")
        if self.problem.query not in self.values:
            raise Wrong("query not reached", f"the solution ends before it defines '{self.problem.query}', "
                                             "which is asked for")

    def answer(self, given: str | None) -> None:
        """Raises unless the answer, None if there is none, is the value of the query."""
        value = self.values[self.problem.query]
        if given is None or self.numbers.get(given) != value:
            stands = f"there is no {ANSWER}" if given is None else f"'{clip(given)}' stands after {ANSWER}"
            raise Wrong("wrong answer", f"{stands}, expected {value}, the number of '{self.problem.query}'")

    def _parameter(self, name: str) -> Formula:
        formula = self.problem.formula(name)
        if formula is not None:
            return formula
        item, possessive, other = name.partition("'s ")
        if not possessive:
            raise _malformed(f"Define {name} as", "a parameter \"A's B\"")
        for word in (item, other):
            if word not in self.names.items and word not in self.names.categories:
                raise Wrong("unknown name", f"'{clip(word)}' is no name, expected one that the problem uses")
        raise Wrong("absent parameter", f"the problem has no '{name}', expected a parameter that it describes, or an "
                                        "item's total over a deeper layer")

    def _take(self, letter: str, piece: str) -> None:
        """A new letter."""
        if letter not in LETTERS:
            raise _malformed(piece, f"one letter of a-z and A-Z in place of '{clip(letter)}'")
        if letter in self.used:
            raise Wrong("letter reused", f"'{letter}' already stands for something, expected a letter that is free")
        self.used.add(letter)

    def _intermediate(self, step: str) -> None:
        """``R = y + z = 3 + 4 = 7``."""
        letter, *parts = step.split(" = ")
        self._take(letter, step)
        if len(parts) > 1 and " " not in parts[0]:
            raise _malformed(step, "an operation in an intermediate result")
        self.local[letter] = self._operation(step, parts)
        self.idle.add(letter)

    def _value(self, steps: list[str], letter: str, formula: Formula) -> int:
        """``x = 7`` alone."""
        first, *parts = steps[-1][3:].split(" = ")
        if len(steps) > 1 or first != letter or len(parts) != 1:
            raise _malformed("; ".join(steps), f"'so {letter} = 7' alone")
        value = evaluated(formula.expression, self.values) % self.modulus
        if self._number(parts[0], steps[-1]) != value:
            raise Wrong("wrong result", f"'{clip(steps[-1])}' ends with {clip(parts[0])}, expected {value}")
        return value

    def _last(self, step: str, letter: str) -> tuple[Expression, int]:
        """``x = 7``, ``x = y = 7`` or ``x = y + z = 3 + 4 = 7``."""
        first, *parts = step.split(" = ")
        if first != letter:
            raise _malformed(f"so {step}", f"'so {letter} ='")
        if len(parts) == 1:
            value = self._number(parts[0], step)
            return value, value
        if len(parts) == 2 and " " not in parts[0]:
            if parts[0] not in LETTERS:
                raise _malformed(f"so {step}", "one number, or a letter and its number")
            expression, value = self._letter(parts[0])
            if self._number(parts[1], step) != value:
                raise self._wrong_number(parts[0], parts[1], value)
            return expression, value
        return self._operation(f"so {step}", parts)

    def _operation(self, step: str, parts: list[str]) -> tuple[Expression, int]:
        """One operation with letters, again with numbers, and its result."""
        words = parts[0].split(" ") if parts else []
        if len(words) > 3 and len(words) % 2 and all(word in OPERATORS for word in words[1::2]):
            raise Wrong("missing intermediate", f"'{clip(step)}' has {len(words) // 2} operations, expected one, and "
                                                "intermediate results for the others")
        numbers = parts[1].split(" ") if len(parts) == 3 else []
        if len(words) != 3 or len(numbers) != 3 or words[1] not in OPERATORS or numbers[1] not in OPERATORS:
            raise _malformed(step, "'R = y + z = 3 + 4 = 7'")
        first, left = self._operand(words[0], numbers[0], step)
        if words[1] != numbers[1]:
            raise Wrong("wrong operator", f"'{clip(step)}' has '{words[1]}' between letters and '{numbers[1]}' "
                                          "between numbers, expected the same")
        second, right = self._operand(words[2], numbers[2], step)
        operator = words[1]
        value = (left * right if operator == "*" else left + right if operator == "+" else left - right) % self.modulus
        if self._number(parts[2], step) != value:
            raise Wrong("wrong result", f"'{clip(step)}' ends with {clip(parts[2])}, expected {value} "
                                        f"modulo {self.modulus}")
        self.operators += operator
        return combined(first, operator, second), value

    def _operand(self, word: str, number: str, step: str) -> tuple[Expression, int]:
        """A letter or constant, and the number that is put in for it."""
        given = self._number(number, step)
        if word in LETTERS:
            expression, value = self._letter(word)
            if given != value:
                raise self._wrong_number(word, number, value)
            return expression, value
        value = self._number(word, step)
        if given != value or value == OUTSIDE:
            raise Wrong("wrong constant", f"'{clip(step)}' has {clip(number)} for the constant {clip(word)}, expected "
                                          f"one number of 0 to {self.modulus - 1}, repeated")
        return value, value

    def _letter(self, letter: str) -> tuple[Expression, int]:
        found = self.local.get(letter)
        if found:
            if letter not in self.idle:  # no formula has a part twice; and doubling on and on would take forever
                raise Wrong("wrong dependencies", f"'{letter}' is used a second time, expected each part of the "
                                                  "formula once")
            self.idle.discard(letter)
            return found
        found = self.letters.get(letter)
        if not found:
            stands = "stands for nothing that this sentence can use" if letter in self.used else "is not defined"
            raise Wrong("undefined letter", f"'{letter}' {stands}, expected the letter of an earlier parameter or of "
                                            "an intermediate result of this sentence")
        return found

    def _number(self, word: str, step: str) -> int:
        value = self.numbers.get(word)
        if value is None:
            if not (word.isascii() and word.isdigit()):
                raise _malformed(step, f"a number in place of '{clip(word)}'")
            return OUTSIDE
        return value

    def _wrong_number(self, letter: str, number: str, value: int) -> Wrong:
        return Wrong("wrong number", f"{clip(number)} is put in for '{letter}', expected {value}")

    def _compare(self, name: str, formula: Formula, given: Expression) -> None:
        """Raises unless the sentence's expression is the problem's."""
        if given == formula.expression or normal(given) == normal(formula.expression):
            return
        stands, allowed = Counter(leaves(given)), Counter(leaves(formula.expression))
        parameters = [Counter({leaf: n for leaf, n in count.items() if isinstance(leaf, str)})
                      for count in (stands, allowed)]
        if parameters[0] != parameters[1]:
            kind = "wrong dependencies"
        elif stands != allowed:
            kind = "wrong constant"
        elif sorted(self.operators) != sorted(formula.operators):
            kind = "wrong operator"
        else:
            kind = "wrong grouping"
        raise Wrong(kind, f"'{name}' is computed as {clip(written(given), 200)}, expected "
                          f"{clip(written(formula.expression), 200)}")


def _head(head: str) -> tuple[str, str, str]:
    """Name, " as " if it stands there, and letter of "Define A's B as x"; three empty strings for other beginnings."""
    if not head.startswith("Define "):
        return "", "", ""
    name, as_, letter = head[7:].partition(" as ")
    return name, as_, letter


def _malformed(stands: str, expected: str) -> Wrong:
    return Wrong("malformed sentence", f"'{clip(stands)}', expected {expected}")
