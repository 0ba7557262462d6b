"""Where attention goes in a grammar's derivation tree: the four statistics of Part 1 (arXiv 2305.13673, section 5).

A_{l,h,j->i} is the weight that head h of layer l gives at token j to token i <= j.  How far i lies explains much of it:

    by distance      A_{l,h,p}      mean of A_{l,h,j->i} over all sentences and pairs with j - i = p
    the residual     B_{l,h,j->i} = A_{l,h,j->i} - A_{l,h,j-i}

and means of the residual show what distance does not explain.  A token has the *top* v if it is the last token of a
subtree of level v and of none above (levels nearer to the root).

    to ends          i + delta a pair's key, i of top v:     all j >= i + delta ("any"), or, for each j, the last such
                     i <= j - reach alone ("nearest"), with delta = -reach .. reach in both
    end to end       j of top u, i of top v, i < j
    adjacent         the same, with the level-v subtree of j lying r = 1, 2, ... after the one that ends at i

Two passes over the same sentences, the first for A_{l,h,p}; memory does not grow with their number.  Intervals are
clustered by sentence and take A_{l,h,p} as known.

Control: ``shuffled=True`` uses the trees of other sentences.  It need not be 0: weights fall with j, as a token has j
others to attend to (an untrained model gives each about 1 / j), so where ends are rather late or early in a sentence
the residual is not 0 for that alone.  What the tree explains is the difference from the control.

Only tokens of the sentence count, as j and as i: weight on the separator is in no statistic.

Shape letters: B sentences, T positions, J layers, H heads, V levels asked for, D = 2 reach + 1 shifts, R distances in
subtrees.  Arrays of results begin with (J, H), those of ``pooled`` (mean over layers and heads) do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from physlm.errors import UserError
from physlm.measures.intervals import Intervals, Ratio
from physlm.models.decoder import Decoder


class Attended(NamedTuple):
    """Sentences with a model's attention and their trees.

    Attributes:
        weights_J: for each layer (B, H, T, T), [query j, key i].
        token_BT: which positions are tokens of the sentence; they lie side by side.
        boundaries_VBT: bool, last token of its subtree, for the levels asked for, nearest to the root first.
        subtrees_VBT: number of the subtree, counted from 0 from left to right.
    """

    weights_J: Sequence[Tensor]
    token_BT: Tensor
    boundaries_VBT: Tensor
    subtrees_VBT: Tensor


AttendedBatches = Callable[[], Iterable[Attended]]  # the same sentences at every call


class Means(NamedTuple):
    """One set of the statistics.

    Attributes:
        any_to_end, nearest_end: (..., V, D) by level of the end and shift.
        end_to_end: (..., V, V) by top of j, top of i.
        adjacent: (..., V, V, R) by top of j, top of i, and r = 1 .. R.
    """

    any_to_end: Intervals
    nearest_end: Intervals
    end_to_end: Intervals
    adjacent: Intervals


@dataclass(frozen=True)
class AttentionStatistics:
    """The statistics of one model.

    Attributes:
        by_distance: A_{l,h,p}, (J, H, T), NaN at distances that no pair has.
        heads: means of the residual, beginning with (J, H).
        pooled: the same, mean over layers and heads.
        pairs: how many pairs each mean of ``pooled`` is over, by the names of ``Means``.
        shifts: delta of the axis D.
        sentences: how many.
    """

    by_distance: Intervals
    heads: Means
    pooled: Means
    pairs: dict[str, NDArray[np.float64]]
    shifts: tuple[int, ...]
    sentences: int


@torch.no_grad()
def attention_statistics(
    batches: AttendedBatches, reach: int = 2, adjacent: int = 6, shuffled: bool = False, progress: bool = False
) -> AttentionStatistics:
    """The statistics at the top of this page.

    Args:
        batches: gives the same sentences at every call; it is called twice.
        reach: the largest shift.
        adjacent: R.
        shuffled: the control, boundaries and subtrees of another sentence of the batch.

    Raises:
        UserError: no sentences; with ``shuffled``, a batch of one sentence.
    """
    distance = Ratio()
    for batch in _watched(batches(), "attention by distance", progress):
        distance.add(*_by_distance(batch))
    if distance.sentences == 0:
        raise UserError("attention: got no sentences, expected at least one")
    by_distance, counted = distance.estimate(), distance.pairs() > 0
    ratios = {name: (Ratio(), Ratio()) for name in Means._fields}
    for batch in _watched(batches(), "attention along the tree", progress):
        tree = _Tree.of(_shuffle(batch) if shuffled else batch, reach, adjacent)
        expected = torch.from_numpy(np.where(counted, by_distance.value, 0.0)).to(batch.token_BT.device)
        layers = [tree.sums(weights, expected[j]) for j, weights in enumerate(batch.weights_J)]
        counts_of = tree.counts()
        for name, (heads, pooled) in ratios.items():
            sums = torch.stack([layer[name] for layer in layers], 1).double().cpu().numpy()  # (B, J, H, ...)
            counts = counts_of[name].double().cpu().numpy()
            heads.add(sums, counts)
            pooled.add(sums.mean((1, 2)), counts)
    return AttentionStatistics(
        by_distance,
        Means(*(heads.estimate() for heads, _ in ratios.values())),
        Means(*(pooled.estimate() for _, pooled in ratios.values())),
        {name: pooled.pairs() for name, (_, pooled) in ratios.items()},
        tuple(range(-reach, reach + 1)),
        distance.sentences,
    )


def decoder_attention(model: Decoder, ids_BT: Tensor) -> list[Tensor]:
    """The attention weights of every layer of a single model, (B, H, T, T) each."""
    assert model.members == 1, "one model at a time: cut it out with Decoder.member"
    names = [f"block.{i}.attention" for i in range(model.config.depth)]
    _, found = model.hidden(ids_BT[None], names)
    return [found[name][0] for name in names]


class _Tree(NamedTuple):
    """Which pairs of a batch count, for every statistic.

    Attributes:
        pair_BTT: j and i are tokens and i <= j.
        top_BVT: the token's top is v.
        near_BTVD, near_ok_BTVD: for the query j, the place of the nearest end of top v, shifted; whether there is one.
        turn_BTVR, turn_ok_BTVR: for the query j, the place of the end of the level-v subtree r before its own; whether
            there is one and its top is v.
    """

    pair_BTT: Tensor
    top_BVT: Tensor
    near_BTVD: Tensor
    near_ok_BTVD: Tensor
    turn_BTVR: Tensor
    turn_ok_BTVR: Tensor

    @classmethod
    def of(cls, batch: Attended, reach: int, adjacent: int) -> _Tree:
        token = batch.token_BT
        rows, positions = token.shape
        place = torch.arange(positions, device=token.device)
        pair = token[:, :, None] & token[:, None] & (place <= place[:, None])
        ends = (batch.boundaries_VBT.bool() & token).transpose(0, 1)  # (B, V, T)
        above = ends.cumsum(1) - ends.long()
        top = ends & (above == 0)
        # nearest end: the running maximum of the places of ends, read ``reach`` tokens before j
        last = torch.where(top, place, -1).cummax(-1).values
        last = F.pad(last, (reach, 0), value=-1)[..., :positions].transpose(1, 2)  # (B, T, V)
        shift = torch.arange(-reach, reach + 1, device=token.device)
        near = last[..., None] + shift
        # all shifts or none: each then averages over the same queries
        inside = (last >= 0)[..., None] & token[:, :, None, None] & _at(token, near)
        near_ok = inside.all(-1, keepdim=True).expand_as(near)
        # the place where subtree number q of level v ends; -1 where there is none
        subtree = batch.subtrees_VBT.long().transpose(0, 1)  # (B, V, T)
        end_of = torch.full((rows, ends.shape[1], positions + 1), -1, device=token.device)
        end_of.scatter_(2, torch.where(ends, subtree, positions), place.expand_as(subtree).contiguous())
        end_of[..., positions] = -1
        wanted = subtree[..., None] - torch.arange(1, adjacent + 1, device=token.device)  # (B, V, T, R)
        wanted = torch.where(wanted >= 0, wanted, positions)
        turn = end_of.gather(2, wanted.flatten(2)).view_as(wanted)
        turn_ok = (turn >= 0) & token[:, None, :, None]
        turn_ok &= top.gather(2, turn.clamp_min(0).flatten(2)).view_as(turn)
        return cls(pair, top, near.clamp(0, positions - 1), near_ok, turn.clamp_min(0).transpose(1, 2),
                   turn_ok.transpose(1, 2))  # fmt: skip

    @property
    def strict_BTT(self) -> Tensor:
        """Pairs with i < j."""
        return self.pair_BTT.tril(-1)

    @property
    def reach(self) -> int:
        return self.near_BTVD.shape[-1] // 2

    def shifted(self, per_key: Tensor) -> Tensor:
        """(..., T) numbers of keys -> (..., T, D), entry [i, delta] that of i + delta; 0 outside."""
        return F.pad(per_key, (self.reach, self.reach)).unfold(-1, 2 * self.reach + 1, 1)

    def sums(self, weights_BHTT: Tensor, expected_HT: Tensor) -> dict[str, Tensor]:
        """Sums of the residual over the pairs of each sentence, (B, H, ...), by the names of ``Means``."""
        residual = self._residual(weights_BHTT, expected_HT)
        top = self.top_BVT.to(residual.dtype)
        per_key = self.shifted(residual.sum(2))  # (B, H, T, D)
        before = residual.tril(-1)
        found = {
            "any_to_end": torch.einsum("bvi,bhid->bhvd", top, per_key),
            "nearest_end": self._gather(residual, self.near_BTVD, self.near_ok_BTVD).sum(2),
            "end_to_end": torch.einsum("buj,bhjv->bhuv", top, before @ top.transpose(1, 2)[:, None]),
        }
        turns = self._gather(before, self.turn_BTVR, self.turn_ok_BTVR)  # (B, H, T, V, R)
        found["adjacent"] = torch.einsum("buj,bhjvr->bhuvr", top, turns)
        return found

    def counts(self) -> dict[str, Tensor]:
        """How many pairs each sum is over, (B, ...): the sums for a residual of 1 everywhere."""
        top = self.top_BVT.double()
        queries = self.shifted(self.pair_BTT.sum(1, dtype=torch.double))
        strict = self.strict_BTT.double()
        return {
            "any_to_end": torch.einsum("bvi,bid->bvd", top, queries),
            "nearest_end": self.near_ok_BTVD.sum(1),
            "end_to_end": top @ strict @ top.transpose(1, 2),
            "adjacent": torch.einsum("buj,bjvr->buvr", top, self.turn_ok_BTVR.double()),
        }

    def _residual(self, weights_BHTT: Tensor, expected_HT: Tensor) -> Tensor:
        """B, zero for pairs that do not count."""
        positions = weights_BHTT.shape[-1]
        place = torch.arange(positions, device=weights_BHTT.device)
        away = (place[:, None] - place).clamp_min(0)
        residual = weights_BHTT.float() - expected_HT.float()[:, away]
        return residual * self.pair_BTT[:, None]

    @staticmethod
    def _gather(residual_BHTT: Tensor, place_BTVX: Tensor, ok_BTVX: Tensor) -> Tensor:
        """The residual from each query to the places given for it, (B, H, T, V, X); 0 where not ``ok``."""
        rows, heads, positions, _ = residual_BHTT.shape
        index = place_BTVX.flatten(2)[:, None].expand(-1, heads, -1, -1)
        found = residual_BHTT.gather(3, index).view(rows, heads, positions, *place_BTVX.shape[2:])
        return found * ok_BTVX[:, None]


def _by_distance(batch: Attended) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums of the weights by distance, (B, J, H, T), and numbers of pairs, (B, T)."""
    token = batch.token_BT
    pair = (token[:, :, None] & token[:, None]).tril()
    sums = torch.stack([_diagonals(weights * pair[:, None]) for weights in batch.weights_J], 1)
    counts = _diagonals(pair[:, None].float())[:, 0]
    return sums.double().cpu().numpy(), counts.double().cpu().numpy()


def _diagonals(x_BHTT: Tensor) -> Tensor:
    """Sums along the diagonals of lower triangles: (B, H, T), entry p that of x[j, j - p]."""
    size = x_BHTT.shape[-1]
    wide = F.pad(x_BHTT.float(), (size, 0)).contiguous()
    # element (j, i) lies at j (2 T) + T + i; with i = j - p that is j (2 T + 1) + T - p
    strides = (*wide.stride()[:2], 2 * size + 1, 1)
    skewed = wide.as_strided((*wide.shape[:2], size, size + 1), strides, wide.storage_offset())
    return skewed.sum(2).flip(-1)[..., :size]


def _at(token_BT: Tensor, place_BTVD: Tensor) -> Tensor:
    """Whether there is a token at each place."""
    positions = token_BT.shape[1]
    inside = (place_BTVD >= 0) & (place_BTVD < positions)
    found = token_BT.gather(1, place_BTVD.clamp(0, positions - 1).flatten(1)).view_as(place_BTVD)
    return found & inside


def _shuffle(batch: Attended) -> Attended:
    if len(batch.token_BT) < 2:
        raise UserError("attention: got a batch of one sentence, expected at least two to shuffle trees")
    return batch._replace(boundaries_VBT=batch.boundaries_VBT.roll(1, 1), subtrees_VBT=batch.subtrees_VBT.roll(1, 1))


def _watched(batches: Iterable[Attended], what: str, progress: bool) -> Iterator[Attended]:
    yield from tqdm(batches, desc=what, leave=False, disable=None if progress else True)
