"""The whole battery on one causal model of transformers: train, ask, search, count bits, report."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from physlm import storage
from physlm.battery.card import Report, card
from physlm.battery.grading import INDEX, Score, scores
from physlm.battery.index import Index
from physlm.battery.oracle import Oracle
from physlm.battery.questions import Prompt, names, prompts
from physlm.battery.settings import SEARCH, Battery
from physlm.config import to_dict
from physlm.errors import UserError
from physlm.hf.folders import SETTINGS, read
from physlm.interval import Interval
from physlm.measures.measure import take

if TYPE_CHECKING:
    import torch

    from physlm.battery.causal import Causal
    from physlm.battery.finetune import Finetuning

MODEL = "model"  # the folder of the trained model
OWN_TOKENS, OUR_TOKENS = "value bits per parameter, own tokens", "bits per parameter"
OF_ALL = "value bits, of all that there are"


def run(source: str, battery: Battery, finetuning: Finetuning | None, device: torch.device, out: Path | None = None,
        trust_remote_code: bool = False, progress: bool = False) -> Report:
    """Everything that is known of a model afterwards.

    Args:
        source: a folder, or a name on the hub.
        finetuning: None asks the model as it is.
        out: a new folder for the card, the numbers, all answers, the index and, if it was trained, the model.

    Raises:
        UserError: a library is missing, the model cannot be loaded or trained, or something lies at ``out`` already.
    """
    if out is None:
        with tempfile.TemporaryDirectory() as folder:
            return _run(source, battery, finetuning, device, Path(folder), trust_remote_code, progress)
    with storage.new_folder(out) as made:
        return _run(source, battery, finetuning, device, made, trust_remote_code, progress)


def _run(source: str, battery: Battery, finetuning: Finetuning | None, device: torch.device, folder: Path,
         trust_remote_code: bool, progress: bool) -> Report:
    from physlm.battery import causal, finetune

    ours = (Path(source) / SETTINGS).exists()
    battery = dataclasses.replace(battery, spaced=battery.spaced or ours)
    found, how = causal.load(source, device, trust_remote_code), ""
    if finetuning is not None:
        found, how = finetune.train(found, battery, finetuning, progress)
        finetune.save(found, folder / MODEL)
    asked, oracle = prompts(battery), Oracle(battery)
    texts, ids = [one.prompt for one in asked], [one.id for one in asked]
    answers = dict(zip(ids, found.write(texts, progress=progress), strict=True))
    truth = dict(zip(ids, oracle(texts), strict=True))
    graded = scores(asked, answers, truth)
    facts = {"parameters": f"{found.parameters:,}"}
    if search := [one for one in asked if one.task == SEARCH]:
        more, facts["index"] = _search(found, battery, search, truth, folder / "index.sqlite", progress)
        graded += more
    numbers = _numbers(found, battery, progress)
    if ours:
        capacity = _capacity(folder / MODEL if how else Path(source), battery, device, progress)
        if isinstance(capacity, str):
            facts[OUR_TOKENS] = capacity
        else:
            numbers[OUR_TOKENS] = (capacity, "")
    report = Report(source, battery, graded, how, numbers, facts)
    storage.write_text(folder / "card.md", card(report))
    storage.write_json(folder / "scores.json", _plain(report))
    storage.write_text(folder / "answers.jsonl", "".join(
        json.dumps({"id": name, "answer": answer}, ensure_ascii=False) + "\n" for name, answer in answers.items()))
    return report


def _search(found: Causal, battery: Battery, search: list[Prompt], truth: dict[str, str], path: Path,
            progress: bool) -> tuple[list[Score], str]:
    """Inverse search by an index of what the model tells, and its cost in words."""
    everybody = names(battery)
    with Index(path) as index:
        cost = index.tell_all(everybody, lambda texts: found.write(texts, progress=progress), battery.spaced)
        answers = {one.id: index.answer(one.prompt) or "" for one in search}
    words = f"{cost:,} forward questions, {cost // len(everybody)} about each of {len(everybody):,} names, once"
    return scores(search, answers, truth, INDEX), words


def _numbers(found: Causal, battery: Battery, progress: bool) -> dict[str, tuple[Interval, str]]:
    """Bits in the model's own tokens: over its parameters, and as a share of all that there are."""
    from physlm.battery.causal import value_bits

    bits, most = value_bits(found, battery, progress)
    return {OWN_TOKENS: (_over(bits, found.parameters), ""), OF_ALL: (_over(bits, most), "")}


def _capacity(folder: Path, battery: Battery, device: torch.device, progress: bool) -> Interval | str:
    """Bits per parameter as the lab counts them, of a model that reads the lab's tokens; else why not."""
    try:
        trained = read(folder, battery.biographies, device, progress)
    except UserError as error:
        return f"not measured: {error}"
    return next(row for row in take("capacity", trained) if row.quantity == "bits_per_param").interval


def _over(found: Interval, number: float) -> Interval:
    return dataclasses.replace(found, value=found.value / number, lo=found.lo / number, hi=found.hi / number)


def _plain(report: Report) -> dict[str, object]:
    return {"model": report.title, "battery": to_dict(report.battery), "trained": report.trained,
            "scores": [asdict(one) for one in report.scores],
            "numbers": {name: asdict(one) for name, (one, _) in report.numbers.items()}, "facts": report.facts}
