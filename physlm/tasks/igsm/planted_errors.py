"""Errors planted in right solutions of iGSM, one of a known kind at a known sentence, apart from the checker.

Each planter gets a solution taken apart (``Solution``), changes one thing at a random place and gives the wrong text
with the number of its first wrong sentence, or None where the solution has no place for this error.  Formulas are
changed with all later numbers recomputed, so that nothing but the formula is wrong.

    for kind, missed in planted_errors(10_000, texts): ...     # missed: what the checker did not catch or name

``physlm igsm check --planted 10000`` plants them in the generator's solutions.
"""

from __future__ import annotations

import itertools
import random
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from physlm.tasks.igsm.checker import check
from physlm.tasks.igsm.config import FAMILIES
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.plain import generate
from physlm.tasks.igsm.taken_apart import Solution, computed, join, take_apart

LAYERS = [layer for categorisation in CATEGORISATIONS for layer in categorisation.layers]
CATEGORIES = [layer.name for layer in LAYERS]
ITEMS = [item for layer in LAYERS for group in layer.groups for item in group]
PLACES = {name: place for place, layer in enumerate(LAYERS)  # four of a categorisation, from the top
          for name in (layer.name, *(item for group in layer.groups for item in group))}
Planted = tuple[str, int] | None


def truncated_sentence(s: Solution) -> Planted:
    sentences = [join([text]) for text in s.parts()]
    i = s.rng.randrange(len(sentences))
    return " ".join([*sentences[:i], sentences[i][: s.rng.randint(1, len(sentences[i]) - 1)]]), i + 1


def malformed_sentence(s: Solution) -> Planted:
    parts = s.parts()
    i = s.rng.randrange(len(parts))
    j = s.rng.randrange(1, len(parts[i]))
    head, step = parts[i][0], parts[i][j]
    name, letter = head.rsplit(" ", 1)
    last = s.modulus - 1
    ways = [
        lambda: (0, f"{name.removesuffix(' as')} {letter}"),
        lambda: (0, f"{name} {letter}{letter}"),
        lambda: (0, f"{name} 7"),
        lambda: (0, f"{name} BACK"),
        lambda: (0, f"{head} {letter}"),
        lambda: (0, head.replace("'s ", " ")),
        lambda: (0, f"{head};"),
        lambda: (len(parts[i]) - 1, parts[i][-1].removeprefix("so ")),
        lambda: (j, step.replace(" = ", " ", 1)),
        lambda: (j, step.rpartition(" = ")[0]),
        lambda: (j, step.rpartition(" ")[0] + " seven"),
        lambda: (j, step + f" = {step.split(' ')[-1]}"),
        lambda: (j, step + f" {last}"),
        lambda: (j, step.replace(" = ", " == ", 1)),
        lambda: (j, step.replace(" + ", " / ", 1)) if " + " in step else None,
        lambda: (j, f"so {step}"),
        lambda: (len(parts[i]) - 1, f"so {s.free()[0]} = {parts[i][-1].partition(' = ')[2]}"),
        lambda: (0, "I do not know") if i else None,
        lambda: (0, f"define{head[6:]}") if i else None,
        lambda: (0, "") if i else None,
    ]
    change = s.rng.choice(ways)()
    if change is None:
        return None
    parts[i][change[0]] = change[1]
    return join(parts), i + 1


def missing_intermediate(s: Solution) -> Planted:
    i = s.any_line(lambda i, line: len(line.steps) > 1)
    if i is None:
        return None
    parts, steps = s.parts(), s.lines[i].steps
    j = s.rng.randrange(len(steps) - 1)
    letter, words = steps[j]
    user = next(k for k in range(j + 1, len(steps)) if letter in steps[k][1])
    numbers = parts[i][j + 1].split(" = ")[2]
    chain = parts[i][user + 1].split(" = ")
    place = steps[user][1].index(letter)
    for part, put_in in ((1, " ".join(words)), (2, numbers)):
        split = chain[part].split(" ")
        split[place] = put_in
        chain[part] = " ".join(split)
    parts[i][user + 1] = " = ".join(chain)
    del parts[i][j + 1]
    return join(parts), i + 1


def unfinished_retry(s: Solution) -> Planted:
    i = s.rng.randrange(len(s.lines))
    name = s.rng.choice(s.lines[i:]).name
    starts = s.rng.randint(1, 2)
    return " ".join([join(s.parts()[:i]), *[f"Define {name} as BACK."] * starts]), i + starts


def unknown_name(s: Solution) -> Planted:
    i = s.rng.randrange(len(s.lines))
    s = s.changed()
    both = s.lines[i].name.split("'s ")
    both[s.rng.randrange(2)] = s.rng.choice(["Golden Nowhere", "Xq", "Define", "", "x", "\N{SNOWMAN}", "maple academy"])
    s.lines[i].name = "'s ".join(both)
    return s.text(), i + 1


def absent_parameter(s: Solution) -> Planted:
    described = set(re.findall(r"The number of each ([A-Za-z ]+)'s ([A-Za-z ]+) equals", s.problem))
    owners = set(re.findall(r"\b(?:each|does) ([A-Z][A-Za-z ]*)(?:'s| have)", s.problem))
    there = sorted({item for edge in described for item in edge} | owners)
    layers = {PLACES[item] for item in there}
    i = s.rng.randrange(len(s.lines))
    known = [*there, *there, s.rng.choice(ITEMS), s.rng.choice(CATEGORIES), CATEGORIES[PLACES[there[0]]]]
    one, other = s.rng.choice(known), s.rng.choice(known)
    total = other in CATEGORIES and one in there and PLACES[other] in layers and PLACES[one] < PLACES[other]
    if (one, other) in described or (total and PLACES[one] // 4 == PLACES[other] // 4):
        return None
    s = s.changed()
    s.lines[i].name = f"{one}'s {other}"
    return s.text(), i + 1


def repeated_parameter(s: Solution) -> Planted:
    i = s.any_line(lambda i, line: i < len(s.lines) - 1)
    if i is None:
        return None
    again = s.renamed(s.lines[i])
    if again is None:
        return None
    s, place = s.changed(), s.rng.randint(i + 1, len(s.lines) - 1)
    s.lines.insert(place, again)
    return s.text(), place + 1


def not_computable_yet(s: Solution) -> Planted:
    i = s.any_line(lambda i, line: i < len(s.lines) - 1)
    if i is None:
        return None
    s = s.changed()
    gone = s.lines.pop(i)
    user = next((k for k, line in enumerate(s.lines) if gone.letter in line.letters()), None)
    if user is None:
        return None
    if s.rng.random() < 0.5 and user < len(s.lines) - 1:
        s.lines.insert(s.rng.randint(user + 1, len(s.lines) - 1), gone)  # too late
    return s.text(), user + 1


def letter_reused(s: Solution) -> Planted:
    i = s.rng.randrange(len(s.lines))
    s = s.changed()
    line = s.lines[i]
    before = [letter for earlier in s.lines[:i] for letter, _ in earlier.steps]
    j = s.rng.randrange(len(line.steps))
    own = [letter for letter, _ in line.steps[:j]] if j < len(line.steps) - 1 else []
    taken = before + own + [line.letter] * (j < len(line.steps) - 1)
    if not taken:
        return None
    new = s.rng.choice(taken)
    if j == len(line.steps) - 1:
        line.letter = new
    line.steps[j] = new, line.steps[j][1]
    texts = s.parts()
    return join(texts), i + 1


def undefined_letter(s: Solution) -> Planted:
    place = s.any_word(str.isalpha)
    if place is None:
        return None
    i, j, k = place
    line = s.lines[i]
    earlier = [letter for before in s.lines[:i] for letter, _ in before.steps[:-1]]
    later = [letter for after in s.lines[i + 1 :] for letter, _ in after.steps]
    choices = [letters for letters in (s.free(), earlier, later, [line.letter]) if letters]
    new = s.rng.choice(s.rng.choice(choices))
    if line.steps[j][1][k] == new:
        return None
    s = s.changed()
    s.lines[i].steps[j][1][k] = new
    return s.text(), i + 1


def unused_intermediate(s: Solution) -> Planted:
    i, free = s.rng.randrange(len(s.lines)), s.free()
    if not free:
        return None
    s = s.changed()
    words = [line.letter for line in s.lines[:i]] + [str(s.rng.randrange(s.modulus)) for _ in range(2)]
    step = free[0], [s.rng.choice(words), s.rng.choice("+-*"), s.rng.choice(words)]
    s.lines[i].steps.insert(s.rng.randrange(len(s.lines[i].steps)), step)
    return s.text(), i + 1


def wrong_dependencies(s: Solution) -> Planted:
    place = s.any_word(str.isalpha)
    if place is None:
        return None
    i, j, k = place
    s = s.changed()
    words = s.lines[i].steps[j][1]
    others = [line.letter for line in s.lines[:i] if line.letter != words[k]]
    others += [letter for letter, _ in s.lines[i].steps[:j] if letter != words[k]]
    way = s.rng.randrange(3)
    if way == 0 and others:
        words[k] = s.rng.choice(others)
    elif way == 1 and len(words) == 3 and words[2 - k].isalpha() and j == len(s.lines[i].steps) - 1:
        words[:] = [words[k]]  # one part alone
    elif way == 2 and len(words) == 1 and others:
        words += [s.rng.choice("+-*"), s.rng.choice([*others, words[0]])]
    else:
        return None
    return s.text(), i + 1


def wrong_constant(s: Solution) -> Planted:
    place = s.any_word(str.isdigit)
    copying = s.any_line(lambda i, line: len(line.letters()) == len(line.steps) == len(line.steps[0][1]) == 1)
    s = s.changed()
    if copying is not None and s.rng.random() < 0.2:  # a constant too many
        s.lines[copying].steps[0][1][:0] = [str(s.rng.randrange(s.modulus)), s.rng.choice("+*")]
        return s.text(), copying + 1
    if place is None:
        return None
    i, j, k = place
    words = s.lines[i].steps[j][1]
    if len(words) == 3 and s.rng.random() < 0.2:  # repeated wrongly
        parts = s.parts()
        chain = parts[i][j + 1].split(" = ")
        numbers = chain[2].split(" ")
        numbers[k] = s.other_number(numbers[k])
        chain[2] = " ".join(numbers)
        parts[i][j + 1] = " = ".join(chain)
        return join(parts), i + 1
    words[k] = s.rng.choice([s.other_number(words[k]), str(s.modulus + int(words[k]))])
    return s.text(), i + 1


def wrong_operator(s: Solution) -> Planted:
    place = s.any_word(lambda word: word in "+-*")
    if place is None:
        return None
    i, j, k = place
    s = s.changed()
    words = s.lines[i].steps[j][1]
    new = s.rng.choice([o for o in "+-*" if o != words[k]])
    if s.rng.random() < 0.2:  # among the numbers only
        parts = s.parts()
        before, numbers, result = parts[i][j + 1].rsplit(" = ", 2)
        parts[i][j + 1] = f"{before} = {numbers.replace(words[k], new)} = {result}"
        return join(parts), i + 1
    words[k] = new
    return s.text(), i + 1


def wrong_grouping(s: Solution) -> Planted:
    s = s.changed()
    minus = s.any_word(lambda word: word == "-")
    if minus and s.rng.random() < 0.5:
        i, j, _ = minus
        s.lines[i].steps[j][1].reverse()
        return s.text(), i + 1
    longer = s.any_line(lambda i, line: len(line.steps) > 1)
    if longer is None:
        return None
    steps = s.lines[longer].steps
    total = [j for j, (_, words) in enumerate(steps) if words[1] == "*"]
    if len(total) > 1:  # two products exchange a factor
        one, other = (steps[j][1] for j in s.rng.sample(total, 2))
        one[2], other[2] = other[2], one[2]
        return s.text(), longer + 1
    before, words = steps[-2][1], steps[-1][1]
    if words[1] == "*" and words[0].isdigit():  # 5 * y + z for 5 * (y + z)
        steps[-2] = steps[-2][0], [words[0], "*", before[0]]
        steps[-1] = steps[-1][0], [steps[-2][0], before[1], before[2]]
        return s.text(), longer + 1
    return None


def wrong_number(s: Solution) -> Planted:
    place = s.any_word(str.isalpha)
    if place is None:
        return None
    i, j, k = place
    parts = s.parts()
    chain = parts[i][j + 1].split(" = ")
    numbers = chain[2].split(" ")
    numbers[k] = s.rng.choice([s.other_number(numbers[k]), str(int(numbers[k]) + s.modulus)])
    chain[2] = " ".join(numbers)
    if len(chain) == 4 and s.rng.random() < 0.5:
        chain[3] = str(computed(numbers, s.modulus))
    parts[i][j + 1] = " = ".join(chain)
    return join(parts), i + 1


def wrong_result(s: Solution) -> Planted:
    place = s.any_word(lambda word: word in "+-*")
    if place is None:
        return None
    i, j, _ = place
    right = s.parts()[i][j + 1].rpartition(" = ")[2]
    wrong = s.other_number(right)
    if s.rng.random() < 0.5:
        return join(s.parts(wrong=(i, j, int(wrong)))), i + 1
    parts = s.parts()
    parts[i][j + 1] = parts[i][j + 1].removesuffix(right) + s.rng.choice([wrong, str(int(right) + s.modulus)])
    return join(parts), i + 1


def query_not_reached(s: Solution) -> Planted:
    if len(s.lines) == 1:
        return None
    kept = s.rng.randint(1, len(s.lines) - 1)
    return join(s.parts()[:kept]), kept


def continues_after_query(s: Solution) -> Planted:
    again = s.renamed(s.rng.choice(s.lines))
    if again and s.rng.random() < 0.5:
        s = s.changed()
        s.lines.append(again)
        return s.text(), len(s.lines)
    more = s.rng.choice(["I do not know.", "Define", f"Define {s.lines[0].name} as BACK."])
    return f"{s.text()} {more}", len(s.lines) + 1


def wrong_answer(s: Solution) -> Planted:
    right = s.parts()[-1][-1].split(" ")[-1]
    answers = [s.other_number(right), f"{right} {right}", "seven", "", f"0{right}", str(int(right) + s.modulus)]
    return f"{s.text()} <answer> {s.rng.choice(answers)}", 0


PLANTERS: dict[str, Callable[[Solution], Planted]] = {
    planter.__name__.replace("_", " "): planter
    for planter in (
        truncated_sentence, malformed_sentence, missing_intermediate, unfinished_retry,
        unknown_name, absent_parameter, repeated_parameter, not_computable_yet,
        letter_reused, undefined_letter, unused_intermediate,
        wrong_dependencies, wrong_constant, wrong_operator, wrong_grouping, wrong_number, wrong_result,
        query_not_reached, continues_after_query, wrong_answer,
    )
}


def plant(kind: str, problem: str, solution: str, rng: random.Random, modulus: int = 23) -> Planted:
    """A wrong solution and the number of its first wrong sentence; None where there is no place for the kind."""
    solution_apart = take_apart(problem, solution, rng, modulus)
    found = (PLANTERS[kind](solution_apart) for _ in range(10))
    return next((planted for planted in found if planted), None)


def planted_errors(count: int, texts: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str | None]]:
    """``count`` errors, as many of each kind as of any other, planted in right solutions: (problem, solution).

    Yields:
        The kind of each, and the whole case where the checker does not catch it in its sentence under its name.
    """
    planted = Counter[str]()
    texts = iter(texts)
    for number in itertools.count():
        if planted.total() >= count:
            return
        problem, solution = next(texts)
        for kind in PLANTERS:
            found = plant(kind, problem, solution, random.Random(number)) if planted[kind] * 20 < count else None
            if found:
                planted[kind] += 1
                verdict = check(problem, found[0], retries=kind == "unfinished retry")
                named = (verdict.kind, verdict.sentence) == (kind, found[1]) and verdict.text != ""
                case = f"{kind} in sentence {found[1]}: {verdict}\n{problem}\n{solution}\n{found[0]}"
                yield kind, None if named else case


def generated_texts() -> Iterator[tuple[str, str]]:
    """The generator's, of the published families, theirs at the largest op and small ones in turns, without end."""
    med, hard = FAMILIES["med"], FAMILIES["hard"]
    largest = [med.exactly(15), med.exactly(23), hard.exactly(32)]
    families = [med, hard, *largest, replace(med, order="qp"), FAMILIES["small6"]]
    for index in itertools.count():
        for config in families:
            problem = generate(config, stream_key(config), index)
            yield problem.text(), problem.solution()
