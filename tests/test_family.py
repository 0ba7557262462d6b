"""Families of configs: kinds of the package, kinds defined elsewhere, short forms, overrides through tuples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest

from physlm.config import Family, content_hash, from_dict, override, to_dict
from physlm.errors import UserError


class Animal(Family):
    """Of these tests."""

    table: ClassVar = {"bird": "test_family:Bird", "gone": "test_family:Gone"}


@dataclass(frozen=True)
class Cat(Animal):
    kind: ClassVar[str] = "cat"
    lives: int = 9


@dataclass(frozen=True)
class Dog(Animal):
    kind: ClassVar[str] = "dog"


@dataclass(frozen=True)
class House:
    pet: Animal = Cat()
    more: tuple[Animal, ...] = (Cat(), Dog())


def test_members_survive_json_and_short_forms_mean_the_defaults():
    house = House(Dog(), (Cat(3),))
    assert from_dict(House, to_dict(house)) == house
    assert from_dict(House, {"pet": "dog", "more": "cat"}) == House(Dog(), (Cat(),))
    assert from_dict(House, {"more": {"kind": "cat", "lives": 2}}).more == (Cat(2),)


def test_settings_at_their_default_do_not_count_in_the_hash():
    assert content_hash(House()) == content_hash(House(Cat(9)))
    assert content_hash(House(Cat(8))) != content_hash(House())
    assert content_hash(House(Dog())) != content_hash(House())


def test_an_override_through_a_tuple_changes_all_of_it():
    assert override(House(more=(Cat(), Cat())), ["more.lives=2"]).more == (Cat(2), Cat(2))
    assert override(House(), ["more=dog", "pet.lives=1"]) == House(Cat(1), (Dog(),))
    with pytest.raises(UserError, match=r"more\[1\]\.lives: unknown name"):
        override(House(), ["more.lives=2"])
    with pytest.raises(UserError, match="there are no settings in 'more.tail'"):
        override(House(), ["more.tail.length=2"])


def test_unknown_kinds_name_the_nearest_and_taken_kinds_are_refused():
    with pytest.raises(UserError, match="pet.kind: unknown name 'cot'; did you mean 'cat'"):
        from_dict(House, {"pet": "cot"})
    wrongs: tuple[object, ...] = (3, ["cat"], None, {"kind": []}, {})
    for wrong in wrongs:
        with pytest.raises(UserError, match=r"pet\.kind"):
            from_dict(House, {"pet": wrong})
    with pytest.raises(UserError, match=r"kind 'cat' of .*: it is the kind of .*Cat; expected another"):
        type("Lion", (Animal,), {"kind": "cat"})
    with pytest.raises(UserError, match=r"kind 'bird' of .*: it is the kind of test_family:Bird"):
        type("Duck", (Animal,), {"kind": "bird"})


def test_a_file_that_is_loaded_again_replaces_its_class():
    again = type("Cat", (Animal,), {"kind": "cat", "__qualname__": Cat.__qualname__, "__module__": Cat.__module__})
    try:
        assert Animal.of_kind("cat") is again
    finally:
        Animal._members["cat"] = Cat
    assert Animal.kinds() == ("bird", "gone", "cat", "dog")


def test_whole_numbers_for_floats_hash_as_they_are_read_back():
    @dataclass(frozen=True)
    class Bird(Animal):
        kind: ClassVar[str] = "bird_of_floats"
        wings: float = 2.5
        spans: tuple[float, ...] = ()
        pair: tuple[float, int] = (0.5, 1)

    given = Bird(0, (1, 2), (3, 4))
    read = from_dict(Bird, to_dict(given))
    assert read == given and content_hash(read) == content_hash(given)
    assert repr(to_dict(given)["spans"]) == "[1.0, 2.0]" and repr(to_dict(given)["pair"]) == "[3.0, 4]"
    Animal._members.pop("bird_of_floats")
