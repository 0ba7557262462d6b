"""Variable probes: against each query read alone, and against models that know the answer, or nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from itertools import count as naturals
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from physlm import rng
from physlm.errors import NotFiniteError, UserError
from physlm.measures.igsm import probing
from physlm.measures.igsm.asking import Batch, Source
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.labels import EDGES, classes
from physlm.measures.igsm.probing import CONTROLS, Probing
from physlm.measures.igsm.scores import Judged, matthews, rows_of
from physlm.measures.igsm.settings import IN_PROBLEM, KINDS, Kind, VariableConfig
from physlm.measures.igsm.training import judge, source_of, train_probe
from physlm.measures.probes import IGNORE
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.canon import Canon
from physlm.tasks.config import TaskConfig
from physlm.tasks.igsm.config import FAMILIES, Retry
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig

TINY, CPU = FAMILIES["tiny"], torch.device("cpu")
WORDS = TINY.vocabulary().words
SMALL = ModelConfig(layers=2, heads=2, width=16)
QUICK = VariableConfig(steps=40, problems=8, learning_rate=0.05)


def batches(kind: Kind, count: int = 1, balanced: bool = False, order: Literal["pq", "qp"] = "pq") -> list[Batch]:
    source = source_of(kind, replace(TINY, order=order), QUICK, balanced)
    return list(islice(chain.from_iterable(map(source.group, naturals())), count))


def spec_of(model: ModelConfig = SMALL) -> RunSpec:
    return RunSpec(TINY, model, TrainConfig(steps=1, precision="float32"))


@pytest.mark.parametrize("order", ["pq", "qp"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_query_stands_behind_its_text_as_people_read_it(kind: Kind, order: Literal["pq", "qp"]) -> None:
    """The text ends with problem and question; of dep with the problem, which a question after it is no part of; or
    after as many sentences of the solution as are known."""
    (batch,) = batches(kind, order=order)
    words = (*WORDS, "[START]", "[MID]", "[END]")
    for b, q in np.ndindex(*batch.drawn.labels.shape):
        if batch.drawn.labels[b, q] == IGNORE:
            continue
        text = [words[i] for i in batch.asked.ids_BT[b, : int(batch.asked.last_BQ[b, q]) + 1].tolist()]
        names = [" 's ".join(words[i] for i in batch.graphs.names_BP2[b, p])
                 for p in (batch.drawn.first[b, q], batch.drawn.second[b, q])]  # fmt: skip
        query = " ".join(words[i] for i in batch.asked.asked_BQK[b, q].tolist())
        assert query == f"[START] {names[0]} [END]" if kind != "dep" else f"[START] {names[0]} [MID] {names[1]} [END]"
        assert text[0] == "<bos>" and ("<solution>" in text) == (kind not in IN_PROBLEM)
        if kind in IN_PROBLEM:
            assert text.count(".") == batch.graphs.exists_BP[b, :EDGES].sum(), "the whole problem is read"
            assert ("How many" in text) == (kind == "nece" or order == "qp")
            assert text[-1] == ("?" if kind == "nece" and order == "pq" else ".")
        else:
            written = " ".join(text[text.index("<solution>") + 1 :])
            assert written.count("Define") == written.count(" .") == batch.drawn.place[b, q]
            assert text[-1] in ("<solution>", ".")


@pytest.mark.parametrize("kind", ["known", "dep"])
def test_queries_beside_one_text_are_read_as_if_alone(kind: Kind) -> None:
    """Each query as a row of its own, read from the left by the ordinary model with a longer embedding."""
    model = Decoder(SMALL, len(WORDS), (1, 2))
    probe = VariableProbe(model, 3, rank=3, seed=4)
    with torch.no_grad():
        for number, parameter in enumerate(probe.parameters()):
            drawn = rng.normal(rng.key("randomised", number), parameter.numel()).view(parameter.shape).float()
            parameter.copy_(0.3 * drawn)
    (batch,) = batches(kind)
    found = probe(batch.asked)
    moved = model.embedding.weight + probe.update.coefficients @ probe.update.directions
    table_MVd = torch.cat((moved, probe.marks), 1)
    for b, q in np.ndindex(*batch.drawn.labels.shape):
        ids = torch.cat((batch.asked.ids_BT[b, : int(batch.asked.last_BQ[b, q]) + 1], batch.asked.asked_BQK[b, q]))
        hidden = model.hidden_from(table_MVd[:, ids][:, None])[:, 0, -1]
        alone = (hidden[:, None] @ probe.maps + probe.bias)[:, 0]
        torch.testing.assert_close(found[:, b, q], alone, atol=1e-4, rtol=1e-4)


class Knowing(Decoder):
    """A model whose last state at END begins with the right answer; ``truth`` is set by the test."""

    truth = torch.zeros(0)

    def hidden_among(self, x_MBTd: Tensor, places_BT: Tensor, seen_BTT: Tensor) -> Tensor:
        hidden = super().hidden_among(x_MBTd, places_BT, seen_BTT)
        rows, queries = self.truth.shape
        answer = 5.0 * torch.nn.functional.one_hot(self.truth.clamp_min(0), self.config.width)
        width = (places_BT[0].diff() != 1).nonzero()[0, 0] + 1  # tokens of the text: then places jump back
        each = (places_BT.shape[1] - int(width)) // queries
        ends = int(width) + each - 1 + each * torch.arange(queries)
        return hidden.index_add(2, ends, answer.expand(self.members, rows, -1, -1).contiguous())


@pytest.fixture
def knowing(monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """Two members that know, told by whoever makes a batch."""
    model = Knowing(SMALL, len(WORDS), (1, 1))
    made = Source._batch

    def telling(self: Source, *arguments: object) -> Batch:
        batch = made(self, *arguments)  # type: ignore[arg-type]
        Knowing.truth = torch.from_numpy(batch.drawn.labels)
        return batch

    monkeypatch.setattr(Source, "_batch", telling)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_model_knows_is_found_and_other_answers_are_not(kind: Kind, knowing: Decoder) -> None:
    probe = train_probe(knowing, TINY, kind, QUICK, (False, True))
    known, other = judge(probe, kind, replace(TINY, reask=True), QUICK, 64, (False, True))
    rows = {row.label: row for row in rows_of(known, "", ("false", "true"), kind == "dep", {})}
    assert rows["accuracy"].value == rows["balanced"].value == rows["matthews"].value == 1.0
    assert all(row.value == 1.0 for row in rows.values()) and rows["accuracy"].lo > 0.9
    chance = {row.label: row for row in rows_of(other, "_shuffled", ("false", "true"), False, {})}
    # the place alone tells what is known: nothing before the first sentence, more after each
    assert abs(chance["matthews_shuffled"].value) < (0.6 if kind in ("known", "value") else 0.25)
    assert kind == "value" or chance["balanced_shuffled"].value == pytest.approx(0.5, abs=0.2)


def test_a_model_that_knows_nothing_is_at_chance() -> None:
    """Values of a random model: no better than the best constant, with an interval that says so."""
    probe = train_probe(Decoder(SMALL, len(WORDS), (1,)), TINY, "value", QUICK)
    (judged,) = judge(probe, "value", TINY, QUICK, 96)
    rows = {row.label: row for row in rows_of(judged, "", ("unknown", "known"), False, {})}
    assert rows["by_label/label=known"].value < 0.5 and rows["by_label/label=known"].n <= 96


def test_shuffled_answers_are_those_of_the_same_place() -> None:
    for batch in batches("can_next", 3):
        found, drawn = batch.shuffled(0), batch.drawn
        assert ((found == IGNORE) == (drawn.labels == IGNORE)).all() and (found != drawn.labels).any()
        for place in range(6):
            here = (drawn.place == place) & (drawn.labels != IGNORE)
            assert sorted(found[here]) == sorted(drawn.labels[here])


def test_training_reads_the_training_split_and_every_problem_once() -> None:
    seen = [number for batch in batches("nece", 16) for number in batch.numbers_B.tolist()]
    assert sorted(seen) == list(range(128)) and seen != sorted(seen)
    retried = replace(TINY, retry=Retry(0.5))
    (plain,) = batches("can_next")
    same = next(source_of("can_next", retried, QUICK, False).group(0))
    assert same.asked.ids_BT.equal(plain.asked.ids_BT), "probes read error-free solutions"


def test_two_rules_of_decision_differ_by_how_frequent_labels_are() -> None:
    """A probe that cannot tell anything answers the commonest label, or is undecided."""
    model = Decoder(SMALL, len(WORDS), (3,))
    probe = train_probe(model, TINY, "nece_next", replace(QUICK, steps=1, learning_rate=1e-9, rank=0))
    assert probe.log_prior[0] > 0.05 > -0.05 > probe.log_prior[1]
    (judged,) = judge(probe, "nece_next", TINY, QUICK, 64)
    assert (judged.prior_N == 0).all() and (judged.label_N == 0).mean() > 0.6


def test_matthews_is_the_usual_correlation() -> None:
    counts = np.array([[50.0, 10.0], [5.0, 20.0]])  # labels x answers
    (tn, fp), (fn, tp) = counts
    usual = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    assert matthews(counts) == pytest.approx(usual)
    assert matthews(np.eye(5)) == 1.0 and matthews(np.array([[3.0, 0.0], [4.0, 0.0]])) == 0.0


def judged_of(repeats: int) -> Judged:
    """60 problems of ``repeats`` equal queries each."""
    problem = np.repeat(np.arange(60), repeats)
    label = problem % 2
    answer = np.where(problem % 5 == 0, 1 - label, label)
    return Judged(label, label == 1, problem, label == 1, problem % 3, answer, answer)


def test_intervals_count_problems_not_queries() -> None:
    once, often = ({row.label: row for row in rows_of(judged_of(k), "", ("false", "true"), True, {})} for k in (1, 10))
    assert once.keys() == often.keys()
    for label, row in once.items():
        assert (often[label].value, often[label].n) == (row.value, row.n)
        assert often[label].hi - often[label].lo == pytest.approx(row.hi - row.lo, rel=0.05)


@pytest.mark.parametrize(("model", "task"), [
    (replace(SMALL, causal=False), TINY), (replace(SMALL, local=(Canon(),)), TINY), (SMALL, ManoConfig(2, 5, 32)),
])  # fmt: skip
def test_runs_that_cannot_be_asked_are_refused(model: ModelConfig, task: TaskConfig) -> None:
    with pytest.raises(UserError, match=r"iGSM"):
        Probing().check(replace(spec_of(), model=model, task=task))


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="tasks: got 'necessary'"):
        Probing(tasks=("necessary",))
    with pytest.raises(UserError, match=r"task\.op"):
        Probing(ops=(51,)).check(spec_of())
    with pytest.raises(UserError, match="steps: got 0"):
        VariableConfig(steps=0)
    with pytest.raises(UserError, match="population"):
        VariableConfig(population="all")  # type: ignore[arg-type]


def test_the_measure_gives_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SETTINGS", {"cpu": replace(QUICK, steps=5)})
    run = Trained(spec_of(), CPU, lambda step: Decoder(SMALL, len(WORDS), (step,)))
    rows = Probing(tasks=("can_next",))(run)
    assert {row.quantity for row in rows} == set(Probing.quantities)
    assert {row.where["op"] for row in rows} == {4, 6} and {row.where["query"] for row in rows} == {"asked", "reasked"}
    for control in CONTROLS:
        assert len([row for row in rows if row.quantity == f"balanced{control}"]) == 4


def test_values_have_a_class_for_unknown() -> None:
    assert [classes("value", 23), classes("nece", 23)] == [24, 2]


def test_what_is_not_finite_is_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "SETTINGS", {"cpu": replace(QUICK, steps=2)})
    model = Decoder(SMALL, len(WORDS), (0,))
    with torch.no_grad():
        model.embedding.weight[0, :, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="not finite"):
        Probing(tasks=("nece",))(Trained(spec_of(), CPU, lambda step: model))
