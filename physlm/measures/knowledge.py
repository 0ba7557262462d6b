"""Where a model holds what it has read about people: P- and Q-probes as rows (arXiv 2309.14316, section 5).

    p_probe target=employer_whole place=1   the employer, read from a biography of the training data at the token before
                                            the first attribute that the text names; place 6 is before the last one
    q_probe target=employer_whole           the employer, read from <eos> full name <eos>

Targets are the first token of all six attributes (that of the birth date is its month), and the whole value of all but
the birth date.  The probes learn from one half of the people and are judged on the other; n counts the people judged.
Controls of both probes:

    .._untrained    the model before its first step
    .._shuffled     the trained model, every person with somebody else's attributes
    .._majority     the best constant answer
    .._first_word   the best answer by somebody who knows the first token of the right one, and no more
    .._unmapped     where the probe's map starts at the model's output: without what it has learnt, so that the model's
                    own output answers; what stays is the vector that asks, and it tells first tokens alone

Shape letters as in ``physlm.measures.knowledge_texts``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.knowledge_config import P_PROBE, Q_PROBE, KnowledgeConfig
from physlm.measures.knowledge_probes import KnowledgeProbes, beside
from physlm.measures.knowledge_texts import (
    P_ROWS,
    Q_ROWS,
    Texts,
    p_texts,
    q_texts,
    role_tokens,
    shuffled_people,
    texts_source,
    train_half,
    value_targets,
)
from physlm.measures.probes import Target
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, biographies_of
from physlm.models.decoder import Decoder
from physlm.tasks.biography.bior import BioR
from physlm.tasks.biography.bios import BioS
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.pools import ATTRIBUTES
from physlm.training.config import RunSpec

TEXTS = 5  # of each person, at most
JUDGED = 8  # times as many texts at once are judged as are learnt from
LEAST_PEOPLE = 4  # two to learn from and two to judge by
PLACES = tuple(str(place + 1) for place in range(len(ATTRIBUTES)))
WHOLE = tuple(name for name in ATTRIBUTES if name != "birth_date")


PUBLISHED_PEOPLE = 50_000  # whom the published probes learn from


class Plan(NamedTuple):
    """How a probe is trained, and how many texts it reads at once.

    Attributes:
        probe: it is for ``PUBLISHED_PEOPLE`` to learn from, if there is a ``least``.
        least: steps at least; from there on in proportion to the people, so that everybody is read equally often, up to
            those of ``probe``, while what AdamW forgets in all, weight decay times rate times steps, stays the same;
            below ``PUBLISHED_PEOPLE`` the probe is one of ``few``.  None: ``probe`` as it is, whoever is learnt from.
    """

    probe: KnowledgeConfig
    rows: int
    least: int | None = None

    def for_people(self, people: int) -> Plan:
        """The plan for so many people to learn from."""
        if self.least is None:
            return self
        most = self.probe.steps
        steps = min(max(self.least, most * people // PUBLISHED_PEOPLE), most)
        probe = dataclasses.replace(self.probe, steps=steps, weight_decay=self.probe.weight_decay * most / steps)
        return self._replace(probe=few(probe) if people < PUBLISHED_PEOPLE else probe)


def few(probe: KnowledgeConfig) -> KnowledgeConfig:
    """The probe for few people, who would be learnt by heart: what it trains has no more room for them than it needs.

    Only the token that is read moves, ten times as fast as the maps learn, and these begin at the model's own output.
    All three were chosen in pilots; ``experiments/p31_probing.py`` says by whom, and what the published parts read.
    """
    return dataclasses.replace(probe, own="alone", start="output", update_speed=10.0)


# Where there is a GPU and where there is none.  Published: 30,000 steps of both at 1e-3, 50,000 people to learn from,
# which is tier paper; tier gpu makes as many passes over 5,000 in 3,000 steps.  The rate of the 200 or 300 steps on a
# CPU was chosen on the demonstration's model of multi5+permute.
P_PLANS = {
    "cuda": Plan(P_PROBE, P_ROWS, least=3000),
    "cpu": Plan(few(dataclasses.replace(P_PROBE, steps=200, learning_rate=3e-3, weight_decay=15.0)), 16),
}
Q_PLANS = {
    "cuda": Plan(Q_PROBE, Q_ROWS, least=3000),
    "cpu": Plan(few(dataclasses.replace(Q_PROBE, steps=300, learning_rate=3e-3, weight_decay=10.0)), 50),
}


class Knowledge(NamedTuple):
    """What the probes of one dataset read, and what they are asked.

    Attributes:
        biographies: up to ``TEXTS`` of each person, with six places in the order of each text.
        names: one a person.
        targets: the 11 questions.
        shuffled_QY: the classes of somebody else; the texts hold the person's own.
    """

    biographies: Texts
    names: Texts
    targets: list[Target]
    shuffled_QY: Tensor


def check(spec: RunSpec) -> None:
    """Refuse a run that cannot be probed.

    Raises:
        UserError: a run that reads no biographies of bioS or bioR, or fewer than ``LEAST_PEOPLE`` people; an encoder,
            which sees every value of a text before it is told.
    """
    if not spec.model.causal:
        raise UserError("measure knowledge: model.causal: got false, expected true: an encoder sees the values of a "
                        "text wherever it is read")
    people = biographies_of(spec, "knowledge").people
    if people < LEAST_PEOPLE:
        raise UserError(f"measure knowledge: task.people: got {people}, expected at least {LEAST_PEOPLE}, two to learn "
                        "from and two to judge by")


def measure(run: Trained) -> list[Row]:
    """Both probes of one run, with their controls.

    Raises:
        UserError: as ``check``.
    """
    asked = knowledge(run)
    trained, untrained = run.ready(run.model), run.ready(run.untrained)
    both, device = beside(trained, untrained), run.device.type
    learn_Q = train_half(len(asked.shuffled_QY))
    learnt_from = int(learn_Q.sum())
    rows: list[Row] = []
    for base, plan, texts, places in (
        ("p_probe", P_PLANS[device], asked.biographies, PLACES),
        ("q_probe", Q_PLANS[device], asked.names, ("",)),
    ):
        plan = plan.for_people(learnt_from)
        probes = _trained(both, texts, learn_Q, places, asked.targets, plan, run.progress)
        found = probes.evaluate(run.progress)
        rows += found.rows(base) + found.rows(f"{base}_untrained", member=1)
        rows += found.exact_rows(f"{base}_majority", found.majority)
        rows += found.exact_rows(f"{base}_first_word", found.first_word)
        if plan.probe.start == "output":
            rows += probes.evaluate(run.progress, mapped=False).rows(f"{base}_unmapped")
        others = texts._replace(labels_BY=asked.shuffled_QY[texts.people_B])
        probes = _trained(trained, others, learn_Q, places, asked.targets, plan, run.progress)
        rows += probes.evaluate(run.progress).rows(f"{base}_shuffled")
    return rows


def knowledge(run: Trained) -> Knowledge:
    """The texts that the run was trained on, where these are fixed, and fresh ones of the same kind otherwise.

    Raises:
        UserError: as ``check``.
    """
    check(run.spec)
    config = biographies_of(run.spec, "knowledge")
    task = (config.build() if isinstance(config, BioSConfig) else BioR(config)).to(run.device)
    stream = run.spec.train.seed
    person = torch.arange(config.people, device=run.device)
    roles = {name: task.roles.index(name) for name in ATTRIBUTES}
    one_each = task.entries(person, torch.zeros_like(person), "train", stream)
    targets, labels_QY = value_targets(one_each, roles, WHOLE)
    people_N, draw_N = _draws(task, person)
    biographies = p_texts(task.entries(people_N, draw_N, "train", stream), people_N, roles, labels_QY, in_order=True)
    # every text begins with <eos>
    names = q_texts(role_tokens(one_each, task.name_role), int(one_each.ids_RW[0, 0]), labels_QY)
    return Knowledge(biographies, names, targets, shuffled_people(labels_QY))


def _draws(task: BioS | BioR, person_Q: Tensor) -> tuple[Tensor, Tensor]:
    """Up to ``TEXTS`` texts of each person, each one once and spread evenly over all that there are: (N,), (N,)."""
    counts = [task.text_count(person) or TEXTS for person in range(len(person_Q))]
    count_Q1 = torch.tensor(counts, device=person_Q.device)[:, None]
    number_T = torch.arange(TEXTS, device=person_Q.device)
    draw_QT = number_T * count_Q1.clamp_min(TEXTS) // TEXTS
    kept_QT = number_T < count_Q1
    return person_Q[:, None].expand_as(draw_QT)[kept_QT], draw_QT[kept_QT]


def _trained(model: Decoder, texts: Texts, learn_Q: Tensor, places: Sequence[str], targets: Sequence[Target],
             plan: Plan, progress: bool) -> KnowledgeProbes:  # fmt: skip
    """Probes that learn from the people of ``learn_Q``, to be judged on the others; with few people the batches are
    smaller."""
    learnt = int(learn_Q.to(texts.people_B.device)[texts.people_B].sum())
    rows = min(plan.rows, learnt)
    source = texts_source(texts, learn_Q, places, rows, judged_rows=JUDGED * rows)
    probes = KnowledgeProbes(model, source, targets, plan.probe)
    probes.train(progress)
    return probes
