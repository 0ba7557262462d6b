"""Tables with a known truth in them: what a fit must recover, before it may be trusted with a real one.

The planted world is the simplest that the capacity claim allows: a model of P parameters learns R P bits while its
data holds more, and all of the data's bits once they are fewer.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from physlm.laws.knowledge.capacity_models import published_ratio

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
