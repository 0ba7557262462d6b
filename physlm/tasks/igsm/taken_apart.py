"""Right solutions of iGSM taken apart, to be changed and written again with their numbers recomputed."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from dataclasses import dataclass
from operator import add, mul, sub
from string import ascii_letters


@dataclass
class Line:
    """A sentence: parameter, letter, and of each step the letter and the words of its formula."""

    name: str
    letter: str
    steps: list[tuple[str, list[str]]]

    def letters(self) -> list[str]:
        """Letters used in it, as they stand there."""
        return [word for _, words in self.steps for word in words if word.isalpha()]


@dataclass
class Solution:
    """A right solution taken apart, with the problem's text and a source of random places."""

    problem: str
    lines: list[Line]
    rng: random.Random
    modulus: int = 23

    def parts(self, wrong: tuple[int, int, int] | None = None) -> list[list[str]]:
        """The texts of all sentences: head and steps, numbers computed; ``wrong`` = line, step and its false result."""
        value: dict[str, int] = {}
        texts = []
        for i, line in enumerate(self.lines):
            text = [f"Define {line.name} as {line.letter}"]
            for j, (letter, words) in enumerate(line.steps):
                numbers = [str(value.get(word, 0)) if word.isalpha() else word for word in words]
                value[letter] = computed(numbers, self.modulus)
                if wrong and wrong[:2] == (i, j):
                    value[letter] = wrong[2]
                chain = [letter, " ".join(words), " ".join(numbers), str(value[letter])]
                if len(words) == 1:
                    chain = [letter, *words, str(value[letter])] if words[0].isalpha() else [letter, *words]
                text.append("so " * (j == len(line.steps) - 1) + " = ".join(chain))
            texts.append(text)
        return texts

    def text(self) -> str:
        """The whole solution."""
        return join(self.parts())

    def changed(self) -> Solution:
        """A copy to be changed."""
        return Solution(self.problem, copy.deepcopy(self.lines), self.rng, self.modulus)

    def free(self) -> list[str]:
        """Letters that nothing has, shuffled."""
        used = {letter for line in self.lines for letter, _ in line.steps}
        return self.rng.sample(rest := sorted({*ascii_letters} - used), len(rest))

    def any_line(self, fits: Callable[[int, Line], bool] = lambda i, line: True) -> int | None:
        """A random line that fits."""
        places = [i for i, line in enumerate(self.lines) if fits(i, line)]
        return self.rng.choice(places) if places else None

    def any_word(self, fits: Callable[[str], bool], least: int = 1) -> tuple[int, int, int] | None:
        """A random word that fits: line, step, place; only in formulas of ``least`` words or more."""
        places = [(i, j, k) for i, line in enumerate(self.lines) for j, (_, words) in enumerate(line.steps)
                  for k, word in enumerate(words) if len(words) >= least and fits(word)]
        return self.rng.choice(places) if places else None

    def other_number(self, number: str | int) -> str:
        """Another number than this one."""
        return str(self.rng.choice([v for v in range(self.modulus) if v != int(number)]))

    def renamed(self, line: Line) -> Line | None:
        """The same sentence with letters of its own."""
        free = self.free()
        if len(free) < len(line.steps):
            return None
        new = {letter: free.pop() for letter, _ in line.steps}
        steps = [(new[letter], [new.get(word, word) for word in words]) for letter, words in line.steps]
        return Line(line.name, new[line.letter], steps)


def computed(words: list[str], modulus: int) -> int:
    """The value of a number, or of two with an operator between them."""
    if len(words) == 1:
        return int(words[0]) % modulus
    left, operator, right = words
    return {"+": add, "-": sub, "*": mul}[operator](int(left), int(right)) % modulus


def take_apart(problem: str, solution: str, rng: random.Random, modulus: int = 23) -> Solution:
    """A right solution as ``Solution``."""
    lines = []
    for sentence in solution.removesuffix(".").split(". "):
        head, *steps = sentence.split("; ")
        name, letter = head.removeprefix("Define ").split(" as ")
        chains = [step.removeprefix("so ").split(" = ") for step in steps]
        lines.append(Line(name, letter, [(chain[0], chain[1].split(" ")) for chain in chains]))
    return Solution(problem, lines, rng, modulus)


def join(parts: list[list[str]]) -> str:
    """Sentences from their parts."""
    return " ".join("; ".join(text) + "." for text in parts)
