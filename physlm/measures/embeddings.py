"""Whether token embeddings show the bags of an implicit grammar (arXiv 2305.13673, result 10).

In an implicit grammar every terminal is a bag of observable tokens, and a sentence shows one token of each bag.  Tokens
of one bag occur in the same contexts, so a model that has found the bags gives them similar embeddings:

    similarity       S_{v,w} = <E_v, E_w> / (|E_v| |E_w|)
    gap              mean of S over pairs that share a bag  -  mean of S over pairs that share none
    recovery         the share of tokens whose bag is told from the embeddings alone

Control: the same numbers with the bags dealt to the tokens at random.

Shape letters: V observable tokens, d width, G bags (terminals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from physlm import rng
from physlm.errors import UserError, counted
from physlm.measures.finite import check_finite

Floats = NDArray[np.float64]
NEIGHBOURS = 5


def cosine_similarity(embedding_Vd: Tensor) -> Floats:
    """S, (V, V) float64; a token with the embedding 0 is similar to none."""
    x = embedding_Vd.detach().double().cpu().numpy()
    check_finite(x, "embeddings")
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    x = x / np.where(norm > 0, norm, 1.0)
    similarity: Floats = x @ x.T
    return similarity


@dataclass(frozen=True)
class BagStatistics:
    """What the embeddings tell about the bags.

    Attributes:
        similarity: (V, V), of the tokens that are in a bag, in their order.
        within, between: mean similarity of pairs that share a bag, and that share none.
        gap: within - between; ``gap_lo``, ``gap_hi``: its 95 % interval, a bootstrap over tokens.
        gap_permuted: 97.5 % quantile of the gap with bags dealt at random.
        p_value: share of random deals whose gap is at least as large, (1 + larger) / (1 + deals).
        neighbours: share of tokens for which most of the nearest neighbours (by similarity) have the token's main bag.
        clusters: share of tokens that average-linkage clustering into G clusters puts right, under the best naming of
            clusters by bags.
        neighbours_permuted, clusters_permuted: the same with bags dealt at random, mean.
        tokens, deals: V and how many random deals.
    """

    similarity: Floats
    within: float
    between: float
    gap: float
    gap_lo: float
    gap_hi: float
    gap_permuted: float
    p_value: float
    neighbours: float
    clusters: float
    neighbours_permuted: float
    clusters_permuted: float
    tokens: int
    deals: int


def bag_statistics(embedding_Vd: Tensor, weights_VG: Tensor, deals: int = 1000, seed: int = 0) -> BagStatistics:
    """The numbers of this page for one model.

    Args:
        embedding_Vd: rows of the observable tokens only, no separator.
        weights_VG: how much each bag holds of each token (membership or emission probability, 0 = not in the bag).  A
            token's main bag is that of its largest weight.  Tokens in no bag are left out.

    Raises:
        UserError: shapes that do not fit, fewer than two bags with tokens, no two tokens that share a bag, or no two
            that share none.
    """
    if embedding_Vd.dim() != 2 or weights_VG.dim() != 2 or len(embedding_Vd) != len(weights_VG):
        raise UserError(f"embeddings: got shapes {tuple(embedding_Vd.shape)} and {tuple(weights_VG.shape)}, "
                        "expected (tokens, width) and (tokens, bags)")
    used = (weights_VG > 0).any(1).cpu()
    weights = weights_VG.detach().double().cpu()[used].numpy()
    similarity = cosine_similarity(embedding_Vd.detach().cpu()[used])
    tokens, main = len(weights), weights.argmax(1)
    shared = ((weights > 0).astype(float) @ (weights > 0).T.astype(float)) > 0
    pairs = ~np.eye(tokens, dtype=bool)
    if not (shared & pairs).any() or shared.all():
        raise UserError(f"embeddings: got {counted(tokens, 'token')} in {counted(len(np.unique(main)), 'bag')}, "
                        "expected pairs that share a bag and pairs that share none")
    within, between = float(similarity[shared & pairs].mean()), float(similarity[~shared].mean())
    near, found = _nearest(similarity), _clusters(similarity, len(np.unique(main)))
    orders = np.stack([_order(tokens, seed, deal) for deal in range(deals)])
    gaps = np.array([_gap(similarity, shared[np.ix_(order, order)]) for order in orders])
    lo, hi = _bootstrap(similarity, shared, deals, seed)
    return BagStatistics(
        similarity, within, between, within - between, lo, hi, float(np.quantile(gaps, 0.975)),
        float((1 + (gaps >= within - between - 1e-12).sum()) / (1 + deals)),
        _told_by_neighbours(near, main), _told_by_clusters(found, main),
        float(np.mean([_told_by_neighbours(near, main[order]) for order in orders])),
        float(np.mean([_told_by_clusters(found, main[order]) for order in orders])), tokens, deals,
    )  # fmt: skip


def _gap(similarity: Floats, shared: NDArray[np.bool_]) -> float:
    pairs = ~np.eye(len(shared), dtype=bool)
    return float(similarity[shared & pairs].mean() - similarity[~shared].mean())


def _bootstrap(similarity: Floats, shared: NDArray[np.bool_], draws: int, seed: int) -> tuple[float, float]:
    """95 % interval of the gap over tokens drawn with replacement; a token is never paired with itself."""
    tokens = len(similarity)
    within = (shared & ~np.eye(tokens, dtype=bool)).astype(float)
    between = (~shared).astype(float)
    picks = rng.below(tokens, rng.key("bag bootstrap", seed), torch.arange(draws * tokens)).view(draws, tokens).numpy()
    times = np.stack([np.bincount(pick, minlength=tokens) for pick in picks]).astype(float)
    sums = [((times @ (similarity * mask)) * times).sum(1) for mask in (within, between)]
    counts = [((times @ mask) * times).sum(1) for mask in (within, between)]
    with np.errstate(invalid="ignore", divide="ignore"):
        gaps = sums[0] / counts[0] - sums[1] / counts[1]
    lo, hi = np.nanquantile(gaps, (0.025, 0.975))
    return float(lo), float(hi)


def _order(tokens: int, seed: int, deal: int) -> NDArray[np.int64]:
    order: NDArray[np.int64] = rng.uniform(rng.key("bag deal", seed, deal), torch.arange(tokens)).argsort().numpy()
    return order


def _nearest(similarity: Floats) -> NDArray[np.int64]:
    """The nearest other tokens of each, (V, at most NEIGHBOURS)."""
    others = similarity - 3.0 * np.eye(len(similarity))
    order: NDArray[np.int64] = np.argsort(-others, axis=1, kind="stable")[:, : min(NEIGHBOURS, len(similarity) - 1)]
    return order


def _told_by_neighbours(near: NDArray[np.int64], main: NDArray[np.int64]) -> float:
    """A tie goes to the bag whose token is nearest."""
    votes = main[near]
    bags = int(main.max()) + 1
    count = np.stack([(votes == bag).sum(1) for bag in range(bags)], 1).astype(float)
    rank = np.arange(votes.shape[1], 0, -1) / (2.0 * votes.shape[1] ** 2)
    for place in range(votes.shape[1]):
        count[np.arange(len(votes)), votes[:, place]] += rank[place] / votes.shape[1]
    return float((count.argmax(1) == main).mean())


def _clusters(similarity: Floats, count: int) -> NDArray[np.int64]:
    distance = np.clip(1.0 - similarity, 0.0, None)[np.triu_indices(len(similarity), 1)]
    clusters: NDArray[np.int64] = fcluster(linkage(distance, "average"), count, "maxclust") - 1
    return clusters


def _told_by_clusters(clusters: NDArray[np.int64], main: NDArray[np.int64]) -> float:
    table = np.zeros((int(clusters.max()) + 1, int(main.max()) + 1))
    np.add.at(table, (clusters, main), 1.0)
    rows, columns = linear_sum_assignment(-table)
    return float(table[rows, columns].sum() / len(main))
