"""Changed solutions: what keeps the meaning keeps the verdict, what does not is found."""

from __future__ import annotations

import random
import re
import time
from itertools import pairwise

from right_solutions import DRAWS, PROBLEM, SOLUTION

from physlm.tasks.igsm.checker import check
from physlm.tasks.igsm.taken_apart import Solution, take_apart


def test_no_change_of_one_token_is_right() -> None:
    rng = random.Random(0)
    for draw in DRAWS:
        tokens = re.findall(r" ?(?:'s|[.;]|[A-Za-z0-9]+|[-+*=])", draw.solution)
        for _ in range(5):
            new, i = list(tokens), rng.randrange(len(tokens))
            match rng.randrange(4):
                case 0:
                    del new[i]
                case 1:
                    new.insert(i, rng.choice(tokens))
                case 2:
                    new[i] = rng.choice(tokens)
                case _:
                    j = rng.randrange(len(tokens))
                    new[i], new[j] = new[j], new[i]
            text = "".join(new)
            if text.split() != draw.solution.split() and not harmless(draw.solution, text):
                assert not check(draw.problem, text).right, (draw, text)


def harmless(right: str, text: str) -> bool:
    """If only the two sides of a sum or a product that stands once and again in numbers changed places: 3 + 3 = 6."""
    ours, theirs = ([re.split(r" = |; ", sentence) for sentence in solution.split(".")] for solution in (right, text))
    if [len(part) for part in ours] != [len(part) for part in theirs]:
        return False
    pairs = [(a, b) for one, other in zip(ours, theirs, strict=True) for a, b in zip(one, other, strict=True) if a != b]
    return all("-" not in a and re.fullmatch(r"\w+ [+*] \w+", b) and sorted(a) == sorted(b) for a, b in pairs)


def test_the_verdict_keeps_where_the_meaning_keeps() -> None:
    """Other letters, shuffled sentences of the problem, another order of computing, other brackets."""
    rng = random.Random(1)
    for draw in DRAWS:
        right = check(draw.problem, draw.solution)
        apart = take_apart(draw.problem, draw.solution, rng)
        for solution in (relettered(apart), reordered(apart), refolded(apart), swapped(apart)):
            verdict = check(shuffled(draw.problem, rng), solution.text())
            assert verdict.right, (draw, solution.text(), verdict)
            assert (verdict.answer, verdict.operations) == (right.answer, right.operations)
            assert set(verdict.steps) == set(right.steps)


def shuffled(problem: str, rng: random.Random) -> str:
    sentences = re.findall(r"[^.?]+[.?]", problem)
    return " ".join(sentence.strip() for sentence in rng.sample(sentences, len(sentences)))


def relettered(s: Solution) -> Solution:
    """Other letters everywhere."""
    s, free = s.changed(), s.free()
    letters = [letter for line in s.lines for letter, _ in line.steps]
    new = dict(zip(letters, s.rng.sample(letters + free, len(letters)), strict=True))
    for line in s.lines:
        line.letter = new[line.letter]
        line.steps = [(new[letter], [new.get(word, word) for word in words]) for letter, words in line.steps]
    return s


def reordered(s: Solution) -> Solution:
    """Sentences in a random order in which each can be computed, the query's last."""
    s, todo, done = s.changed(), list(s.lines), set[str]()
    s.lines = []
    while todo:
        ready = [line for line in todo if {*line.letters()} <= done | {letter for letter, _ in line.steps}]
        line = s.rng.choice(ready)
        s.lines.append(line)
        todo.remove(line)
        done.add(line.letter)
    return s


def refolded(s: Solution) -> Solution:
    """Sums fold from the right: R = y + z; x = R + w becomes R = z + w; x = y + R."""
    s = s.changed()
    for line in s.lines:
        for j in range(len(line.steps) - 1):
            (r, first), (x, second) = line.steps[j : j + 2]
            if first[1] == second[1] and second[0] == r:
                line.steps[j : j + 2] = [(r, [first[2], first[1], second[2]]), (x, [first[0], first[1], r])]
                if second[1] == "-":
                    raise AssertionError("a difference has two parts")
    return s


def swapped(s: Solution) -> Solution:
    """y + z becomes z + y, y * z becomes z * y."""
    s = s.changed()
    for line in s.lines:
        for _, words in line.steps:
            if "-" not in words and s.rng.random() < 0.5:
                words.reverse()
    return s


def test_every_beginning_of_a_solution_is_read() -> None:
    ends = {place + 1 for place, sign in enumerate(SOLUTION) if sign == "."}
    for end in range(1, len(SOLUTION)):
        verdict = check(PROBLEM, SOLUTION[:end])
        whole = SOLUTION[:end].rstrip() in {SOLUTION[:place] for place in ends}
        assert verdict.kind == ("query not reached" if whole else "truncated sentence")
        assert verdict.sentence == SOLUTION[:end].count(".") + (not whole)
        assert check(PROBLEM[:end], SOLUTION).kind == "not a problem"


def test_no_noise_raises_and_long_texts_take_no_longer_than_they_are() -> None:
    rng = random.Random(2)
    odd = ["\N{SNOWMAN}", "\x00", "\ud800", "²", "٣", "9" * 5000, "\n", ""]
    tokens = [*SOLUTION.split(), *PROBLEM.split(), *odd, "BACK", "BACK.", "<answer>", ";", ".", "'s", "How many", "?"]
    began = time.process_time()
    for tries in range(300):
        noise = rng.choice(["", " "]).join(rng.choices(tokens, k=10_000 if tries < 5 else rng.randint(0, 60)))
        for problem, solution in ((PROBLEM, noise), (noise, SOLUTION), (noise, noise), (PROBLEM, "Define " + noise),
                                  (PROBLEM + noise, SOLUTION), (PROBLEM, SOLUTION + noise)):
            for retries in (False, True):
                assert check(problem, solution, retries=retries, answer=retries).kind
    doubled = [f"{b} = {a} + {a} = 0 + 0 = 0" for a, b in pairwise("bcdefghijklmnopqrstuvwxyz")]
    head = "Define Film Studio's Brown Satchel as a; b = 0 + 0 = 0 + 0 = 0; "
    assert check(PROBLEM, f"{head}{'; '.join(doubled)}; so a = z = 0.").kind == "wrong dependencies"
    for solution in (SOLUTION * 1000, "Define Eastlake High's Backpack as BACK. " * 10_000, "Define " * 10_000,
                     "Define Film Studio's Brown Satchel as a; so a = " + " + ".join("1" * 10_000) + " = 3 = 4.",
                     "Define Film Studio's Brown Satchel as a; so a = " + " = ".join("1" * 10_000) + ".",
                     "Define Film Studio's Brown Satchel as a" + "; so a = 13" * 10_000 + "."):
        verdict = check(PROBLEM, solution, retries=True)
        assert not verdict.right and len(verdict.text) < 500
    assert time.process_time() - began < 60
