"""One table over many claims: rows are mixers, columns tasks, from tables of results alone.

What is compared is alike: runs on one task with one setting, of as many dimensions, of as many layers that a token goes
through (those that are looped count at each pass), trained on as many rows a step for as many steps.  Of each task the
setting that most mixers learnt is shown, or the largest of several such.  A cell is the score at the best learning
rate: the mean over the seeds that all its rates have, with an interval that knows of the other rates.

A row is called by its mixer, in words (``physlm.laws.words``); and by its local mixing, MLP, norm, heads or passes
where one mixer has several of them within a column: ``GLA, Canon``.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells, columns, words
from physlm.laws.cells import Key
from physlm.laws.forms.extremes import means_alike
from physlm.laws.forms.form import value_text
from physlm.laws.forms.shares import Taken, hardest
from physlm.places import AT

SPEED = "tokens_per_second"
COSTS = ("params_used", "flops_per_token", "state_bytes", SPEED)
# softmax attention: what costs are held against, the first that a column has
BASELINES = (words.pattern_words("rope"), words.pattern_words("nope"))
TOLD_BY = ("model.local", "model.mlp", "model.norm", "model.heads", "model.init_std", "model.tied",
           "model.loops", "model.prelude", "model.coda", "model.residual")  # fmt: skip
# what is not said of a model that has it, and what models of older tables have, without the column
USUAL = {"model.local": "none", "model.mlp": "none", "model.loops": "1", "model.prelude": "0", "model.coda": "0",
         "model.residual": "add"}  # fmt: skip
DEPTH = "depth"
_ALIKE = (DEPTH, "model.width", "steps", "train.batch_rows", "train.precision")


@dataclass(frozen=True)
class Score:
    """What is shown of a task.

    Attributes:
        title: of the column.
        quantity: that was measured.
        at: place -> the value; or how it is picked from the rows of one setting, as ``Shares.where`` has it.
        over: a place that the number is the mean over.
        split: a setting of the task whose values have columns of their own.
    """

    title: str
    quantity: str
    at: Mapping[str, Any] = field(default_factory=dict, hash=False)
    over: str = "kind"
    split: str = ""


TEST = {"half": "test"}
FAR = {**TEST, "times": "4", "variant": ("", "trained")}  # questions four times as long as in training
SCORES: dict[str, tuple[Score, ...]] = {
    "mano": (Score("Mano", "answer", TEST),), "brevo": (Score("Brevo", "answer", TEST),),
    "depo": (Score("Depo", "forced", {**TEST, "kind": hardest}),),
    "grammar": (Score("Lano", "accuracy", {"cut": "0"}),),
    "bioS": (Score("Capo", "bits_per_param"),), "bioD": (Score("Capo", "bits_per_param"),),
    "mixture": (Score("", "answer", TEST, split="tasks"),),
    "flipflop": (Score("flip-flop, sparse", "forced", {**TEST, "kind": "sparse"}),),
    "words": (Score("words of", "forced", {**TEST, "kind": "every"}, split="group"),),
    **{kind: (Score(name, "answer", TEST), Score(f"{name}, 4 x as long", "answered", FAR)) for kind, name in (
        ("copy", "copying"), ("needle", "needle"), ("mqar", words.TASKS["mqar"]))},
}  # fmt: skip


def scores_of(kind: str) -> tuple[Score, ...]:
    """Those of a task; of one that has none, its tokens or its answers, whichever was measured."""
    return SCORES.get(kind, (Score(kind, "forced", TEST), Score(kind, "answer", TEST)))


@dataclass(frozen=True)
class Cell:
    """A score.

    Attributes:
        found: its interval.
        rate, rates: the learning rate of the best, of how many.
        costs: ``COSTS`` of the model, as far as they are known.
    """

    found: Interval
    unit: str
    rate: float
    rates: int
    label: str
    costs: Mapping[str, float]


@dataclass(frozen=True)
class Column:
    """One task in one setting: how it is called, what models and training it is of, and its cells by row."""

    title: str
    quantity: str
    setting: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class Comparison:
    """Columns, and the rows that they have: those with most cells first."""

    columns: tuple[Column, ...]

    @property
    def rows(self) -> tuple[str, ...]:
        """Softmax attention first, then those with most cells."""
        counts = Counter(row for column in self.columns for row in column.cells)
        return tuple(sorted(counts, key=lambda row: (row not in BASELINES, -counts[row], row)))

    def cost(self, row: str, name: str) -> float | None:
        """A cost over that of softmax attention, the geometric mean over the columns that have both."""
        ratios = []
        for column in self.columns:
            base = next((column.cells[one] for one in BASELINES if one in column.cells), None)
            ours = column.cells.get(row)
            if base is not None and ours is not None and base.costs.get(name, 0) > 0 and ours.costs.get(name, 0) > 0:
                ratios.append(ours.costs[name] / base.costs[name])
        return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def compared(tables: Iterable[pd.DataFrame]) -> Comparison:
    """The comparison of all runs of these tables; a run that several have counts once.

    Args:
        tables: of results (``physlm.lab.results``), perhaps with a column ``tokens_per_second``.
    """
    plain = [table.astype({name: object for name in table.columns}) for table in tables]
    if not plain:
        return Comparison(())
    whole = pd.concat(plain, ignore_index=True)
    places = [name for name in whole.columns if name.startswith(AT)]
    whole[places] = whole[places].fillna("").astype(str)
    whole = whole.drop_duplicates(["run", "quantity", *places])
    whole[DEPTH] = columns.depths(whole)
    found: list[Column] = []
    for kind, rows in whole.groupby("task.kind", sort=False):
        shown: set[str] = set()
        for score in scores_of(str(kind)):
            if kind not in SCORES and shown:
                continue  # one of them is enough
            ours = _columns(score, rows, places)
            shown |= {column.title for column in ours}
            found += ours
    return Comparison(tuple(found))


def _columns(score: Score, rows: pd.DataFrame, places: Sequence[str]) -> list[Column]:
    """A column for each value of the setting that splits, of the setting that most mixers have."""
    rows = rows[rows["quantity"] == score.quantity]
    split = f"task.{score.split}"
    parts = rows.groupby(rows[split].astype(str), sort=False) if score.split else [("", rows)]
    found = []
    for value, part in parts:
        alike = [name for name in part.columns if name in _ALIKE or (
            name.startswith("task.") and name != "task.seed")]  # fmt: skip
        groups = [_measured(score, group, places)
                  for _, group in part.fillna(dict.fromkeys(alike, "")).groupby(alike, sort=False)]
        groups = [group for group in groups if len(group)]
        if not groups:
            continue
        best = max(groups, key=lambda group: (group["model.mixer"].nunique(), float(group["params_used"].max())))
        first = best.iloc[0]
        setting = (f"{first[DEPTH]} x {first['model.width']}, {int(first['steps']):,} steps of "
                   f"{first['train.batch_rows']} x {first['task.row_tokens']} tokens")
        title = _title(score, str(value))
        found.append(Column(title, score.quantity, setting, _cells(best, score)))
    return found


def _title(score: Score, value: str) -> str:
    if score.split == "tasks":  # of a mixture
        kinds = [words.TASKS.get(one["kind"], one["kind"]) + (", reassigned" if one.get("reassigned") else "")
                 for one in json.loads(value)]
        return " + ".join(dict.fromkeys(kinds))
    return f"{score.title} {value}".strip() if score.split else score.title


def _measured(score: Score, rows: pd.DataFrame, places: Sequence[str]) -> pd.DataFrame:
    """Of rows of one setting those at these places and at no others but the one that it is the mean over."""
    for name, wanted in score.at.items():
        column = f"{AT}{name}"
        if column not in rows or rows.empty:
            return rows.iloc[:0]
        wanted = wanted(rows, column) if callable(wanted) else wanted
        rows = rows[rows[column].isin(wanted if isinstance(wanted, tuple) else (str(wanted),))]
    named = {f"{AT}{name}" for name in (*score.at, score.over)}
    for name in places:
        if name not in named:
            rows = rows[rows[name] == ""]
    return rows


def _cells(rows: pd.DataFrame, score: Score) -> dict[str, Cell]:
    """By the name of the row; rates are compared by the seeds that all of them have, as form ``Best`` does."""
    names, seeds = _names(rows), columns.seed_columns(rows)
    found: dict[str, Cell] = {}
    for name, own in rows.groupby(rows["label"].map(names), sort=False):
        grid: dict[Key, list[Taken]] = {}
        for run, parts in own.groupby("run", sort=False):
            first = parts.iloc[0]
            at: Key = (float(first["train.learning_rate"]),)
            seed = tuple(value_text(first[column]) for column in seeds)
            grid.setdefault(at, []).append(Taken(at, str(run), seed, _mean(parts), ()))
        first = own.iloc[0]
        share = first["unit"] == "1"
        means = {float(str(rate)): mean for (rate,), mean in means_alike(grid, share).items()}
        rate = max(means, key=lambda rate: means[rate].value)
        best = means[rate] if len(means) == 1 else interval.most(list(means.values()), share)
        found[str(name)] = Cell(best, str(first["unit"]), rate, len(means), str(first["label"]), _costs(first))
    return found


def _mean(rows: pd.DataFrame) -> Interval:
    """The number of one run: the mean over its rows."""
    parts = cells.intervals(rows)
    return parts[0] if len(parts) == 1 else interval.mean_of(parts)


def _names(rows: pd.DataFrame) -> dict[str, str]:
    """Model label -> the name of its row: the mixer, and what tells models of one mixer apart."""
    models = rows.drop_duplicates("label")
    models = models.assign(**{name: [USUAL.get(name, "") if pd.isna(value) else value_text(value)
                                     for value in models[name]] for name in TOLD_BY if name in models})
    common = {name: _commonest(models[name]) for name in TOLD_BY if name in models}
    found: dict[str, str] = {}
    for mixer, own in models.groupby("model.mixer", sort=False):
        values = {name: set(own[name].astype(str)) for name in common}
        told = {name: USUAL[name] if USUAL.get(name, "") in values[name] else
                common[name] if common[name] in values[name] else _commonest(own[name])
                for name in common if len(values[name]) > 1}
        for _, model in own.iterrows():
            more = [words.column_words(name, str(model[name])) for name, usual in told.items()
                    if str(model[name]) != usual]
            name = ", ".join([words.pattern_words(str(mixer)), *more])
            found[str(model["label"])] = name if name not in found.values() else str(model["label"])
    return found


def _commonest(values: pd.Series) -> str:
    """The commonest value; of several such the first."""
    return Counter(values.astype(str)).most_common(1)[0][0]


def _costs(row: pd.Series) -> dict[str, float]:
    """What is known of the costs of one run."""
    known = {"flops_per_token": float(row["training_flops"]) / float(row["tokens"])} if row.get("tokens") else {}
    for name in COSTS:
        value = row.get(name)
        if name in row and isinstance(value, int | float) and not math.isnan(float(value)):
            known[name] = float(value)
    return known
