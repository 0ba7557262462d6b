"""Probes against the formula written out, and against activations whose content is planted.

Most activations here are made up: ``ids`` are random digits and the features hold some of them, at known places.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.measures.grammar_questions import grammar_labels, grammar_targets
from physlm.measures.probe_heads import MASKS, ProbeHeads, first_positions, whitening
from physlm.measures.probes import (
    IGNORE,
    Batches,
    Features,
    Labelled,
    ProbeConfig,
    Probes,
    Target,
    join_questions,
    probe,
    side_by_side,
    tap_features,
    train_probes,
    with_shuffled,
)
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.task import GrammarTask

CPU = torch.device("cpu")
CLASSES, WIDTH, LONGEST, ROWS = 3, 12, 18, 32
QUICK = ProbeConfig(heads=4, position_dims=16, max_positions=32, steps=120, learning_rate=0.03, position_rate=0.03,
                    evaluation_batches=8)  # fmt: skip
DIGIT = [Target("digit", CLASSES)]


def digits(split: str, number: int) -> Labelled:
    """Sentences of random digits; the answer at a position is its own digit."""
    count = ROWS * LONGEST
    counter = torch.arange(count) + number * count
    ids = rng.below(CLASSES, rng.key("digits", split), counter).view(1, ROWS, LONGEST)
    lengths = 8 + rng.below(LONGEST - 7, rng.key("lengths", split), counter[:ROWS] + count * number)
    keys = (torch.arange(LONGEST) < lengths[:, None])[None]
    return Labelled(ids, ids[..., None].where(keys[..., None], IGNORE), keys)


def holding(shift: int, noise: float = 0.3) -> Features:
    """Activations that hold, at position k, the digit of position k - shift in a random basis, under noise."""
    basis = rng.normal(rng.key("basis"), WIDTH * WIDTH).view(WIDTH, WIDTH).float()

    def features(ids_MBW: Tensor) -> Tensor:
        known = F.one_hot(torch.roll(ids_MBW, shift, -1), WIDTH).float()
        draws = rng.normal(rng.key("noise"), known.numel()).view_as(known).float()
        return ((known + noise * draws) @ basis + 5.0)[:, None]

    return features


def test_answers_that_differ_by_256_are_different_answers() -> None:
    """A probe that was not trained answers 0 everywhere."""

    def large(split: str, number: int) -> Labelled:
        batch = digits(split, number)
        return batch._replace(labels_MBWY=torch.where(batch.labels_MBWY == IGNORE, IGNORE, 256))

    scores = Probes(holding(0), large, [Target("large", 300)], QUICK).evaluate()
    assert scores.accuracy.value.item() == 0.0 and scores.majority.item() == 1.0


# --- the formula -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", MASKS)
def test_heads_compute_the_formula(mask: str) -> None:
    """A softmax over each sentence's own positions, one position at a time; keys have a hole and a late start."""
    generator = torch.Generator().manual_seed(0)
    probes, width, rows, positions, heads = 2, 5, 3, 7, 3
    model = ProbeHeads(probes, width, (3, 2), mask, heads, 4, 9, 0, CPU)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    x = torch.randn(probes, positions, rows, width, generator=generator)
    keys = torch.ones(probes, positions, rows, dtype=torch.bool)
    keys[:, 0], keys[:, 5:, 1], keys[:, 3, 2] = False, False, False
    x = x * keys[..., None]
    logits = model(x, keys)
    assert logits.shape == (probes, positions, rows, 2, 3)
    assert bool((logits[..., 1, 2] == -math.inf).all()), "the second question has two classes"
    for n in range(probes):
        for b in range(rows):
            for i in [i for i in range(positions) if keys[n, i, b]]:
                allowed = [k for k in range(positions) if keys[n, k, b] and (
                    mask == "full" or abs(k - i) <= (1 if mask == "tridiagonal" else 0))]  # fmt: skip
                expected = model.bias[n].clone().view(2, 3)
                for r in range(model.heads):
                    f = [(x[n, k, b] @ model.maps[n]).view(model.heads, 2, 3)[r] for k in allowed]
                    if model.positions is None:
                        expected += f[0]
                        continue
                    p = model.positions[n, r]
                    weights = torch.stack([p[i] @ p[k] for k in allowed]).softmax(0)
                    expected += sum(w * value for w, value in zip(weights, f, strict=True))
                open_classes = ~torch.tensor([[False] * 3, [False, False, True]])
                torch.testing.assert_close(logits[n, i, b][open_classes], expected[open_classes], rtol=1e-4, atol=1e-4)


def test_heads_start_as_windows_from_narrow_to_wide() -> None:
    p = first_positions(8, 256, 64, 0)
    weights = (p @ p.transpose(1, 2)).softmax(-1)
    own = weights.diagonal(dim1=1, dim2=2).mean(1)
    assert own[0] > 0.5 and bool((own.diff() < 0).all()), "the own position counts for less and less"


def test_whitened_activations_have_unit_covariance() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4000, 6, generator=generator) @ torch.randn(2, 6, 6, generator=generator) + 3.0
    mean, whiten = whitening(x)
    y = (x - mean[:, None]) @ whiten
    torch.testing.assert_close(y.transpose(1, 2) @ y / 4000, torch.eye(6).expand(2, -1, -1), rtol=0, atol=5e-3)
    flat = torch.cat((x, torch.full((2, 4000, 1), 7.0)), -1)
    mean, whiten = whitening(flat)
    assert bool(((flat - mean[:, None]) @ whiten).isfinite().all()), "a constant feature is not blown up"


# --- planted truths ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shift", "knows"), [(0, MASKS), (1, ("full", "tridiagonal")), (4, ("full",))])
def test_each_kind_reads_where_its_mask_allows(shift: int, knows: tuple[str, ...]) -> None:
    """The digit of position i is held at i + shift; what a kind cannot reach it cannot tell."""

    def asked(split: str, number: int) -> Labelled:
        batch = digits(split, number)
        inside = F.pad(batch.keys_MBW, (0, shift))[..., shift:]
        return batch._replace(labels_MBWY=batch.labels_MBWY.where(inside[..., None], IGNORE))

    steps = 400 if shift > 1 else 120  # a distance that no head starts with
    every_kind = [Target(mask, CLASSES, mask=mask) for mask in MASKS]
    found = probe(holding(shift), lambda split, number: join_questions(*[asked(split, number)] * len(MASKS)),
                  every_kind, dataclasses.replace(QUICK, steps=steps))  # fmt: skip
    for y, mask in enumerate(MASKS):
        value = found.accuracy.value[0, 0, y]
        assert value > 0.9 if mask in knows else value < 0.5
        assert abs(found.majority[0, 0, y] - 1 / 3) < 0.03


def test_scores_are_those_of_the_logits() -> None:
    """Accuracy, balanced accuracy, majority and numbers counted token by token, with a subset."""

    def rare(split: str, number: int) -> Labelled:
        batch = digits(split, number)
        two = (batch.ids_MBW == 2).long()[..., None].where(batch.keys_MBW[..., None], IGNORE)
        subset = batch._replace(subset_MBWY=(batch.ids_MBW > 0)[..., None])
        return join_questions(subset, subset._replace(labels_MBWY=two))

    config = dataclasses.replace(QUICK, mask="diagonal", steps=15, evaluation_batches=3)
    probes = train_probes(holding(0, noise=1.5), rare, [*DIGIT, Target("two", 2, "other")], config)
    found = probes.evaluate()
    right: dict[tuple[str, int, int], list[int]] = {}
    for number in range(3):
        batch = rare("evaluation", number)
        logits = probes.logits(batch.ids_MBW, batch.keys_MBW)
        assert [tuple(x.shape) for x in logits] == [(1, 1, ROWS, LONGEST, 3), (1, 1, ROWS, LONGEST, 2)]
        for y, answers in enumerate(x[0, 0].argmax(-1) for x in logits):
            for b in range(ROWS):
                for w in range(LONGEST):
                    label = int(batch.labels_MBWY[0, b, w, y])
                    if label != IGNORE:
                        hit = int(answers[b, w] == label)
                        right.setdefault(("all", y, label), []).append(hit)
                        if batch.ids_MBW[0, b, w] > 0:
                            right.setdefault(("subset", y, label), []).append(hit)
    assert found.subset is not None
    for name, scores in (("all", found), ("subset", found.subset)):
        for y in range(2):
            of_class = [hits for (where, question, _), hits in right.items() if (where, question) == (name, y)]
            every = [hit for hits in of_class for hit in hits]
            assert scores.tokens[0, 0, y] == len(every) and scores.sentences[0, 0, y] == 3 * ROWS
            assert scores.accuracy.value[0, 0, y] == pytest.approx(np.mean(every))
            assert scores.balanced.value[0, 0, y] == pytest.approx(np.mean([np.mean(hits) for hits in of_class]))
            assert scores.majority[0, 0, y] == pytest.approx(max(map(len, of_class)) / len(every))
            assert scores.accuracy.lo[0, 0, y] < scores.accuracy.value[0, 0, y] < scores.accuracy.hi[0, 0, y]


def test_members_and_taps_train_side_by_side_as_they_would_alone() -> None:
    """Two members with their own sentences, two taps: no probe feels its companions."""

    def of_two(split: str, number: int) -> Labelled:
        first, second = digits(split, 2 * number), digits(split, 2 * number + 1)
        return Labelled(*(torch.cat(pair) for pair in zip(first[:3], second[:3], strict=True)))

    def features(ids_MBW: Tensor) -> Tensor:
        good, noise = holding(0)(ids_MBW), holding(0)(torch.zeros_like(ids_MBW))
        first, second = torch.cat((good[:1], noise[:1]), 1), torch.cat((noise[1:], good[1:]), 1)
        return torch.cat((first, second))

    config = dataclasses.replace(QUICK, steps=30)
    together = train_probes(features, of_two, DIGIT, config)
    scores = together.evaluate()
    assert scores.accuracy.value.shape == (2, 2, 1)
    good = scores.accuracy.value[..., 0]
    assert min(good[0, 0], good[1, 1]) > 0.9 and max(good[0, 1], good[1, 0]) < 0.5
    alone = train_probes(lambda ids: features(torch.cat((ids, ids)))[1:, 1:],
                         lambda split, number: digits(split, 2 * number + 1), DIGIT, config)  # fmt: skip
    batch = of_two("evaluation", 0)
    pair = together.logits(batch.ids_MBW, batch.keys_MBW)[0][1, 1]
    single = alone.logits(batch.ids_MBW[1:], batch.keys_MBW[1:])[0][0, 0]
    keys = batch.keys_MBW[1]
    assert (pair[keys].argmax(-1) == single[keys].argmax(-1)).double().mean() > 0.97


def test_bfloat16_costs_next_to_nothing() -> None:
    """What a CUDA device computes in; the digit lies in directions that vary 100 times less than the others."""

    def features(ids_MBW: Tensor) -> Tensor:
        x = holding(0)(ids_MBW)
        loud = rng.normal(rng.key("loud"), 3 * ids_MBW.numel()).view(*ids_MBW.shape, 3).float()
        spread = rng.normal(rng.key("spread"), 3 * WIDTH).view(3, WIDTH).float()
        return x + 100.0 * (loud @ spread)[:, None]

    found = []
    for dtype in (torch.float32, torch.bfloat16):
        probes = Probes(features, digits, DIGIT, dataclasses.replace(QUICK, mask="tridiagonal"))
        probes.dtype = dtype
        probes.train()
        found.append(float(probes.evaluate().accuracy.value[0, 0, 0]))
    assert found[0] > 0.9 and abs(found[1] - found[0]) < 0.02


# --- controls ----------------------------------------------------------------------------------------------------


def test_labels_of_another_sentence_leave_only_what_the_position_tells() -> None:
    """Digit: nothing is left.  Parity of the position, which every sentence shares: all is left."""

    def with_parity(split: str, number: int) -> Labelled:
        batch = digits(split, number)
        parity = (torch.arange(LONGEST) % 2).expand_as(batch.ids_MBW)[..., None]
        return join_questions(batch, batch._replace(labels_MBWY=parity.where(batch.keys_MBW[..., None], IGNORE)))

    def features(ids_MBW: Tensor) -> Tensor:
        x = holding(0)(ids_MBW)
        x[..., 0] += 4.0 * (torch.arange(LONGEST) % 2)
        return x

    batches, targets = with_shuffled(with_parity, [*DIGIT, Target("parity", 2)])
    assert [target.name for target in targets] == ["digit", "parity", "shuffled digit", "shuffled parity"]
    found = probe(features, batches, targets, dataclasses.replace(QUICK, mask="diagonal"))
    digit, parity, shuffled_digit, shuffled_parity = found.accuracy.value[0, 0]
    assert min(digit, parity, shuffled_parity) > 0.95
    chance, answers = 1 / DIGIT[0].classes, int(found.tokens[0, 0, 2])
    assert answers > 500 and abs(shuffled_digit - chance) < 3 * (chance * (1 - chance) / answers) ** 0.5
    one, batch = batches("train", 0), with_parity("train", 0)
    b, w = 5, 3
    assert one.labels_MBWY[0, b, w, 2] == batch.labels_MBWY[0, b - 1, w, 0]


def test_an_untrained_model_stands_beside_the_trained_one() -> None:
    """Two sources of one population each; here the second shows nothing of what it read."""
    both = side_by_side(holding(0), lambda ids: holding(0)(torch.zeros_like(ids)))
    found = probe(both, digits, DIGIT, dataclasses.replace(QUICK, mask="diagonal", steps=60))
    assert found.accuracy.value[0, 0, 0] > 0.95 and found.accuracy.value[0, 1, 0] < 0.45


# --- models and grammars -----------------------------------------------------------------------------------------


def test_features_are_the_taps_of_every_member() -> None:
    model = Decoder(ModelConfig(layers=2, heads=1, width=8), 5, (0, 1))
    ids = torch.tensor([[[1, 2, 3, 4]]])
    x = tap_features(model, ("embedding", "block.1.out"))(ids)
    assert x.shape == (2, 2, 1, 4, 8) and not x.requires_grad
    _, taps = model.hidden(ids.expand(2, -1, -1), ("embedding", "block.1.out"))
    assert x[:, 0].equal(taps["embedding"]) and x[:, 1].equal(taps["block.1.out"])


def test_a_model_knows_the_token_it_reads_and_a_probe_finds_it() -> None:
    """An untrained decoder holds its input in every layer: the general linear probe on a real model."""
    model = Decoder(ModelConfig(layers=2, heads=2, width=16), CLASSES, (0,))
    taps = ("embedding", "block.0.out", "block.1.out", "final")
    found = probe(tap_features(model, taps), digits, DIGIT, dataclasses.replace(QUICK, mask="diagonal"))
    assert found.accuracy.value.shape == (1, len(taps), 1) and bool((found.accuracy.value > 0.95).all())


def test_labels_of_a_grammar() -> None:
    """s -> a b, a -> 1 2 | 2, b -> 1 1: the strings 1 2 1 1 and 2 1 1, behind a separator."""
    token = torch.tensor([[0, 1, 1, 1, 1, 0], [0, 1, 1, 1, 0, 0]]).bool()
    ids = torch.tensor([[0, 1, 2, 1, 1, 0], [0, 2, 1, 1, 0, 0]])
    ancestors = torch.stack((torch.zeros_like(ids), torch.tensor([[0, 0, 0, 1, 1, 0], [0, 0, 1, 1, 0, 0]]), ids - 1))
    of_root, of_middle = [[0, 0, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]], [[0, 0, 1, 0, 1, 0], [0, 1, 0, 1, 0, 0]]
    ends = torch.stack((torch.tensor(of_root), torch.tensor(of_middle), torch.ones_like(ids))).bool()
    assert [(t.name, t.classes) for t in grammar_targets((1, 2, 2), (1,))] == [("s2", 2), ("b2", 2)]
    assert [t.name for t in grammar_targets((1, 2, 2), (1,), "full")] == ["s2 full", "b2 full"]
    batch = grammar_labels(ids, token, ancestors, ends, (1,))
    assert batch.keys_MBW[0].equal(token) and batch.ids_MBW[0].equal(ids)
    assert batch.labels_MBWY[0, ..., 0].tolist() == [[-1, 0, 0, 1, 1, -1], [-1, 0, 1, 1, -1, -1]]
    assert batch.labels_MBWY[0, ..., 1].tolist() == [[-1, 0, 1, 0, 1, -1], [-1, 1, 0, 1, -1, -1]]
    assert batch.subset_MBWY is not None
    assert batch.subset_MBWY[0, ..., 0].equal(ends[1] & token), "an ancestor's subset: where its subtree ends"
    assert batch.subset_MBWY[0, ..., 1].equal(token), "an end's subset: the ends one level below"
    only = grammar_labels(ids, token, ancestors, ends, (1,), ends_only=True)
    assert only.labels_MBWY[0, ..., 0].tolist() == [[-1, -1, 0, -1, 1, -1], [-1, 0, -1, 1, -1, -1]]
    assert only.labels_MBWY[0, ..., 1].equal(batch.labels_MBWY[0, ..., 1])
    with pytest.raises(UserError, match="levels: got"):
        grammar_labels(ids, token, ancestors, ends, (2,))


def test_sentences_of_a_grammar_task() -> None:
    """Each token has one parent here, so an untrained model's embedding holds the lowest ancestors, but not the root's
    children, which are the same strings of other symbols."""
    task = GrammarConfig(grammar="r -> a b | b a\na -> c d | d\nb -> d c | c\nc -> '1' '2'\nd -> '3' | '4' '3'").build()
    assert isinstance(task, GrammarTask)

    def batches(split: str, number: int) -> Labelled:
        text = task.sentences(torch.arange(ROWS) + number * ROWS, "train" if split == "train" else "evaluation")
        return grammar_labels(text.ids_BW, text.token_BW, text.ancestors_LBW, text.boundaries_LBW, (1, 2))

    model = Decoder(ModelConfig(layers=1, heads=1, width=16), len(task.vocabulary), (0,))
    config = dataclasses.replace(QUICK, mask="diagonal")
    found = probe(tap_features(model, ("embedding",)), batches, grammar_targets((1, 2, 2, 4), (1, 2)), config)
    value = dict(zip((target.name for target in found.targets), found.accuracy.value[0, 0], strict=True))
    assert value["s3"] > 0.98 and value["b3"] > 0.98 and value["s2"] < 0.9
    assert found.subset is not None and found.subset.tokens[0, 0, 0] == 2 * 8 * ROWS, "two children of each root"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("mask", MASKS)
def test_a_cuda_device_learns_the_same(mask: str) -> None:
    def moved(split: str, number: int) -> Labelled:
        return Labelled(*(x.cuda() for x in digits(split, number)[:3]))

    config = dataclasses.replace(QUICK, mask=mask)  # type: ignore[arg-type]
    here = probe(holding(0), digits, DIGIT, config)
    there = probe(lambda ids: holding(0)(ids.cpu()).cuda(), moved, DIGIT, config)
    assert abs(here.accuracy.value - there.accuracy.value).max() < 0.02
    assert (here.tokens == there.tokens).all()


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "words"), [
    ({"mask": "band"}, "mask: got 'band', expected one of full"), ({"heads": 0}, "heads: got 0"),
    ({"position_dims": 5}, "position_dims: got 5, expected an even"), ({"steps": 0}, "steps: got 0"),
])  # fmt: skip
def test_a_wrong_setting_says_what_is_allowed(wrong: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        ProbeConfig(**wrong)  # type: ignore[arg-type]


def test_data_that_no_probe_can_take() -> None:
    with pytest.raises(UserError, match="18 positions, expected at most max_positions = 16"):
        Probes(holding(0), digits, DIGIT, dataclasses.replace(QUICK, max_positions=16))
    with pytest.raises(UserError, match="small: got labels from -1 to 2, expected 0 to 1"):
        Probes(holding(0), digits, [Target("small", 2)], QUICK)
    with pytest.raises(UserError, match="answers to 1 questions, expected 2"):
        Probes(holding(0), digits, DIGIT * 2, QUICK)
    with pytest.raises(UserError, match="mask: got 'band'"):
        Probes(holding(0), digits, [Target("digit", CLASSES, mask="band")], QUICK)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="no targets"):
        Probes(holding(0), digits, [], QUICK)

    def one(split: str, number: int) -> Labelled:
        return Labelled(*(x[:, :1] for x in digits(split, number)[:3]))

    batches: Batches = with_shuffled(one, DIGIT)[0]
    with pytest.raises(UserError, match="one sentence"):
        batches("train", 0)


@pytest.mark.parametrize("split", ["train", "evaluation"])
@pytest.mark.parametrize("label", [CLASSES, -2, 1000])
def test_labels_outside_of_the_classes_are_named_in_every_batch(split: str, label: int) -> None:
    """Also in one that comes after the first, in training and in judging."""
    def batches(of: str, number: int) -> Labelled:
        batch = digits(of, number)
        labels = batch.labels_MBWY.clone()
        if (of, number) == (split, 3):
            labels[0, 0, 0, 0] = label
        return batch._replace(labels_MBWY=labels)

    first = digits("train", 0).labels_MBWY.shape[-1]
    targets = [Target(f"question {y}", CLASSES, str(y)) for y in range(first)]
    with pytest.raises(UserError, match=r"question 0: got labels from .*, expected 0 to 2, or -1"):
        probe(holding(0), batches, targets, dataclasses.replace(QUICK, steps=5, evaluation_batches=5))
