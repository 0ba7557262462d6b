"""Completion measures against an oracle that predicts exactly, true strings, and models that know nothing."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from physlm.measures import bags, completion, robustness, tree_attention, trees
from physlm.measures.completion import Judge, Written
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder, Output
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.likelihood import Likelihood
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
# s: two to three of a and b; 40 strings, of 4 to 9 tokens; not all equally likely
TEXT = "s -> a b | b a | a b a\na -> '1' '2' | '2' '2' '3'\nb -> '3' '1' | '1' '1' '2'\n"
PLAIN = GrammarConfig(TEXT, row_tokens=24)
BAGS = GrammarConfig(TEXT, row_tokens=24, bag_tokens=6)
OVERLAP = GrammarConfig(TEXT, row_tokens=24, bag_tokens=6, bags="overlap")
MODEL = ModelConfig(layers=2, heads=2, width=16)


def trained(task: GrammarConfig, model: Any = None) -> Trained:
    spec = RunSpec(task, MODEL, TrainConfig(steps=4, batch_rows=2, precision="float32"))
    fresh = Decoder(MODEL, len(task.vocabulary()), (1,)) if model is None else model
    return Trained(spec, CPU, lambda step: fresh)


class Oracle:
    """Logits are the logarithms of the true next-token probabilities, but for a share ``wrong`` of uniform guessing."""

    def __init__(self, judge: Judge, wrong: float = 0.0):
        self.judge, self.wrong = judge, wrong

    def __call__(self, ids_MBT: Tensor) -> Output:
        words = self.judge.task.vocabulary.words
        names = self.judge.grammar.terminals
        order = [0, *(words.index(name) for name in names)]
        p_BTV = torch.zeros(*ids_MBT.shape[1:], len(words), dtype=torch.float64)
        for b, row in enumerate(ids_MBT[0].tolist()):
            ended = row.index(0, 1) if 0 in row[1:] else len(row)
            string = [names.index(words[token]) for token in row[1:ended]]
            truth = torch.from_numpy(Likelihood(self.judge.grammar).next_token(string))
            p_BTV[b, : len(truth), order] = truth[: p_BTV.shape[1]]
        uniform = torch.zeros(len(words), dtype=torch.float64)
        uniform[order] = 1 / len(order)
        return Output(((1 - self.wrong) * p_BTV + self.wrong * uniform).log()[None], {})


def fresh(judge: Judge, count: int) -> list[np.ndarray[Any, Any]]:
    return [row[:length] for _, batch, lengths in judge._fresh(count)
            for row, length in zip(batch, lengths, strict=True)]


@pytest.mark.parametrize("task", [PLAIN, BAGS, OVERLAP], ids=["plain", "bags", "overlap"])
def test_true_strings_are_valid_and_shuffled_ones_mostly_not(task: GrammarConfig) -> None:
    judge = Judge(trained(task))
    strings = fresh(judge, 200)
    assert judge.parser.valid(strings).all()
    shuffled = [string[torch.randperm(len(string), generator=torch.Generator().manual_seed(i)).numpy()]
                for i, string in enumerate(strings)]
    assert judge.parser.valid(shuffled).mean() < 0.6


@pytest.mark.parametrize("task", [PLAIN, BAGS, OVERLAP], ids=["plain", "bags", "overlap"])
def test_kl_is_zero_for_the_oracle_and_known_for_a_mixture(task: GrammarConfig) -> None:
    judge = Judge(trained(task))
    row = judge.kl("kl", cast(Decoder, Oracle(judge, wrong=1e-9)))
    assert abs(row.value) < 1e-6 and row.unit == "nats/token" and row.n == completion.READ["cpu"]
    mixed = judge.kl("kl", cast(Decoder, Oracle(judge, wrong=0.2)))
    # by hand: sum p ln(p / (0.8 p + 0.2 / V)) at every prefix of every string
    nats = []
    for string in fresh(judge, completion.READ["cpu"]):
        for p in Likelihood(judge.grammar).next_token(string):
            nats.append(sum(x * math.log(x / (0.8 * x + 0.2 / len(p))) for x in p if x > 0))
    assert mixed.value == pytest.approx(float(np.mean(nats)), rel=1e-5)
    assert mixed.lo < mixed.value < mixed.hi
    untrained = judge.kl("kl", trained(task).untrained)
    assert untrained.value > mixed.value


def test_entropies_agree_for_the_oracle_and_tell_a_model_that_knows_nothing() -> None:
    judge = Judge(trained(PLAIN))
    strings = fresh(judge, 300)
    written = Written(cast(Any, strings), np.ones(len(strings), bool), np.ones(len(strings), bool))
    rows = {row.label: row for row in judge.entropies(cast(Decoder, Oracle(judge, wrong=1e-12)), written)}
    assert rows["entropy_model"].value == pytest.approx(rows["entropy_generated"].value, rel=1e-6)
    assert rows["entropy_model"].lo < rows["entropy_truth"].value < rows["entropy_model"].hi
    assert rows["length_generated"].value == rows["length_truth"].value
    blind = {row.label: row for row in judge.entropies(cast(Decoder, Oracle(judge, wrong=1.0)), written)}
    # four equally likely outcomes, two bits for each token and the end
    assert blind["entropy_model"].value == pytest.approx(2 * (rows["length_truth"].value + 1))
    assert blind["entropy_truth"] == rows["entropy_truth"]


AMBIGUOUS = "s -> a b | b a | a a\na -> '1' | '1' '2'\nb -> '2' '1' | '1'\n"


@pytest.mark.parametrize("task", [PLAIN, GrammarConfig(AMBIGUOUS, row_tokens=24),
                                  GrammarConfig(AMBIGUOUS, row_tokens=24, bag_tokens=5, bags="overlap")],
                         ids=["plain", "ambiguous", "overlap"])  # fmt: skip
def test_the_entropy_of_strings_is_that_of_all_strings_one_by_one(task: GrammarConfig) -> None:
    judge = Judge(trained(task))
    exact, mass = 0.0, 0.0
    for length in range(1, judge.parser.length_range[1] + 1):
        for string in itertools.product(range(len(judge.grammar.terminals)), repeat=length):
            p = math.exp(judge.likelihood.log_probability(string))
            if p > 0:
                exact, mass = exact - p * math.log2(p), mass + p
    assert mass == pytest.approx(1.0)
    strings = fresh(judge, 400)
    row = next(row for row in judge.entropies(cast(Decoder, Oracle(judge, wrong=0.5)),
                                              Written(cast(Any, strings), *(np.ones(len(strings), bool),) * 2))
               if row.label == "entropy_truth")  # fmt: skip
    assert row.lo - 1e-9 <= exact <= row.hi + 1e-9
    if task is PLAIN:  # no string has two derivations, so that nothing is left to chance
        assert row.hi - row.lo < 1e-9


def test_diversity_tells_a_model_that_repeats_itself() -> None:
    judge = Judge(trained(PLAIN))
    strings = fresh(judge, 100)
    valid = np.ones(len(strings), bool)
    honest = {row.label: row for row in judge.diversity(Written(cast(Any, strings), valid, valid))}
    assert set(honest) == {"distinct/level=2", "distinct_truth/level=2"}  # the levels between root and terminals
    # a and b have two yields each
    assert honest["distinct/level=2"].value == honest["distinct_truth/level=2"].value == 4
    one = judge.diversity(Written([strings[0]] * 100, valid, valid))
    assert next(row.value for row in one if row.label == "distinct/level=2") < 4
    assert judge.diversity(Written(cast(Any, strings), valid, ~valid)) == []


def test_writing_judges_what_was_written_after_the_prompt_that_is_meant() -> None:
    run = trained(PLAIN)
    judge = Judge(run)
    assert judge.cuts == (0, 2)
    clean = judge.prompts(50, 2)
    other = judge.task.corrupt(clean, 1.0, 5, torch.arange(50))
    assert clean[:, 0].eq(0).all() and not clean.equal(other)
    given = judge.write(run.model, 50, 2, prompts_BP=other)
    meant = judge.write(run.model, 50, 2, prompts_BP=other, judged=clean)
    for string, real, row in zip(given.strings, meant.strings, clean, strict=True):
        assert len(string) == len(real) and string[2:].tolist() == real[2:].tolist()
        assert real[:2].tolist() == (row[1:] - 1).tolist()[: len(real)]
    assert not judge.write(run.untrained, 200, 0).valid_B.mean() > 0.5


def test_an_unended_string_is_not_valid() -> None:
    """A window of 6 cuts long strings off: what has not ended within it does not count, even if it parses so far."""
    run = trained(dataclasses.replace(PLAIN, row_tokens=6))
    judge = Judge(run)
    careless = run.untrained
    with torch.no_grad():
        careless.embedding.weight.zero_()  # every token is equally likely, the end among them
    written = judge.write(careless, 200, 0)
    assert all(len(string) <= 5 for string in written.strings)
    full = np.array([len(string) == 5 for string in written.strings])
    assert full.any() and not written.valid_B[full].any()


def test_rows_of_a_whole_run_have_their_names_and_controls() -> None:
    run = trained(PLAIN)
    names = [row.label for row in trees.measure(run)]
    assert len(names) == len(set(names))
    for kind in ("ancestor", "boundary"):
        for mask in ("full", "diagonal", "tridiagonal"):
            wanted = {f"{kind}/level=2/mask={mask}/layer={layer}" for layer in range(3)}
            wanted |= {f"{kind}{control}/level=2/mask={mask}" for control in ("_untrained", "_shuffled", "_majority")}
            assert wanted <= set(names)
    attention = {row.label for row in tree_attention.measure(run)}
    for base in ("to_end", "nearest_end"):
        for control in ("", "_shuffled", "_untrained"):
            assert {f"{base}{control}/level=2/shift={shift}" for shift in range(-2, 3)} <= attention
    assert {f"by_distance/layer={i}/head={j}/distance=1" for i in (1, 2) for j in (1, 2)} <= attention
    prefixes = {row.label for row in robustness.measure(run)}
    assert prefixes == {f"accuracy/prefix={prefix}/temperature={t}"
                        for prefix in ("none", "clean", "corrupted") for t in (0.1, 0.2, 1.0)}


def test_bags_planted_in_the_embeddings_are_found() -> None:
    task = dataclasses.replace(BAGS, bag_tokens=30)
    planted = Decoder(MODEL, len(task.vocabulary()), (0,))
    noise = torch.randn(31, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        planted.embedding.weight[0] = 0.2 * noise
        for word in range(30):
            planted.embedding.weight[0, 1 + word, word % 3] += 3.0
    rows = {row.label: row.value for row in bags.measure(trained(task, planted))}
    assert rows["neighbours"] == rows["clusters"] == 1.0 and rows["gap"] > 0.7 and rows["p_value"] < 0.01
    assert abs(rows["gap_untrained"]) < 0.3 and rows["neighbours_permuted"] < 0.7
    assert [rows[f"bag/word={word}"] for word in range(1, 7)] == [1, 2, 3, 1, 2, 3]
    assert rows["similarity/word=1/bag=1"] > 0.7 > rows["similarity/word=1/bag=2"]
