"""Masked rows: how many places are chosen, what is shown there, and that nothing else is touched."""

import dataclasses
from typing import Any

import pytest
import torch

from physlm import rng
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.rows import IGNORE, Rows
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.objective import masked_rows
from physlm.training.step import Population

WORDS, RATE = 50, 0.15
TOKENS = torch.arange(400 * 200).view(400, 200) * 7 % WORDS
ROWS = Rows(TOKENS, torch.where(torch.arange(200) < 180, TOKENS, IGNORE))  # padding follows the 181st token


def test_shares_of_masked_random_and_kept_tokens() -> None:
    inputs, targets = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=3)
    chosen = targets != IGNORE
    assert not chosen[:, 181:].any() and chosen[:, [0, 180]].any(0).all() and targets[chosen].equal(TOKENS[chosen])
    assert inputs[~chosen].equal(TOKENS[~chosen])
    count = int(chosen.sum())
    assert count / (400 * 181) == pytest.approx(RATE, abs=4 * (RATE * (1 - RATE) / 72_400) ** 0.5)
    shown, hidden = inputs[chosen], TOKENS[chosen]
    kept = 0.1 + 0.1 / WORDS  # a random token may be the same
    for share, wanted in (((shown == WORDS).sum() / count, 0.8), ((shown == hidden).sum() / count, kept)):
        assert float(share) == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / count) ** 0.5)
    assert shown[shown < WORDS].unique().numel() == WORDS


def test_a_row_depends_on_its_number_and_the_key_alone() -> None:
    whole = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=3)
    part = masked_rows(Rows(*(x[7:9] for x in ROWS)), torch.arange(7, 9), RATE, WORDS, key=3)
    assert all(a[7:9].equal(b) for a, b in zip(whole, part, strict=True))
    other = masked_rows(ROWS, torch.arange(400), RATE, WORDS, key=4)
    assert not other.targets_RT.equal(whole.targets_RT)


def sampled(task: Any, causal: bool = False) -> Rows:
    """What an encoder is trained on in one step of 64 rows."""
    train = TrainConfig(steps=1, batch_rows=64, precision="float32")
    spec = RunSpec(task, ModelConfig(layers=1, heads=1, width=8, causal=causal), train)
    inputs_SMBT, targets_SMBT = Population([spec], torch.device("cpu")).sample(0)
    return Rows(inputs_SMBT[0, 0], targets_SMBT[0, 0])


ASK = Ask(kinds=("birth_city", "month_mod2"), hints=0.5)


def test_an_encoder_sees_questions_and_of_their_answers_the_length_alone() -> None:
    """Read off the text: hidden is all between a first ``:`` and the <eos> after it, itself too."""
    task = QuestionsConfig(40, entries_per_row=4, row_tokens=70, ask=ASK)
    words, mask = task.vocabulary().words, len(task.vocabulary())
    plain = task.build().rows(torch.arange(64)).inputs_RT
    inputs, targets = sampled(task)
    hidden = 0
    for text, shown, wanted in zip(plain.tolist(), inputs.tolist(), targets.tolist(), strict=True):
        answering = False
        for token, seen, target in zip(text, shown, wanted, strict=True):
            assert (seen, target) == ((mask, token) if answering else (token, IGNORE))
            hidden += answering
            answering = (answering or words[token] == ":") and words[token] != "<eos>"
    assert hidden > 64 * 4 * 3


@pytest.mark.parametrize("task", [
    QuestionsConfig(40, entries_per_row=4, row_tokens=70, ask=Ask(kinds=ASK.kinds, hints=0.5, loss="all")),
    MixedConfig(40, texts=1, share=0.5, entries_per_row=1, questions_per_row=4, row_tokens=70, ask=ASK),
], ids=lambda task: task.kind)  # fmt: skip
def test_other_rows_of_an_encoder_keep_the_rate(task: Any) -> None:
    rows = task.build().rows(torch.arange(64))
    scored, chosen = int((rows.targets_RT != IGNORE).sum()), int((sampled(task).targets_RT != IGNORE).sum())
    assert chosen / scored == pytest.approx(RATE, abs=4 * (RATE * (1 - RATE) / scored) ** 0.5)
    causal = sampled(task, causal=True)
    assert causal.inputs_RT.equal(rows.inputs_RT) and causal.targets_RT.equal(rows.targets_RT)


@pytest.mark.parametrize("task", [
    MixedConfig(40, texts=1, share=0.5, entries_per_row=1, questions_per_row=4, row_tokens=70, ask=ASK),
    MixedConfig(40, texts=1, share=0.5, entries_per_row=1, questions_per_row=2, row_tokens=160, ask=ASK),
], ids=["cut", "padded"])  # fmt: skip
def test_of_mixed_rows_tokens_of_answers_are_chosen_and_all_of_biographies(task: MixedConfig) -> None:
    """Token by token, read off the text: which may be chosen, and by the draw of each place whether it is."""
    words, mask, span = task.vocabulary().words, len(task.vocabulary()), task.row_tokens
    plain = task.build().rows(torch.arange(64))
    inputs, targets = sampled(task)
    draw = rng.uniform(rng.key("mask", 0), 2 * torch.arange(64 * span)).view(64, span)
    other = rng.below(mask, rng.key("mask", 0), 2 * torch.arange(64 * span) + 1).view(64, span)
    kinds: dict[bool, int] = {}
    for r, row in enumerate(plain.inputs_RT.tolist()):
        text = [words[token] for token in row]
        asked, answering, chosen = "?" in text, False, 0
        for t, word in enumerate(text):
            padding = t > 0 and word == text[t - 1] == "<eos>"
            scored = answering if asked else not padding
            wanted = scored and bool(draw[r, t] < RATE)
            seen = row[t]
            if wanted and draw[r, t] < 0.9 * RATE:
                seen = mask if draw[r, t] < 0.8 * RATE else int(other[r, t])
            assert (int(inputs[r, t]), int(targets[r, t])) == (seen, row[t] if wanted else IGNORE), (r, t, word)
            chosen += wanted
            answering = (answering or word == ":") and word != "<eos>"
        kinds[asked] = kinds.get(asked, 0) + chosen
    assert kinds[True] > 20 and kinds[False] > 200


SPARSE = RunSpec(GrammarConfig(row_tokens=4), ModelConfig(layers=1, width=8, causal=False),
                 TrainConfig(batch_rows=1, steps=40, mask_rate=0.05, precision="float32"))  # fmt: skip


def test_a_batch_without_a_masked_place_changes_nothing_that_it_could_teach() -> None:
    population = Population([SPARSE], torch.device("cpu"), window=40)
    _, targets_SMBT = population.sample(0, 40)
    scored_S = (targets_SMBT != IGNORE).flatten(1).any(1)
    assert 0 < int(scored_S.sum()) < 40, "some batches have a masked place, others have none"
    for _ in range(40):
        population.advance()
        assert all(bool(tensor.isfinite().all()) for tensor in population.tensors().values())
    losses_S = population._losses_WKM[:, 0, 0]
    assert (losses_S[~scored_S] == 0).all() and (losses_S[scored_S] > 0).all()
    inputs, targets = (x[0] for x in population.sample(int((~scored_S).nonzero()[0])))
    loss = population.losses(inputs, targets, torch.ones(1))
    gradients = torch.autograd.grad(loss["loss"].sum(), population.optimiser.parameters)
    assert all(not bool(gradient.any()) for gradient in gradients)


@pytest.mark.parametrize("spec", [
    dataclasses.replace(SPARSE, train=dataclasses.replace(SPARSE.train, mask_rate=1e-12)),
    # the answers stand behind the end of the row
    RunSpec(QuestionsConfig(40, entries_per_row=1, row_tokens=2, ask=ASK), ModelConfig(layers=1, width=8),
            TrainConfig(batch_rows=2, steps=3, precision="float32")),
], ids=["masks", "answers"])  # fmt: skip
def test_a_run_that_has_nothing_to_predict_is_refused(spec: RunSpec) -> None:
    with pytest.raises(UserError, match="nothing is to be predicted in the first"):
        Population([spec], torch.device("cpu")).advance()
