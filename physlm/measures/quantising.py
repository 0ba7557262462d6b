"""The work of the measure ``physlm.measures.quantised``: a model quantised in each way, and its capacity."""

from __future__ import annotations

import torch
from tqdm import tqdm

from physlm.measures.capacity import TEXTS, bits_kept, capacity_rows
from physlm.measures.losses import PersonLosses, model_losses, person_losses
from physlm.measures.quantised import Quantised, where
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.quantisation import Quantisation, stored_bits
from physlm.models.quantised import Read, quantised
from physlm.tasks.biography.config import BiographyConfig
from physlm.tasks.rows import IGNORE, training_rows
from physlm.tasks.task import BiographyTask

PARTS = ("bits", "bits_signed", "bits_name", "bits_value", "bits_diversity", "bits_per_param")
READ_AT_ONCE = 250  # texts: the inputs of the widest matrix are held in float64


def rows(measure: Quantised, run: Trained) -> list[Row]:
    """The rows of one run: the model as it was trained, then every setting."""
    assert isinstance(run.spec.task, BiographyConfig), "refused by the check"
    task = run.spec.task.build().to(run.device)
    whole = _losses_of(run, task, run.model)  # first: a model that has diverged is refused here
    found = _rows_of(run, task, whole, whole, None)
    texts = calibration_texts(task, measure.calibration, run.device)
    for setting in tqdm(measure.settings(), desc="quantised", leave=False, disable=None if run.progress else True):
        found += _rows_of(run, task, _losses_of(run, task, quantised(run.model, setting, texts)), whole, setting)
    return found


def calibration_texts(task: BiographyTask, count: int, device: torch.device) -> list[Read]:
    """The first texts of the split "validation": one of each person, then the second of each, until there are enough;
    each is read alone from its first separator, as for capacity."""
    number = torch.arange(count, device=device)
    people = task.config.people
    found = []
    for some in number.split(READ_AT_ONCE):
        read = training_rows(task.entries(some % people, some // people, split="validation"))
        found.append(Read(read.inputs_RT, read.targets_RT != IGNORE))
    return found


def _losses_of(run: Trained, task: BiographyTask, model: Decoder) -> PersonLosses:
    return person_losses(task, model_losses(model), run.device, texts=TEXTS)


def _rows_of(run: Trained, task: BiographyTask, losses: PersonLosses, whole: PersonLosses,
             setting: Quantisation | None) -> list[Row]:  # fmt: skip
    spec, words = run.spec, len(task.vocabulary)
    params = parameter_counts(spec.model, words)["params_used"]
    stored = stored_bits(spec.model, words, setting)
    attributes = getattr(spec.task, "attributes", 1)
    by_name = {row.quantity: row
               for row in capacity_rows(task.information_terms, losses, attributes, params, run.device)}
    here = where(setting)
    found = [Row(name, row.value, row.unit, row.n, row.lo, row.hi, here) for name, row in by_name.items()
             if name in PARTS]
    bits = by_name["bits"]
    found.append(Row("bits_per_stored_bit", bits.value / stored, "bits/bit", bits.n, bits.lo / stored,
                     bits.hi / stored, here))
    size = stored / params
    kept, low, high = bits_kept(task.information_terms, losses, whole, attributes, run.device)
    found.append(Row("bits_kept", kept, "1", bits.n, low, high, here))
    return [*found, Row("stored_bits_per_param", size, "bits/parameter", bits.n, size, size, here)]
