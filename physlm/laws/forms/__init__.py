"""The library of laws: what a results table comes down to, made of a few forms over its columns.

    ANSWER = Shares("answer", by=("model.position", "model.canon"),
                    where={"at.half": "test", "at.length": largest, "train.learning_rate": most_seeds})
    GAIN = Contrast("gain", ANSWER, "canon", plus="ABCD", minus="none")
    law = laws(ANSWER, GAIN, Least("least_gain", GAIN), Best("best", ANSWER, over="train.learning_rate"),
               Above("above_constant", ANSWER, ANSWER.of("majority")), items="questions")

Each form is a frozen object that names columns; ``cells(table)`` gives its intervals by setting, for a figure as for a
law.  Its quantities are called ``answer@position=rope/canon=none``: the form, then each column of ``by`` (the last part
of its dotted name) with its value, in this order; an empty value is ``none``.

    Shares      the mean over seeds of a measured number, by settings and places (a curve is one with the steps in by)
    Contrast    one setting minus another, seed by seed where both were trained from the same seeds
    Above       a number minus its control, run by run
    Minus       one form minus another, setting by setting
    Paired      one best minus another, seed by seed, each at its own best
    Ratio       one form over another
    Power       a number to a power: what so many independent losses leave
    Steps       each number over the one before it along a setting, such as exposures
    Least, Most, Median    over some of the settings, with an interval that knows that it is one of several
    Best        of a grid of one setting, such as rates, by the seeds that all values have; says whether the best is at
                the edge of its grid
    Reach       the largest value of a setting up to which a number is at least some level
    Arrival     the smallest value of a setting from which a number is at least some level
    Span        how many factors of two of a setting, such as rates, leave a number near its best
    RatioLine   the constant of y = R x over settings, of trained models for example
    PowerLaw    the exponent of y = c x^b over settings
    RankCorrelation    of a number with a setting, over all others; OffCurve: how far one kind is off the curve
                of the others
    Learnt      a form that is judged only where the best of the compared models has learnt something
    Tuned       a form that is judged only where the best rates of given models lie inside of their grids

Runs of one setting may differ in their seeds alone, else a form refuses them: what else they may differ in is named in
``pooled``.  Rows that are not finite are left out before (``columns.finite``).
"""

from __future__ import annotations

from physlm.laws.forms.contrasts import Above, Contrast, Minus, Paired, Ratio
from physlm.laws.forms.extremes import Best, Extreme, Least, Median, Most, edge_of
from physlm.laws.forms.form import Cells, Form, setting_label, value_text
from physlm.laws.forms.laws import Laws, laws, quantities_of
from physlm.laws.forms.learnt import Learnt, learnt
from physlm.laws.forms.lines import PowerLaw, RatioLine, ratio_line
from physlm.laws.forms.ranks import OffCurve, RankCorrelation
from physlm.laws.forms.reach import Arrival, Reach
from physlm.laws.forms.scaled import Power, Steps
from physlm.laws.forms.shares import Shares, hardest, largest, most_seeds, smallest
from physlm.laws.forms.spans import Span
from physlm.laws.forms.tuned import Tuned

__all__ = ["Above", "Arrival", "Best", "Cells", "Contrast", "Extreme", "Form", "Laws", "Learnt", "Least", "Median",
           "Minus", "Most", "OffCurve", "Paired", "Power", "PowerLaw", "RankCorrelation", "Ratio", "RatioLine", "Reach",
           "Shares", "Span", "Steps", "Tuned", "edge_of", "hardest", "largest", "laws", "learnt", "most_seeds",
           "quantities_of", "ratio_line", "setting_label", "smallest", "value_text"]
