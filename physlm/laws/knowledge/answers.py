"""How many questions are answered, by setting and kind of question (arXiv 2309.14316 and 2309.14402).

    answer      share of people, held out of all questions in training, whose question is answered word for word
    hinted      the same where the question asks for a hint first; hint: whether the hint was right; told: the answer
                after the true hint
    majority    the best constant answer to the same questions; untrained, start: the model before training,
                before finetuning
    above_majority
                answer - majority

A claim about few people asked about in training is judged by the same name at every tier: with ``most=2500`` the
setting ``plain/people<=2500`` stands for the most people, but no more than 2,500, that a kind was asked about.

The mean over the kinds of a setting is the mean of its kinds' numbers.  Its interval is taken seed by seed where that
is possible: the mean over kinds in each run (or in the runs of one seed, where each asked another kind), then the mean
over runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, combine, measured_runs, named
from physlm.laws.knowledge.settings import SETTINGS, with_settings
from physlm.laws.law import Fit, Law, Quantity

# name in the law -> base and half of the rows that the measure writes
SOURCES = {
    "answer": ("answer", "test"), "hinted": ("answer_hinted", "test"), "hint": ("hint", "test"),
    "told": ("answer_told", "test"), "majority": ("majority", "test"), "train": ("answer", "train"),
    "reworded": ("answer_reworded", "test"),
    "others": ("answer_others", "test"), "untrained": ("answer_untrained", "test"), "start": ("answer_start", "test"),
}
BY_KIND = ("answer", "hinted", "hint", "told", "majority")
# what the measure recall writes by attribute, and what becomes a quantity of it
RECALLS = ("recall", "recall_first", "recall_celebrities", "recall_others", "recall_token", "recall_token_untrained")
NOTES = (
    *cells.notes("people"),
    (
        "answer@setting/kind: share of people, held out of all questions in training, whose question is answered word "
        "for word. Without a kind: the mean over the kinds that were asked; kinds are asked about the same people, so "
        "their half-widths are added up. Facts about universities and employers are shared by people: there n counts "
        "universities or employers."
    ),
    (
        "hinted: asked for a hint first; hint: that hint; told: the answer after the true hint, a control of the step "
        "from hint to answer. Their means are over the kinds that have hints. train: "
        "people asked about in training. reworded: wordings never trained on. others: people outside of the group "
        "asked about."
    ),
    (
        "recall: share of people whose whole value is predicted in their own texts, mean over attributes; "
        "recall_first: its first token; recall_celebrities and recall_others: whole values of these people alone. "
        "Reversed biographies tell values before they tell whose they are, so there it is low by design; recall_name "
        "is the name, predicted from the values before it. recall_token, of encoders: one masked word of a value, "
        "predicted from all other words of the text, mean over attributes."
    ),
    (
        "Controls: majority, the best constant answer to the same questions; untrained, the model with random weights; "
        "start, the model before this finetuning (both of at most 500 people); recall_token_untrained, that of "
        "recall_token. above_majority: answer minus majority, half-widths added up."
    ),
    (
        "least, most: the smallest and the largest answer over kinds, with an interval that knows that it is one of "
        "several (the far end: Bonferroni)."
    ),
)


def answers_law(by: Sequence[str], groups: Mapping[str, Sequence[str]] | None = None,
                most: int | None = None) -> Fit:
    """The law of a claim that distinguishes its runs by the settings ``by`` (see ``with_settings``).

    Its quantities, where the table allows them, for each setting S and kind K: the means over kinds ``answer@S``,
    ``least@S``, ``most@S``, ``hinted@S``, ``hint@S``, ``told@S``, ``majority@S``, ``train@S``, ``reworded@S``,
    ``others@S``, ``untrained@S``, ``start@S``; over attributes those of ``RECALLS``, and ``recall_name@S``;
    ``answer@S/K``, ``hinted@S/K``, ``hint@S/K``, ``told@S/K``, ``majority@S/K``, ``above_majority@S/K``.  With ``by``
    empty ``answer``, ``answer@K``.

    Args:
        by: what the names of settings are made of, in this order.
        groups: name -> kinds; adds ``answer@S/NAME`` and so on, the means over those kinds of the group that were
            asked.
        most: adds ``answer@S/K`` and so on for the settings ``people<=MOST``: each kind as it is in the run that asked
            about most people, but no more than these.  ``people`` must be in ``by``.

    Raises (when called on a table):
        UserError: columns are missing, a name of ``by`` is unknown, or a group has the name of a kind.
    """
    assert most is None or "people" in by, by

    def law(table: pd.DataFrame) -> Law:
        table = with_settings(table, by)
        found = {name: answers(table, name) for name in SOURCES}
        by_kind = {name: combine(rows, ["setting", "kind"], share=True) for name, rows in found.items()}
        means = {name: means_over(rows, "kind") for name, rows in found.items()}
        recalls = {name: means_over(cells.cells(table, name, ["attribute"]), "attribute") for name in RECALLS}
        recalls["recall_name"] = combine(cells.cells(table, "recall_name"), ["setting"], share=True)
        in_groups = {name: {group: means_over(rows[rows["kind"].isin(kinds)], "kind")
                            for group, kinds in (groups or {}).items()} for name, rows in found.items()}
        quantities: list[Quantity] = []
        for setting in map(str, dict.fromkeys(table["setting"])):
            own = _own(by_kind, setting)
            quantities += _means(setting, means, recalls, own["answer"])
            quantities += [Quantity.of(named(name, setting, group), one) for name in BY_KIND
                           for group, parts in in_groups[name].items()
                           if (one := parts.get((setting,))) is not None]
            quantities += _kinds(setting, own)
        details = _details(table, by_kind, quantities)
        if most is not None:
            more, details["people"] = _few(found, most)
            quantities += more
            behind = ", ".join(f"{count} for {name}" for name, count in details["people"].items())
            details["notes"].append(f"people<={most}: of the runs that asked about so many people in training or "
                                    f"fewer, those that asked about most; here {behind or 'none'}.")
        return Law(tuple(quantities), details)

    return Fit(law, (*SOURCES, *RECALLS, "recall_name", "least", "most", "above_majority"))


def _few(found: Mapping[str, pd.DataFrame], most: int) -> tuple[list[Quantity], dict[str, int]]:
    """The quantities of the settings ``people<=most``, and by setting and kind how many people they stand for."""
    rows = _up_to(found, most)
    by_kind = {name: combine(part, ["setting", "kind"], share=True) for name, part in rows.items()}
    settings = map(str, dict.fromkeys(rows["answer"]["setting"]))
    names = map("/".join, zip(rows["answer"]["setting"], rows["answer"]["kind"], strict=True))
    people = dict(zip(names, map(int, rows["answer"]["people"]), strict=True))
    return [one for setting in settings for one in _kinds(setting, _own(by_kind, setting))], people


def _up_to(found: Mapping[str, pd.DataFrame], most: int) -> dict[str, pd.DataFrame]:
    """The rows of ``BY_KIND`` that the settings ``people<=most`` stand for, under these names."""
    def renamed(rows: pd.DataFrame) -> pd.DataFrame:
        names = zip(rows["setting"], rows["people"], strict=True)
        return rows.assign(setting=["/".join(f"people<={most}" if part == f"people={people}" else part
                                             for part in name.split("/")) for name, people in names])  # fmt: skip

    rows = {name: renamed(found[name][found[name]["people"] <= most]) for name in BY_KIND}
    largest = rows["answer"].groupby(["setting", "kind"], as_index=False)["people"].max()
    return {name: part.merge(largest, on=["setting", "kind", "people"]) for name, part in rows.items()}


def answers(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """The rows behind one of ``SOURCES``, with the column ``kind``; a table of ``with_settings``."""
    base, half = SOURCES[name]
    found = cells.cells(table, base, ["kind", "half"])
    return found.loc[found["half"] == half, _needed(found)]


def _needed(found: pd.DataFrame) -> list[str]:
    """What later steps ask for; a results table has a hundred columns more, which would be copied again and again."""
    names = ("run", "quantity", "value", "lo", "hi", "n", "kind", "half", "setting", *SETTINGS)
    return [name for name in found.columns if name in names or name.endswith(".seed")]


def means_over(found: pd.DataFrame, item: str, by: Sequence[str] = ("setting",)) -> dict[Key, Interval]:
    """The mean over the items (such as kinds) of each combination of ``by``, see the top of this page.

    Args:
        found: rows as ``cells`` returns them, of shares, with the columns ``item`` and ``by``.
    """
    if found.empty:
        return {}
    return {key: _mean_over(rows, item) for key, rows in found.groupby(list(by), sort=True)}


def _mean_over(rows: pd.DataFrame, item: str) -> Interval:
    """Over items in each run or seed and then over these, if each has every item once; else over the items' means."""
    parts = cells.intervals(rows)
    for repeat in (["run"], [name for name in rows.columns if name.endswith(".seed")]):
        repeats = list(map(tuple, rows[repeat].astype(str).to_numpy()))  # as texts, where none is equal to none
        cells_ = set(zip(repeats, rows[item], strict=True))
        if len(cells_) == len(rows) == len(set(repeats)) * rows[item].nunique():
            groups: dict[tuple[str, ...], list[Interval]] = {}
            for key, part in zip(repeats, parts, strict=True):
                groups.setdefault(key, []).append(part)
            return interval.mean_of_runs([interval.mean_of(group) for group in groups.values()], share=True)
    return interval.mean_of(list(combine(rows, [item], share=True).values()))


def _own(by_kind: Mapping[str, Mapping[Key, Interval]], setting: str) -> dict[str, dict[str, Interval]]:
    """Those of one setting, by name and kind."""
    return {name: {str(key[1]): one for key, one in parts.items() if key[0] == setting}
            for name, parts in by_kind.items()}


def _means(setting: str, means: Mapping[str, Mapping[Key, Interval]], recalls: Mapping[str, Mapping[Key, Interval]],
           own: Mapping[str, Interval]) -> Iterable[Quantity]:
    """The quantities of a setting that are over all kinds or attributes; ``own``: its answers by kind."""
    for name, found in means.items():
        yield from cells.quantity(named(name, setting), found.get((setting,)))
        if name == "answer" and own:
            yield Quantity.of(named("least", setting), interval.least(list(own.values()), share=True))
            yield Quantity.of(named("most", setting), interval.most(list(own.values()), share=True))
    for name, found in recalls.items():
        yield from cells.quantity(named(name, setting), found.get((setting,)))


def _kinds(setting: str, own: Mapping[str, Mapping[str, Interval]]) -> Iterable[Quantity]:
    """The quantities of a setting by kind; ``own``: its numbers by name and kind."""
    for name in BY_KIND:
        for kind, one in own[name].items():
            yield Quantity.of(named(name, setting, kind), one)
    for kind, one in own["answer"].items():
        if kind in own["majority"]:
            gap = interval.difference(one, own["majority"][kind], independent=False)
            yield Quantity.of(named("above_majority", setting, kind), gap)


def _details(table: pd.DataFrame, by_kind: Mapping[str, Mapping[Key, Interval]],
             quantities: Sequence[Quantity]) -> dict[str, Any]:
    """Which runs were averaged, which kinds they were asked, and the rest by kind or attribute."""
    asked = table[table["quantity"] == "answer"]
    kinds: dict[str, list[str]] = {}
    for key in by_kind["answer"]:
        kinds.setdefault(str(key[0]) or "all", []).append(str(key[1]))
    parts = {name: by_kind[name] for name in ("train", "untrained", "start")}
    for base in (*RECALLS, "recall_untrained"):
        parts[base] = combine(cells.cells(table, base, ["attribute"]), ["setting", "attribute"], share=True)
    return {
        "runs": measured_runs(table if asked.empty else asked, ["setting"], quantities), "kinds": kinds,
        "controls": {name: {named("", *map(str, key))[1:]: one.value for key, one in found.items()}
                     for name, found in parts.items() if found},
        "notes": list(NOTES),
    }
