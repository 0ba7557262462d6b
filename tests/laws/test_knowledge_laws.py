"""Planted truth: the law of the knowledge probes returns what was put into the table."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from typing import Any

import pandas as pd
import planted
import pytest
from planted import get

from physlm.errors import UserError
from physlm.laws.knowledge.probing import knowledge_law
from physlm.laws.law import Law, Quantity
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES

WHOLE = [f"{name}_whole" for name in ATTRIBUTES if name != "birth_date"]
TARGETS = [*(f"{name}_first" for name in ATTRIBUTES), *WHOLE]
PLACES = range(1, 7)
N = 4000


def run(name: str, seed: int = 0) -> dict[str, Any]:
    """A run on biographies of this augmentation, "" for fresh ones."""
    task = BioSConfig(**(augmentation(name) if name else {}))
    columns = {f"task.{key}": getattr(task, key) for key in ("fresh", "texts", "permute", "fullname", "couples",
                                                             "reverse")}
    return {"run": f"{name}-{seed}", "task.kind": "bioS", "task.people": 2 * N, **columns,
            "model.causal": True, "train.seed": seed}


def q_truth(target: str) -> float:
    """From 0.90 for the first target to 0.95 for the last."""
    return 0.9 + 0.005 * TARGETS.index(target)


def p_truth(q: float, place: int) -> float:
    return min(q + 0.01 * place, 1.0)


def rows(settings: dict[str, Any], q: Callable[[str], float], chance: float = 0.02) -> list[dict[str, Any]]:
    """The rows of one run: ``q`` by name, a hundredth more at each place of the P-probe; controls at ``chance``."""
    made = []
    for target in TARGETS:
        made.append(planted.share(settings, f"q_probe/target={target}", q(target), N))
        for place in PLACES:
            made.append(planted.share(settings, f"p_probe/target={target}/place={place}", p_truth(q(target), place), N))
        for k, control in enumerate(("untrained", "shuffled", "majority")):
            made.append(planted.share(settings, f"q_probe_{control}/target={target}", chance + 0.01 * k, N))
            made += [planted.share(settings, f"p_probe_{control}/target={target}/place={place}", chance + 0.01 * k, N)
                     for place in PLACES]
    return made


TABLE = planted.table([*rows(run("multi5+permute"), q_truth), *rows(run("single"), lambda target: 0.1)])


def test_every_probe_is_recovered() -> None:
    law = knowledge_law(TABLE)
    for target in TARGETS:
        one = get(law, f"q_probe@multi5+permute/{target}")
        assert one.value == pytest.approx(q_truth(target)) and one.n == N and one.lo < one.value < one.hi
        assert get(law, f"q_probe@single/{target}").value == pytest.approx(0.1)
        for place in PLACES:
            p = get(law, f"p_probe@multi5+permute/{target}/place={place}").value
            assert p == pytest.approx(p_truth(q_truth(target), place))
    assert law.details["controls"]["q_probe_shuffled"]["single/employer_whole"] == pytest.approx(0.03)
    assert law.details["controls"]["p_probe_majority"]["multi5+permute/major_first/place=6"] == pytest.approx(0.04)
    assert set(law.details["controls"]["p_probe_shuffled"]) == {
        f"{setting}/{target}/place={place}" for setting in ("single", "multi5+permute") for target in TARGETS
        for place in PLACES}


def test_contrasts_are_those_of_the_whole_values() -> None:
    law, name = knowledge_law(TABLE), "multi5+permute"
    mean = sum(map(q_truth, WHOLE)) / 5
    assert get(law, f"q_company@{name}") == Quantity(**{**vars(get(law, f"q_probe@{name}/employer_whole")),
                                                        "name": f"q_company@{name}"})  # fmt: skip
    assert get(law, f"q_mean@{name}").value == pytest.approx(mean)
    assert get(law, f"q_least@{name}").value == pytest.approx(q_truth(WHOLE[0]))
    assert get(law, f"p_early@{name}").value == pytest.approx(mean + 0.01)
    assert get(law, f"gap_untrained@{name}").value == pytest.approx(mean - 0.02)
    assert get(law, "gap_untrained@single").value == pytest.approx(0.08)
    for base in ("q", "p_early"):
        for k, control in enumerate(("untrained", "shuffled", "majority")):
            assert get(law, f"{base}_{control}@single").value == pytest.approx(0.02 + 0.01 * k)
    # errors of the same people go together: the mean is no better known than its parts
    part = get(law, f"q_probe@single/{WHOLE[0]}")
    assert get(law, "q_mean@single").hi - get(law, "q_mean@single").lo == pytest.approx(part.hi - part.lo)


def test_a_model_without_knowledge_has_no_gap() -> None:
    found = get(knowledge_law(planted.table(rows(run("single"), lambda target: 0.02))), "gap_untrained@single")
    assert found.value == pytest.approx(0.0) and found.lo < 0 < found.hi


def test_seeds_are_averaged_and_widen_the_interval() -> None:
    levels = (0.5, 0.6, 0.7)
    seeds = [rows(run("single", seed), lambda target, p=p: p, chance=p - 0.4)  # type: ignore[misc]
             for seed, p in enumerate(levels)]
    law, alone = (knowledge_law(planted.table(chain.from_iterable(some))) for some in (seeds, seeds[1:2]))
    for name in ("q_company@single", "q_mean@single", "p_probe@single/major_whole/place=6", "p_early@single"):
        together, one = get(law, name), get(alone, name)
        assert together.value == pytest.approx(one.value) and together.n == 3 * N
        assert together.hi - together.lo > 5 * (one.hi - one.lo)
    gap = get(law, "gap_untrained@single")
    assert gap.value == pytest.approx(0.4)
    assert gap.hi - gap.lo < 0.5 * (get(law, "q_mean@single").hi - get(law, "q_mean@single").lo), "run by run"
    assert law.details["runs"] == {"single": {"runs": 3, "differ_in": ["train.seed"]}}


def test_settings_have_the_published_names() -> None:
    law = knowledge_law(planted.table([
        *rows(run(""), lambda target: 0.3), *rows(run("multi5+permute+fullname"), lambda target: 0.4),
        *rows({**run("single"), "run": "mixed", "task.kind": "bioMixed"}, lambda target: 0.5),
        *rows(run("single"), lambda target: 0.6)]))  # fmt: skip
    for name, value in (("fresh", 0.3), ("multi5+permute+fullname", 0.4), ("mixed/single", 0.5), ("single", 0.6)):
        assert get(law, f"q_company@{name}").value == pytest.approx(value)


def test_half_a_table_gives_what_it_allows() -> None:
    control = TABLE["quantity"].str.contains("untrained|shuffled|majority")
    alone = knowledge_law(TABLE[~control])
    assert get(alone, "q_company@single").value == pytest.approx(0.1)
    assert alone.get("gap_untrained@single") is None and alone.get("q_untrained@single") is None
    only = knowledge_law(TABLE[control])
    assert only.get("q_mean@single") is None and get(only, "q_untrained@single").value == pytest.approx(0.02)
    nothing = planted.table([planted.number(run("single"), "something_else", 1.0, 10)])
    assert knowledge_law(nothing).quantities == ()
    with pytest.raises(UserError, match="is missing"):
        knowledge_law(pd.DataFrame({"run": ["a"], "quantity": ["x"]}))


def test_the_law_survives_its_file_and_explains_itself() -> None:
    law = knowledge_law(TABLE)
    assert Law.from_dict(json.loads(json.dumps(law.to_dict()))).to_dict() == law.to_dict()
    assert all(isinstance(note, str) for note in law.details["notes"])
    explained = " ".join(law.details["notes"])
    names = {quantity.name.partition("@")[0] for quantity in law.quantities}
    assert {name for name in names if not name.startswith("p_early_")} <= {
        word.partition("@")[0].strip(":,") for word in explained.split()}, names
