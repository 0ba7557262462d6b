"""The names are as many as promised, and none can be mistaken for another one or for a word of the sentences."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import pairwise

from physlm.tasks.igsm.names import CATEGORISATIONS

LAYERS = [layer for categorisation in CATEGORISATIONS for layer in categorisation.layers]
CATEGORIES = [layer.name for layer in LAYERS]
ITEMS = [item for layer in LAYERS for group in layer.groups for item in group]
NAMES = [*CATEGORIES, *ITEMS]
# the fixed words of problems, questions and solutions
FRAME = {
    "the", "number", "of", "each", "equals", "more", "than", "times", "as", "much", "sum", "difference", "and",
    "how", "many", "does", "have", "define", "so", "back",
}  # fmt: skip


def test_there_are_4_categorisations_of_4_layers_of_5_groups_of_20_items() -> None:
    assert len(CATEGORISATIONS) == 4
    assert [len(categorisation.layers) for categorisation in CATEGORISATIONS] == [4] * 4
    assert [len(layer.groups) for layer in LAYERS] == [5] * 16
    assert [len(group) for layer in LAYERS for group in layer.groups] == [20] * 80
    assert len(CATEGORIES) == 16
    assert len(ITEMS) == 1600


def test_a_name_is_one_to_three_capitalised_words() -> None:
    word = "[A-Z][a-z]+"  # two letters at least: a single one is a letter of the solutions
    assert [name for name in NAMES if not re.fullmatch(f"{word}( {word}){{0,2}}", name)] == []


def test_no_name_holds_a_word_of_the_sentences() -> None:
    assert [name for name in NAMES if FRAME & set(name.lower().split())] == []


def test_all_names_differ_and_none_begins_another_one_whatever_the_case() -> None:
    # in sorted order, whatever a name begins comes right behind it
    ordered = sorted(name.lower() for name in NAMES)
    assert [(name, following) for name, following in pairwise(ordered) if following.startswith(name)] == []


def test_no_name_stands_inside_another_one() -> None:
    known = {name.lower() for name in NAMES}
    for name in NAMES:
        words = name.lower().split()
        parts = {" ".join(words[i:j]) for i in range(len(words)) for j in range(i + 1, len(words) + 1)}
        assert parts & known == {name.lower()}


def test_reading_the_names_needs_neither_torch_nor_numpy() -> None:
    code = "import sys; sys.modules['torch'] = sys.modules['numpy'] = None; import physlm.tasks.igsm.names"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
