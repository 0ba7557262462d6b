"""Whether the embeddings show the bags of an implicit grammar, as rows: see ``physlm.measures.embeddings``.

    gap, gap_permuted, p_value                  within-bag minus between-bag mean cosine similarity, and its control
    neighbours, clusters, .._permuted           share of words whose bag is told from the embeddings, and its control
    similarity  word=7 bag=2; bag  word=7       mean similarity of word w7 to the words of bag 2; w7's own bag
    gap_untrained                               the model before its first step
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.embeddings import BagStatistics, bag_statistics
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, grammar_of
from physlm.models.decoder import Decoder
from physlm.training.config import RunSpec


def check(spec: RunSpec) -> None:
    """Refuse a run on anything but strings of a grammar whose terminals are drawn from bags.

    Raises:
        UserError: see above.
    """
    if not (config := grammar_of(spec, "bags")).bag_tokens:
        raise UserError(f"measure bags: got a run on {config.title} without bags, expected task.bag_tokens above 0")


def measure(run: Trained) -> list[Row]:
    """The bag statistics of one run with bags."""
    check(run.spec)
    bags = grammar_of(run.spec, "bags").build().bags
    assert bags is not None, "refused by the check"
    weights_VG = bags.emission_SV.T.cpu()
    found, before = (_statistics(model, weights_VG) for model in (run.model, run.untrained))
    n = found.tokens
    rows = [Row("gap", found.gap, "1", n, found.gap_lo, found.gap_hi),
            Row("gap_untrained", before.gap, "1", n, before.gap_lo, before.gap_hi)]
    for name in ("gap_permuted", "p_value", "neighbours", "clusters", "neighbours_permuted", "clusters_permuted"):
        value = float(getattr(found, name))
        rows.append(Row(name, value, "1", n, value, value))
    words = np.flatnonzero((weights_VG > 0).any(1).numpy())
    main = weights_VG.numpy()[words].argmax(1)
    for i, word in enumerate(words):
        for bag in range(weights_VG.shape[1]):
            others = (main == bag) & (np.arange(n) != i)
            if others.any():
                value, where = float(found.similarity[i, others].mean()), {"word": int(word) + 1, "bag": bag + 1}
                rows.append(Row("similarity", value, "1", int(others.sum()), value, value, where))
        own = int(main[i]) + 1
        rows.append(Row("bag", own, "1", 1, own, own, {"word": int(word) + 1}))
    return rows


def _statistics(model: Decoder, weights_VG: Tensor) -> BagStatistics:
    words = len(weights_VG)
    return bag_statistics(model.embedding.weight[0, 1 : 1 + words].float().cpu(), weights_VG)
