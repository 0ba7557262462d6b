"""How a model goes on after a prefix with mistakes (arXiv 2305.13673, section 6).

    accuracy/prefix=corrupted/temperature=0.1       the prefix's tokens were each drawn anew with probability 15 %; what
                                                    counts is whether what follows completes the uncorrupted prefix
    .. prefix=clean, prefix=none                    the same strings uncorrupted; no prefix at all

Temperatures 0.1, 0.2 and 1.  The published test: the model must go back to correct mode and complete the string as if
the prefix had been right.
"""

from __future__ import annotations

import torch

from physlm import rng
from physlm.measures.completion import STRINGS, Judge
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, grammar_of
from physlm.training.config import RunSpec

TEMPERATURES = (0.1, 0.2, 1.0)
RATE = 0.15


def check(spec: RunSpec) -> None:
    """Refuse a run on anything but strings of a grammar.

    Raises:
        UserError: see above.
    """
    grammar_of(spec, "robustness")


def measure(run: Trained) -> list[Row]:
    """Accuracy by kind of prefix and temperature."""
    judge, count = Judge(run), STRINGS[run.device.type][1]
    model, cut = run.ready(run.model), max(judge.cuts)
    clean = judge.prompts(count, cut)
    index = torch.arange(count, device=run.device)
    corrupted = judge.task.corrupt(clean, RATE, rng.key("corrupted prefix"), index)
    rows = []
    for temperature in TEMPERATURES:
        written = judge.write(model, count, 0, temperature)
        rows.append(judge.accuracy("accuracy", written, prefix="none", temperature=temperature))
        for name, prompts in (("clean", clean), ("corrupted", corrupted)):
            written = judge.write(model, count, cut, temperature, prompts, judged=clean)
            rows.append(judge.accuracy("accuracy", written, prefix=name, temperature=temperature))
    return rows
