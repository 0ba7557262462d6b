"""From finished runs to a verdict: table, law, figure, and the five files that say what was found.

    runs -> results_table -> experiment.law -> experiment.figure -> measures.csv env.json figure.png VERDICT.md law.json

``results/<claim>/`` holds what the tiers gpu and paper found; the smaller tiers, and runs with altered settings, go to
``runs/<tier>/<claim>/``, so that a demonstration never replaces a result.  Everything can be redrawn and verified
from these files alone.  Free of torch.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from physlm import storage
from physlm.config import to_dict, unknown_key
from physlm.errors import UserError, counted
from physlm.lab.committed import BESIDE_THE_LAW, CURE, law_file, table_file
from physlm.lab.environments import environments_of
from physlm.lab.experiment import COMMITTED_TIERS, TIERS, Experiment
from physlm.lab.run import Run
from physlm.laws.columns import finite, labels, same_places, with_columns
from physlm.laws.diverged import as_told, diverged_sentence, diverged_settings, tell_diverged, with_diverged
from physlm.laws.law import Law
from physlm.laws.verdict import verdict_markdown, verdict_rows
from physlm.measures.rows import Row
from physlm.models.counting import parameter_counts, state_bytes, training_flops
from physlm.places import AT

if TYPE_CHECKING:
    from physlm.training.config import RunSpec

_TEXTS = ("quantity", "unit")  # columns that stay texts, though the unit of a pure number reads as one


@dataclass(frozen=True)
class Finding:
    """What one tier of one experiment came to."""

    experiment: Experiment
    tier: str
    table: pd.DataFrame
    law: Law

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """One row per published value, with the keys ``VERDICT_KEYS``."""
        return verdict_rows(self.experiment.name, self.law, self.experiment.expect, self.tier)


def results_folder(claim: str, tier: str, results: Path, runs: Path, altered: bool = False) -> Path:
    """``results/<claim>`` for the committed tiers, else ``runs/<tier>/<claim>``; ``<tier>-custom`` with overrides."""
    if tier in COMMITTED_TIERS:
        return storage.beneath(runs, f"{tier}-custom", claim) if altered else storage.beneath(results, claim)
    return storage.beneath(runs, tier, claim)


def latest_folder(claim: str, tier: str | None, results: Path, runs: Path) -> Path:
    """The folder that holds the claim's law: of ``tier``, or else of the largest tier that was run.

    Raises:
        UserError: it was not run.
    """
    tiers = TIERS[::-1] if tier is None else (tier,)
    folders = [results_folder(claim, one, results, runs) for one in tiers]
    for folder in folders:
        if (folder / "law.json").exists():
            return folder
    looked = ", ".join(dict.fromkeys(map(str, folders)))
    raise UserError(f"{claim}: not run yet (no law.json in {looked}); give physlm run {claim} --tier {tiers[-1]}")


def results_table(runs: Sequence[Run], measures: Sequence[str] | Callable[[RunSpec], Sequence[str]],
                  planned: Sequence[RunSpec] = ()) -> pd.DataFrame:
    """The long table of finished runs that have not diverged, one row per (run, quantity, places).

    Args:
        measures: names of those that were taken, of all runs or of each its own.
        planned: all runs of the tier, finished or not; the table has the columns of their settings and facts too, so
            that a law may name them before the first run that has them is finished.

    See ``physlm.laws.columns``.

    Columns: run (folder name), every setting under its dotted name, the facts of the task (``facts.items``, ...),
    label, steps, tokens, params_all, params_used, params_nonembedding, training_flops (of the whole training),
    state_bytes (that a row as long as in training leaves for the next token, in bfloat16), measure (its name),
    quantity, where it was measured (at.kind, at.layer, ...; empty texts where not), value, unit, n, lo, hi. Where some
    runs begin with others, also the settings and facts of these under ``start.task``, ``start.train``,
    ``start.start.task``, ...; runs without have empty texts and NaN there.
    """
    names = measures if callable(measures) else lambda spec: measures
    taken = {run: [(name, row) for name in names(run.spec) for row in run.measures()[name]] for run in runs
             if run.diverged() is None}
    places = dict.fromkeys(key for rows in taken.values() for _, row in rows for key in row.where)
    rows = []
    for run, measured in taken.items():
        columns = {"run": run.name, **run_columns(run)}
        rows += [{**columns, "measure": name, **_cells(row, places)} for name, row in measured]
    if not rows:
        numbers = [field.name for field in fields(Row) if field.name != "where"]
        return pd.DataFrame(columns=["run", *run_columns(runs[0]), "measure", *numbers])
    table = with_columns(pd.DataFrame(rows))
    told = {name: value for spec in planned for name, value in {**settings_of(spec), **facts_of(spec)}.items()}
    empty = {name: "" if isinstance(value, str) else math.nan for name, value in told.items() if name not in table}
    # all at once: a table of many single columns is slow, and pandas says so
    table = pd.concat([table, pd.DataFrame(empty, index=table.index)], axis=1)
    texts = [name for name in table.columns[table.isna().any()]
             if any(isinstance(value, str) for value in table[name])]
    return table.fillna(dict.fromkeys(texts, ""))  # as it will be read from a file


def _cells(row: Row, places: Iterable[str]) -> dict[str, Any]:
    """A measured row as cells of a table; each of these places has one, empty where the row was measured at none."""
    own = {key: value for key, value in asdict(row).items() if key != "where"}
    return {**own, **{AT + key: row.where.get(key, "") for key in places}}


def run_columns(run: Run) -> dict[str, Any]:
    """A run's settings and sizes, as they stand in each of its rows."""
    spec = run.spec
    vocabulary = len(spec.task.vocabulary())
    flops = training_flops(spec.model, vocabulary, spec.task.row_tokens) * spec.tokens
    return {**settings_of(spec), **facts_of(spec), "label": spec.model.label, "steps": spec.steps,
            "tokens": spec.tokens, **parameter_counts(spec.model, vocabulary), "training_flops": flops,
            "state_bytes": state_bytes(spec.model, spec.task.row_tokens)}


def facts_of(spec: RunSpec, prefix: str = "") -> dict[str, Any]:
    """What the task says of itself, as ``facts.items``; of the runs that it begins with as ``start.facts.items``."""
    facts = {f"{prefix}facts.{name}": value for name, value in spec.task.facts().items() if value is not None}
    return facts if spec.start is None else {**facts, **facts_of(spec.start, f"{prefix}start.")}


def settings_of(spec: RunSpec, prefix: str = "") -> dict[str, Any]:
    """Every setting under its dotted name; the model of a start is that of its run, but perhaps for MLPs and mixers."""
    parts = ("task", "train") if prefix else ("task", "model", "train")
    flat = _flat({part: spec.model.facts() if part == "model" else to_dict(getattr(spec, part)) for part in parts},
                 prefix)
    if spec.start is None:
        return flat
    theirs = spec.start.model.facts()
    other = {f"{prefix}start.model.{name}": theirs[name]
             for name, differs in (("mlp", spec.upcycled), ("mixer", spec.retuned)) if differs}
    return {**flat, **other, **settings_of(spec.start, f"{prefix}start.")}


def find(experiment: Experiment, tier: str, runs: Sequence[Run]) -> Finding:
    """Fit the law to the finished runs of a tier that have not diverged; if all have, it has no quantities.

    Raises:
        UserError: there is no law of the runs that are left, or none of the experiment's columns was measured.
    """
    reasons = {run.name: reason for run in runs if (reason := run.diverged()) is not None}
    planned = experiment.specs(tier)
    settings = {run.name: settings_of(run.spec) for run in runs if run.name in reasons}
    table = tell_diverged(results_table(runs, experiment.asked_names, planned), settings.values())
    measured = labels(table) if len(runs) == len(planned) else []  # others may have the columns of a part
    if experiment.columns and measured and not set(map(same_places, experiment.columns)) & set(
            map(same_places, measured)):
        raise UserError(f"{experiment.name}: columns: none of them was measured: "
                        f"{unknown_key('column', experiment.columns[0], set(measured))}")
    try:
        law = fit(experiment, table)
    except UserError as error:
        if not reasons:
            raise
        sentence = diverged_sentence(with_diverged(Law(()), len(runs), reasons, settings))
        raise UserError(f"{error} ({sentence}: {', '.join(reasons)})") from error
    return Finding(experiment, tier, table, with_diverged(law, len(runs), reasons, settings))


def fit(experiment: Experiment, table: pd.DataFrame) -> Law:
    """The experiment's law of the rows that are finite; ``details["not_finite"]`` names the others, if there are any.

    Of no rows at all, which is what is left where all runs diverged, it has no quantities.

    Raises:
        UserError: what the law raises.
    """
    if table.empty:
        return Law(())
    whole, left_out = finite(table)
    law = experiment.law(as_told(whole, table))
    return replace(law, details={**law.details, "not_finite": left_out}) if left_out else law


def write_finding(
    finding: Finding, folder: Path, runs: Sequence[Run], redo: str, planned: int | None = None
) -> Path:
    """Write the five files, ``law.json`` last; return the path of the figure.

    Args:
        planned: runs of the whole tier; where ``runs`` are fewer, the verdict says so.

    Raises:
        UserError: the folder cannot be written.  The runs themselves are not touched.
    """
    planned = len(runs) if planned is None else planned
    figure = _png(finding)
    storage.write_text(folder / "measures.csv", finding.table.to_csv(index=False, lineterminator="\n"))
    storage.write_json(folder / "env.json", environments_of(runs, finding.experiment.measure_names))
    storage.write_bytes(folder / "figure.png", figure)
    write_law(finding, folder, redo, len(runs), planned)
    return folder / "figure.png"


def write_law(
    finding: Finding, folder: Path, redo: str, finished: int, planned: int, earlier_design: bool = False
) -> None:
    """Write VERDICT.md and, last, law.json.

    Args:
        finished, planned: how many of the tier's runs the finding is about, and how many there are.
        earlier_design: the tier has other runs by now, which are not trained yet.
    """
    experiment = finding.experiment
    part = "" if finished == planned else f", {finished} of its {planned} runs; the others are not finished"
    if earlier_design:
        part = f", {counted(finished, 'run')} of an earlier design; those of this one are not trained yet"
    text = verdict_markdown(experiment.name, experiment.claim, experiment.source, finding.law, experiment.expect,
                            finding.tier + part, redo, experiment.deviations,
                            experiment.found if finding.tier in COMMITTED_TIERS else "")
    storage.write_text(folder / "VERDICT.md", text)
    storage.write_json(folder / "law.json", {
        **finding.law.to_dict(), "tier": finding.tier, "runs": {"finished": finished, "planned": planned},
        "verdicts": finding.verdicts, "expect": [one.to_dict() for one in experiment.expect],
    })


def read_finding(experiment: Experiment, folder: Path) -> Finding:
    """The table and the law as they were written.

    Raises:
        UserError: a file is missing or damaged.
    """
    tier, law = read_law(folder)
    table = tell_diverged(read_table(table_file(folder)), diverged_settings(law).values())
    return Finding(experiment, tier, table, law)


def read_law(folder: Path) -> tuple[str, Law]:
    """The tier and the law of law.json alone.

    Raises:
        UserError: the file is missing or damaged.
    """
    data = law_file(folder)
    try:
        law = Law.from_dict({key: value for key, value in data.items() if key not in BESIDE_THE_LAW})
    except UserError as error:
        raise UserError(f"{folder / 'law.json'}: {error}; {CURE}") from error
    for one in law.quantities:
        if not (one.name + one.unit + one.remark).isprintable():
            raise UserError(f"{folder / 'law.json'}: {one.name!r}: got signs that cannot be printed; {CURE}")
    return data["tier"], law


def redraw(experiment: Experiment, folder: Path, target: Path | None = None) -> Path:
    """Draw ``figure.png`` again, or ``target``, from ``measures.csv`` and ``law.json``; return its path."""
    path = folder / "figure.png" if target is None else target
    storage.write_bytes(path, _png(read_finding(experiment, folder)))
    return path


# columns of every table of results, and whether they hold numbers
_NEEDED = {"run": False, "label": False, "quantity": False, "value": True, "unit": False, "n": True, "lo": True,
           "hi": True}  # fmt: skip
def read_table(path: Path) -> pd.DataFrame:
    """A table with every number exactly as it was written, whatever the version of pandas."""
    text = storage.read_text(path, CURE)
    try:
        cells = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
    except ValueError as error:
        raise UserError(f"{path}: expected a table, found damage ({error}); {CURE}") from error
    table = pd.DataFrame({
        name: list(column) if name in _TEXTS or name.startswith(AT) else _parse(list(column))
        for name, column in cells.items()})
    for name, numeric in _NEEDED.items():
        if name not in table:
            raise UserError(f"{path}: the column {name} is missing; {CURE}")
        if numeric and len(table) and not pd.api.types.is_numeric_dtype(table[name]):
            raise UserError(f"{path}: {name}: expected a column of numbers; {CURE}")
    return with_columns(table)


def _parse(texts: list[str]) -> list[Any]:
    """A column of texts as whole numbers, numbers or truth values (empty cells are NaN), or else as it is."""
    if {"True", "False"} & set(texts) and set(texts) <= {"True", "False", ""}:
        return [text == "True" if text else math.nan for text in texts]
    with contextlib.suppress(ValueError):
        return [int(text) for text in texts]
    with contextlib.suppress(ValueError):
        return [float(text or "nan") for text in texts]
    return list(texts)


def _png(finding: Finding) -> bytes:
    """The experiment's figure of the rows that are finite; a line under it says how many runs diverged."""
    from physlm.figures import style

    buffer = io.BytesIO()
    sentence = diverged_sentence(finding.law)
    figure = style.empty("no run is left to draw") if finding.table.empty else finding.experiment.figure(
        finite(finding.table)[0], finding.law)
    box = style.with_footnote(figure, sentence) if sentence else None
    # without the version of matplotlib in it, equal figures are equal files
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None}, bbox_inches=box)
    return buffer.getvalue()


def _flat(plain: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names; lists become JSON text, so that a table cell is one value."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        if isinstance(value, dict):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = json.dumps(value) if isinstance(value, list) else value
    return flat
