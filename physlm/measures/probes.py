"""What is linearly readable from a model's activations, and where: probes, with their controls.

    targets, batches = ...                                            # questions, and sentences with the answers
    features = tap_features(model, ("embedding", "block.0.out"))      # any function ids -> activations
    scores = probe(features, batches, targets, ProbeConfig(mask="full"))
    scores.accuracy.value[member, tap, question]

Every probe (members x taps x questions) is trained at once by AdamW on fresh sentences of split "train" and judged on
sentences of split "evaluation".  ``mask`` is the kind of probe: "diagonal" is the ordinary linear probe, "full" and
"tridiagonal" the multi-head ones of Part 1 (arXiv 2305.13673, section 4; ``physlm.measures.probe_heads``).  Questions
of several kinds can be asked at once: the frozen model, which costs most, then reads each sentence once.

Controls.  ``with_shuffled`` asks every question once more with the answers of another sentence, which shows what the
position alone tells; ``side_by_side`` probes an untrained model beside the trained one; ``Scores.majority`` is what the
best constant answer gets.

Shape letters: M members, K taps, B sentences, W positions, d width, Y questions, C classes, S sentences in all, L
levels.  An axis M of ``Labelled`` may be 1: the same sentences for all members.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.measures.finite import likeliest
from physlm.measures.intervals import Intervals, balanced_share, share
from physlm.measures.probe_heads import MASKS, Mask, ProbeHeads, whitening
from physlm.models.decoder import Decoder

IGNORE = -1
_ALIGN = 8  # positions; matrix products in bfloat16 are several times slower at other widths


class Target(NamedTuple):
    """A question.

    Attributes:
        name: for the table of results.
        classes: its number of classes, C.
        group: the questions of one group (and mask) share their position weights.
        mask: the kind of probe that answers it; None takes ``ProbeConfig.mask``.
        tokens: with which the answers of each class begin, where they are words.
    """

    name: str
    classes: int
    group: str = ""
    mask: Mask | None = None
    tokens: tuple[int, ...] = ()


class Labelled(NamedTuple):
    """Sentences and the answers.

    Attributes:
        ids_MBW: what the model reads.
        labels_MBWY: the class at each position, IGNORE where the question is not asked.
        keys_MBW: the positions that a probe may read (the sentence, not the padding).
        subset_MBWY: positions to report on their own as well.
    """

    ids_MBW: Tensor
    labels_MBWY: Tensor
    keys_MBW: Tensor
    subset_MBWY: Tensor | None = None


Features = Callable[[Tensor], Tensor]  # ids (M or 1, B, W) -> activations (M, K, B, W, d)
Batches = Callable[[str, int], Labelled]  # (split "train" or "evaluation", number of the batch) -> fresh sentences


@dataclass(frozen=True)
class ProbeConfig:
    """How probes are built and trained.

    Attributes:
        mask: "full", "tridiagonal" or "diagonal", for questions that name none.
        heads: H.
        position_dims: dimensions of P for each head.  The paper's d' = 1024 is read as 16 heads of 64: an assumption.
        steps: batches of split "train"; the rate falls linearly to 0.
        learning_rate, position_rate: of the linear maps and of P.
        evaluation_batches: batches of split "evaluation".
        whitening_batches: batches of split "train" that the change of basis is estimated from.
    """

    mask: Mask = "full"
    heads: int = 16
    position_dims: int = 64
    max_positions: int = 512
    steps: int = 1000
    learning_rate: float = 3e-2
    position_rate: float = 1e-2
    weight_decay: float = 0.0
    evaluation_batches: int = 16
    whitening_batches: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        _check_mask(self.mask)
        for name in ("heads", "position_dims", "max_positions", "steps", "evaluation_batches", "whitening_batches"):
            if getattr(self, name) < 1:
                raise UserError(f"probe: {name}: got {getattr(self, name)}, expected at least 1")
        for name, zero in (("learning_rate", False), ("position_rate", False), ("weight_decay", True)):
            value = getattr(self, name)
            if not 0 <= value < math.inf or not (value or zero):
                wanted = "a number of at least 0" if zero else "a number above 0"
                raise UserError(f"probe: {name}: got {value}, expected {wanted}")
        if self.position_dims % 2:
            raise UserError(f"probe: position_dims: got {self.position_dims}, expected an even number")


@dataclass(frozen=True)
class Scores:
    """Accuracies on fresh sentences; every array is (M, K, Y).

    Attributes:
        accuracy, balanced: the share of right answers, and its mean over the classes; intervals clustered by sentence.
        majority: the accuracy of the best constant answer (that of ``balanced`` is 1 / classes).
        tokens, sentences: how many answers, and in how many sentences.
        subset: the same on ``Labelled.subset_MBWY``, if given.
    """

    targets: tuple[Target, ...]
    accuracy: Intervals
    balanced: Intervals
    majority: NDArray[np.float64]
    tokens: NDArray[np.int64]
    sentences: NDArray[np.int64]
    subset: Scores | None = None


def probe(
    features: Features, batches: Batches, targets: Sequence[Target], config: ProbeConfig | None = None,
    progress: bool = False,
) -> Scores:  # fmt: skip
    """Train probes and judge them on other sentences."""
    return train_probes(features, batches, targets, config or ProbeConfig(), progress).evaluate(progress)


class Probes:
    """Trained (or still untrained) probes of all questions on M x K activations.

    Raises:
        UserError: no questions, a sentence longer than ``max_positions``; in training and judging, too: labels outside
            of the classes.
    """

    def __init__(self, features: Features, batches: Batches, targets: Sequence[Target], config: ProbeConfig):
        if not targets:
            raise UserError("probe: got no targets, expected at least one")
        for target in targets:
            _check_mask(target.mask or config.mask)
        self.features, self.batches, self.config = features, batches, config
        self.targets = tuple(targets)
        first = [self._read(batches("train", number)) for number in range(config.whitening_batches)]
        self.members, self.taps = first[0][0].shape[:2]
        device = first[0][0].device
        self.dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        kept = []
        for x_MKBWd, batch in first:
            keys = batch.keys_MBW.expand(self.members, -1, -1)
            smallest = int(keys.sum((1, 2)).min())  # the same number of positions of each member
            for_member = [x.flatten(1, 2)[:, k.flatten()][:, :smallest] for x, k in zip(x_MKBWd, keys, strict=True)]
            kept.append(torch.cat(for_member))
        self.mean_Nd, self.whiten_Ndd = whitening(torch.cat(kept, 1))
        keys_of = [(target.group, target.mask or config.mask) for target in self.targets]
        self.columns = [[y for y, found in enumerate(keys_of) if found == group] for group in dict.fromkeys(keys_of)]
        self.heads = nn.ModuleList(
            ProbeHeads(
                self.members * self.taps, x_MKBWd.shape[-1], tuple(self.targets[y].classes for y in columns),
                keys_of[columns[0]][1], config.heads, config.position_dims, config.max_positions, config.seed, device,
            )
            for columns in self.columns
        )  # fmt: skip

    def logits(self, ids_MBW: Tensor, keys_MBW: Tensor) -> list[Tensor]:
        """(M, K, B, W, C) for each question."""
        empty = torch.empty(*ids_MBW.shape, 0, dtype=torch.long, device=ids_MBW.device)
        with torch.no_grad():
            x, batch = self._read(Labelled(ids_MBW, empty, keys_MBW))
            found: dict[int, Tensor] = {}
            for columns, logits in zip(self.columns, self._logits(x, batch), strict=True):
                split = logits.view(self.members, self.taps, *logits.shape[1:]).transpose(2, 3)
                for place, y in enumerate(columns):
                    found[y] = split[:, :, :, : ids_MBW.shape[-1], place, : self.targets[y].classes]
        return [found[y] for y in range(len(self.targets))]

    def train(self, progress: bool = False) -> None:
        """``steps`` steps of AdamW on the sum over questions of the mean cross-entropy."""
        config = self.config
        slow = [p for name, p in self.heads.named_parameters() if not name.endswith("positions")]
        positions = [p for name, p in self.heads.named_parameters() if name.endswith("positions")]
        rates = [(slow, config.learning_rate), (positions, config.position_rate)]
        optimiser = torch.optim.AdamW(
            [{"params": group, "lr": rate} for group, rate in rates if group], betas=(0.9, 0.98),
            weight_decay=config.weight_decay, fused=True,
        )  # fmt: skip
        full = [group["lr"] for group in optimiser.param_groups]
        for step in tqdm(range(config.steps), desc="training probes", leave=False, disable=None if progress else True):
            for group, rate in zip(optimiser.param_groups, full, strict=True):
                group["lr"] = rate * (1 - step / config.steps)
            with torch.no_grad():
                x, batch = self._read(self.batches("train", step))
            optimiser.zero_grad()
            self._loss(x, batch).backward()
            optimiser.step()

    @torch.no_grad()
    def evaluate(self, progress: bool = False) -> Scores:
        """Accuracies on ``evaluation_batches`` batches of split "evaluation"."""
        counts, subset = [], []
        numbers = range(self.config.evaluation_batches)
        for number in tqdm(numbers, desc="judging probes", leave=False, disable=None if progress else True):
            x, batch = self._read(self.batches("evaluation", number))
            answers = torch.empty(self.members * self.taps, *batch.labels_MBWY.shape[1:], dtype=torch.int16,
                                  device=x.device)  # fmt: skip
            for columns, logits in zip(self.columns, self._logits(x, batch), strict=True):
                answers[..., columns] = likeliest(logits, "logits of probes").transpose(1, 2).to(torch.int16)
            answers = answers.view(self.members, self.taps, *answers.shape[1:])
            counts.append(self._count(answers, batch.labels_MBWY))
            if batch.subset_MBWY is not None:
                subset.append(self._count(answers, batch.labels_MBWY.where(batch.subset_MBWY, IGNORE)))
        scores = self._scores(counts, None)
        return self._scores(counts, self._scores(subset, None)) if subset else scores

    def _read(self, batch: Labelled) -> tuple[Tensor, Labelled]:
        """Activations of a batch, and the batch, with the positions padded to a multiple of 8."""
        positions = batch.ids_MBW.shape[-1]
        if positions > self.config.max_positions:
            raise UserError(f"probe: got sentences of {positions} positions, expected at most "
                            f"max_positions = {self.config.max_positions}")
        if batch.labels_MBWY.shape[-1]:  # none where only logits are asked for
            _check_labels(batch.labels_MBWY, self.targets)
        with torch.no_grad():
            x = self.features(batch.ids_MBW)
        assert x.dim() == 5 and x.shape[2:4] == batch.ids_MBW.shape[1:], "features gives (M, K, B, W, d)"
        more = -positions % _ALIGN if positions + (-positions % _ALIGN) <= self.config.max_positions else 0
        subset = batch.subset_MBWY
        return F.pad(x, (0, 0, 0, more)), Labelled(
            batch.ids_MBW,
            F.pad(batch.labels_MBWY.long(), (0, 0, 0, more), value=IGNORE),
            F.pad(batch.keys_MBW, (0, more)),
            None if subset is None else F.pad(subset, (0, 0, 0, more)),
        )

    def _logits(self, x_MKBWd: Tensor, batch: Labelled) -> list[Tensor]:
        """(N, W, B, Y, C) for each group."""
        keys = batch.keys_MBW.expand(self.members, -1, -1).repeat_interleave(self.taps, 0).transpose(1, 2)
        x_NWBd = x_MKBWd.flatten(0, 1).transpose(1, 2).float() - self.mean_Nd[:, None, None]
        # contiguous here, so that no group copies it once more
        x_NFd = torch.bmm(x_NWBd.flatten(1, 2).contiguous(), self.whiten_Ndd)
        x_NWBd = (x_NFd.view_as(x_NWBd) * keys[..., None]).to(self.dtype)
        return [heads(x_NWBd, keys) for heads in self.heads]

    def _loss(self, x_MKBWd: Tensor, batch: Labelled) -> Tensor:
        total = torch.zeros((), device=x_MKBWd.device)
        for columns, logits_NWBYC in zip(self.columns, self._logits(x_MKBWd, batch), strict=True):
            labels = batch.labels_MBWY[..., columns].expand(self.members, -1, -1, -1)
            asked = (labels != IGNORE).sum((1, 2)).clamp_min(1)  # (M, Y)
            labels_NWBY = labels.repeat_interleave(self.taps, 0).transpose(1, 2)
            shape = labels_NWBY.shape
            nll = F.cross_entropy(logits_NWBYC.flatten(0, 3), labels_NWBY.reshape(-1), reduction="none",
                                  ignore_index=IGNORE).view(shape)  # fmt: skip
            total = total + (nll / asked.repeat_interleave(self.taps, 0)[:, None, None]).sum()
        return total

    def _count(self, answers_MKBWY: Tensor, labels_MBWY: Tensor) -> tuple[Tensor, Tensor]:
        """Right answers (M, K, Y, C, B) and answers (M or 1, 1, Y, C, B), by class and sentence."""
        labels = labels_MBWY[:, None]
        hits, tokens = [], []
        for label in range(max(target.classes for target in self.targets)):
            hits.append(((labels == label) & (answers_MKBWY == label)).sum(3).transpose(2, 3))
            tokens.append((labels == label).sum(3).transpose(2, 3))
        return torch.stack(hits, 3).cpu(), torch.stack(tokens, 3).cpu()

    def _scores(self, counts: list[tuple[Tensor, Tensor]], subset: Scores | None) -> Scores:
        hits = torch.cat([hits for hits, _ in counts], -1).double().numpy()
        tokens = torch.cat([tokens for _, tokens in counts], -1).double().numpy()
        tokens = np.broadcast_to(tokens, hits.shape)
        by_class = tokens.sum(-1)
        with np.errstate(invalid="ignore"):
            majority = by_class.max(-1) / by_class.sum(-1)
        return Scores(
            self.targets, share(hits.sum(-2), tokens.sum(-2)), balanced_share(hits, tokens), majority,
            by_class.sum(-1).astype(np.int64), (tokens.sum(-2) > 0).sum(-1), subset,
        )  # fmt: skip


def _check_mask(mask: str) -> None:
    if mask not in MASKS:
        raise UserError(f"probe: mask: got {mask!r}, expected one of {', '.join(MASKS)}")


def _check_labels(labels_MBWY: Tensor, targets: Sequence[Target]) -> None:
    if labels_MBWY.shape[-1] != len(targets):
        raise UserError(f"probe: got answers to {labels_MBWY.shape[-1]} questions, expected {len(targets)}")
    if not labels_MBWY.numel():
        return
    classes_Y = torch.tensor([target.classes for target in targets], device=labels_MBWY.device)
    if bool(((labels_MBWY >= IGNORE) & (labels_MBWY < classes_Y)).all()):
        return
    for target, labels in zip(targets, labels_MBWY.unbind(-1), strict=True):
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < IGNORE or highest >= target.classes:
            raise UserError(f"probe: {target.name}: got labels from {lowest} to {highest}, expected 0 to "
                            f"{target.classes - 1}, or {IGNORE} where nothing is asked")


def train_probes(
    features: Features, batches: Batches, targets: Sequence[Target], config: ProbeConfig, progress: bool = False
) -> Probes:
    """Train all probes; ``.evaluate()`` judges them, ``.logits(ids, keys)`` applies them."""
    probes = Probes(features, batches, targets, config)
    probes.train(progress)
    return probes


def tap_features(model: Decoder, taps: Sequence[str]) -> Features:
    """Activations of a frozen model, by the names of its taps; ``UserError`` for another name (see ``tap_names``)."""
    allowed = [name for name in model.tap_names if not name.endswith(".attention")]
    if isinstance(taps, str) or not taps:
        raise UserError(f"taps: got {taps!r}, expected a list of one or more of {', '.join(allowed)}")
    for name in taps:
        if name not in allowed:
            raise UserError(unknown_key("tap", name, allowed))

    @torch.no_grad()
    def features(ids_MBW: Tensor) -> Tensor:
        _, found = model.hidden(ids_MBW.expand(model.members, -1, -1), taps)
        return torch.stack([found[name].float() for name in taps], 1)

    return features


def side_by_side(*several: Features) -> Features:
    """Several sources of activations as if they were taps of one, in this order; for example trained and untrained."""
    return lambda ids_MBW: torch.cat([features(ids_MBW) for features in several], 1)


def with_shuffled(batches: Batches, targets: Sequence[Target]) -> tuple[Batches, list[Target]]:
    """The control "labels of another sentence": every question once more, ``shuffled <name>``.

    The answers are those of the sentence before it in the batch, at the same position, where both sentences have one.
    What a probe then still knows, it knows from the position.
    """

    def controlled(split: str, number: int) -> Labelled:
        batch = batches(split, number)
        if batch.ids_MBW.shape[1] < 2:
            raise UserError("probe: got a batch of one sentence, expected at least two to shuffle labels")
        other = torch.roll(batch.labels_MBWY, 1, 1).where(batch.keys_MBW[..., None], IGNORE)
        subset = None if batch.subset_MBWY is None else torch.roll(batch.subset_MBWY, 1, 1)
        return join_questions(batch, batch._replace(labels_MBWY=other, subset_MBWY=subset))

    control = [t._replace(name=f"shuffled {t.name}", group=f"shuffled {t.group}") for t in targets]
    return controlled, [*targets, *control]


def join_questions(*several: Labelled) -> Labelled:
    """The same sentences with the questions of all, in this order; for example of several kinds of probe."""
    subsets = [batch.subset_MBWY for batch in several if batch.subset_MBWY is not None]
    assert len(subsets) in (0, len(several)), "either all or none have a subset"
    labels = torch.cat([batch.labels_MBWY for batch in several], -1)
    return several[0]._replace(labels_MBWY=labels, subset_MBWY=torch.cat(subsets, -1) if subsets else None)
