"""Groups by their axioms and known facts; words of them by multiplying one element after another."""

from __future__ import annotations

import math
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
import torch

from physlm.errors import UserError
from physlm.tasks.rows import IGNORE
from physlm.tasks.state.groups import group
from physlm.tasks.state.words import EVERY, WordsConfig

KNOWN = {  # order, orders of the derived series, abelian, solvable, elements of order 2
    "A5": (60, (60,), False, False, 15), "S5": (120, (120, 60), False, False, 25),
    "Z60": (60, (60, 1), True, True, 1), "A4xZ5": (60, (60, 4, 1), False, True, 3),
    "Z120": (120, (120, 1), True, True, 1), "S4xZ5": (120, (120, 12, 4, 1), False, True, 9),
    "S3": (6, (6, 3, 1), False, True, 3), "Z2xZ2": (4, (4, 1), True, True, 3), "A3": (3, (3, 1), True, True, 0),
    "Z1xZ2": (2, (2, 1), True, True, 1), "A6": (360, (360,), False, False, 45),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_a_group_has_its_axioms_and_its_known_facts(name: str) -> None:
    found = group(name)
    order, derived, abelian, solvable, involutions = KNOWN[name]
    table, elements = found.table, np.arange(order)
    assert found.order == len({*found.names}) == order and table.shape == (order, order)
    assert (np.sort(table, 0) == elements[:, None]).all() and (np.sort(table, 1) == elements).all()
    assert (table[0] == elements).all() and (table[:, 0] == elements).all(), "0 is neutral"
    inverses = found.inverses
    assert (table[elements, inverses] == 0).all() and (table[inverses, elements] == 0).all()
    a, b = elements[: 60 if order > 120 else None, None, None], elements[None, :, None]
    assert (table[table[a, b], elements] == table[a, table[b, elements]]).all(), "associative"
    assert (found.derived_orders(), found.abelian, found.solvable) == (derived, abelian, solvable)
    assert (np.diagonal(table) == 0).sum() - 1 == involutions


def test_permutations_are_applied_from_left_to_right() -> None:
    found = group("S5")
    things = [tuple(int(one) - 1 for one in name) for name in found.names]
    assert things == [*permutations(range(5))]
    for a, b in ((1, 2), (3, 77), (119, 40), (64, 64)):
        assert things[found.table[a, b]] == tuple(things[b][things[a][x]] for x in range(5))
    even = group("A5")
    assert {*even.names} == {found.names[place] for place in found.generated(np.array([
        found.names.index(name) for name in even.names]))}, "a subgroup of it"  # fmt: skip


@pytest.mark.parametrize("name", ["B5", "S", "5", "", "A5x", "Z1", "A2", "S7", "Z1001", "Z40xZ40", "a5", "Z-3"])
def test_what_is_no_group_is_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"task\.group: got .*expected Z, S or A and a number, such as S5"):
        WordsConfig(name)


@pytest.mark.parametrize("config", [
    WordsConfig(), WordsConfig("S5", 64), WordsConfig("Z60", 5), WordsConfig("A4xZ5", 2), WordsConfig("Z2", 33),
], ids=lambda config: config.title)  # fmt: skip
def test_a_tag_is_the_product_of_all_elements_so_far(config: WordsConfig) -> None:
    table = group(config.group).table
    inputs, targets = config.build().rows(torch.arange(60))
    for row, tags in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert row[0] == 0 and tags[0] == IGNORE and 0 not in row[1:]
        product = 0
        for element, tag in zip(row[1:], tags[1:], strict=True):
            product = table[product, element - 1]
            assert tag == 1 + product


@pytest.mark.parametrize("name", ["A5", "Z60"])
def test_elements_and_products_are_uniform_at_every_place(name: str) -> None:
    """So that a constant is right once in |G| times, and no place tells what stands at another."""
    count, order = 12_000, 60
    inputs, targets = WordsConfig(name, 9).build().rows(torch.arange(count))
    for tokens in (inputs[:, 1], inputs[:, 8], targets[:, 1], targets[:, 2], targets[:, 8]):
        squares = ((tokens.bincount(minlength=order + 1)[1:] - count / order) ** 2).sum() / (count / order)
        assert abs(float(squares) - (order - 1)) < 5 * math.sqrt(2 * (order - 1))
    both = inputs[:, 7] * (order + 1) + targets[:, 8]
    squares = (both.bincount(minlength=(order + 1) ** 2).double() ** 2).sum() / (count / order**2) - count
    assert abs(float(squares) - (order**2 - 1)) < 5 * math.sqrt(2 * (order**2 - 1))


def test_its_own_samples_pass_the_verifier() -> None:
    task = WordsConfig("S5", 12).build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


@pytest.mark.parametrize(("text", "fault"), [
    ("<bos> g231 g231 g312", ""), ("<bos> g231 g213 g132 <bos>", ""), ("<bos> g213 g231 g321", ""),
    ("<bos> g231 g231 g231", "got another product than that of the elements"),
    ("<bos> g231", "got no <bos>, elements and a product"), ("g231 g231 g312", "got no <bos>"),
    ("<bos> g231 <bos> g231", "got no <bos>"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = WordsConfig("S3").build()
    found = task.fault(task.vocabulary.encode(text))
    assert found.startswith(fault) and (fault or not found)


def test_words_are_asked_by_length_and_longer_ones_begin_with_them() -> None:
    config = WordsConfig("A5", 20)
    task = config.build()
    prompts = task.prompts(30)
    assert prompts.kinds == ("length4", "length8", "length16", "length19") and config.asked_lengths(8) == (4, 8)
    for k, length in enumerate((4, 8, 16, 19)):
        some = prompts.some(prompts.kind_B == k)
        assert (some.lengths_B == 1 + length).all() and some.ids_BP[:, :5].equal(prompts.ids_BP[:30, :5])
        for ids, answer in zip(some.ids_BP.tolist(), some.answers_BQ.tolist(), strict=True):
            assert task.fault([*ids[: 1 + length], *answer]) == ""
    longer = task.prompts(5, length=config.longer(3)["length"])
    assert longer.kinds == ("length57",) and (longer.lengths_B == 58).all()
    with pytest.raises(UserError, match="got length -1, expected between 1 and"):
        task.prompts(5, length=-1)


def test_test_rows_tag_every_place_and_each_length_alone() -> None:
    rows = WordsConfig("S5", 10).build().test_rows(6, length=12)
    assert rows.kinds == (EVERY, "length4", "length8", "length12")
    every = rows.targets_RT[:6]
    assert (every[:, 1:] != IGNORE).all() and (rows.inputs_RT[6:12] == rows.inputs_RT[:6]).all()
    for k, length in enumerate((4, 8, 12), start=1):
        own = rows.targets_RT[rows.kind_R == k]
        assert own[:, length].equal(every[:, length]) and (own != IGNORE).sum(1).tolist() == [1] * 6


def test_tables_tell_solvable_groups_apart() -> None:
    assert [WordsConfig(name).facts() for name in ("A5", "A4xZ5", "S5")] == [
        {"items": None, "order": order, "solvable": solvable}
        for order, solvable in ((60, False), (60, True), (120, False))]
