"""What a model's hidden states hold of a string's derivation tree (arXiv 2305.13673, section 4).

    ancestor  level=4 mask=full layer=6     which symbol of level 4 the token descends from, read by the multi-head
                                            probe whose weights depend on positions alone, from the output of block 6
    boundary  level=4 mask=full layer=6     whether the token is the last of its subtree of level 4
    .. mask=diagonal, tridiagonal           read from that position alone, or from it and its two neighbours; ancestors
                                            are then asked for at the ends of their subtrees only
    ancestor  level=4 step=250              from the last block along the training, mask full

each also as ``ancestor_balanced`` (mean over classes), and, for the last block, with the controls ``_untrained`` (the
model before its first step), ``_shuffled`` (labels of another string) and ``_majority`` (the best constant answer):
``ancestor_untrained``, ``ancestor_untrained_balanced``.  Levels
count from 1, the root's; layer 0 is the embedding.  Strings longer than the training window are cut there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from physlm.measures.grammar_questions import grammar_labels, grammar_targets
from physlm.measures.probe_heads import MASKS, Mask
from physlm.measures.probes import (
    Batches,
    Features,
    Labelled,
    ProbeConfig,
    Scores,
    join_questions,
    probe,
    side_by_side,
    tap_features,
    with_shuffled,
)  # fmt: skip
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, grammar_of
from physlm.places import Place
from physlm.training.config import RunSpec

# strings a batch, and how long probes train and are judged, where there is a GPU and where there is none
STRINGS = {"cuda": 64, "cpu": 32}
PROBES = {
    "cuda": ProbeConfig(steps=1000, evaluation_batches=16),
    "cpu": ProbeConfig(steps=150, heads=8, position_dims=16, evaluation_batches=8),
}
KINDS = ("ancestor", "boundary")


def check(spec: RunSpec) -> None:
    """Refuse a run on anything but strings of a grammar.

    Raises:
        UserError: see above.
    """
    grammar_of(spec, "trees")


def measure(run: Trained) -> list[Row]:
    """Every question of every kind, layer and step, with its controls."""
    spec = run.spec
    taps = ["embedding", *(f"block.{i}.out" for i in range(spec.model.depth))]
    trained, untrained = run.ready(run.model), run.ready(run.untrained)
    asked = _Asked(run)
    rows: list[Row] = []
    features = side_by_side(tap_features(trained, taps), tap_features(untrained, taps[-1:]))
    scores = asked.scores(features, MASKS)
    for layer in range(len(taps)):
        rows += asked.rows(scores, layer, MASKS, layer=layer)
    rows += asked.rows(scores, len(taps), MASKS, "_untrained")
    rows += asked.majority(scores, MASKS)
    shuffled = asked.scores(tap_features(trained, taps[-1:]), MASKS, shuffled=True)
    rows += asked.rows(shuffled, 0, MASKS, "_shuffled")
    if spec.snapshot_steps:
        snapshots = [tap_features(run.ready(run.load(step)), taps[-1:]) for step in spec.snapshot_steps]
        along = asked.scores(side_by_side(*snapshots), ("full",))
        for k, step in enumerate(spec.snapshot_steps):
            rows += asked.rows(along, k, ("full",), step=step)
    return rows


class _Asked:
    """The questions of one run's grammar."""

    def __init__(self, run: Trained):
        config = grammar_of(run.spec, "trees")
        self._run = run
        self._task = config.build().to(run.device)
        self._width = min(self._task.entry_width, config.row_tokens)
        self._sizes = [len(names) for names in self._task.grammar.levels]
        self._levels = range(1, self._task.grammar.depth)
        self._config = dataclasses.replace(PROBES[run.device.type], max_positions=self._width)

    def scores(self, features: Features, masks: Sequence[Mask], shuffled: bool = False) -> Scores:
        """Probes of all kinds on these activations; with ``shuffled`` also on labels of another string."""
        targets = [target for mask in masks for target in grammar_targets(self._sizes, self._levels, mask)]
        batches: Batches = self._batches(masks)
        if shuffled:
            batches, targets = with_shuffled(batches, targets)
        return probe(features, batches, targets, self._config, self._run.progress)

    def _batches(self, masks: Sequence[Mask]) -> Batches:
        count = STRINGS[self._run.device.type]

        def batches(split: str, number: int) -> Labelled:
            # fresh strings, but never those that other measures read
            index = torch.arange(number * count, (number + 1) * count, device=self._run.device)
            split = "validation" if split == "train" else "evaluation"
            found = self._task.sentences(index, split, stream=1, width=self._task.entry_width)
            cut = self._width
            labels = [
                grammar_labels(found.ids_BW[:, :cut], found.token_BW[:, :cut], found.ancestors_LBW[..., :cut],
                               found.boundaries_LBW[..., :cut], self._levels, ends_only=mask != "full")
                for mask in masks
            ]  # fmt: skip
            return join_questions(*labels)

        return batches

    def rows(self, scores: Scores, tap: int, masks: Sequence[Mask], control: str = "", **at: int) -> Iterator[Row]:
        """Accuracy and balanced accuracy of every question on one tap; rows along the training do not name the mask."""
        by_name = {target.name: y for y, target in enumerate(scores.targets)}
        prefix = "shuffled " if control == "_shuffled" else ""
        for kind, letter in zip(KINDS, "sb", strict=True):
            for level in self._levels:
                for mask in masks:
                    y = by_name[f"{prefix}{letter}{level + 1} {mask}"]
                    where: dict[str, Place] = {"level": level + 1, **({} if "step" in at else {"mask": mask}), **at}
                    sentences = int(scores.sentences[0, tap, y])
                    for found, ending in ((scores.accuracy, ""), (scores.balanced, "_balanced")):
                        yield found.row(f"{kind}{control}{ending}", sentences, (0, tap, y), where=where)

    def majority(self, scores: Scores, masks: Sequence[Mask]) -> Iterator[Row]:
        """What the best constant answer gets on the same strings."""
        for y, target in enumerate(scores.targets):
            name, mask = target.name.split()
            kind, share = KINDS["sb".index(name[0])], float(scores.majority[0, 0, y])
            assert mask in masks
            yield Row(f"{kind}_majority", share, "1", int(scores.sentences[0, 0, y]), share, share,
                      {"level": int(name[1:]), "mask": mask})
