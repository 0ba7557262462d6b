"""A claim of two lines and a sweep that finishes at once, for tests of the commands.

The fixture ``toy_claim`` puts it into a folder of its own; a test calls the command line there with ``physlm``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from physlm.lab.executors.contract import Executor
from physlm.lab.run import Run
from physlm.lab.store import Store
from physlm.measures.rows import Row
from physlm.training.config import RunSpec

Call = Callable[..., tuple[int, str, str]]  # exit code, standard output and error

EXPERIMENT = '''
from matplotlib.figure import Figure

from physlm.lab.experiment import Experiment
from physlm.laws.law import Law, Quantity
from physlm.laws.verdict import Expectation
from physlm.models.config import ModelConfig
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

TASK = BioDConfig(people=50, attributes=2, diversity=10, alphabet=10, entries_per_row=5, row_tokens=64)


def runs(tier):
    rates = {"smoke": (1e-3,), "demo": (1e-3, 2e-3)}.get(tier, (1e-3, 2e-3, 4e-3))
    return [RunSpec(TASK, ModelConfig(width=8), TrainConfig(exposures=2, batch_rows=2, learning_rate=rate))
            for rate in rates]


def law(table):
    values = table.loc[table["quantity"] == "score", "value"]
    return Law((Quantity("best_score", values.max(), values.max() - 0.1, values.max() + 0.1, len(values), "bits"),))


EXPERIMENT = Experiment(
    name="p33_toy", claim="Scores grow with the learning rate.", source="arXiv 0000.00000, Figure 1", runs=runs,
    measures=("score",), law=law, figure=lambda table, law: Figure(figsize=(1, 1)),
    expect=(Expectation("best_score", 1.0, "at least", 0.0, "bits", "Figure 1"),),
)
'''


def fake_sweep(specs: Sequence[RunSpec], measures: Any, store: Store, device: torch.device,
               members: int, executor: Executor, **_: Any) -> list[Run]:
    """Finishes every run at once; its score is 1000 times its learning rate."""
    finished = []
    for spec in specs:
        run, asked = store.run(spec), measures[spec] if isinstance(measures, dict) else measures
        if not run.has(asked):
            run.start({"device": device.type})
            run.write_model({"w": torch.zeros(1)})
            value = 1000 * spec.train.learning_rate
            for name in asked:
                run.add_measure(name, [Row(name, value, "bits", 50, value, value)])
            run.finish()
        finished.append(run)
    return finished


def line_of(name: str, out: str) -> str:
    """The line of a table that begins with a name."""
    (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
    return line
