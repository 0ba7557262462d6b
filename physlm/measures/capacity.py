"""Knowledge capacity in bits: how much shorter the dataset's description becomes when the model is given.

With p1 the nats spent on a name, p2 on all values of a person, p3 on the first chunk of one attribute (means over
people; sums over tokens), on fresh texts of all N people,

    bits = N (log2 N0 - p1 / ln 2)  +  N (log2 S - p2 / ln 2)  +  K D (log2(T^L / D) - p3 / ln 2)
           name                        value                      diversity (bioD only)

Source: arXiv 2404.05405, Theorem 3.2 and the definition of R(F) after it; R(F) = bits / parameters.

Knowing nothing.  A model that predicts names and values exactly as the uniform distribution over the pools does has
p1 = ln N0 and p2 = ln S, and gets 0 for both without any clamping.  An untrained model spends nats on words that
cannot occur there at all, so each part of the formula is negative, although no model can know less than nothing: the
uniform code is always available instead.  Hence each of the three parts counts as max(0, part).  The maximum is taken
once, of the mean over all people; taken person by person it would keep lucky guesses and drop unlucky ones, and give
bits to a model that knows nothing.  ``bits_signed`` is the sum without it, where a negative part counts against the
others: by so many bits the model's own code for that part is longer than the uniform one.  The capacity law reads it
(``physlm.laws.knowledge.capacity_models``).  Of a model that spends no finite number of
nats nothing is measured: its parts are not numbers, and neither is their sum.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from physlm.errors import UserError
from physlm.measures.finite import check_finite
from physlm.measures.losses import PersonLosses, model_losses, person_losses
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.counting import parameter_counts
from physlm.tasks.biography.config import BiographyConfig
from physlm.tasks.biography.junk_config import JunkConfig
from physlm.tasks.information import InformationTerms
from physlm.training.config import RunSpec

TEXTS = 2  # fresh texts read of each person
RESAMPLES = 1000
LN2 = math.log(2.0)
CPU = torch.device("cpu")
Floats = NDArray[np.float64]


def capacity_parts(terms: InformationTerms, name: Floats, value: Floats, first: Floats) -> dict[str, Floats]:
    """The formula at the top of this page for means over people of the three losses, in nats (arrays broadcast).

    Args:
        first: nats for the first chunk of one attribute.

    Returns:
        Bits: ``bits_name``, ``bits_value``, ``bits_diversity`` (signed parts), ``bits_signed``, ``bits``.
    """
    parts = {
        "bits_name": terms.people * (math.log2(terms.names) - name / LN2),
        "bits_value": terms.people * (terms.value_bits - value / LN2),
        "bits_diversity": terms.chunks * (terms.chunk_bits - first / LN2),
    }
    signed = sum(parts.values(), start=np.zeros_like(name))
    counted = [np.where(np.isfinite(part), np.maximum(part, 0.0), np.nan) for part in parts.values()]
    return {**parts, "bits_signed": signed, "bits": sum(counted, start=np.zeros_like(name))}


def capacity_rows(
    terms: InformationTerms, losses: PersonLosses, attributes: int, params: int, device: torch.device = CPU
) -> list[Row]:
    """Capacity with a 95 % percentile bootstrap over people, and what it is made of.

    Args:
        attributes: K, the number of first chunks summed in ``losses.first_N``; 1 where a task has none.
        params: the P of bits per parameter.
        device: where the resampling is done.

    Raises:
        NotFiniteError: somebody's nats are not finite.
    """
    nats = np.stack([losses.name_N.numpy(), losses.value_N.numpy(), losses.first_N.numpy() / attributes])
    check_finite(nats, "nats of a person")
    means = nats.mean(1)
    resampled = _resampled_means(nats, device)
    point = capacity_parts(terms, *means)
    spread = capacity_parts(terms, *resampled)
    n = terms.people
    total = terms.information()["total"]
    rows = [
        _row(name, float(point[name]), spread[name], "bits", n)
        for name in ("bits", "bits_signed", "bits_name", "bits_value", "bits_diversity")
    ]
    rows.append(_row("bits_per_param", float(point["bits"]) / params, spread["bits"] / params, "bits/parameter", n))
    rows.append(Row("bits_max", total, "bits", n, total, total))
    for name, mean, sample in zip(("name_nats", "value_nats", "value1_nats"), means, resampled, strict=True):
        rows.append(_row(name, float(mean), sample, "nats/person" if name != "value1_nats" else "nats/chunk", n))
    return rows


def bits_kept(terms: InformationTerms, losses: PersonLosses, whole: PersonLosses, attributes: int,
              device: torch.device = CPU) -> tuple[float, float, float]:  # fmt: skip
    """``bits`` by these losses over ``bits`` by those of the whole model, and its 95 % interval; NaN where that has 0.

    The same people are drawn for both, so that the interval covers what the two differ in.
    """
    found = []
    for one in (losses, whole):
        nats = np.stack([one.name_N.numpy(), one.value_N.numpy(), one.first_N.numpy() / attributes])
        check_finite(nats, "nats of a person")
        means = np.concatenate([nats.mean(1, keepdims=True), _resampled_means(nats, device)], 1)
        found.append(capacity_parts(terms, *means)["bits"])
    ours, theirs = found
    if not (theirs > 0).all():
        return math.nan, math.nan, math.nan
    lo, hi = np.percentile(ours[1:] / theirs[1:], (2.5, 97.5))
    return float(ours[0] / theirs[0]), float(lo), float(hi)


def check(spec: RunSpec) -> None:
    """Refuse a run whose knowledge is not counted.

    Raises:
        UserError: it reads no biographies, or others than those alone.
    """
    _biographies(spec)


def _biographies(spec: RunSpec) -> BiographyConfig | JunkConfig:
    if not isinstance(spec.task, BiographyConfig | JunkConfig):
        raise UserError(f"measure capacity: got a run on {spec.task.title}, expected one on biographies alone: bioS, "
                        "bioD, bioR or bioJunk")
    return spec.task


def measure(run: Trained) -> list[Row]:
    """Capacity of one trained model, and of the same model before training as a control (``bits_untrained``)."""
    spec, device = run.spec, run.device
    config = _biographies(spec)
    task = config.build().to(device)
    terms = task.information_terms
    params = parameter_counts(spec.model, len(task.vocabulary))["params_used"]
    attributes = getattr(config, "attributes", 1)
    losses = person_losses(task, model_losses(run.model), device, texts=TEXTS, progress=run.progress)
    rows = capacity_rows(terms, losses, attributes, params, device)
    control = person_losses(task, model_losses(run.untrained), device)
    bits = next(row for row in capacity_rows(terms, control, attributes, params, device) if row.quantity == "bits")
    return [*rows, Row("bits_untrained", bits.value, "bits", bits.n, bits.lo, bits.hi)]


def _resampled_means(nats: Floats, device: torch.device) -> Floats:
    """Means of (3, N) losses over people drawn with replacement, (3, RESAMPLES).

    Each person's number of draws is Poisson(1) (the Poisson bootstrap), which is one matrix product a block.  Only
    the distances from the mean go through it: float32 then cannot move the centre of the interval.
    """
    people, centre = nats.shape[1], nats.mean(1, keepdims=True)
    columns = torch.from_numpy(np.vstack([nats - centre, np.ones(people)]).T).float().to(device)
    generator = torch.Generator(device).manual_seed(0)
    blocks = []
    size = max(1, 4_000_000 // people)
    for start in range(0, RESAMPLES, size):
        ones = torch.ones(min(size, RESAMPLES - start), people, device=device)
        blocks.append(torch.poisson(ones, generator=generator) @ columns)
    sums = torch.cat(blocks).double().cpu().numpy()
    return centre + (sums[:, :3] / np.maximum(sums[:, 3:], 1.0)).T


def _row(quantity: str, value: float, sample: Floats, unit: str, n: int) -> Row:
    lo, hi = np.percentile(sample, (2.5, 97.5))
    return Row(quantity, value, unit, n, float(lo), float(hi))
