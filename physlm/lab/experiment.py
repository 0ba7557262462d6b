"""A claim about language models, as one object: what to run, what to measure, what to fit, what was published.

An experiment is a file ``experiments/NAME.py`` that exports ``EXPERIMENT = Experiment(name="NAME", ...)``.  The four
tiers run the same code on different numbers:

    smoke   seconds on a CPU, run by the tests        demo    minutes on two cores, already shows the effect
    gpu     minutes on one data-centre GPU            paper   the published size; prints its cost and asks first

Free of torch, so that experiments can be listed and shown at once.
"""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from physlm import storage
from physlm.config import content_hash, override, unknown_key
from physlm.errors import UserError
from physlm.laws.law import Declared
from physlm.measures.measure import AnyMeasure, check_quantity, name_of
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from physlm.laws.law import Law
    from physlm.laws.verdict import Expectation

TIERS = ("smoke", "demo", "gpu", "paper")
LISTED = "physlm list"  # the command that names the experiments
_SHOWN = 10  # names that begin alike, of an error
COMMITTED_TIERS = ("gpu", "paper")
Settings = TypeVar("Settings")
_MODULE = "physlm_experiment_"  # how the name of an experiment's module begins


def of_tier(settings: Mapping[str, Settings], tier: str) -> Settings:
    """The entry of a tier in a table of settings, as claims and what they share keep them.

    Raises:
        UserError: there is no such tier (the nearest is named), or the table says nothing of it.
    """
    if tier not in settings:
        raise UserError(unknown_key("tier", tier, [one for one in TIERS if one in settings]))
    return settings[tier]


def nearest_tier(tasks: Mapping[str, Collection[object]], shapes: Mapping[str, Sequence[int]], spec: RunSpec) -> str:
    """The tier that a run comes from, told by its task and its shape, either of which a user may have changed.

    Args:
        tasks: by tier; one that is equal to the run's speaks for its tier.
        shapes: by tier, layers, heads and width; as does one whose three numbers are the run's.  Where tiers have as
            much for them, the one with more of the three is meant, and of such ones the first.
    """
    model = spec.model

    def agreeing(tier: str) -> tuple[int, int]:
        same = [ours == theirs for ours, theirs in zip((model.layers, model.heads, model.width), shapes[tier],
                                                       strict=True)]
        return (spec.task in tasks[tier]) + all(same), sum(same)

    return max(tasks, key=agreeing)


@dataclass(frozen=True)
class Experiment:
    """One claim, from data to verdict.

    Attributes:
        name: the file's name without ``.py``; starts with its part, for example ``p33_capacity`` or ``beyond_recall``.
        claim: one sentence that can be false.
        source: paper and figure.
        runs: the run specs of a tier, usually a plain loop.
        measures: taken on every run: names in ``physlm.measures.MEASURES``, or measures of its own
            (``physlm.measures.measure``).
        measures_of: of a claim whose runs learn different tasks: which of its measures are taken of a run.
        law: from the long results table to the fitted quantities.
        figure: from the table and the law to a matplotlib ``Figure``.
        expect: the published values with their tolerances.
        deviations: how our setting differs from the published one; goes into ``VERDICT.md``.
        found: after the committed run, one sentence on what failed and why; goes into its ``VERDICT.md`` and is
            judged by nobody.
        columns: what to show in the table of runs that ``physlm run`` prints, quantities with the places where they
            were measured, ``answer/kind=employer/half=test``; those of them that the tier measured; if none, all.
    """

    name: str
    claim: str
    source: str
    runs: Callable[[str], Sequence[RunSpec]]
    measures: tuple[AnyMeasure, ...]
    law: Callable[[pd.DataFrame], Law]
    figure: Callable[[pd.DataFrame, Law], Figure]
    expect: tuple[Expectation, ...]
    deviations: tuple[str, ...] = ()
    found: str = ""
    columns: tuple[str, ...] = ()
    measures_of: Callable[[RunSpec], Sequence[AnyMeasure]] | None = None

    @property
    def part(self) -> str:
        """The part of the series that the name starts with."""
        return part_of(self.name)

    @property
    def measure_names(self) -> tuple[str, ...]:
        """The names of its measures."""
        return tuple(map(name_of, self.measures))

    def asked(self, spec: RunSpec) -> tuple[AnyMeasure, ...]:
        """The measures that are taken of a run.

        Raises:
            UserError: none, or one that is not among the claim's.
        """
        if self.measures_of is None:
            return self.measures
        asked = tuple(self.measures_of(spec))
        if not asked or not set(asked) <= set(self.measures):
            raise UserError(f"{self.name}: measures_of: got {', '.join(map(name_of, asked)) or 'none'} for "
                            f"{spec.title}, expected some of {', '.join(self.measure_names)}")
        return asked

    def asked_names(self, spec: RunSpec) -> tuple[str, ...]:
        """Their names."""
        return tuple(map(name_of, self.asked(spec)))

    def check(self) -> None:
        """Refuse what names nothing, as far as that can be known before there is a table.

        Raises:
            UserError: an expectation speaks of a quantity that the law never gives, or in another unit; a column of a
                quantity that no measure returns; two measures are called the same, or two
                expectations of one quantity have the same number.
        """
        for name in self.measure_names:
            if self.measure_names.count(name) > 1:
                raise UserError(f"{self.name}: measures: got {name!r} more than once, expected each name once")
        try:
            for column in self.columns:
                check_quantity(self.measures, column.partition("/")[0])
            for place, expectation in enumerate(self.expect):
                if isinstance(self.law, Declared):
                    self.law.check(expectation.quantity, expectation.unit)
                named = [(one.quantity, one.published) for one in self.expect[:place]]
                if (expectation.quantity, expectation.published) in named:
                    raise UserError(f"got the expectation of {expectation.quantity} {expectation.published:g} more "
                                    "than once, expected each once: verdicts are told by quantity and number")
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from error

    def specs(self, tier: str, overrides: Iterable[str] = ()) -> list[RunSpec]:
        """The different runs of a tier, with ``key=value`` overrides applied to each.

        What a run and those that it begins with have in common, the model and the ``shared_fields`` of its task, is
        changed in all of them.
        Settings of a start, ``start.train.exposures=9``, are changed in the runs that have one.

        Raises:
            UserError: unknown tier or key (the nearest is named), a bad value, or a tier without runs.
        """
        if tier not in TIERS:
            raise UserError(unknown_key("tier", tier, TIERS))
        overrides, planned = tuple(overrides), list(self.runs(tier))
        deepest = max((len(spec.starts) for spec in planned), default=0)
        specs = {content_hash(spec): spec for spec in (_changed(spec, overrides, deepest) for spec in planned)}
        if not specs:
            raise UserError(f"{self.name}: tier {tier} has no runs; expected at least one")
        return list(specs.values())


def _changed(spec: RunSpec, overrides: Sequence[str], deepest: int) -> RunSpec:
    """``spec`` with the overrides that it has settings for, of runs that begin with at most ``deepest`` others."""
    common, own = [], []
    for text in overrides:
        key, given, _ = text.partition("=")
        key = key.strip()
        part, _, name = key.partition(".")
        for depth, start in enumerate(reversed(spec.starts), 1):
            shared = part == "task" and name in spec.task.shared_fields and hasattr(start.task, name)
            if given and (part == "model" or shared):
                common.append("start." * depth + text.strip())
        depth = len(re.match(r"(start\.)*", key)[0]) // len("start.")  # type: ignore[index]
        if depth <= len(spec.starts) or depth > deepest:
            own.append(text)
    return override(spec, [*common, *own])


def part_of(name: str) -> str:
    """The part of the series that a claim's name starts with: ``p33_...`` is Part 3.3, ``p1_...`` is Part 1; ``beyond``
    of claims that belong to no published part."""
    match = re.match(r"p(\d)(\d?)_|(beyond)_", name)
    return ".".join(filter(None, match.groups())) if match else "-"


def part_name(part: str) -> str:
    """The part for readers: ``Part 3.3``, ``Beyond the series``."""
    return {"beyond": "Beyond the series", "-": "Other claims"}.get(part, f"Part {part}")


def experiment_names(folder: Path) -> list[str]:
    """Names of the experiment files in ``folder``, sorted; files that start with ``_`` are helpers."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of experiments; give --experiments DIR")
    return sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("_"))


def full_name(start: str, names: Sequence[str], what: str = "claim") -> str:
    """The name that ``start`` is, or the only one that begins with it.

    Raises:
        UserError: none does (the nearest is named), or several do.
    """
    found = [start] if start in names else [name for name in names if start and name.startswith(start)]
    if not found:
        raise UserError(unknown_key(what, start, names, LISTED))
    if len(found) > 1:
        more = f", ... {LISTED} lists all" if len(found) > _SHOWN else ""
        raise UserError(f"{what}: {start!r} is the beginning of {len(found)} names: {', '.join(found[:_SHOWN])}{more}; "
                        "expected one")
    return found[0]


def stated_claim(name: str, folder: Path) -> str | None:
    """The sentence of an experiment as it stands in its file, which is read and not run.

    Returns:
        None where the file is no Python, or gives ``Experiment`` no ``claim=`` that is a text.
    """
    try:
        tree = ast.parse(storage.read_text(folder / f"{name}.py"))
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # UserError is a ValueError
        return None
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    claims = [word.value for call in calls if call.func.id == "Experiment"  # type: ignore[attr-defined]
              for word in call.keywords if word.arg == "claim"]
    texts = [one.value for one in claims if isinstance(one, ast.Constant) and isinstance(one.value, str)]
    return texts[-1] if texts else None


@contextlib.contextmanager
def _helpers_of(folder: Path) -> Iterator[None]:
    """Let the experiments of a folder import its ``_helper.py`` files by name, and forget these names afterwards."""
    names = {path.stem for path in folder.glob("_*.py")}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in names:
            sys.modules.pop(name, None)


def loaded_files() -> list[Path]:
    """The files of the experiments that were loaded here, as far as they are still there."""
    files = [Path(str(module.__file__)) for name, module in sys.modules.items() if name.startswith(_MODULE)]
    return [path for path in files if path.exists()]


def load_experiment(name: str, folder: Path) -> Experiment:
    """The ``EXPERIMENT`` of ``folder/name.py``.

    Raises:
        UserError: no such file (the nearest is named), a file that cannot be imported, or one without it.
    """
    names = experiment_names(folder)
    if name not in names:
        raise UserError(unknown_key("experiment", name, names, LISTED))
    path = folder / f"{name}.py"
    module_name = _MODULE + name
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their own module up
    try:
        with _helpers_of(folder):
            spec.loader.exec_module(module)
        return _experiment_of(module, name, path)
    except (SyntaxError, ImportError) as error:
        del sys.modules[module_name]
        raise UserError(f"{path}: cannot be loaded: {type(error).__name__}: {error}") from error
    except Exception:
        del sys.modules[module_name]  # other processes load what was loaded here, and would fail on it
        raise


def place_in_claim(error: Exception) -> str:
    """Where a claim's own code raised an error, ``mine/p9_last.py line 87, in runs``; empty where physlm did."""
    place = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module, name = str(frame.f_globals.get("__name__")), frame.f_code.co_name
        if module.startswith(_MODULE):
            path, here = Path(frame.f_code.co_filename), Path.cwd()
            path = path.relative_to(here) if path.is_relative_to(here) else path
            place = f"{path} line {line}" + (f", in {name}" if name.isidentifier() else "")
        elif module.partition(".")[0] == "physlm":
            place = ""
    return place


def _experiment_of(module: ModuleType, name: str, path: Path) -> Experiment:
    """What the file exports.  Raises UserError: nothing, something else, or an experiment that names what is not."""
    experiment = getattr(module, "EXPERIMENT", None)
    if not isinstance(experiment, Experiment) or experiment.name != name:
        found = f"one named {experiment.name!r}" if isinstance(experiment, Experiment) else repr(experiment)
        raise UserError(f"{path}: EXPERIMENT: found {found}, expected an Experiment named {name!r}")
    experiment.check()
    return experiment
