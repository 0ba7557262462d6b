"""How well models write: completion accuracy, KL, entropy and diversity by grammar (arXiv 2305.13673, result 1).

    accuracy       share of completions, sampled at temperature 1, that parse as a whole; from the start (cut 0) or
                   from the first tokens of a true string
    KL             KL(truth || model) of the next token, mean over the positions of true strings
    entropy gap    bits a string: the model's strings, minus the truth's
    distinct       different yields under each level, the model's over the truth's among as many subtrees
"""

from __future__ import annotations

import pandas as pd

from physlm.laws import cells
from physlm.laws.forms import Form, Least, Minus, Ratio, Shares, laws
from physlm.laws.grammar.settings import decoders, with_settings

ENTROPY_NOTE = (
    "entropy_gap: bits/string of the model's strings minus those of true strings, errors in quadrature; below 0 the "
    "model's strings are less diverse than true ones."
)


def named_settings(table: pd.DataFrame) -> pd.DataFrame:
    """Rows of decoders, named by grammar, and by variant where there are several."""
    table = with_settings(decoders(table))
    if table["variant"].nunique() <= 1:
        table["setting"] = table["grammar"]
    return table


def entropies(by: str) -> tuple[Form, Form, Form]:
    """``entropy_gap@g``, ``entropy_model@g`` and ``entropy_truth@g`` (bits/string), g from the column ``by``."""
    model, truth = (Shares(base, (by,), unit="bits/string", share=False) for base in ("entropy_model", "entropy_truth"))
    return Minus("entropy_gap", model, truth, independent=True), model, truth


ACCURACY = Shares("accuracy", ("setting", "at.cut"), optional=True)
DISTINCT = Ratio("distinct_ratio", *(Shares(base, ("setting", "at.level"), unit="yields", share=False)
                                     for base in ("distinct", "distinct_truth")))
# For each setting g (grammar, and variant if there are several): accuracy@g/cut=c and accuracy_untrained@g/cut=c for
# every cut, kl@g, kl_untrained@g, the entropies, least_distinct_ratio@g; and least_accuracy over everything.
generation_law = laws(
    ACCURACY, ACCURACY.of("accuracy_untrained"), Least("least_accuracy", ACCURACY),
    *(Shares(base, ("setting",), unit="nats/token", share=False, optional=True) for base in ("kl", "kl_untrained")),
    *entropies("setting"), Least("least_distinct_ratio", DISTINCT, over=("level",), share=False),
    items="strings, sentences or words", details=(DISTINCT,), prepare=named_settings,
    notes=(
        (
            "accuracy@grammar/cut=c: share of sampled completions (temperature 1) of which the whole string parses; "
            "cut is the number of tokens of a true string that are given."
        ),
        ENTROPY_NOTE,
        (
            "least_distinct_ratio@grammar: different yields among equally many subtrees, generated over true, the "
            "smallest over all levels."
        ),
        cells.LEAST_NOTE,
    ),
)
