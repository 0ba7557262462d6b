"""Finished runs out of committed results: what a table of measures holds need not be trained again.

A claim of many runs may be brought to its end in several sittings, on machines that keep nothing between them: each
commits the table of what is finished so far, and the next one takes these runs from there.

    results/<claim>/measures.csv   rows by run and measure      ->   runs/<run>/measures.csv
    results/<claim>/env.json       environment and times        ->   runs/<run>/env.json, timing.json, measuring.json
    results/<claim>/law.json       which runs diverged, and why ->   runs/<run>/diverged.json

A run that is taken from there has no weights and no curve of training.  So a run is not taken that another one, still
to be trained, begins with.  A run is known by the hash of its settings: whether the code of physlm has changed since,
only its environment says.  What was made from uncommitted changes is not taken: no commit makes it again.
"""

from __future__ import annotations

import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from physlm import storage
from physlm.config import content_hash
from physlm.errors import UserError
from physlm.lab.committed import CURE, committed_claims, table_file
from physlm.lab.environments import read_environments
from physlm.lab.results import read_law, read_table
from physlm.lab.run import MOST_ITEMS, Run
from physlm.lab.store import Store
from physlm.lab.stored import is_time
from physlm.laws.diverged import diverged_runs
from physlm.measures.rows import Row
from physlm.places import AT
from physlm.training.config import RunSpec


@dataclass
class Told:
    """What committed results tell of one run.

    Attributes:
        environment: what its env.json said.
        times: ``training`` seconds, ``tokens_per_second``, and ``measuring`` seconds by measure, and how many ``rows``
            each measure has; nothing in older ones.
        diverged: why it counts as diverged; None where it does not.
        measures: rows by the name of the measure.
    """

    environment: Mapping[str, Any]
    times: Mapping[str, Any]
    diverged: str | None = None
    measures: dict[str, list[Row]] = field(default_factory=dict)


def restore(asked: Mapping[RunSpec, Sequence[str]], store: Store, results: Path,
            claims: Mapping[str, Sequence[str]] | None = None, trains: bool = True) -> list[Run]:
    """Make the folders of asked runs that are whole in committed tables, as finished ones without weights.

    Args:
        asked: the names of the measures that are taken of each run.
        store: where folders are made; a folder that is there already is left alone.
        results: the folder of results, of whatever claims.
        claims: the claims that ask, and the names of the measures that each takes.  Their own tables come before those
            of other claims, and one that takes a single measure may have a table older than the column that names it.
        trains: whether runs that are not finished will be trained, which takes the weights of those that they begin
            with.

    Returns:
        the runs whose folders were made, in the order of ``asked``.

    Raises:
        UserError: a file of results is damaged, or another sweep is at work in this store.
    """
    runs = {run.hash: run for run in map(store.run, asked) if not run.path.exists()}
    names = {content_hash(spec): set(measures) for spec, measures in asked.items()}
    told = _told({one: names[one] for one in runs}, results, claims or {})
    whole = {one for one, found in told.items() if found.diverged is not None or names[one] <= set(found.measures)}
    needed = {content_hash(start) for spec in asked if content_hash(spec) not in whole and not store.run(spec).trained()
              for start in spec.starts} if trains else set[str]()
    wanted = [run for one, run in runs.items() if one in whole - needed]
    if not wanted:
        return []
    with store.lock():
        made = [run for run in wanted if not run.path.exists()]  # another sweep may have begun it meanwhile
        for run in made:
            with storage.new_folder(run.path) as folder:
                _fill(Run(run.spec, folder), told[run.hash])
    return made


def _fill(run: Run, told: Told) -> None:
    """Write the files of a finished run."""
    run.start(told.environment)
    if told.times:
        run.write_timing({"seconds": told.times["training"], "members": 1,
                          "tokens_per_second_all_members": told.times["tokens_per_second"]})
    if told.diverged is not None:
        run.write_diverged(told.diverged)
    else:
        for name in told.measures:
            run.add_measure(name, told.measures[name])
            if name in told.times.get("measuring", {}):
                run.keep_seconds(name, told.times["measuring"][name])
    run.finish()


def _told(names: Mapping[str, set[str]], results: Path, claims: Mapping[str, Sequence[str]]) -> dict[str, Told]:
    """What all tables together tell of the measures with these names, by run; of a measure that stands in several
    tables, the first, and the environment of the first that has any of the run's."""
    found: dict[str, Told] = {}
    hashes = set(names)
    for claim in sorted(committed_claims(results) if hashes else (), key=lambda name: name not in claims):
        folder = storage.beneath(results, claim)
        reasons = {_hash(name): reason for name, reason in diverged_runs(read_law(folder)[1]).items()}
        text = storage.read_text(table_file(folder), CURE)
        if not (hashes & set(reasons) or any(one in text for one in hashes)):
            continue  # reading a table takes long
        if not text.endswith("\n"):
            raise UserError(f"{table_file(folder)}: expected whole lines; {CURE}")
        table = read_table(table_file(folder))
        environments = _Environments(folder / "env.json")
        (alone,) = measures if len(measures := claims.get(claim, ())) == 1 else (None,)
        for run, rows in table.groupby("run", sort=False):
            if (one := _hash(str(run))) in hashes and environments.knows(one):
                own = _rows(rows, alone, folder)
                environments.check_rows(one, own, folder)
                for name in (name for name in own if name in names[one]):
                    found.setdefault(one, environments.of(one)).measures.setdefault(name, own[name])
        for one in hashes & set(reasons):
            if environments.knows(one):
                found.setdefault(one, environments.of(one)).diverged = reasons[one]
    return found


def _rows(table: pd.DataFrame, alone: str | None, folder: Path) -> dict[str, list[Row]]:
    """Rows by the name of the measure; none where the table does not say which and the claim has several."""
    found: dict[str, list[Row]] = {}
    for line in table.to_dict("records"):
        name = line.get("measure", alone)
        if not isinstance(name, str) or not name:
            continue
        where = {str(key).removeprefix(AT): value for key, value in line.items()
                 if str(key).startswith(AT) and value != ""}
        try:
            if not (float(line["n"]).is_integer() and 0 <= line["n"] < MOST_ITEMS):
                raise ValueError(f"n: got {line['n']}")
            row = Row(line["quantity"], float(line["value"]), line["unit"], int(line["n"]), float(line["lo"]),
                      float(line["hi"]), where)
        except ValueError as error:  # UserError is one
            raise UserError(f"{folder / 'measures.csv'}: {reprlib.repr(line['run'])}: expected a measured number "
                            f"({error}); {CURE}") from error
        found.setdefault(name, []).append(row)
    return found


class _Environments:
    """What an env.json tells of each run; an older one tells it only where all runs had one environment.

    Raises:
        UserError: it is missing or damaged.
    """

    def __init__(self, path: Path):
        told = read_environments(path, CURE)
        environments, each = told["environments"], told["each"]
        if not all(_is_told(one, len(environments)) for one in each.values()):
            raise UserError(f"{path}: each: expected for each run one of the environments, its times and rows; {CURE}")
        self._each: dict[str, dict[str, Any]] = each
        self._environments = [{key: value for key, value in one.items() if key != "runs"} for one in environments]

    def knows(self, run: str) -> bool:
        """Whether it tells of the run with this hash, and not that uncommitted changes made it."""
        told = run in self._each or (not self._each and len(self._environments) == 1)
        return told and self.of(run).environment.get("git_dirty") is not True

    def check_rows(self, run: str, measures: Mapping[str, Sequence[Row]], folder: Path) -> None:
        """Raises UserError: the table has not the rows of the run that it was written with."""
        found = {name: len(rows) for name, rows in measures.items()}
        if run in self._each and found != self._each[run]["rows"]:
            raise UserError(f"{folder / 'measures.csv'}: run {run}: got rows of {found}, expected "
                            f"{self._each[run]['rows']}; {CURE}")

    def of(self, run: str) -> Told:
        """Environment and times of the run with this hash."""
        if run not in self._each:
            return Told(self._environments[0], {})
        times = self._each[run]
        return Told(self._environments[times["environment"]], times)


def _is_told(one: Any, environments: int) -> bool:
    if not isinstance(one, dict) or not all(isinstance(one.get(key), dict) for key in ("measuring", "rows")):
        return False
    number = one.get("environment")
    times = [one.get("training"), one.get("tokens_per_second"), *one["measuring"].values()]
    return (type(number) is int and 0 <= number < environments and all(map(is_time, times))
            and all(type(rows) is int for rows in one["rows"].values()))


def _hash(name: str) -> str:
    """The hash at the end of the name of a run's folder."""
    return name.rpartition("-")[2]
