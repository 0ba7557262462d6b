"""Regular languages in context: automata by their laws, strings walked edge by edge, what is held out, refusals."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch
from chance import near

from physlm import rng
from physlm.errors import UserError
from physlm.tasks.rows import IGNORE
from physlm.tasks.state.regular import BOS, FIRST_LETTER, SEPARATOR, RegularConfig

SMALL = RegularConfig(5, 3, 6, 2, 8, 0, row_tokens=40)
Edges = list[dict[int, int]]


def automata(config: RegularConfig, count: int, split: str = "train", stream: int = 0) -> list[Edges]:
    """Of the first rows: from each state, letter -> state."""
    found = config.build().automata(torch.arange(count), split, stream)
    return [[dict(zip(letters[:n], states, strict=False)) for n, letters, states in zip(*one, strict=True)]
            for one in zip(*(x.tolist() for x in found), strict=True)]


def language(edges: Edges) -> tuple[tuple[tuple[int, int], ...], ...]:
    """The least automaton of the same strings, its states numbered as they are first met: a form of the language."""
    part = [0] * len(edges)
    while True:  # states that differ in letters, or in where these lead, differ (Moore)
        signs = [(part[s], *sorted((letter, part[to]) for letter, to in edges[s].items())) for s in range(len(edges))]
        numbers = {sign: n for n, sign in enumerate(dict.fromkeys(signs))}
        new = [numbers[sign] for sign in signs]
        if len({*new}) == len({*part}):
            break
        part = new
    member = {part[s]: s for s in reversed(range(len(edges)))}
    met, form = {part[0]: 0}, []
    for one in met_in_order(part[0], member, part, edges, met):
        form.append(tuple(sorted((letter, met[part[to]]) for letter, to in edges[member[one]].items())))
    return tuple(form)


def met_in_order(first: int, member: dict[int, int], part: list[int], edges: Edges, met: dict[int, int]) -> list[int]:
    order = [first]
    for one in order:
        for _, to in sorted(edges[member[one]].items()):
            if part[to] not in met:
                met[part[to]] = len(met)
                order.append(part[to])
    return order


@pytest.mark.parametrize("config", [
    SMALL, RegularConfig(), RegularConfig(states=4), RegularConfig(12, 5, edges=4, letters=4),
    RegularConfig(3, 2, edges=1), RegularConfig(200, 100, 250),
], ids=lambda config: config.title)  # fmt: skip
def test_every_state_has_different_letters_to_different_other_states(config: RegularConfig) -> None:
    for edges in automata(config, 50):
        assert len(edges) == config.states
        for state, leads in enumerate(edges):
            assert 1 <= len(leads) <= config.edges and len({*leads.values()}) == len(leads)
            assert state not in leads.values()
            assert all(FIRST_LETTER <= letter < FIRST_LETTER + config.letters for letter in leads)
    for n in {len({letter for leads in edges for letter in leads}) for edges in automata(config, 50)}:
        assert n <= config.letters


def test_automata_have_the_published_laws() -> None:
    config, count = RegularConfig(automata=0), 6000
    found = automata(config, count)
    degrees = Counter(len(leads) for edges in found for leads in edges)
    assert all(near(degrees[n], 12 * count, 1 / 3) for n in (1, 2, 3))
    letters = Counter(letter for edges in found for letter in edges[0])
    total = sum(letters.values())
    assert len(letters) == 18 and all(near(n, total, 1 / 18) for n in letters.values())
    # where state 0 leads: with n states, uniform in 4 .. 12, to each other one as often
    first = Counter(next(iter(edges[0].values())) for edges in found)
    for state in range(1, 12):
        assert near(first[state], count, sum(1 / (n - 1) for n in range(max(4, state + 1), 13)) / 9)
    # two edges of a state have the same number of letters to choose from: of a, uniform in 4 .. 18, all in use
    pairs = Counter(tuple(edges[0])[:2] for edges in found if len(edges[0]) > 1)
    assert all(a != b for a, b in pairs) and all(near(n, pairs.total(), 1 / (18 * 17)) for n in pairs.values())
    sizes = Counter(len({letter for leads in edges for letter in leads}) for edges in found)
    assert max(sizes) <= 18 and sum(sizes[n] for n in range(5)) > count / 15 - 5 * math.sqrt(count / 15), "some have 4"


@pytest.mark.parametrize("config", [
    SMALL, RegularConfig(), RegularConfig(longest=1, row_tokens=9), RegularConfig(longest=300, row_tokens=100),
    RegularConfig(12, 5, edges=4, row_tokens=65), RegularConfig(row_tokens=4),
], ids=lambda config: f"{config.title} {config.longest}")  # fmt: skip
def test_strings_are_walks_from_the_first_state(config: RegularConfig) -> None:
    inputs, targets = config.build().rows(torch.arange(60))
    for row, answers, edges in zip(inputs.tolist(), targets.tolist(), automata(config, 60), strict=True):
        state, length = 0, 0
        assert row[0] == BOS and BOS not in row[1:]
        for token, answer in zip(row, answers, strict=True):
            if token >= FIRST_LETTER:
                state, length = edges[state][token], length + 1
            else:
                assert token == BOS or length > 0
                state, length = 0, 0
            assert length <= config.longest and (answer == IGNORE or answer in edges[state])
        for place, (_, token) in enumerate(pairwise(row)):
            assert answers[place] == (token if token >= FIRST_LETTER else IGNORE)


@pytest.mark.parametrize("config", [SMALL, RegularConfig(row_tokens=200), RegularConfig(12, 5, edges=4, row_tokens=61)],
                         ids=lambda config: config.title)  # fmt: skip
def test_rows_are_those_of_a_plain_walk(config: RegularConfig) -> None:
    """One token after another by the same draws: a length a string, and a third of 63 bits a token for its edge."""
    inputs, targets = config.build().rows(torch.arange(20), "validation", 3)
    key, shared = rng.key("regular", config.seed, "validation", 3), math.lcm(*range(1, config.edges + 1))
    for r, (row, last, edges) in enumerate(zip(inputs.tolist(), targets[:, -1].tolist(),
                                               automata(config, 20, "validation"), strict=True)):
        lengths, shares = (rng.bits(rng.key(name, key), torch.tensor([r])) for name in ("length", "edge"))
        text, string, left, state = [BOS], 0, 0, 0
        left = 1 + int(rng.below(config.longest, lengths, torch.tensor(0)))
        for t in range(config.row_tokens):
            if not left:
                string, state = string + 1, 0
                left = 1 + int(rng.below(config.longest, lengths, torch.tensor(string)))
                text.append(SEPARATOR)
                continue
            third = int(rng.bits(shares, torch.tensor(t // 3))) >> 21 * (t % 3) & ((1 << 21) - 1)
            leads = [*edges[state].items()]
            letter, state = leads[(third * shared >> 21) * len(leads) // shared]
            text.append(letter)
            left -= 1
        assert row == text[:-1] and last == (text[-1] if text[-1] >= FIRST_LETTER else IGNORE)


def test_lengths_are_uniform_and_edges_alike() -> None:
    config = RegularConfig(4, 4, 6, 3, longest=5, automata=1, row_tokens=400)
    inputs, _ = config.build().rows(torch.arange(400))
    (edges,) = automata(config, 1)
    lengths, taken = Counter[int](), Counter[tuple[int, int]]()
    for row in inputs.tolist():
        state, length = 0, 0
        for token in row[1:]:
            if token == SEPARATOR:
                lengths[length] += 1
                state, length = 0, 0
                continue
            taken[state, token] += 1
            state, length = edges[state][token], length + 1
    assert all(near(lengths[n], lengths.total(), 1 / 5) for n in range(1, 6)) and len(lengths) == 5
    for state, leads in enumerate(edges):
        total = sum(taken[state, letter] for letter in leads)
        assert all(near(taken[state, letter], total, 1 / len(leads)) for letter in leads)
    assert {*taken} <= {(state, letter) for state, leads in enumerate(edges) for letter in leads}


def test_the_truth_is_what_the_state_allows_each_as_likely() -> None:
    for config in (SMALL, RegularConfig()):
        rows, truth = config.build().truth(20, "validation")
        assert truth.shape == (20, config.row_tokens, len(config.vocabulary()))
        for row, answers, shares, edges in zip(*(x.tolist() for x in rows), truth.tolist(),
                                               automata(config, 20, "validation"), strict=True):
            state = 0
            for token, answer, share in zip(row, answers, shares, strict=True):
                state = edges[state][token] if token >= FIRST_LETTER else 0
                expected = [0.0] * len(share)
                for letter in edges[state] if answer != IGNORE else ():
                    expected[letter] = 1 / len(edges[state])
                assert share == pytest.approx(expected)


def test_training_sees_its_automata_again_with_other_strings_and_no_test_has_one_of_them() -> None:
    config = RegularConfig()
    task = config.build()
    once, again = (task.rows(torch.arange(start, start + 50)).inputs_RT for start in (0, 5000))
    assert not (once == again).all(1).any()
    assert automata(config, 50) == automata(config, 50, stream=7), "of a finite set, whoever trains"
    new = dataclasses.replace(config, automata=0)
    assert automata(new, 50) != automata(new, 50, stream=7)
    ends = [row.index(0, 1) if 0 in row[1:] else len(row) for row in again.tolist()]
    for number, (row, end) in enumerate(zip(again.tolist(), ends, strict=True)):  # the same automaton as row - 5000
        text = row[:end] if row[end - 1] >= FIRST_LETTER else row[: end - 1]
        assert task.fault(text, number, "train") == ""
    seen = {language(edges) for edges in automata(config, 5000)}
    assert len(seen) >= 4990, "different languages, nearly all"
    for split in ("validation", "evaluation"):
        tested = [language(edges) for edges in automata(config, 250, split)]
        both = [one for one in tested if one in seen]
        assert len({*tested}) == 250 and len(both) <= 6
        assert all(len(one) <= 2 for one in both), "they say one or two letters in turn"


def test_merged_states_leave_every_probability_as_it_is() -> None:
    """Why automata need not be minimised: the least automaton of a language walks its strings as often."""
    def chance(edges: Edges, string: tuple[int, ...]) -> float:
        state, found = 0, 1.0
        for letter in string:
            if letter not in edges[state]:
                return 0.0
            found, state = found / len(edges[state]), edges[state][letter]
        return found

    smaller = 0
    for edges in automata(RegularConfig(8, 4, 4, 2), 200):
        least = [dict(leads) for leads in language(edges)]
        smaller += len(least) < len(edges)
        strings = [(a, b, c) for a in edges[0] for b in range(2, 6) for c in range(2, 6)]
        assert [chance(least, string) for string in strings] == [chance(edges, string) for string in strings]
    assert smaller > 20


def test_its_own_samples_pass_the_verifier_and_those_of_other_automata_do_not() -> None:
    task = SMALL.build()
    right = wrong = 0
    for begin in range(0, 100_000, 20_000):
        numbers = torch.arange(begin, begin + 20_000)
        automata_of = [x.tolist() for x in task.automata(numbers, "train", 0)]
        for text, *table in zip(task.texts(numbers, "train"), *automata_of, strict=True):
            right += task.fault(text.ids, text.about["instance"], "train", table) == ""
    for text in task.texts(torch.arange(300), "train"):
        wrong += task.fault(text.ids, text.about["instance"] + 1, "train") != ""
    assert right == 100_000 and wrong > 290


def test_the_verifier_on_planted_cases() -> None:
    task = SMALL.build()
    (edges,) = automata(SMALL, 1, "evaluation")
    first, state = next(iter(edges[0].items()))
    second = next(iter(edges[state]))
    other = next(letter for letter in range(FIRST_LETTER, FIRST_LETTER + 6) if letter not in edges[state])
    for ids, fault in (
        ([0, first, second], ""), ([0, first, 1, first, second, 0], ""),
        ([0, first, other], "got a letter that the automaton does not allow"),
        ([0, first, 1, first, other], "got a letter"), ([0, 1, first], "got an empty string"),
        ([0, first, 1, 1, first], "got an empty string"), ([first, second], "got no <bos>"),
        ([0, first, 1], "got no <bos> and strings of letters"), ([0, first, 8], "got a token that is no word"),
        ([0, first, 0, first], "got no <bos>"), ([], "got no <bos>"),
    ):
        assert task.fault(ids, 0).startswith(fault) and (fault or not task.fault(ids, 0)), ids


def test_an_answer_is_right_if_the_automaton_allows_it_and_exact_if_it_was_drawn() -> None:
    for config in (SMALL, RegularConfig(row_tokens=100)):
        task = config.build()
        for split in ("evaluation", "validation"):
            prompts = task.prompts(60, split)
            known = automata(config, 60, split)
            for token in range(-1, len(config.vocabulary()) + 1):
                ids = torch.cat((prompts.ids_BP, torch.zeros_like(prompts.ids_BP[:, :2])), 1)
                ids.scatter_(1, prompts.lengths_B[:, None], token)
                grades = task.grade(prompts, ids)
                for row, n, edges, allowed in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), known,
                                                  grades.answer_B.tolist(), strict=True):  # fmt: skip
                    state = 0
                    for read in row[1:n]:
                        state = edges[state][read] if read >= FIRST_LETTER else 0
                    assert allowed == (token in edges[state])
                assert not (grades.exact_B & ~grades.answer_B).any()
            some = prompts.some(torch.tensor([7, 3]))
            assert task.grade(some, torch.cat((some.ids_BP, some.answers_BQ), 1)).hint_B.all()


@pytest.mark.parametrize(("settings", "message"), [
    ({"states": 257}, r"task\.states: got 257, expected between 2 and 256"),
    ({"fewest_states": 13}, r"task\.fewest_states: got 13, expected between 2 and 12"),
    ({"letters": 3}, r"task\.letters: got 3, expected between 4 and 256"),
    ({"edges": 4}, r"task\.edges: got 4, expected between 1 and 3"),
    ({"fewest_states": 8, "edges": 5}, r"task\.edges: got 5, expected between 1 and 4"),
    ({"longest": 0}, r"task\.longest: got 0, expected between 1 and"),
    ({"automata": -1}, r"task\.automata: got -1, expected between 0 and"),
    ({"row_tokens": 3}, r"task\.row_tokens: got 3, expected between 4 and"),
])  # fmt: skip
def test_what_there_is_not_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(RegularConfig(), **settings)
