"""Attention along the derivation tree, as rows: the statistics of ``physlm.measures.attention`` and their controls.

    by_distance layer=2 head=1 distance=7       mean weight that a token gives to the one 7 before it
    to_end level=4 shift=-1                     mean residual towards the token 1 before an end of level 4
    nearest_end level=4 shift=-1                the same for each token's nearest such end
    end_to_end from=4 to=3                      from ends of top level 4 to earlier ends of top level 3
    adjacent from=4 to=4 r=1                    the same by how many subtrees lie between, r = 1 the next

Residuals are pooled over layers and heads; ``to_end_shuffled`` etc. use the trees of other strings, and
``to_end_untrained`` etc. the model before its first step.  Levels count from 1, the root's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np
import torch

from physlm.measures.attention import Attended, AttentionStatistics, attention_statistics, decoder_attention
from physlm.measures.intervals import Intervals
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, grammar_of
from physlm.models.decoder import Decoder
from physlm.tasks.grammar.task import GrammarTask
from physlm.training.config import RunSpec

BATCHES = {"cuda": (32, 32), "cpu": (8, 32)}  # how many, strings in each
DISTANCES = 64  # of by_distance that are kept


def check(spec: RunSpec) -> None:
    """Refuse a run on anything but strings of a grammar.

    Raises:
        UserError: see above.
    """
    grammar_of(spec, "attention")


def measure(run: Trained) -> list[Row]:
    """All statistics of one run's model, of the shuffled trees, and of the untrained model."""
    trained, untrained = run.ready(run.model), run.ready(run.untrained)
    task = grammar_of(run.spec, "attention").build().to(run.device)
    found = attention_statistics(lambda: _attended(task, trained), progress=run.progress)
    rows = [*_by_distance(found), *_residuals(found, "")]
    shuffled = attention_statistics(lambda: _attended(task, trained), shuffled=True, progress=run.progress)
    before = attention_statistics(lambda: _attended(task, untrained), progress=run.progress)
    return [*rows, *_residuals(shuffled, "_shuffled"), *_residuals(before, "_untrained")]


def _attended(task: GrammarTask, model: Decoder) -> Iterable[Attended]:
    """The same fresh strings at every call."""
    width, depth = min(task.entry_width, task.config.row_tokens), task.grammar.depth
    batches, size = BATCHES[task.device.type]
    for number in range(batches):
        index = torch.arange(number * size, (number + 1) * size, device=task.device)
        found = task.sentences(index, stream=2, width=task.entry_width)
        yield Attended(
            decoder_attention(model, found.ids_BW[:, :width]), found.token_BW[:, :width],
            found.boundaries_LBW[1:depth, :, :width], found.subtrees_LBW[1:depth, :, :width],
        )  # fmt: skip


def _by_distance(found: AttentionStatistics) -> Iterator[Row]:
    layers, heads, distances = found.by_distance.value.shape
    for layer, head, distance in np.ndindex(layers, heads, min(distances, DISTANCES)):
        where = {"layer": layer + 1, "head": head + 1, "distance": distance}
        yield from _row("by_distance", where, found.by_distance, (layer, head, distance), found.sentences)


def _residuals(found: AttentionStatistics, control: str) -> Iterator[Row]:
    pooled = found.pooled
    for name, estimate in (("to_end", pooled.any_to_end), ("nearest_end", pooled.nearest_end)):
        for level, shift in np.ndindex(*estimate.value.shape):
            where = {"level": level + 2, "shift": int(found.shifts[shift])}
            yield from _row(f"{name}{control}", where, estimate, (level, shift), found.sentences)
    for start, end in np.ndindex(*pooled.end_to_end.value.shape):
        where = {"from": start + 2, "to": end + 2}
        yield from _row(f"end_to_end{control}", where, pooled.end_to_end, (start, end), found.sentences)
    for start, end, r in np.ndindex(*pooled.adjacent.value.shape):
        where = {"from": start + 2, "to": end + 2, "r": r + 1}
        yield from _row(f"adjacent{control}", where, pooled.adjacent, (start, end, r), found.sentences)


def _row(quantity: str, where: Mapping[str, int], found: Intervals, at: tuple[int, ...], sentences: int
         ) -> Iterator[Row]:
    """Nothing where no pair counted."""
    if not np.isnan(found.value[at]):
        yield found.row(quantity, sentences, at, where=where)
