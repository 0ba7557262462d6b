"""Tables with a known truth in them: what a fit must recover, before it may be trusted with a real one.

The planted world is the simplest that the capacity claim allows: a model of P parameters learns R P bits while its
data holds more, and all of the data's bits once they are fewer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from physlm.config import content_hash
from physlm.laws.knowledge.capacity_models import published_ratio
from physlm.models.counting import parameter_counts
from physlm.training.config import RunSpec

VOCABULARY = 3200
NAMES = 0.25  # share of names in the bits learned
SIZES = ((2, 1, 16), (2, 1, 24), (2, 1, 32), (4, 1, 32), (2, 1, 64), (4, 1, 64), (4, 2, 128))


def planted_capacity(
    people: Sequence[int] = (5_000, 10_000, 20_000),
    exposures: Sequence[int] = (1000, 100),
    sizes: Sequence[tuple[int, int, int]] = SIZES,
    learning_rates: Sequence[float] = (2e-3, 4e-3, 8e-3),
    ratio: float = 2.0,
    penalty: float = 0.9,
    scatter: float = 0.0,
    people_error: float = 0.002,
    seed: int = 0,
    seeds: Sequence[int] = (0, 1),
) -> pd.DataFrame:
    """A long results table of bits = min(R P, bits_max), with R = ``ratio`` at 1000 exposures, half of it at 100.

    Args:
        people: one dataset per N, of N (log2(1.6e8 / N) + 47.59) bits.
        exposures: the numbers E of exposures; R(E) = ``ratio`` x R0(E) / R0(1000).
        sizes: (layers, heads, width); P = 3200 width + 12 layers width^2.
        learning_rates: the second of them is the best; each step away from it multiplies R by ``penalty``.
        ratio: the planted R, bits/parameter.
        penalty: see ``learning_rates``.
        scatter: standard deviation of log R between runs.
        people_error: relative standard error over people of a model that knows little; it shrinks to nothing as
            everybody is known. Each value is off by one draw of it, lo and hi are 1.96 of it on either side.
        seed: of the noise.
        seeds: of the runs of every size and learning rate.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for repeats in exposures:
        for n in people:
            bits_max = n * (np.log2(1.6e8 / n) + 47.59)
            for layers, heads, width in sizes:
                params = VOCABULARY * width + 12 * layers * width**2
                label = f"{layers}-{heads}" + ("" if width == 64 * heads else f"x{width // heads}")
                for i, (rate, train_seed) in enumerate(itertools.product(learning_rates, seeds)):
                    steps_away = abs(i // len(seeds) - min(1, len(learning_rates) - 1))
                    reach = ratio * published_ratio(repeats) / published_ratio(1000) * penalty**steps_away
                    bits = min(reach * np.exp(scatter * rng.standard_normal()) * params, bits_max)
                    error = bits * people_error * (1.0 - bits / bits_max)
                    bits += error * rng.standard_normal()
                    run: dict[str, Any] = {
                        "run": f"bioS-{n}-{label}-{repeats}x-lr{rate:g}-s{train_seed}", "task.kind": "bioS",
                        "task.people": n, "model.layers": layers, "model.heads": heads, "model.width": width,
                        "train.exposures": repeats, "train.learning_rate": rate, "train.seed": train_seed,
                        "label": label, "params_used": params, "params_nonembedding": 12 * layers * width**2, "n": n,
                    }
                    for name, scale, unit in (("bits", 1.0, "bits"), ("bits_signed", 1.0, "bits"),
                                              ("bits_per_param", params, "bits/parameter"),
                                              ("bits_name", 1.0 / NAMES, "bits"),
                                              ("bits_value", 1.0 / (1.0 - NAMES), "bits")):
                        rows.append({**run, "quantity": name, "value": bits / scale, "unit": unit,
                                     "lo": (bits - 1.96 * error) / scale, "hi": (bits + 1.96 * error) / scale})
                    for name, exact in (("bits_max", bits_max), ("bits_diversity", 0.0)):
                        rows.append({**run, "quantity": name, "value": exact, "unit": "bits", "lo": exact, "hi": exact})
    return pd.DataFrame(rows)


# Bits that models of 50,000 people hold, read off Figure 1a of arXiv 2404.05405 by a second source.
READ_OFF = {"2-2": 1.40e6, "4-2": 2.16e6, "7-2": 2.85e6, "5-4": 2.92e6}
KNEE = 6.5  # of share = (1 + x^-KNEE)^(-1/KNEE), x = R / R^max: 0.96 at R^max = 1.64, as read off for GPT2-7-2
WORDS = 2_915  # of bioS


def planted_runs(specs: Sequence[RunSpec], ratio: float = 2.0, rise: float = 0.0, published: bool = True,
                 scatter: Mapping[int, float] | None = None, seed: int = 0) -> pd.DataFrame:  # fmt: skip
    """A long results table of these runs of bioS, each of which holds R P bits while its data hold many more.

    Near R^max the share x = R / R^max of all bits bends to 1 as (1 + x^-k)^(-1/k) does, and what differs from seed to
    seed shrinks with it.  A rate of 8e-3 is best, each factor of two away from it costs 5 %.

    Args:
        ratio: R after 1000 exposures; after 100 half of it.
        rise: of log2 R with each doubling of N; R is ``ratio`` at 20,000 people.
        published: models of 50,000 people hold after 1000 exposures what was read off the figure (``READ_OFF``), less
            in the proportion in which ``ratio`` is below 2.
        scatter: standard deviation of log R from seed to seed, by exposures; by default none.
        seed: of the noise.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for spec in specs:
        people, exposures, train = spec.task.items, spec.train.exposures, spec.train
        assert people is not None
        counts = parameter_counts(spec.model, WORDS)
        params, bits_max = counts["params_used"], people * (np.log2(1.6e8 / people) + 47.59)
        noise = (scatter or {}).get(exposures, 0.0) * rng.standard_normal()
        if published and (people, exposures) == (50_000, 1000):
            share = READ_OFF[spec.model.label] / bits_max * min(1.0, ratio / 2.0)
        else:
            reach = ratio * published_ratio(exposures) / 2.0 * (people / 20_000) ** rise
            if people < 50_000:
                reach *= 0.95 ** abs(math.log2(train.learning_rate / 8e-3))
            share = (1.0 + (reach * params / bits_max) ** -KNEE) ** (-1.0 / KNEE)
        bits = min(share * math.exp(noise * (1.0 - share**KNEE)), 1.0) * bits_max
        error = 0.0015 * bits * (1.0 - share)
        run: dict[str, Any] = {
            "run": content_hash(spec), "task.kind": "bioS", "task.people": people, "train.exposures": exposures,
            "train.learning_rate": train.learning_rate, "train.seed": train.seed, "label": spec.model.label,
            "params_used": params, "params_nonembedding": counts["params_nonembedding"], "n": people, "unit": "bits",
        }  # fmt: skip
        for name, part in (("bits_signed", 1.0), ("bits_name", NAMES), ("bits_value", 1.0 - NAMES)):
            rows.append({**run, "quantity": name, "value": part * bits, "lo": part * (bits - 1.96 * error),
                         "hi": part * (bits + 1.96 * error)})  # fmt: skip
        rows += [{**run, "quantity": name, "value": exact, "lo": exact, "hi": exact}
                 for name, exact in (("bits_max", bits_max), ("bits_diversity", 0.0))]
    return pd.DataFrame(rows)
