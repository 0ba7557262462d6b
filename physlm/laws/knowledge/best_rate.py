"""The best of several learning rates, setting by setting, as published (arXiv 2309.14316, appendix A).

Of the runs of one setting that differ in the rate of their last training, those of one rate are kept: the rate with the
highest mean of held-out answers, over kinds and runs.  The choice is made on the people who are judged, so that a
number is the largest of as many as there are rates: with thousands of people and two or three rates about one standard
error high at most.

    Experiment(law=law_at_best_rate(BY, answers_law(BY)), figure=figure_at_best_rate(BY, answers_table(BY)), ...)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd

from physlm.laws.knowledge.answers import answers
from physlm.laws.knowledge.settings import with_settings
from physlm.laws.law import Fit, Law

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RATE = "train.learning_rate"


def at_best_rate(table: pd.DataFrame, by: Sequence[str]) -> tuple[pd.DataFrame, dict[str, float]]:
    """The rows of the runs at the best rate of each setting of ``by``, and this rate by setting.

    Runs that were asked nothing have no rate to be chosen by and are kept.

    Raises:
        UserError: as ``with_settings``.
    """
    named = with_settings(table, by)
    found = answers(named, "answer")
    rate = found["run"].map(named.drop_duplicates("run").set_index("run")[RATE])
    means = found["value"].groupby([found["setting"], rate]).mean()
    best = {str(setting): float(means[setting].idxmax()) for setting in means.index.unique("setting")}
    kept = named["setting"].map(best).fillna(named[RATE]) == named[RATE]
    return table[kept.to_numpy()].reset_index(drop=True), best


def law_at_best_rate(by: Sequence[str], law: Fit) -> Fit:
    """``law`` of the runs at the best rates, which its details name."""
    def best_law(table: pd.DataFrame) -> Law:
        kept, best = at_best_rate(table, by)
        found = law(kept)
        note = (f"Best of the learning rates {', '.join(f'{rate:g}' for rate in sorted(table[RATE].unique()))} by what "
                "is answered about held-out people: "
                f"{', '.join(f'{rate:g} for {setting}' for setting, rate in best.items())}.")
        return replace(found, details={**found.details, "rates": best, "notes": [*found.details["notes"], note]})

    return Fit(best_law, law.names)


def figure_at_best_rate(
    by: Sequence[str], figure: Callable[[pd.DataFrame, Law], Figure]
) -> Callable[[pd.DataFrame, Law], Figure]:
    """``figure`` of the runs at the best rates."""
    return lambda table, law: figure(at_best_rate(table, by)[0], law)
