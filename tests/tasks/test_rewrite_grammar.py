"""The grammar of rewrites: probabilities that sum to one, no dead rule, no choice where a fact is told."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import pytest
import torch
from rewritten_people import FORTY, WHOLE, people, read

from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.rewrite_grammar import PRONOUN_FORMS, VALUE, Choice, Grammar
from physlm.tasks.biography.surface_forms import CLOSED, END, FRAMES, PHRASES, START


def small(attributes: int, phrases: int) -> Grammar:
    cut = {category: {name: lines[:phrases] for name, lines in by.items()} for category, by in PHRASES.items()}
    return Grammar(FRAMES, cut, ATTRIBUTES[:attributes])


@pytest.mark.parametrize(("attributes", "phrases"), [(1, 10), (2, 3), (3, 1)])
def test_probabilities_of_a_small_grammar_sum_to_one(attributes: int, phrases: int) -> None:
    """Every text, found by enumeration, has the probability that is read off the text alone."""
    grammar, person = small(attributes, phrases), people(FORTY)[0]
    derived = defaultdict[tuple[str, ...], float](float)
    bits = 0.0
    for derivation in grammar.all_derivations():
        probability = 2.0 ** grammar.log2_probability(derivation)
        derived[grammar.written(derivation, person)] += probability
        bits -= probability * math.log2(probability)
    assert math.fsum(derived.values()) == pytest.approx(1.0, abs=1e-12)
    assert grammar.entropy() == pytest.approx(bits)
    assert -math.fsum(p * math.log2(p) for p in derived.values()) == pytest.approx(bits), "one derivation a text"
    for text in itertools.islice(derived, 0, None, max(1, len(derived) // 500)):
        assert grammar.probability(text, person) == pytest.approx(derived[text])
    text = next(iter(derived))
    assert grammar.probability(text[:-1], person) == grammar.probability(("Nobody", *text[1:]), person) == 0.0


def test_a_grammar_with_two_ways_to_one_text_adds_them_up() -> None:
    frames = {START: ("and VP > second", "VP > second"), "second": ("VP > second",)}
    phrases = {"VP": {"birth_city": ("and hailed from {value}", "hailed from {value}")}}
    grammar, person = Grammar(frames, phrases), people(FORTY)[0]
    text = (*person["{name}"], "and", "hailed", "from", *person["birth_city"], END)
    assert len(grammar.derivations(text, person)) == 2 and grammar.probability(text, person) == 0.5


def test_sampled_texts_have_their_probability() -> None:
    """Each text has one derivation, which is the sampler's; the mean of -log2 p is the entropy."""
    bits = []
    for person, texts in zip(people(FORTY), read(FORTY, 10), strict=True):
        for text, _ in texts:
            (derivation,) = WHOLE.derivations(text, person)
            assert WHOLE.written(derivation, person) == text
            bits.append(-WHOLE.log2_probability(derivation))
    mean, spread = sum(bits) / len(bits), torch.tensor(bits).std().item() / math.sqrt(len(bits))
    assert abs(mean - WHOLE.entropy()) < 5 * spread
    somebody = people(FORTY)[1]
    assert WHOLE.derivations(read(FORTY, 10)[0][0][0], somebody) == []


def test_the_sampler_draws_frames_and_phrases_as_the_grammar_says() -> None:
    """Of fresh texts: the states of each step, and within them frames and phrases, uniformly; no rule is dead."""
    config = dataclasses.replace(FORTY, texts=0, people=400)
    found: Counter[tuple[int, Choice]] = Counter()
    for person, texts in zip(people(config), read(config, 20), strict=True):
        for text, _ in texts:
            (derivation,) = WHOLE.derivations(text, person)
            found.update(enumerate(derivation))
    count = 20 * config.people
    for step, shares in enumerate(WHOLE.state_shares()):
        for state, share in shares.items():
            frames = WHOLE.usable(state, step == len(ATTRIBUTES) - 1)
            for number, frame in enumerate(frames):
                seen = sum(n for (at, choice), n in found.items()
                           if (at, choice.state, choice.frame) == (step, state, number))  # fmt: skip
                expected = count * share / len(frames)
                assert abs(seen - expected) < 5.5 * math.sqrt(expected) + 1, (step, state, frame)
    used = {(WHOLE.usable(choice.state, step == 5)[choice.frame].column[0], choice.attribute, choice.phrase)
            for step, choice in found}  # fmt: skip
    assert used == {(category, name, i) for category, by in PHRASES.items() for name, lines in by.items()
                    for i in range(len(lines))}  # fmt: skip


def test_no_rule_is_dead() -> None:
    """Each state is reached before the last step and at it or not at all, and each frame can be used."""
    shares = WHOLE.state_shares()
    for state, frames in WHOLE.frames.items():
        steps = [step for step, found in enumerate(shares) if state in found]
        assert steps and frames
        for step in steps:
            assert WHOLE.usable(state, step == len(ATTRIBUTES) - 1), (state, step)
        usable = {frame for step in steps for frame in WHOLE.usable(state, step == len(ATTRIBUTES) - 1)}
        assert usable == set(frames), state
    assert {frame.category for frames in WHOLE.frames.values() for frame in frames} == set(PHRASES)
    assert set(CLOSED) <= set(FRAMES) and {"first", "second"} & set(shares[-1]) == set(), "the gender is always told"
    many = read(dataclasses.replace(FORTY, people=400), 40)
    assert set(WHOLE.words) <= {word for texts in many for text, _ in texts for word in text}


Place = tuple[str, int, str, int, int]  # state, frame, attribute, phrase, place in the items of the step


def symbols(item: str, attribute: str) -> str:
    """``{value}`` of an attribute is a symbol; so is a mention, where ``her`` is both his and him."""
    slot = {VALUE: f"<{attribute}>", "{His}": "Her", "{his}": "her", "{him}": "her", "{He}": "She", "{he}": "she"}
    return slot.get(item, item)


def opened(grammar: Grammar, state: str) -> list[Place]:
    return [(state, frame, name, phrase, 0) for frame, one in enumerate(grammar.frames[state]) for name in ATTRIBUTES
            for phrase in range(len(grammar.phrases(one, name)))]  # fmt: skip


def moved(grammar: Grammar, places: Iterable[Place]) -> dict[str, list[Place]]:
    """After each symbol that may come next the places of the grammar, each as often as it is reached."""
    found: dict[str, list[Place]] = {}
    for state, frame, name, phrase, at in places:
        items = grammar.items(Choice(name, state, frame, phrase), last=False)
        after = found.setdefault(symbols(items[at], name), [])
        if at + 1 < len(items):
            after.append((state, frame, name, phrase, at + 1))
        else:
            after += opened(grammar, grammar.frames[state][frame].target)
    return found


def fault(grammar: Grammar) -> str:
    """What else could follow where a fact is told, or which symbol ends two derivations of one beginning; or nothing.

    All beginnings of texts at once, by the subset construction; that each attribute is told once is left out, which
    only allows more.  Pronouns count until the first has told the gender.
    """
    told_gender = {"She", "she", "Her", "her"}
    begin = (tuple(opened(grammar, START)), False)
    seen, waiting = {begin}, [begin]
    while waiting:
        places, told = waiting.pop()
        following = moved(grammar, places)
        facts = [symbol for symbol in following if symbol.startswith("<") or (not told and symbol in told_gender)]
        if facts and len(following) > 1:
            return f"{min(facts)} or {min(set(following) - {min(facts)})}"
        for symbol, after in following.items():
            if len(set(after)) < len(after):
                return f"two ways to {symbol}"
            belief = (tuple(sorted(after)), told or symbol in told_gender)
            if belief not in seen:
                seen.add(belief)
                waiting.append(belief)
    assert len(seen) > 500
    return ""


def test_where_a_fact_is_told_nothing_else_could_follow() -> None:
    """So a model that knows the person need not lose anything there; and no text has two derivations."""
    assert fault(WHOLE) == ""


@pytest.mark.parametrize(("state", "frame", "phrase", "expected"), [
    ("", "", "had {value} as a birthplace", "<birth_city> or a"),
    ("", "", "worked in {value}", "<birth_city> or <employer_city>"),
    ("", "", "also was born in {value}", "two ways to <birth_city>"),
    ("fronted", "{last} VP > clause", "", "she or {last}"),
    ("second", ", and PERFECT > second", "", "she or been"),
    ("clause", ", and VP > joined", "", ""),
])  # fmt: skip
def test_a_rule_that_breaks_this_is_found(state: str, frame: str, phrase: str, expected: str) -> None:
    frames = {name: (*lines, *([frame] if name == state else [])) for name, lines in FRAMES.items()}
    more = {"birth_city": (*PHRASES["VP"]["birth_city"], *filter(None, [phrase]))}
    assert fault(Grammar(frames, {**PHRASES, "VP": {**PHRASES["VP"], **more}})) == expected


def test_faults_of_rules_are_named() -> None:
    for frame in ("VP", "VP VP > first", "a {value} VP > first", "words > first"):
        with pytest.raises(ValueError, match="frame: got"):
            Grammar({START: (frame,), "first": ("VP > first",)})
    with pytest.raises(ValueError, match="expected a state of"):
        Grammar({START: ("VP > nowhere",)})
    with pytest.raises(ValueError, match="each once"):
        Grammar({START: ("VP > named", "VP > named")})
    for phrase in ("was born", "{value} was", "was {value} {value}", "was {it} {value}"):
        with pytest.raises(ValueError, match="phrase: got"):
            Grammar({START: ("VP > named",)}, {"VP": {"birth_city": (phrase,)}})
    assert {kind for forms in PRONOUN_FORMS.values() for kind in forms} <= set(WHOLE.words)
