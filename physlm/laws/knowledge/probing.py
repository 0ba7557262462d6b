"""Where knowledge is stored: behind the name, or only behind other attributes (arXiv 2309.14316, results 3 and 4).

    q_probe@S/employer_whole              accuracy of the Q-probe, which reads the name alone
    p_probe@S/employer_whole/place=1      accuracy of the P-probe, which reads a biography at the token before the first
                                          attribute that it names; place 6 is before the last

S is the augmentation of the biographies, ``single`` or ``multi5+permute``; of models that are no pretrained decoders it
says so: ``mixed/single``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from physlm import interval
from physlm.interval import Interval
from physlm.laws import cells
from physlm.laws.cells import Key, measured_runs, named
from physlm.laws.knowledge.settings import with_settings
from physlm.laws.law import Law, Quantity, gives

COMPANY = "employer_whole"
CONTROLS = ("untrained", "shuffled", "majority", "first_word", "unmapped")
PROBES = ("p_probe", "q_probe")
NOTES = (
    *cells.notes("people"),
    (
        "q_probe@S/T: accuracy of the linear probe of the hidden state at the end of <eos> full name <eos>; "
        "p_probe@S/T/place=P: of a biography, at the token before the P-th attribute that it names. T is the first "
        "token of an attribute's value (that of the birth date is the month) or the whole value. Probes learn from one "
        "half of the people and are judged on the other."
    ),
    "q_company@S: q_probe@S/employer_whole.",
    "q_mean@S, p_early@S: the Q-probe, and the P-probe at place 1, averaged over the five whole values.",
    (
        "q_untrained@S, q_shuffled@S, q_majority@S, p_early_untrained@S, ...: the same averages of the controls: the "
        "model before its first step, somebody else's attributes, the best constant answer. first_word: the best "
        "answer by somebody who knows the first word of the right one and no more, as the model's next word could tell "
        "it. unmapped: the probe without the map that it has trained, so that the model's own output answers what the "
        "probe's vector asks. gap_untrained@S: q_mean@S minus that of the untrained model, run by run. All controls, "
        "by target and place, are in law.json."
    ),
    cells.least_note("q_least@S", "five whole values"),
    cells.contrast_note("people"),
)


@gives("q_company", "q_mean", "q_least", "p_early", "gap_untrained", "q_probe", "p_probe",
       *(f"{name}_{control}" for name in ("q", "p_early") for control in CONTROLS))
def knowledge_law(table: pd.DataFrame) -> Law:
    """Quantities, where the table allows them: ``q_company@S``, ``q_mean@S``, ``q_least@S``, ``p_early@S``,
    ``gap_untrained@S``; ``q_untrained@S``, ``p_early_untrained@S`` and so on for each of ``CONTROLS``;
    ``q_probe@S/T``, ``p_probe@S/T/place=P``.

    Raises:
        UserError: columns are missing.
    """
    table = with_setting(table)
    q, p = by_target(table, "q_probe"), by_target(table, "p_probe")
    quantities = [Quantity.of(named("q_company", str(s)), one) for (s, target), one in q.items() if target == COMPANY]
    for name, base, place in (("q", "q_probe", None), ("p_early", "p_probe", 1)):
        quantities += _named("q_mean" if name == "q" else name, mean_over_values(table, base, place))
        for control in CONTROLS:
            quantities += _named(f"{name}_{control}", mean_over_values(table, f"{base}_{control}", place))
    quantities += _named("q_least", _least(q)) + _named("gap_untrained", _gaps(table))
    quantities += [Quantity.of(named("q_probe", *map(str, key)), one) for key, one in q.items()]
    quantities += [Quantity.of(named("p_probe", str(s), str(target), f"place={place}"), one)
                   for (s, target, place), one in p.items()]
    details: dict[str, Any] = {"runs": measured_runs(table, ["setting"], quantities), "notes": list(NOTES),
                               "controls": _controls(table)}
    return Law(tuple(quantities), details)


def with_setting(table: pd.DataFrame) -> pd.DataFrame:
    """The table with the column ``setting``, see the top of this page.

    Raises:
        UserError: columns are missing.
    """
    table = with_settings(table)
    plain = table["way"] == "pretrained"
    return table.assign(setting=table["augmentation"].where(plain, table["way"] + "/" + table["augmentation"]))


def by_target(table: pd.DataFrame, base: str) -> dict[Key, Interval]:
    """Accuracy of ``q_probe`` by (setting, target) or of ``p_probe`` by (setting, target, place), or of one of their
    controls, ``q_probe_untrained``; a table of ``with_setting``."""
    keys = _keys(base)
    return cells.combine(cells.cells(table, base, keys), ["setting", *keys], share=True)


def _keys(base: str) -> list[str]:
    return ["target", "place"] if base.startswith("p_probe") else ["target"]


def mean_over_values(table: pd.DataFrame, base: str, place: int | None = None) -> dict[Key, Interval]:
    """Accuracy averaged over the whole values, by (setting,): run by run, then over runs."""
    return _over_runs(_run_means(table, base, place))


def _run_means(table: pd.DataFrame, base: str, place: int | None = None) -> dict[Key, Interval]:
    """The mean over whole values of each run, by (setting, run)."""
    found = cells.cells(table, base, _keys(base))
    found = found[found["target"].astype(str).str.endswith("_whole")]
    if place is not None:
        found = found[found["place"] == place]
    values: dict[Key, list[Interval]] = {}
    for (setting, run, _), one in cells.combine(found, ["setting", "run", "target"], share=True).items():
        values.setdefault((setting, run), []).append(one)
    return {key: interval.mean_of(parts) for key, parts in values.items()}


def _gaps(table: pd.DataFrame) -> dict[Key, Interval]:
    """The Q-probe of the trained model minus that of the untrained one."""
    trained, untrained = (_run_means(table, base) for base in ("q_probe", "q_probe_untrained"))
    return _over_runs({key: interval.difference(one, untrained[key], independent=False)
                       for key, one in trained.items() if key in untrained}, share=False)  # fmt: skip


def _over_runs(by_run: dict[Key, Interval], share: bool = True) -> dict[Key, Interval]:
    runs: dict[Key, list[Interval]] = {}
    for (setting, _), one in by_run.items():
        runs.setdefault((setting,), []).append(one)
    return {key: interval.mean_of_runs(parts, share) for key, parts in runs.items()}


def _least(q: dict[Key, Interval]) -> dict[Key, Interval]:
    """The smallest accuracy of the Q-probe over the whole values."""
    values: dict[Key, list[Interval]] = {}
    for (setting, target), one in q.items():
        if str(target).endswith("_whole"):
            values.setdefault((setting,), []).append(one)
    return {key: interval.least(parts, share=True) for key, parts in values.items()}


def _named(name: str, by_setting: dict[Key, Interval]) -> list[Quantity]:
    return [Quantity.of(named(name, str(setting)), one) for (setting,), one in by_setting.items()]


def _controls(table: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Every control at every target and place, for the file of the law: values alone."""
    found = {f"{base}_{control}": by_target(table, f"{base}_{control}") for base in PROBES for control in CONTROLS}
    return {base: {_path(key): one.value for key, one in by_key.items()} for base, by_key in found.items()}


def _path(key: Sequence[object]) -> str:
    """``single/employer_whole/place=1``."""
    setting, target, *place = key
    return "/".join([f"{setting}/{target}", *(f"place={number}" for number in place)])
