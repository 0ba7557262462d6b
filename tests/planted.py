"""Results tables of Part 1 with a known truth in them, as the laws and figures of grammars read them.

A run is a dictionary of settings; each ``..._rows`` function gives the rows that one measure would write for it.
Shares p over n items have the interval p +- 1.96 sqrt(p (1 - p) / n), cut to [0, 1]; other numbers take a width.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product
from typing import Any

import pandas as pd

from physlm.lab.experiment import Experiment
from physlm.laws.columns import labels, with_columns
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import verdict_rows

Run = dict[str, Any]
Row = dict[str, Any]


def run(grammar: str = "cfg3b", position: str = "rope", causal: bool = True, seed: int = 0, noise: str = "none",
        noise_fraction: float = 0.0, bag_tokens: int = 0, bags: str = "disjoint", bag_weights: str = "uniform") -> Run:
    """The settings of one run, under the names of a results table."""
    settings = {"task.grammar": grammar, "task.noise": noise, "task.noise_fraction": noise_fraction,
                "task.bag_tokens": bag_tokens, "task.bags": bags, "task.bag_weights": bag_weights,
                "model.position": position, "model.causal": causal, "train.seed": seed, "label": "6-4", "steps": 1000}
    name = "-".join(map(str, (grammar, position, causal, noise, noise_fraction, bag_tokens, bags, bag_weights, seed)))
    return {"run": name, **settings}


def table(rows: Iterable[Row]) -> pd.DataFrame:
    """The long results table."""
    return with_columns(pd.DataFrame(list(rows)))


def share(settings: Run, quantity: str, p: float, n: int) -> Row:
    """A share p of n items."""
    half = 1.96 * math.sqrt(max(p * (1.0 - p), 0.0) / n)
    return {**settings, "quantity": quantity, "value": p, "unit": "1", "n": n, "lo": max(p - half, 0.0),
            "hi": min(p + half, 1.0)}


def number(settings: Run, quantity: str, value: float, n: int, unit: str = "1", spread: float = 0.0) -> Row:
    """A mean of n items that have the standard deviation ``spread``."""
    half = 1.96 * spread / math.sqrt(n)
    return {**settings, "quantity": quantity, "value": value, "unit": unit, "n": n, "lo": value - half,
            "hi": value + half}


def completion_rows(settings: Run, accuracy: float, cut: int = 50, n: int = 2000,
                    steps: Sequence[int] = (125, 250, 500), kl: float = 0.002, entropy: float = 169.2,
                    entropy_gap: float = 0.0, levels: Sequence[int] = (2, 3, 4)) -> list[Row]:
    """Accuracy (0.01 less from cut 0) that grows linearly over the snapshots, KL, entropies, diversity."""
    rows = [share(settings, "accuracy_untrained/cut=0", 0.0, n), number(settings, "kl_untrained", 0.6, n,
                                                                        "nats/token", 0.05)]
    for start, p in ((0, max(accuracy - 0.01, 0.0)), (cut, accuracy)):
        rows.append(share(settings, f"accuracy/cut={start}", p, n))
        rows += [share(settings, f"accuracy/cut={start}/step={step}", p * step / settings["steps"], n)
                 for step in steps]
    rows.append(number(settings, "kl", kl, n, "nats/token", kl))
    rows += [number(settings, f"kl/step={step}", kl * settings["steps"] / step, n, "nats/token", kl) for step in steps]
    for name, bits in (("entropy_model", entropy + entropy_gap), ("entropy_generated", entropy + entropy_gap),
                       ("entropy_truth", entropy)):
        rows.append(number(settings, name, bits, n, "bits/string", 14.0))
    rows.append(number(settings, "entropy_derivation", entropy, n, "bits/string"))
    for level in levels:
        rows.append(number(settings, f"distinct/level={level}", 950.0, n, "yields", 50.0))
        rows.append(number(settings, f"distinct_truth/level={level}", 1000.0, n, "yields", 50.0))
    rows.append(number(settings, "length_generated", 275.0, n, "tokens", 50.0))
    return [*rows, number(settings, "length_truth", 275.6, n, "tokens", 50.0)]


def tree_rows(settings: Run, accuracy: Callable[[str, int], float], levels: Sequence[int] = (2, 3, 4, 5, 6),
              layers: int = 6, n: int = 1000, untrained: float = 0.4, steps: Sequence[int] = (250, 500)) -> list[Row]:
    """Probe rows; ``accuracy(kind, level)`` is the truth at the last layer (kind ancestor or boundary), reached
    linearly over the layers from ``untrained``."""
    rows: list[Row] = []
    for kind, level, mask in product(("ancestor", "boundary"), levels, ("full", "diagonal", "tridiagonal")):
        at, top = f"level={level}/mask={mask}", accuracy(kind, level)
        for layer, ending in product(range(layers + 1), ("", "/balanced")):
            p = untrained + (top - untrained) * layer / layers
            rows.append(share(settings, f"{kind}/{at}/layer={layer}{ending}", p, n))
        for control, ending in product(("untrained", "shuffled"), ("", "/balanced")):
            p = untrained if control == "untrained" else untrained - 0.05
            rows.append(share(settings, f"{kind}_{control}/{at}{ending}", p, n))
        rows.append(share(settings, f"{kind}_majority/{at}", untrained - 0.06, n))
        if mask == "full":
            rows += [share(settings, f"{kind}/level={level}/step={step}", top * step / settings["steps"], n)
                     for step in steps]
    return rows


def attention_rows(settings: Run, peak: float = 0.004, decay: float = 0.003, levels: Sequence[int] = (2, 3, 4, 5),
                   layers: int = 4, heads: int = 4, n: int = 500, spread: float = 0.002) -> list[Row]:
    """Residuals ``peak`` at shift 0 and 0 elsewhere; ``decay`` at r = 1 and 0 beyond; ``peak`` from end to end.

    The shuffled control is a tenth of them, an untrained model shows nothing.
    """
    rows = [number(settings, f"by_distance/layer={layer}/head={head}/distance={p}",
                   math.exp(-p / (2.0 * layer + 3.0 * head)), n, spread=spread)
            for layer, head, p in product(range(1, layers + 1), range(1, heads + 1), range(64))]
    for ending, scale in (("", 1.0), ("_shuffled", 0.1), ("_untrained", 0.0)):
        for base, level, shift in product(("to_end", "nearest_end"), levels, range(-2, 3)):
            rows.append(number(settings, f"{base}{ending}/level={level}/shift={shift}", scale * peak * (shift == 0), n,
                               spread=spread))
        for top, bottom in product(levels, levels):
            at = f"from={top}/to={bottom}"
            rows.append(number(settings, f"end_to_end{ending}/{at}", scale * peak, n, spread=spread))
            rows += [number(settings, f"adjacent{ending}/{at}/r={r}", scale * decay * (r == 1), n, spread=spread)
                     for r in range(1, 7)]
    return rows


def bag_rows(settings: Run, gap: float = 0.6, recovered: float = 0.98, bags: int = 3) -> list[Row]:
    """Embeddings of |V| words, similar within their bags by ``gap`` more than between."""
    words = settings["task.bag_tokens"]
    rows = [{**number(settings, "gap", gap, words), "lo": gap - 0.05, "hi": gap + 0.05},
            number(settings, "gap_permuted", 0.02, words), number(settings, "p_value", 0.001, 1000)]
    for name, p in (("neighbours", recovered), ("clusters", recovered), ("neighbours_permuted", 1.0 / bags),
                    ("clusters_permuted", 1.0 / bags)):
        rows.append(share(settings, name, p, words))
    for word in range(1, words + 1):
        own = (word - 1) % bags + 1
        rows.append(number(settings, f"bag/word={word}", own, 1))
        rows += [number(settings, f"similarity/word={word}/bag={bag}", gap * (bag == own) - 0.1, words)
                 for bag in range(1, bags + 1)]
    return rows


def robustness_rows(settings: Run, corrupted: float, whole: float = 0.97, n: int = 2000) -> list[Row]:
    """Accuracy by prefix and temperature; ``corrupted`` at temperature 0.1, and 0.05 less at each higher one."""
    rows = []
    for place, temperature in enumerate((0.1, 0.2, 1.0)):
        for prefix, p in (("none", whole), ("clean", whole), ("corrupted", max(corrupted - 0.05 * place, 0.0))):
            rows.append(share(settings, f"accuracy/prefix={prefix}/temperature={temperature}", p, n))
    return rows


def names(table_: pd.DataFrame) -> pd.Series:
    """What each row is of and where it was measured, in one text: ``accuracy/cut=50/step=250``."""
    return pd.Series(labels(table_), index=table_.index)


def get(law: Law, name: str) -> Quantity:
    """The quantity of a law that has it."""
    found = law.get(name)
    assert found is not None, f"{name} is missing among {[q.name for q in law.quantities]}"
    return found


def verdicts(claim: Experiment, law: Law) -> dict[str, str]:
    """By quantity."""
    return {row["quantity"]: row["verdict"] for row in verdict_rows(claim.name, law, claim.expect, "gpu")}
