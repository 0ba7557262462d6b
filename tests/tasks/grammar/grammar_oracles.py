"""Obvious, slow ways to say what a grammar does, for comparing."""

import itertools
import math
import random
from collections import defaultdict


def all_strings(grammar):
    """{string: (probability, number of derivations)} of every string of a small grammar."""
    below: list[dict[tuple[int, ...], tuple[float, int]]] = [
        {(token,): (1.0, 1)} for token in range(len(grammar.terminals))]
    for level in range(grammar.depth - 1, -1, -1):
        here = []
        for symbol in range(len(grammar.levels[level])):
            found: defaultdict[tuple[int, ...], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
            for rule in grammar.rules_of(level, symbol):
                for parts in itertools.product(*(below[child].items() for child in rule.children)):
                    string = sum((part for part, _ in parts), ())
                    p, ways = found[string]
                    found[string] = (p + rule.probability * math.prod(value[0] for _, value in parts),
                                     ways + math.prod(value[1] for _, value in parts))
            here.append(dict(found))
        below = here
    return below[0]


def inside(grammar, string):
    """For each level {(symbol, start, end): (probability, number of derivations)} of every part that is derived."""
    levels = [{(token, i, i + 1): (1.0, 1) for i, token in enumerate(string)}]
    for level in range(grammar.depth - 1, -1, -1):
        starting = defaultdict(list)
        for (symbol, start, end), value in levels[0].items():
            starting[symbol, start].append((end, *value))
        here: defaultdict[tuple[int, int, int], tuple[float, int]] = defaultdict(lambda: (0.0, 0))
        for rule in grammar.rules[level]:
            for start in range(len(string)):
                ends = {start: (rule.probability, 1)}
                for child in rule.children:
                    further: defaultdict[int, tuple[float, int]] = defaultdict(lambda: (0.0, 0))
                    for place, (p, ways) in ends.items():
                        for end, q, more in starting[child, place]:
                            further[end] = further[end][0] + p * q, further[end][1] + ways * more
                    ends = further
                for end, (p, ways) in ends.items():
                    key = rule.parent, start, end
                    here[key] = here[key][0] + p, here[key][1] + ways
        levels.insert(0, dict(here))
    return levels


def parses(grammar, string):
    """The number of derivations of a whole string."""
    return inside(grammar, string)[0].get((0, 0, len(string)), (0.0, 0))[1]


def draw(grammar, rng):
    """One random string."""
    symbols = [0]
    for level in range(grammar.depth):
        below = []
        for symbol in symbols:
            rules = grammar.rules_of(level, symbol)
            below += rng.choices(rules, [rule.probability for rule in rules])[0].children
        symbols = below
    return symbols


def mixed_strings(grammar, count, seed):
    """Valid strings, one-token corruptions, truncations and random strings in equal parts."""
    rng = random.Random(seed)
    alphabet = range(len(grammar.terminals))
    for number in range(count):
        string = draw(grammar, rng)
        place = rng.randrange(len(string))
        if number % 4 == 1:
            string[place] = rng.choice([token for token in alphabet if token != string[place]] or [string[place]])
        elif number % 4 == 2:
            string = string[:place]
        elif number % 4 == 3:
            string = rng.choices(alphabet, k=len(string))
        yield string
