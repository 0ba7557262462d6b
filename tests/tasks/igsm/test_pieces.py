"""The closed vocabulary of iGSM, and settings that are refused before any work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from families import EVERY, MED

from physlm.config import from_dict, override, to_dict
from physlm.errors import UserError
from physlm.tasks.config import SPLITS, TaskConfig
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig, Retry
from physlm.tasks.igsm.names import CATEGORISATIONS
from physlm.tasks.igsm.pieces import FIXED, PHRASES, STICKS, join, pieces

WORDS = pieces(MED).vocabulary


def test_every_name_phrase_number_and_letter_is_one_token() -> None:
    names = [name for one in CATEGORISATIONS for layer in one.layers
             for name in (layer.name, *(item for group in layer.groups for item in group))]  # fmt: skip
    for token in (*FIXED, *"azAZ", "0", "22", *names):
        assert WORDS.decode([WORDS.id(token)]) == token and WORDS.tokens(token) == [token]
    assert len(WORDS) == len(FIXED) + 52 + 23 + len(names)
    with pytest.raises(UserError, match="'23' is not one of the"):
        WORDS.id("23")


def test_tables_lead_to_the_names() -> None:
    for config in (MED, replace(MED, categorisations=2, groups=3, group_items=7, modulus=5)):
        table = pieces(config)
        assert table is pieces(replace(config, seed=9)), "one object for all that share it"
        for c, one in enumerate(CATEGORISATIONS[: config.categorisations]):
            for k, layer in enumerate(one.layers):
                assert table.category(c, k) == layer.name
                for g, group in enumerate(layer.groups[: config.groups]):
                    assert [table.item(c, k, g, n) for n in range(table.group_sizes[c][k][g])] == list(
                        group[: config.group_items])
    assert len(pieces(EVERY["tiny"]).vocabulary) < 250, "names that are not used are no tokens"


def test_text_is_tokens_with_blanks_and_back() -> None:
    tokens = ["Define", "Maple Academy", "'s", "Physics Lab", "as", "k", ";", "so", "k", "=", "7", "."]
    assert join(tokens) == "Define Maple Academy's Physics Lab as k; so k = 7."
    assert WORDS.tokens(join(tokens)) == tokens and WORDS.decode(WORDS.encode(join(tokens))) == join(tokens)
    assert WORDS.tokens(join(PHRASES)) == list(PHRASES)
    assert set(STICKS) == {"'s", ".", ",", ";", "?"}
    for wrong in ("Define  k", "so k = 23", "sok", "the sum ofk", "Physics Labs", "k;so", "\n"):
        with pytest.raises(UserError, match="no token of this task"):
            WORDS.tokens(wrong)


@pytest.mark.parametrize(("settings", "message"), [
    ({"max_ip": 11}, r"task\.max_ip: got 11, expected between 12 and 36 with task\.layers=4 and task\.width=4"),
    ({"max_ip": 37}, r"task\.max_ip: got 37, expected between 12 and 36"),
    ({"max_op": 53, "max_ip": 36}, r"task\.max_op: got 53, expected between 1 and 52; the solution has only so many"),
    ({"op": 53}, r"task\.op: got 53, expected between 1 and 52"),
    ({"op": 0}, r"task\.op: got 0, expected between 1 and 52"),
    ({"max_ip": 12, "op": 32}, r"task\.op: got 32, expected between 1 and 31; 12 instance parameters hold no more"),
    ({"layers": 2, "width": 2, "max_op": 7, "op": 8}, r"task\.op: got 8, expected between 1 and 7; 4 instance"),
    ({"layers": 5}, r"task\.layers: got 5, expected between 2 and 4"),
    ({"width": 1}, r"task\.width: got 1, expected between 2 and 4"),
    ({"modulus": 1}, r"task\.modulus: got 1"),
    ({"groups": 6}, r"task\.groups: got 6"),
    ({"row_tokens": 0}, r"task\.row_tokens: got 0"),
    ({"retry": Retry(0.5), "categorisations": 0}, r"task\.categorisations: got 0"),
])  # fmt: skip
def test_settings_that_make_no_problems_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        replace(MED, **settings)  # type: ignore[arg-type]


def test_rates_of_wrong_starts() -> None:
    for rate in (-0.1, 0.91, float("nan")):
        with pytest.raises(UserError, match=r"task\.retry\.rate: got .*, expected between 0 and 0\.9"):
            Retry(rate)
    assert override(MED, ["retry.rate=0.2", "retry.names=weak"]).retry == Retry(0.2, "weak")


def test_families_are_settings_as_any() -> None:
    assert (FAMILIES["med"].max_op, FAMILIES["med"].max_ip, FAMILIES["hard"].max_op, FAMILIES["hard"].max_ip) == (
        15, 20, 21, 28)  # fmt: skip
    assert [FAMILIES[f"small{op}"].max_op for op in (4, 6, 8, 10)] == [4, 6, 8, 10]
    assert {FAMILIES[f"small{op}"].max_ip for op in (4, 6, 8, 10)} == {12}
    assert len({config.slug for config in EVERY.values()}) > 8
    for config in EVERY.values():
        assert from_dict(IgsmConfig, to_dict(config)) == config and isinstance(config, TaskConfig)
        assert config.vocabulary() is pieces(config).vocabulary
        train, *others = (set(config.bins(split)) for split in SPLITS)
        if config.templates == "all":
            assert [train, *others] == [set(range(23))] * 3
        else:
            assert train == set(range(17)) and others == [set(range(17, 23))] * 2
        few = [set(config.bins(split, op)) for split in SPLITS for op in range(1, 5)]
        assert few == [set(range(23))] * 12 or config.templates == "split"
    with pytest.raises(UserError, match="'training'"):
        MED.bins("training")
