"""The four statistics against loops over pairs, and on attention that is planted."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from physlm import rng
from physlm.errors import UserError
from physlm.measures.attention import Attended, AttentionStatistics, attention_statistics, decoder_attention
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.task import GrammarTask

LEVELS, REACH, TURNS = 3, 2, 3


def trees(number: int, rows: int, longest: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random nested subtrees behind a separator: token (B, T), boundaries and subtrees (V, B, T)."""
    token = torch.zeros(rows, longest + 2, dtype=torch.bool)
    ends = torch.zeros(LEVELS, rows, longest + 2, dtype=torch.bool)
    for b in range(rows):
        draws = rng.below(100, rng.key("trees", number, b), torch.arange(longest + 1)).tolist()
        length = longest - draws[-1] % 6
        token[b, 1 : 1 + length] = True
        for i, draw in enumerate(draws[:length], start=1):
            # an end of one level is an end of all levels below
            top = LEVELS if draw < 40 else 2 if draw < 65 else 1 if draw < 90 else 0
            ends[min(top, 0 if i == length else LEVELS) :, b, i] = True
    number_of = (ends.long().cumsum(-1) - ends.long()) * token
    return token, ends, number_of


def random_batches() -> Iterator[Attended]:
    """Two batches of different width; two layers of three heads."""
    generator = torch.Generator().manual_seed(0)
    for number, (rows, longest) in enumerate(((4, 11), (3, 14))):
        token, ends, number_of = trees(number, rows, longest)
        size = longest + 2
        causal = torch.ones(size, size).tril().log()
        weights = [(2 * torch.randn(rows, 3, size, size, generator=generator) + causal).softmax(-1) for _ in range(2)]
        yield Attended(weights, token, ends, number_of)


def by_hand() -> tuple[dict[int, float], dict[tuple, list[float]]]:
    """Mean by distance, and the values of the residual by statistic, one pair at a time, layer 1, head 2."""
    distance: dict[int, list[float]] = defaultdict(list)
    values: dict[tuple, list[float]] = defaultdict(list)
    batches = [(batch, batch.weights_J[1][:, 2]) for batch in random_batches()]
    for batch, weights in batches:
        for b, token in enumerate(batch.token_BT.tolist()):
            for j in range(len(token)):
                for i in range(j + 1):
                    if token[i] and token[j]:
                        distance[j - i].append(float(weights[b, j, i]))
    mean = {p: float(np.mean(found)) for p, found in distance.items()}
    for batch, weights in batches:
        for b, token in enumerate(batch.token_BT.tolist()):
            ends = batch.boundaries_VBT[:, b].tolist()
            subtree = batch.subtrees_VBT[:, b].tolist()
            places = [i for i in range(len(token)) if token[i]]
            tops = {i: next((v for v in range(LEVELS) if ends[v][i]), -1) for i in places}  # -1: the end of nothing

            def residual(j: int, i: int, b: int = b, weights: torch.Tensor = weights) -> float:
                return float(weights[b, j, i]) - mean[j - i]

            for j in places:
                for i in [i for i in places if tops[i] >= 0]:
                    for d in range(-REACH, REACH + 1):
                        if i + d in places and i + d <= j:
                            values["any_to_end", tops[i], d + REACH].append(residual(j, i + d))
                    if i < j and tops[j] >= 0:
                        values["end_to_end", tops[j], tops[i]].append(residual(j, i))
                        v = tops[i]
                        # the number of the end is the number of its subtree
                        r = subtree[v][j] - subtree[v][i]
                        if 1 <= r <= TURNS:
                            values["adjacent", tops[j], v, r - 1].append(residual(j, i))
                for v in range(LEVELS):
                    before = [i for i in places if tops[i] == v and i <= j - REACH]
                    shifts = [before[-1] + d for d in range(-REACH, REACH + 1)] if before else []
                    if shifts and all(place in places for place in shifts):
                        for d, place in enumerate(shifts):
                            values["nearest_end", v, d].append(residual(j, place))
    return mean, values


def test_every_statistic_equals_a_loop_over_pairs() -> None:
    found = attention_statistics(random_batches, REACH, TURNS)
    mean, values = by_hand()
    assert found.sentences == 7 and found.shifts == (-2, -1, 0, 1, 2)
    assert found.by_distance.value.shape == (2, 3, 16)
    for p in range(16):
        value = found.by_distance.value[1, 2, p]
        assert value == pytest.approx(mean[p], rel=1e-5) if p in mean else math.isnan(value)
    compare(found, values)
    assert sum(len(x) for x in values.values()) > 500


def compare(found: AttentionStatistics, values: dict[tuple, list[float]]) -> None:
    for name, estimate in found.heads._asdict().items():
        for index in np.ndindex(estimate.value.shape[2:]):
            expected = values.get((name, *index), [])
            assert found.pairs[name][index] == len(expected), (name, index)
            value = estimate.value[1, 2][index]
            if expected:
                assert value == pytest.approx(np.mean(expected), rel=1e-4, abs=1e-6), (name, index)
            else:
                assert math.isnan(value)
        pooled = getattr(found.pooled, name).value
        np.testing.assert_allclose(pooled, estimate.value.mean((0, 1)), rtol=1e-6, atol=1e-9)


def planted(kind: str, rows: int = 24, longest: int = 30) -> Attended:
    """One layer, one head: weight by distance alone, or half of it moved by the tree to ends of level 1."""
    token, ends, number_of = trees(7, rows, longest)
    size = longest + 2
    place = torch.arange(size)
    away = (place[:, None] - place).clamp_min(0)
    decay = torch.where(place[:, None] >= place, 0.8**away, 0.0)
    weights = (0.1 * decay).expand(rows, 1, -1, -1).clone()
    top = ends & ~F.pad(ends, (0, 0, 0, 0, 1, 0))[:-1]
    for b in range(rows):
        places = top[1, b].nonzero().flatten().tolist()
        for j in range(size):
            if kind == "ends":
                weights[b, 0, j, [i for i in places if i < j]] += 0.3
            before = ends[1, b, :j].nonzero().flatten().tolist()
            if kind == "adjacent" and ends[1, b, j] and before:
                weights[b, 0, j, before[-1]] += 0.5
    return Attended([weights], token, ends, number_of)


def test_what_distance_explains_leaves_no_residual() -> None:
    found = attention_statistics(lambda: [planted("distance")])
    expected = 0.1 * 0.8 ** np.arange(31)
    measured = found.by_distance.value[0, 0]
    np.testing.assert_allclose(measured[:25], expected[:25], rtol=1e-5)
    for estimate in found.pooled:
        assert np.nanmax(abs(estimate.value)) < 1e-6


@pytest.mark.parametrize("name", ["any_to_end", "nearest_end"])
def test_attention_to_ends_peaks_at_the_end(name: str) -> None:
    """With the trees of other sentences the peak is gone."""
    found = getattr(attention_statistics(lambda: [planted("ends")]).pooled, name)
    shifts = found.value[1]
    assert shifts.argmax() == 2 and found.lo[1, 2] > 0.1
    assert shifts[2] > 3 * abs(np.delete(shifts, 2)).max()
    control = getattr(attention_statistics(lambda: [planted("ends")], shuffled=True).pooled, name)
    assert control.value[1, 2] < found.lo[1, 2] / 3


def test_attention_to_the_adjacent_end_falls_after_it() -> None:
    found = attention_statistics(lambda: [planted("adjacent")], adjacent=3).pooled
    by_level = found.end_to_end.value
    assert by_level[:2, :2].min() > 0.05, "an end of level 0 is one of level 1 too"
    assert max(by_level[2].max(), by_level[:, 2].max()) < 0.0
    near, second, third = found.adjacent.value[1, 1]
    assert near > 0.4 and max(second, third) < 0.02


def test_weights_come_from_the_model() -> None:
    """Every layer's softmax, causal; they sum to 1 over the separator and the tokens."""
    model = Decoder(ModelConfig(layers=2, heads=2, width=8), 4, (0,))
    weights = decoder_attention(model, torch.tensor([[0, 1, 2, 3, 1], [0, 2, 2, 1, 3]]))
    assert [tuple(x.shape) for x in weights] == [(2, 2, 5, 5)] * 2
    for x in weights:
        torch.testing.assert_close(x.sum(-1), torch.ones(2, 2, 5))
        assert bool((x.triu(1) == 0).all())


def test_labels_of_a_grammar_task_fit() -> None:
    """The last token ends the root, so each child but the last is one end of top 1."""
    task = GrammarConfig(grammar="r -> a b | b a b\na -> '1' '2'\nb -> '2' '1' '1' | '3' '3' '3'").build()
    assert isinstance(task, GrammarTask)
    text = task.sentences(torch.arange(8))
    model = Decoder(ModelConfig(layers=1, heads=2, width=8), len(task.vocabulary), (0,))
    weights = decoder_attention(model, text.ids_BW)
    batch = Attended(weights, text.token_BW, text.boundaries_LBW[:2], text.subtrees_LBW[:2])
    found = attention_statistics(lambda: [batch], adjacent=2)
    children = [int(x) + 1 for x in text.subtrees_LBW[1].amax(-1)]
    assert found.pairs["end_to_end"][0, 1] == sum(count - 1 for count in children)
    assert found.pairs["adjacent"][0, 1].tolist() == [8, sum(count == 3 for count in children)]
    assert found.pairs["end_to_end"][:, 0].tolist() == [0, 0], "nothing comes after the end of the root"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_counts_the_same() -> None:
    def moved() -> Iterator[Attended]:
        for batch in random_batches():
            yield Attended([x.cuda() for x in batch.weights_J], *(x.cuda() for x in batch[1:]))

    here, there = attention_statistics(random_batches), attention_statistics(moved)
    for name, expected in here.heads._asdict().items():
        np.testing.assert_array_equal(here.pairs[name], there.pairs[name])
        np.testing.assert_allclose(getattr(there.heads, name).value, expected.value, rtol=1e-3, atol=1e-5)


def test_no_sentences_and_one_sentence() -> None:
    with pytest.raises(UserError, match="no sentences"):
        attention_statistics(lambda: [])
    with pytest.raises(UserError, match="one sentence"):
        attention_statistics(lambda: [planted("ends", rows=1)], shuffled=True)
