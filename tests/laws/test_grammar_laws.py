"""Planted truth: the laws of Part 1 return what was put into the table, and nothing where nothing was measured."""

from __future__ import annotations

import json
from collections.abc import Callable

import pandas as pd
import planted
import pytest
from planted import get

from physlm.errors import UserError
from physlm.laws.grammar.attention import attention_law
from physlm.laws.grammar.boundaries import boundaries_law
from physlm.laws.grammar.encoder import encoder_law
from physlm.laws.grammar.generation import generation_law
from physlm.laws.grammar.implicit import implicit_law
from physlm.laws.grammar.positions import positions_law
from physlm.laws.grammar.probing import probing_law
from physlm.laws.grammar.robustness import robustness_law
from physlm.laws.grammar.settings import grammar_name, with_settings
from physlm.laws.law import Law, Quantity

TEXT = "r -> a b\na -> '1'\nb -> '2'\n"
LAWS = (generation_law, positions_law, probing_law, boundaries_law, encoder_law, attention_law, implicit_law,
        robustness_law)


def width(quantity: Quantity) -> float:
    return quantity.hi - quantity.lo


def trees(kind: str, level: int) -> float:
    """The worse, the nearer to the root; boundaries are a little better."""
    return 1.0 - 0.05 / level + 0.01 * (kind == "boundary")


ONE = planted.run()
COMPLETION = planted.table([*planted.completion_rows(ONE, 0.99, entropy_gap=-1.5),
                            *planted.completion_rows(planted.run("cfg3f"), 0.8, kl=0.01)])
TREES = planted.table(planted.tree_rows(ONE, trees))
ATTENTION = planted.table(planted.attention_rows(ONE))
TABLES: dict[Callable[[pd.DataFrame], Law], pd.DataFrame] = {
    generation_law: COMPLETION, positions_law: COMPLETION, probing_law: TREES, boundaries_law: TREES,
    encoder_law: planted.table([*planted.tree_rows(ONE, trees),
                                *planted.tree_rows(planted.run(causal=False), lambda kind, level: 0.5)]),
    attention_law: ATTENTION, implicit_law: planted.table(planted.bag_rows(planted.run(bag_tokens=9))),
    robustness_law: planted.table([*planted.robustness_rows(ONE, 0.3),
                                   *planted.robustness_rows(planted.run(noise="token", noise_fraction=0.1), 0.8)]),
}


@pytest.mark.parametrize("law", LAWS, ids=lambda law: "-".join(law.names[:2]))
def test_a_law_survives_its_file_and_explains_itself(law: Callable[[pd.DataFrame], Law]) -> None:
    found = law(TABLES[law])
    assert len(found.quantities) > 2
    assert Law.from_dict(json.loads(json.dumps(found.to_dict()))).to_dict() == found.to_dict()
    assert all(isinstance(note, str) for note in found.details["notes"])
    assert all(setting["differ_in"] == [] for setting in found.details["runs"].values())


@pytest.mark.parametrize("law", LAWS, ids=lambda law: "-".join(law.names[:2]))
def test_what_was_not_measured_has_no_quantity(law: Callable[[pd.DataFrame], Law]) -> None:
    other = planted.table([planted.number(planted.run(bag_tokens=9), "something_else", 1.0, 10)])
    assert law(other).quantities == ()
    with pytest.raises(UserError, match="is missing"):
        law(pd.DataFrame({"run": ["a"], "quantity": ["x"]}))


def test_settings_are_named_by_what_differs() -> None:
    assert grammar_name("cfg3b") == "cfg3b"
    assert grammar_name(TEXT).startswith("grammar") and grammar_name(TEXT) != grammar_name(TEXT + "b -> '1'\n")
    one, two, three = planted.run(), planted.run("cfg3f"), planted.run("cfg3f", position="absolute", causal=False)
    for runs, names in (([one], [""]), ([one, two], ["cfg3b", "cfg3f"]),
                        ([two, three], ["GPT_rot", "encoder-absolute"]),
                        ([one, three], ["cfg3b/GPT_rot", "cfg3f/encoder-absolute"])):
        assert with_settings(pd.DataFrame(runs))["setting"].tolist() == names
    text = pd.DataFrame([one]).astype({"model.causal": str})
    assert with_settings(text)["variant"].tolist() == ["GPT_rot"]


def test_generation_recovers_accuracy_kl_and_entropy() -> None:
    law = generation_law(COMPLETION)
    assert get(law, "accuracy@cfg3b/cut=50").value == 0.99 and get(law, "accuracy@cfg3b/cut=0").value == 0.98
    assert get(law, "accuracy@cfg3f/cut=50").n == 2000
    assert get(law, "kl@cfg3f").value == 0.01 and get(law, "kl@cfg3f").unit == "nats/token"
    gap, model = get(law, "entropy_gap@cfg3b"), get(law, "entropy_model@cfg3b")
    assert gap.value == pytest.approx(-1.5) and gap.unit == "bits/string"
    assert width(gap) == pytest.approx(2**0.5 * width(model))
    assert get(law, "least_distinct_ratio@cfg3b").value == pytest.approx(0.95)
    own = generation_law(planted.table(planted.completion_rows(planted.run(TEXT), 0.9, cut=7)))
    assert get(own, f"accuracy@{grammar_name(TEXT)}/cut=7").value == 0.9


def test_more_strings_narrow_the_interval() -> None:
    few, many = (get(generation_law(planted.table(planted.completion_rows(ONE, 0.9, n=n))), "accuracy@cfg3b/cut=50")
                 for n in (500, 50_000))
    assert width(many) < 0.2 * width(few)


def test_positions_are_compared_seed_by_seed() -> None:
    """Good and bad seeds shift both variants alike: paired, the difference is sharp though the means are not."""
    shift = {0: -0.1, 1: 0.0, 2: 0.09}
    base = {"rope": 0.9, "absolute": 0.6}
    runs = {(position, seed): p + up for seed, up in shift.items() for position, p in base.items()}
    table = planted.table(row for (position, seed), p in runs.items()
                          for row in planted.completion_rows(planted.run(position=position, seed=seed), p, n=10**5))
    law = positions_law(table)
    assert get(law, "rot_minus_abs").value == pytest.approx(0.3)
    assert width(get(law, "rot_minus_abs")) < 0.02 < 0.3 < width(get(law, "accuracy@GPT"))
    assert get(law, "accuracy@GPT_rot").n == 3 * 10**5
    assert get(law, "accuracy_start@GPT").value == pytest.approx(0.6 - 0.01 - 0.01 / 3)
    gap, model, truth = (get(law, f"entropy_{name}@GPT_rot") for name in ("gap", "model", "truth"))
    assert gap.value == pytest.approx(model.value - truth.value)
    assert law.get("rot_minus_rel") is None
    assert law.details["runs"]["cfg3b/GPT"] == {"runs": 3, "differ_in": ["train.seed"]}
    apart = table.copy()
    apart.loc[apart["model.position"] == "rope", "train.seed"] += 7
    unpaired = get(positions_law(apart), "rot_minus_abs")
    assert unpaired.value == pytest.approx(0.3) and width(unpaired) > 0.3


def test_probing_takes_the_last_layer_and_the_least_level() -> None:
    law = probing_law(TREES)
    for level in (2, 6):
        assert get(law, f"ancestor@level={level}").value == pytest.approx(trees("ancestor", level))
        assert get(law, f"boundary@level={level}").value == pytest.approx(trees("boundary", level))
    least, level2 = get(law, "least_ancestor"), get(law, "ancestor@level=2")
    assert least.value == level2.value == pytest.approx(0.975)
    assert least.lo == level2.lo and least.hi > level2.hi
    assert get(law, "gap_untrained").value == pytest.approx(0.975 - 0.4)
    assert get(law, "least_boundary_balanced").value == pytest.approx(0.985)
    assert law.details["controls"]["ancestor_majority"]["level=2"] == pytest.approx(0.34)
    two = probing_law(planted.table([*planted.tree_rows(ONE, trees),
                                     *planted.tree_rows(planted.run("cfg3f"), lambda kind, level: 0.7)]))
    assert get(two, "least_ancestor@cfg3f").value == pytest.approx(0.7)
    assert get(two, "ancestor@cfg3b/level=2").value == pytest.approx(0.975)


def test_each_mask_has_its_own_least_level() -> None:
    table = TREES.copy()
    worse = planted.names(table).str.fullmatch("ancestor/level=4/mask=diagonal/layer=6")
    table.loc[worse, ["value", "lo", "hi"]] = 0.9, 0.89, 0.91
    law = boundaries_law(table)
    assert get(law, "least_ancestor@diagonal").value == 0.9
    assert get(law, "least_ancestor@tridiagonal").value == pytest.approx(0.975)
    assert get(law, "ancestor@diagonal/level=6").value == pytest.approx(trees("ancestor", 6))
    assert get(law, "gap_untrained@diagonal").value == pytest.approx(0.5)


def test_the_deep_gap_is_to_the_best_encoder_at_the_level_nearest_to_the_root() -> None:
    rows = [*planted.tree_rows(ONE, lambda kind, level: 0.99),
            *planted.tree_rows(planted.run(position="absolute"), trees),
            *planted.tree_rows(planted.run(causal=False), lambda kind, level: 0.1 * level + 0.3),
            *planted.tree_rows(planted.run(causal=False, position="relative"), lambda kind, level: 0.6)]
    law = encoder_law(planted.table(rows))
    for kind in ("ancestor", "boundary"):
        assert get(law, f"deep_gap@{kind}").value == pytest.approx(0.39)
        assert get(law, f"deep_gap@{kind}/encoder-rope").value == pytest.approx(0.49)
    assert get(law, "ancestor@decoder/level=2").value == pytest.approx(0.99)
    assert get(law, "ancestor@encoder-rope/level=6").value == pytest.approx(0.9)
    assert law.details["deep_level"] == {"ancestor": 2, "boundary": 2}


def test_attention_subtracts_its_control() -> None:
    law = attention_law(ATTENTION)
    for part in ("any", "nearest"):
        assert get(law, f"peak_at_zero@{part}").value == pytest.approx(0.9 * 0.004)
        assert get(law, f"peak_at_zero_raw@{part}").value == pytest.approx(0.004)
        assert get(law, f"peak_at_zero_untrained@{part}").value == pytest.approx(0.0)
        assert get(law, f"levels_peaking_at_zero@{part}").value == 1.0
    assert get(law, "adjacent_decay").value == pytest.approx(0.9 * 0.003)
    assert get(law, "end_to_end").value == pytest.approx(0.9 * 0.004)
    assert get(law, "pairs_most_to_adjacent").value == 1.0


def test_attention_must_go_beyond_the_untrained_model_too() -> None:
    """Attention that the untrained model shows alike is no finding, whatever the trees of other sentences say."""
    table = ATTENTION[~ATTENTION["quantity"].str.contains("_untrained")]
    alike = table[~table["quantity"].str.contains("_shuffled|distance")]
    untrained = alike.assign(quantity=alike["quantity"] + "_untrained")
    law = attention_law(pd.concat([table, untrained]))
    for name in ("peak_at_zero@any", "peak_at_zero@nearest", "end_to_end", "adjacent_decay"):
        assert get(law, name).value == pytest.approx(0.0) and get(law, name).lo < 0
    assert get(attention_law(table), "end_to_end").value == pytest.approx(0.9 * 0.004)


def test_attention_without_structure_finds_none() -> None:
    law = attention_law(planted.table(planted.attention_rows(ONE, peak=0.0, decay=0.0)))
    assert get(law, "peak_at_zero@any").lo < 0 < get(law, "peak_at_zero@any").hi
    share = get(law, "levels_peaking_at_zero@nearest")
    assert (share.value, share.lo, share.hi) == (0.0, 0.0, 1.0)


def test_adjacency_needs_a_farther_end() -> None:
    rows = [row for row in planted.attention_rows(ONE) if not row["quantity"].startswith("adjacent") or
            "/r=1" in row["quantity"] or "from=5/to=5" in row["quantity"]]
    assert get(attention_law(planted.table(rows)), "adjacent_decay").value == pytest.approx(0.9 * 0.003)


def test_bags_by_setting_and_the_worst_of_them() -> None:
    kinds = {"disjoint": 0.6, "overlap": 0.2}
    rows = [row for bags, gap in kinds.items() for row in planted.bag_rows(planted.run(bag_tokens=90, bags=bags), gap)]
    law = implicit_law(planted.table([*rows, *planted.completion_rows(planted.run(), 0.9)]))
    assert get(law, "gap@90-disjoint-uniform").value == 0.6 and get(law, "least_gap").value == 0.2
    assert get(law, "neighbours@90-overlap-uniform").value == pytest.approx(0.98)
    assert get(law, "largest_p_value").value == get(law, "p_value@90-overlap-uniform").value == 0.001


def test_a_p_value_over_runs_is_the_largest() -> None:
    one, two = (planted.bag_rows(planted.run(bag_tokens=9, seed=seed)) for seed in (0, 1))
    for row in two:
        if row["quantity"] == "p_value":
            row.update(value=0.2, lo=0.2, hi=0.2)
    found = get(implicit_law(planted.table([*one, *two])), "p_value@9-disjoint-uniform")
    assert (found.value, found.lo, found.hi) == (0.2, 0.001, 0.2)


def test_gain_is_that_of_ten_per_cent_at_low_temperature_and_the_least_over_kinds() -> None:
    settings = [("none", 0.0, 0.3), ("token", 0.1, 0.8), ("token", 0.5, 0.9), ("permute", 0.1, 0.7)]
    law = robustness_law(planted.table(row for noise, share, p in settings for row in planted.robustness_rows(
        planted.run(noise=noise, noise_fraction=share), p, whole=0.95)))
    assert get(law, "gain@token").value == pytest.approx(0.5) and get(law, "gain").value == pytest.approx(0.4)
    assert get(law, "drop").value == pytest.approx(0.95 - 0.2)
    assert get(law, "corrupted@clean/temperature=1").value == pytest.approx(0.2)
    assert get(law, "corrupted@token=0.5/temperature=0.1").value == pytest.approx(0.9)
    assert get(law, "uncorrupted@permute=0.1/temperature=0.2").value == pytest.approx(0.95)
    assert law.get("gain@nonterminal") is None
