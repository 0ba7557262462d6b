"""Bags planted in embeddings are found, and bags that are not there are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.measures.embeddings import bag_statistics, cosine_similarity

TOKENS, WIDTH, BAGS = 60, 16, 3
MEMBERS = torch.nn.functional.one_hot(torch.arange(TOKENS) % BAGS, BAGS).double()


def noise(name: str, rows: int = TOKENS) -> Tensor:
    return rng.normal(rng.key(name), rows * WIDTH).view(rows, WIDTH)


def test_similarity_is_the_cosine() -> None:
    x = noise("any", 7)
    x[3] = 0.0
    found = cosine_similarity(x)
    for v in range(7):
        for w in range(7):
            expected = 0.0 if 3 in (v, w) else float(x[v] @ x[w] / x[v].norm() / x[w].norm())
            assert found[v, w] == pytest.approx(expected, abs=1e-12)


def test_planted_bags_are_recovered() -> None:
    x = MEMBERS @ noise("centres", BAGS) + 0.3 * noise("tokens")
    found = bag_statistics(x.float(), MEMBERS, deals=200)
    assert found.neighbours == found.clusters == 1.0
    assert found.within > 0.7 > 0.4 > found.between and found.p_value == 1 / 201
    assert found.gap_lo < found.gap < found.gap_hi and found.gap_lo > found.gap_permuted
    assert found.neighbours_permuted < 0.45 and found.clusters_permuted < 0.55
    same = np.equal.outer(np.arange(TOKENS) % BAGS, np.arange(TOKENS) % BAGS)
    pairs = ~np.eye(TOKENS, dtype=bool)
    assert found.within == pytest.approx(found.similarity[same & pairs].mean())
    assert found.between == pytest.approx(found.similarity[~same].mean())


def test_embeddings_without_bags_are_as_good_as_any_deal() -> None:
    """Twenty random tables: the p-value is not small more often than it says, and recovery is at chance."""
    found = [bag_statistics(noise(f"nothing {trial}"), MEMBERS, deals=60, seed=trial) for trial in range(20)]
    assert sum(one.p_value < 0.05 for one in found) <= 4
    assert 0.3 < np.mean([one.p_value for one in found]) < 0.7
    assert abs(np.mean([one.neighbours - one.neighbours_permuted for one in found])) < 0.05
    assert abs(np.mean([one.clusters - one.clusters_permuted for one in found])) < 0.05
    covered = [one.gap_lo <= 0.0 <= one.gap_hi for one in found]
    assert sum(covered) >= 16


def test_a_token_may_be_in_several_bags_or_in_none() -> None:
    """Tokens of two bags lie between them; tokens of none are left out, however similar."""
    weights = MEMBERS.clone()
    weights[:6, 0], weights[:6, 1] = 0.5, 0.6  # in two bags, mainly the second
    weights[:6, 2] = 0.0
    weights[50:] = 0.0
    x = weights @ noise("centres", BAGS) + 0.2 * noise("tokens")
    x[50:] = noise("centres", BAGS)[0]
    found = bag_statistics(x, weights, deals=100)
    assert found.tokens == 50 and found.similarity.shape == (50, 50)
    shared = ((weights[:50] > 0).double() @ (weights[:50] > 0).double().T > 0).numpy()
    assert found.within == pytest.approx(found.similarity[shared & ~np.eye(50, dtype=bool)].mean())
    assert found.between == pytest.approx(found.similarity[~shared].mean())
    assert found.neighbours > 0.9 and found.p_value < 0.02


def test_what_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="expected \\(tokens, width\\) and \\(tokens, bags\\)"):
        bag_statistics(noise("any"), MEMBERS[:5])
    with pytest.raises(UserError, match="share none"):
        bag_statistics(noise("any"), torch.ones(TOKENS, 1))
