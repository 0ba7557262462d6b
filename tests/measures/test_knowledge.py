"""The measure ``knowledge``: it reads the run's own training texts, and finds what was planted into a name."""

from __future__ import annotations

import dataclasses
import re
from itertools import product

import pytest
import torch

from physlm import rng
from physlm.errors import UserError
from physlm.measures import knowledge
from physlm.measures.knowledge import LEAST_PEOPLE, TEXTS, WHOLE, Plan, check, measure
from physlm.measures.knowledge import knowledge as read
from physlm.measures.knowledge_config import P_PROBE, Q_PROBE, KnowledgeConfig
from physlm.measures.knowledge_probes import knowledge_probe
from physlm.measures.knowledge_texts import texts_source, train_half
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.bios import BioS
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
PEOPLE, ROW, WIDTH = 12, 128, 32
SMALL = ModelConfig(layers=2, heads=2, width=WIDTH)
TARGETS = [*(f"{name}_first" for name in ATTRIBUTES), *(f"{name}_whole" for name in WHOLE)]


def run_of(task: TaskConfig, model: Decoder | None = None, seed: int = 5) -> Trained:
    """A run whose trained model is ``model``, or an untrained one of another seed."""
    made = model or Decoder(SMALL, len(task.vocabulary()), (9,))
    spec = RunSpec(task, SMALL, TrainConfig(exposures=1, precision="float32", seed=seed))
    return Trained(spec, CPU, lambda step: made)


def bios(name: str = "", people: int = PEOPLE, **settings: object) -> BioSConfig:
    return BioSConfig(people=people, entries_per_row=1, row_tokens=ROW, **(augmentation(name) if name else {}),
                      **settings)  # type: ignore[arg-type]


def shortened(monkeypatch: pytest.MonkeyPatch, p_steps: int = 1, q_steps: int = 1, rate: float = 3e-3) -> None:
    p, q = (dataclasses.replace(probe, steps=steps, learning_rate=rate)
            for probe, steps in ((P_PROBE, p_steps), (Q_PROBE, q_steps)))
    monkeypatch.setattr(knowledge, "P_PLANS", {"cpu": Plan(p, 8)})
    monkeypatch.setattr(knowledge, "Q_PLANS", {"cpu": Plan(q, 50)})


def by_name(rows: list[Row]) -> dict[str, Row]:
    assert len({row.label for row in rows}) == len(rows)
    return {row.label: row for row in rows}


# --- what is read ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["single", "multi2+permute", "multi5+permute", "multi5+reverse6"])
def test_the_texts_are_those_that_training_reads(name: str) -> None:
    """All of them, if there are few: the first ``TEXTS`` x 40 epochs show no other and miss none."""
    config = bios(name)
    task, found = BioS(config), read(run_of(config)).biographies
    rows = task.rows(torch.arange(200 * PEOPLE), "train", 5).inputs_RT

    def text(ids: torch.Tensor) -> tuple[int, ...]:
        """From the first <eos> to before the second."""
        return tuple(ids[: int((ids == 0).nonzero()[1])].tolist())

    trained = {text(ids) for ids in rows}
    ours = [text(ids) for ids in found.ids_BT]
    assert set(ours) == trained and len(ours) == len(set(ours)) == len(found.people_B)
    assert found.people_B.bincount().tolist() == [task.text_count(0)] * PEOPLE


def test_of_many_texts_a_few_are_spread_over_all() -> None:
    """multi5+permute5: one order of each of the five; fresh texts have no end."""
    config = bios("multi5+permute5")
    found = read(run_of(config)).biographies
    first = BioS(config).entries(found.people_B, torch.tensor([0, 5, 10, 15, 20]).repeat(PEOPLE), "train")
    assert found.ids_BT.equal(first.ids_RW) and found.people_B.bincount().tolist() == [TEXTS] * PEOPLE
    fresh = read(run_of(bios())).biographies.ids_BT
    assert len(fresh.unique(dim=0)) == TEXTS * PEOPLE and not fresh.equal(read(run_of(bios(), seed=6)).biographies[0])
    famous = read(run_of(bios("single", celebrities=3))).biographies
    assert famous.people_B.bincount().tolist() == [TEXTS] * 3 + [1] * (PEOPLE - 3)


@pytest.mark.parametrize("name", ["single", "multi5+permute", "multi5+reverse6", "single+fullname"])
def test_places_targets_and_names(name: str) -> None:
    config = bios(name)
    task, found = BioS(config), read(run_of(config))
    texts = found.biographies
    assert [target.name.replace(" ", "_") for target in found.targets] == TARGETS
    once = torch.cat((torch.ones(1).bool(), texts.people_B.diff() > 0))  # the first text of each person
    roles_QW = task.entries(torch.arange(PEOPLE), torch.zeros(PEOPLE).long(), "train").roles_RW
    for roles, places in zip(roles_QW.tolist(), texts.places_BP[once].tolist(), strict=True):
        assert places == sorted(roles.index(task.roles.index(attribute)) - 1 for attribute in ATTRIBUTES)
    words = task.vocabulary.words
    names = task.tables.pool[task.tables.names[:, None] + torch.arange(3)]
    assert found.names.ids_BT[:, 1:-1].equal(names) and found.names.places_BP.tolist() == [[4]] * PEOPLE
    assert {words[i] for i in found.names.ids_BT[:, [0, -1]].flatten().tolist()} == {"<eos>"}
    values = task.tables.value_NS
    for column, target in enumerate(TARGETS):
        if target.endswith("_whole"):  # equal classes for equal values alone
            value = values[:, ATTRIBUTES.index(target.removesuffix("_whole"))].tolist()
            pairs = set(zip(value, found.names.labels_BY[:, column].tolist(), strict=True))
            assert len(pairs) == len(set(value)) == found.targets[column].classes
    assert found.biographies.labels_BY.equal(found.names.labels_BY[texts.people_B])


# --- what is found -----------------------------------------------------------------------------------------------


def test_a_planted_month_is_read_from_the_name_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """The embedding of a last name holds the month of birth; the controls and the other attributes stay at chance."""
    shortened(monkeypatch, q_steps=120, rate=0.01)
    config = bios("single", people=300)
    found = read(run_of(config))
    months, last = found.names.labels_BY[:, 0], found.names.ids_BT[:, 3]
    model = Decoder(SMALL, len(config.vocabulary()), (5,))
    directions = rng.normal(rng.key("directions"), 12 * WIDTH).view(12, WIDTH).float()
    with torch.no_grad():
        model.embedding.weight[0].index_put_((last,), 0.6 * directions[months], accumulate=True)
    rows = by_name(measure(run_of(config, model)))
    month = {base: rows[f"{base}/target=birth_date_first"].value
             for base in ("q_probe", "q_probe_untrained", "q_probe_shuffled", "q_probe_majority")}
    chance = month["q_probe_majority"] + 3 * (0.1 * 0.9 / 150) ** 0.5
    assert month["q_probe"] > 0.5 > 2 * chance
    assert month["q_probe_untrained"] < chance and month["q_probe_shuffled"] < chance
    for target in TARGETS[1:]:
        assert rows[f"q_probe/target={target}"].value < rows[f"q_probe_majority/target={target}"].hi + 0.1, target


def test_the_p_probe_is_that_of_the_trained_model_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row by row against a probe of one model: who is trained, what is asked, and where."""
    shortened(monkeypatch, p_steps=8, rate=0.05)
    run = run_of(bios("single", people=40))
    rows, asked, plan = by_name(measure(run)), read(run), knowledge.P_PLANS["cpu"]
    others = asked.biographies._replace(labels_BY=asked.shuffled_QY[asked.biographies.people_B])
    different = 0
    for base, model, texts in (("p_probe", run.model, asked.biographies),
                               ("p_probe_untrained", run.untrained, asked.biographies),
                               ("p_probe_shuffled", run.model, others)):
        source = texts_source(texts, train_half(40), knowledge.PLACES, plan.rows)
        found = knowledge_probe(model, source, asked.targets, plan.probe).accuracy.value[0]
        for (y, target), place in product(enumerate(TARGETS), range(6)):
            name = f"/target={target}/place={place + 1}"
            assert rows[base + name].value == pytest.approx(found[y, place], abs=0.051), "one person of 20 in doubt"
            different += abs(rows["p_probe" + name].value - found[y, place]) > 0.04
    assert different > 10, "the three differ"


def test_the_rows_are_those_of_the_contract(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch)
    config = bios("multi2+permute")
    rows = by_name(measure(run_of(config)))
    places = [f"/place={place}" for place in range(1, 7)]
    controls = ("", "_untrained", "_majority", "_first_word", "_shuffled")
    expected = {f"{base}/target={target}{place}" for target in TARGETS for base, at in (
        *((f"p_probe{control}", places) for control in controls),
        *((f"q_probe{control}", [""]) for control in controls))
        for place in at}
    assert set(rows) == expected
    assert all(row.n == PEOPLE // 2 and row.unit == "1" and row.lo <= row.value <= row.hi for row in rows.values())
    judged = read(run_of(config)).names.labels_BY[~train_half(PEOPLE)]
    for column, target in enumerate(TARGETS):
        commonest = int(judged[:, column].bincount().max()) / len(judged)
        for where in (f"p_probe_majority/target={target}/place=3", f"q_probe_majority/target={target}"):
            assert rows[where].value == rows[where].lo == rows[where].hi == pytest.approx(commonest)


def test_a_mixed_run_is_probed_on_its_biographies(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch)
    mixed = MixedConfig(people=PEOPLE, entries_per_row=1, row_tokens=ROW, texts=1)
    ours, plain = read(run_of(mixed)), read(run_of(bios("single", questions=True)))
    assert all(a.equal(b) for a, b in zip(ours.biographies, plain.biographies, strict=True))
    assert len(measure(run_of(mixed))) == len(measure(run_of(bios("single"))))


def test_four_people_are_enough_and_fewer_are_said_to_be_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    shortened(monkeypatch)
    rows = by_name(measure(run_of(bios("single", people=LEAST_PEOPLE))))
    assert all(row.n == 2 for row in rows.values())
    with pytest.raises(UserError, match="task.people: got 3, expected at least 4, two to learn from"):
        measure(run_of(bios("single", people=3)))
    with pytest.raises(UserError, match="task.people: got 3"):
        check(run_of(bios("single", people=3)).spec)


def test_runs_without_biographies_are_refused() -> None:
    for task in (QuestionsConfig(people=PEOPLE), BioDConfig(people=PEOPLE)):
        with pytest.raises(UserError, match=re.escape(f"got a run on {task.title}, expected one on bioS, bioR or")):
            measure(run_of(task))


def test_on_a_gpu_the_probes_are_the_published_ones_for_as_many_people() -> None:
    for plans, published in ((knowledge.P_PLANS, P_PROBE), (knowledge.Q_PLANS, Q_PROBE)):
        assert plans["cuda"].for_people(50_000).probe == plans["cuda"].probe == published
        assert plans["cpu"].probe.norm == published.norm
    assert knowledge.P_PLANS["cuda"].rows == 50 and knowledge.Q_PLANS["cuda"].rows == 200


def test_a_probe_of_few_people_forgets_as_much_in_all_and_has_no_room_for_them() -> None:
    """Weight decay times rate times steps, half of it where the rate falls to 0, as published: 0.3 x 1e-3 x 30,000."""
    for plans in (knowledge.P_PLANS, knowledge.Q_PLANS):
        for plan in (plans["cuda"].for_people(100), plans["cuda"].for_people(20_000), plans["cpu"]):
            probe = plan.probe
            assert probe.weight_decay * probe.learning_rate * probe.steps == pytest.approx(9.0)
    for plans, published in ((knowledge.P_PLANS, P_PROBE), (knowledge.Q_PLANS, Q_PROBE)):
        for probe in (*(plans["cuda"].for_people(people).probe for people in (100, 20_000, 49_999)),
                      plans["cpu"].probe):
            assert (probe.own, probe.start, probe.update_speed) == ("alone", "output", 10.0)
            assert probe == knowledge.few(probe) and probe.rank == published.rank


def test_everybody_is_read_as_often_as_published_from_some_people_on() -> None:
    """Published: 30,000 steps and 50,000 people to learn from, tier paper; tier gpu learns from 5,000."""
    for plans in (knowledge.P_PLANS, knowledge.Q_PLANS):
        gpu, cpu = plans["cuda"], plans["cpu"]
        steps = {people: gpu.for_people(people).probe.steps for people in (100, 5_000, 20_000, 50_000, 500_000)}
        assert steps == {100: 3_000, 5_000: 3_000, 20_000: 12_000, 50_000: 30_000, 500_000: 30_000}
        assert cpu.for_people(100) == cpu == cpu.for_people(500_000)


def test_the_measure_counts_the_people_that_it_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of them, which it tells the plan of both probes; the steps of the plan are those that are trained."""
    trained: list[int] = []

    def record(model: Decoder, source: object, targets: object, config: KnowledgeConfig) -> None:
        trained.append(config.steps)
        raise StopIteration

    monkeypatch.setattr(knowledge, "KnowledgeProbes", record)
    monkeypatch.setattr(knowledge, "P_PLANS", {"cpu": Plan(dataclasses.replace(P_PROBE, steps=100_000), 8, least=1)})
    with pytest.raises(StopIteration):
        measure(run_of(bios("single", people=201)))
    assert trained == [100_000 * 101 // 50_000]
