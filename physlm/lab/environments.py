"""Where the runs of a claim were made and how long they took: the env.json of its results.

    environments       what each of the different machines was, and how many runs it made
    seconds            of training and of measuring, of all runs together
    tokens_per_second  by device, and by task and model
    untimed            of how many runs, those that others begin with included, the seconds of training are not known
    each               by the hash of a run: the number of its environment, its seconds, tokens in a second, and how
                       many rows each of its measures has

Free of torch.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from physlm import storage
from physlm.errors import UserError
from physlm.lab.run import Run
from physlm.lab.store import Store

T = TypeVar("T")


def spent(*claims: tuple[Sequence[Run], Sequence[str]]) -> dict[str, float]:
    """Seconds that the runs of claims, and their measures, took: of training, that of each run which others begin with
    included, and of measuring.  What several claims share counts once; what was trained or measured when nobody kept
    the time, whose folder is gone, or whose time is in a damaged file (``damaged_times``), counts 0."""
    nothing: dict[str, float] = {}
    measured = {(run.name, name): _kept(run.measuring_seconds, nothing).get(name, 0.0)
                for runs, measures in claims for run in runs for name in measures}
    return {"training": sum(_kept(run.training_seconds, 0.0) for run in _trained(claims)),
            "measuring": sum(measured.values())}


def damaged_times(*claims: tuple[Sequence[Run], Sequence[str]]) -> list[str]:
    """What is wrong with each file of times, of the runs that ``spent`` counts, that cannot be read."""
    damages: list[str] = []
    for run in _trained(claims):
        for read in (run.training_seconds, run.measuring_seconds):
            try:
                read()
            except UserError as error:
                damages.append(str(error))
    return damages


def _kept(read: Callable[[], T], missing: T) -> T:
    try:
        return read()
    except UserError:
        return missing


def _trained(claims: Iterable[tuple[Sequence[Run], Sequence[str]]]) -> list[Run]:
    """The runs of claims and those that they begin with, each once."""
    starts = [Store(run.path.parent).run(spec) for runs, _ in claims for run in runs for spec in run.spec.starts]
    return list({run.name: run for run in (*starts, *(run for runs, _ in claims for run in runs))}.values())


def environments_of(runs: Sequence[Run], measures: Sequence[str]) -> dict[str, Any]:
    """What env.json of a claim's results says."""
    texts = {run.hash: json.dumps(run.environment(), sort_keys=True) for run in runs}
    counts = Counter(texts.values()).most_common()
    numbers = {text: number for number, (text, _) in enumerate(counts)}
    untimed = sum(_kept(run.training_seconds, 0.0) == 0.0 for run in _trained([(runs, measures)]))
    return {"environments": [{"runs": count, **json.loads(text)} for text, count in counts],
            "seconds": {kind: round(s) for kind, s in spent((runs, measures)).items()},
            **({"untimed": untimed} if untimed else {}),
            "tokens_per_second": _speeds(runs),
            "each": {run.hash: {"environment": numbers[texts[run.hash]], **_times(run, measures)} for run in runs}}


def read_environments(path: Path, cure: str) -> dict[str, Any]:
    """What an env.json says, with nothing for the keys that an older one lacks; ``each`` is not looked into.

    Raises:
        UserError: it is missing or damaged.
    """
    found = storage.read_json(path, cure)
    kinds = {"environments": list, "seconds": dict, "untimed": int, "each": dict}
    told = {key: found.get(key, kind()) for key, kind in kinds.items()} if isinstance(found, dict) else {}
    if (not told or any(type(told[key]) is not kind for key, kind in kinds.items())
            or not all(isinstance(one, dict) for one in told["environments"])
            or not all(isinstance(seconds, (int, float)) for seconds in told["seconds"].values())):
        raise UserError(f"{path}: expected environments and seconds; {cure}")
    return told


def _times(run: Run, measures: Sequence[str]) -> dict[str, Any]:
    """Of one run: seconds of training, tokens trained on in a second, seconds of each measure as far as they were kept,
    and its rows."""
    kept = _kept(run.measuring_seconds, dict[str, float]())
    return {"training": round(_kept(run.training_seconds, 0.0), 3),
            "tokens_per_second": round(_kept(run.training_speed, 0.0)),
            "measuring": {name: round(kept[name], 3) for name in measures if name in kept},
            "rows": {name: len(rows) for name, rows in run.measures().items() if name in measures}}


def speed_key(kind: str, row_tokens: int, label: str) -> str:
    """Under which env.json keeps the speed of models of one label on tasks of one kind in rows of so many tokens."""
    return f"{kind} {row_tokens} {label}"


def _speeds(runs: Sequence[Run]) -> dict[str, dict[str, int]]:
    """Tokens trained on in a second, by the name of the device and ``speed_key``; of populations all members' tokens
    count, of a resumed one those of the part whose time was kept.

    Runs whose time was not kept are left out.  Models compare only where they were trained alike: on one device, by as
    many members together, and by as many processes on a GPU.
    """
    tokens, seconds = defaultdict[tuple[str, str], float](float), defaultdict[tuple[str, str], float](float)
    for run in runs:
        speed, took = _kept(run.training_speed, 0.0), _kept(run.training_seconds, 0.0)
        if speed > 0:
            model = speed_key(run.spec.task.kind, run.spec.task.row_tokens, run.spec.model.label)
            key = str(run.environment().get("device_name", "unknown device")), model
            tokens[key] += speed * took
            seconds[key] += took
    found: dict[str, dict[str, int]] = {}
    for (device, model), count in tokens.items():
        found.setdefault(device, {})[model] = round(count / seconds[device, model])
    return found
