"""The grammar of rewrites, read from ``surface_forms``: its derivations, their probabilities, its entropy.  No torch.

A text of A attributes is the full name, then A steps, then a full stop.  The order of the attributes is uniform over
all A!; a step draws one of the frames of its state, uniform over those that it may use, and one of the phrases of the
frame's category for its attribute, uniform too.  So, with F and P such frames and phrases at each step,

    p(derivation) = 1 / A!  prod_steps 1 / (F P)          p(text) = sum of its derivations

The last step may use only frames after which the sentence may end.  The entropy of the texts is that of their
derivations where no text has two (in bits, exact, for every person the same):

    H = log2 A! + sum_steps E[log2 F + mean_attributes log2 P]
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from physlm.tasks.biography.surface_forms import CLOSED, END, FRAMES, PHRASES, START

GENDERED = ("{He}", "{he}", "{His}", "{his}", "{him}")  # mentions that tell the gender
MENTIONS = (*GENDERED, "{first}", "{last}", "{name}")
VALUE = "{value}"
PRONOUN_FORMS = {"He": ("He", "he", "His", "his", "him"), "She": ("She", "she", "Her", "her", "her")}

Items = tuple[str, ...]  # words, mentions and the value, in order


class Frame(NamedTuple):
    """What stands before and behind a phrase, its category, whether its first letter is a capital, the next state."""

    before: Items
    category: str
    capital: bool
    after: Items
    target: str

    @property
    def column(self) -> tuple[str, bool]:
        """Which phrases stand in it."""
        return self.category, self.capital


class Choice(NamedTuple):
    """One step of a derivation: the attribute, and the places of frame and phrase in their lists."""

    attribute: str
    state: str
    frame: int
    phrase: int


class Grammar:
    """A grammar of rewrites.

    Args:
        frames, phrases: as in ``surface_forms``.
        attributes: those that a text tells; by default all that the phrases are about.

    Raises:
        ValueError: a frame or phrase of another form, a state without frames, a category without phrases.
    """

    def __init__(self, frames: Mapping[str, Sequence[str]] = FRAMES,
                 phrases: Mapping[str, Mapping[str, Sequence[str]]] = PHRASES,
                 attributes: Sequence[str] = ()):  # fmt: skip
        self.frames = {state: tuple(map(_frame, lines)) for state, lines in frames.items()}
        self.attributes = tuple(attributes or next(iter(phrases.values())))
        self._phrases: dict[tuple[tuple[str, bool], str], tuple[Items, ...]] = {}
        for category, lines in phrases.items():
            for name in self.attributes:
                found = tuple(map(_phrase, lines[name]))
                capitals = tuple((item[0][:1].upper() + item[0][1:], *item[1:]) for item in found)
                self._phrases[(category, False), name], self._phrases[(category, True), name] = found, capitals
        for state, listed in self.frames.items():
            _check_listed(f"frames of {state}", listed)
            for frame in listed:
                if frame.target not in self.frames or (frame.column, self.attributes[0]) not in self._phrases:
                    raise ValueError(f"frame of {state}: got {frame}, expected a state of {', '.join(self.frames)} and "
                                     f"a category of {', '.join(phrases)}")
        for ((category, _), name), found in self._phrases.items():
            _check_listed(f"{category} of {name}", found)

    @functools.cached_property
    def words(self) -> tuple[str, ...]:
        """Every word of the rules, each once; the pronouns too."""
        found: dict[str, None] = dict.fromkeys(word for forms in PRONOUN_FORMS.values() for word in forms)
        for frames in self.frames.values():
            for frame in frames:
                found.update(dict.fromkeys((*frame.before, *frame.after)))
                for name in self.attributes:
                    found.update(dict.fromkeys(itertools.chain(*self.phrases(frame, name))))
        return (*(word for word in found if not word.startswith("{")), END)

    def usable(self, state: str, last: bool) -> tuple[Frame, ...]:
        """The frames that a step may use; the last step those after which the text may end."""
        return tuple(frame for frame in self.frames[state] if not last or frame.target in CLOSED)

    def phrases(self, frame: Frame, attribute: str) -> tuple[Items, ...]:
        """The phrases that may stand in a frame."""
        return self._phrases[frame.column, attribute]

    def items(self, choice: Choice, last: bool) -> Items:
        """The words, mentions and value of a step."""
        frame = self.usable(choice.state, last)[choice.frame]
        return (*frame.before, *self.phrases(frame, choice.attribute)[choice.phrase], *frame.after)

    def derivations(self, text: Sequence[str], person: Mapping[str, Sequence[str]]) -> list[tuple[Choice, ...]]:
        """All derivations of a text about a person; none if it is not one of the grammar's.

        Args:
            person: the words of every mention and of every attribute, as ``person_words`` gives them.
        """
        name = tuple(person["{name}"])
        if tuple(text[: len(name)]) != name:
            return []
        return list(self._continued(tuple(text), len(name), START, frozenset(), person))

    def probability(self, text: Sequence[str], person: Mapping[str, Sequence[str]]) -> float:
        """The probability of a text about a person."""
        return math.fsum(2.0 ** self.log2_probability(derivation) for derivation in self.derivations(text, person))

    def log2_probability(self, derivation: Sequence[Choice]) -> float:
        """Log2 of the probability of one derivation."""
        bits, steps = math.log2(math.factorial(len(self.attributes))), len(self.attributes)
        for number, choice in enumerate(derivation, 1):
            frames = self.usable(choice.state, number == steps)
            bits += math.log2(len(frames) * len(self.phrases(frames[choice.frame], choice.attribute)))
        return -bits

    def entropy(self) -> float:
        """H of the derivations, in bits."""
        bits, steps = math.log2(math.factorial(len(self.attributes))), len(self.attributes)
        for number, shares in enumerate(self.state_shares(), 1):
            for state, share in shares.items():
                frames = self.usable(state, number == steps)
                phrases = [math.log2(len(self.phrases(frame, name))) for frame in frames for name in self.attributes]
                bits += share * (math.log2(len(frames)) + sum(phrases) / len(phrases))
        return bits

    def state_shares(self) -> list[dict[str, float]]:
        """How probable each state is at each step; which attribute is told does not matter to it."""
        found = [{START: 1.0}]
        for _ in self.attributes[1:]:
            shares: dict[str, float] = {}
            for state, share in found[-1].items():
                frames = self.usable(state, last=False)
                for frame in frames:
                    shares[frame.target] = shares.get(frame.target, 0.0) + share / len(frames)
            found.append(shares)
        return found

    def all_derivations(self) -> Iterator[tuple[Choice, ...]]:
        """Every derivation; there are few of them in small grammars only."""

        def further(state: str, left: tuple[str, ...]) -> Iterator[tuple[Choice, ...]]:
            if not left:
                yield ()
                return
            for number, frame in enumerate(self.usable(state, len(left) == 1)):
                for phrase in range(len(self.phrases(frame, left[0]))):
                    for rest in further(frame.target, left[1:]):
                        yield Choice(left[0], state, number, phrase), *rest

        for order in itertools.permutations(self.attributes):
            yield from further(START, order)

    def written(self, derivation: Sequence[Choice], person: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
        """The text of a derivation."""
        text = [*person["{name}"]]
        for number, choice in enumerate(derivation, 1):
            for item in self.items(choice, number == len(self.attributes)):
                text += _spelt(item, choice.attribute, person)
        return (*text, END)

    def _continued(self, text: tuple[str, ...], at: int, state: str, told: frozenset[str],
                   person: Mapping[str, Sequence[str]]) -> Iterator[tuple[Choice, ...]]:  # fmt: skip
        """The derivations of what follows place ``at``."""
        if len(told) == len(self.attributes):
            if text[at:] == (END,):
                yield ()
            return
        for number, frame in enumerate(self.usable(state, len(told) == len(self.attributes) - 1)):
            begun = _match(text, at, frame.before, "", person)
            if begun is None:
                continue
            for name in self.attributes:
                if name in told:
                    continue
                for which, phrase in enumerate(self.phrases(frame, name)):
                    end = _match(text, begun, (*phrase, *frame.after), name, person)
                    if end is not None:
                        for rest in self._continued(text, end, frame.target, told | {name}, person):
                            yield Choice(name, state, number, which), *rest


@functools.cache
def rewrites_grammar() -> Grammar:
    """That of the package."""
    return Grammar()


def person_words(name: Sequence[str], values: Mapping[str, Sequence[str]], pronoun: str) -> dict[str, tuple[str, ...]]:
    """The words of every mention of a person and of every attribute.

    Args:
        name: first, middle and last name.
        values: the words of each attribute's value.
        pronoun: ``He`` or ``She``.
    """
    forms = {kind: (form,) for kind, form in zip(GENDERED, PRONOUN_FORMS[pronoun], strict=True)}
    names = {"{first}": (name[0],), "{last}": (name[-1],), "{name}": tuple(name)}
    return {**forms, **names, **{attribute: tuple(value) for attribute, value in values.items()}}


def _spelt(item: str, attribute: str, person: Mapping[str, Sequence[str]]) -> Sequence[str]:
    return person[attribute] if item == VALUE else person[item] if item.startswith("{") else (item,)


def _match(text: tuple[str, ...], at: int, items: Items, attribute: str,
           person: Mapping[str, Sequence[str]]) -> int | None:  # fmt: skip
    """Where the items end that stand at this place, None if they do not."""
    for item in items:
        words = tuple(_spelt(item, attribute, person))
        if text[at : at + len(words)] != words:
            return None
        at += len(words)
    return at


def _check_listed(what: str, listed: Sequence[object]) -> None:
    if not listed or len(set(listed)) < len(listed):
        raise ValueError(f"{what}: got {listed}, expected at least one, each once")


def _frame(line: str) -> Frame:
    body, arrow, target = line.partition(" > ")
    items = body.split()
    places = [place for place, item in enumerate(items) if item.lstrip("^").isupper() and item.lstrip("^") in PHRASES]
    if not arrow or len(places) != 1 or not set(filter(_is_slot, items)) <= set(MENTIONS):
        raise ValueError(f"frame: got {line!r}, expected words, mentions and one category, then > and a state")
    category = items[places[0]]
    return Frame(tuple(items[: places[0]]), category.lstrip("^"), category.startswith("^"),
                 tuple(items[places[0] + 1 :]), target)  # fmt: skip


def _phrase(line: str) -> Items:
    items = tuple(line.split())
    slots = list(filter(_is_slot, items))
    if slots.count(VALUE) != 1 or not set(slots) <= {VALUE, *MENTIONS} or _is_slot(items[0]):
        raise ValueError(f"phrase: got {line!r}, expected words, {VALUE} once, and mentions such as {MENTIONS[1]}")
    return items


def _is_slot(item: str) -> bool:
    return item.startswith("{")
