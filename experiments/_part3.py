"""What the claims of Parts 3.1 and 3.2 share: base models, and how they go on to learn questions.

    base_run        a GPT reads biographies
    answer_run      it goes on with questions about half of the people: all its weights, or low-rank updates
    answer_runs     the same at several rates, of which the best is reported
    inverse_run     it goes on with questions for the people that are described
    hinted_run      having learnt to tell attributes, it goes on with what follows from them, with hints or without
    mixed_run       a GPT reads biographies and questions from the beginning

The published setting (arXiv 2309.14316, appendix A): 100,000 people, GPT2-small of 12 layers, 12 heads and 768
dimensions, 80,000 steps of 96 windows of 512 tokens (540 exposures of a person, 108 of each text of multi5), learning
rate 1e-3 to 1e-4 by a cosine, weight decay 0.1; then 50,000 steps of 48 windows of questions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from physlm.lab.experiment import of_tier
from physlm.models.config import ModelConfig
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.kinds import INVERSE
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.training.config import RunSpec, TrainConfig

AUGMENTED = ("single", "multi5+permute")
# of the base models of AUGMENTED that are asked and probed
SEEDS = {"smoke": (0,), "demo": (0,), "gpu": (0, 1, 2), "paper": (0, 1, 2)}


@dataclass(frozen=True)
class Setting:
    """One tier.

    Attributes:
        people, pool_size: of the biographies.
        entries: biographies in a row, and its tokens.
        questions: questions in a row, and its tokens.
        reading, answering: training on biographies, and on questions by all weights.
        low_rank, hinted: on questions by low-rank updates: of a model of biographies, and of one that answers.
        mixed_exposures: of mixed training, counted as if all its rows held biographies.
    """

    people: int
    pool_size: int
    entries: tuple[int, int]
    questions: tuple[int, int]
    model: ModelConfig
    reading: TrainConfig
    answering: TrainConfig
    low_rank: TrainConfig
    hinted: TrainConfig
    mixed_exposures: int


_SMALL = TrainConfig(exposures=2, batch_rows=4, learning_rate=3e-3, weight_decay=0.1, warmup_steps=10,
                     precision="float32")  # fmt: skip
_READING = TrainConfig(exposures=540, batch_rows=96, learning_rate=1e-3, weight_decay=0.1, warmup_steps=1000)
_ANSWERING = TrainConfig(steps=50_000, batch_rows=48, learning_rate=1e-4, weight_decay=0.01, warmup_steps=0)
_LOW_RANK = dataclasses.replace(_ANSWERING, learning_rate=3e-4, lora_rank=16, lora_embedding_rank=128)
_SMOKE_LOW_RANK = dataclasses.replace(_SMALL, exposures=1, lora_rank=2, lora_embedding_rank=4)
_DEMO_LOW_RANK = dataclasses.replace(_SMALL, steps=200, batch_rows=16, learning_rate=1e-2, weight_decay=0.01,
                                     warmup_steps=0, lora_rank=16, lora_embedding_rank=8)  # fmt: skip
SETTINGS = {
    "smoke": Setting(
        people=24, pool_size=4, entries=(2, 130), questions=(6, 130), model=ModelConfig(layers=1, heads=2, width=16),
        reading=_SMALL, answering=dataclasses.replace(_SMALL, exposures=1), low_rank=_SMOKE_LOW_RANK,
        hinted=_SMOKE_LOW_RANK, mixed_exposures=4,
    ),
    "demo": Setting(
        people=200, pool_size=8, entries=(2, 130), questions=(8, 150), model=ModelConfig(layers=2, heads=4, width=64),
        reading=dataclasses.replace(_SMALL, exposures=250, batch_rows=8, warmup_steps=100),
        answering=dataclasses.replace(_SMALL, steps=800, batch_rows=4, learning_rate=3e-4, weight_decay=0.01,
                                      warmup_steps=0),
        low_rank=_DEMO_LOW_RANK, hinted=_DEMO_LOW_RANK, mixed_exposures=300,
    ),
    # A tenth of the people in steps of a tenth of the windows, so that an epoch has as many steps as published:
    # whether a name comes to hold the knowledge hangs on it (p31_batch).
    "gpu": Setting(
        people=10_000, pool_size=0, entries=(9, 512), questions=(28, 512),
        model=ModelConfig(layers=8, heads=8, width=512), reading=dataclasses.replace(_READING, batch_rows=10),
        answering=dataclasses.replace(_ANSWERING, steps=10_000, batch_rows=5, learning_rate=3e-5),
        low_rank=dataclasses.replace(_LOW_RANK, steps=12_000, batch_rows=4, learning_rate=1e-4),
        hinted=dataclasses.replace(_LOW_RANK, steps=6_000, batch_rows=4), mixed_exposures=540,
    ),
    "paper": Setting(
        people=100_000, pool_size=0, entries=(9, 512), questions=(28, 512),
        model=ModelConfig(layers=12, heads=12, width=768), reading=_READING, answering=_ANSWERING, low_rank=_LOW_RANK,
        hinted=dataclasses.replace(_LOW_RANK, learning_rate=1e-3), mixed_exposures=540,
    ),
}  # fmt: skip

DEVIATIONS = (
    (
        "Tier gpu: 10,000 people instead of 100,000, in steps of a tenth of the windows (10 instead of 96 of "
        "biographies, 5 instead of 48 of questions), so that an epoch has as many steps as published; 8 layers, 8 "
        "heads and 512 dimensions (26.8 million parameters) instead of GPT2-small's 12, 12 and 768; 540 exposures of "
        "each person, as published for single biographies, so 108 of each text of multi5 (rows of 512 tokens cut the "
        "ends of longer entries: with full names in all sentences 420 to 480 exposures of an attribute, 480 of the "
        "name that closes a reversed biography)."
    ),
    (
        "Tier gpu finetunes all weights, where nothing else is said, in 10,000 steps instead of 50,000 (47 times each "
        "question on one attribute of 5,000 people, 31 on parts and pairs) at a rate of 3e-5, the best of 3e-4, 1e-4, "
        "6e-5 and 3e-5 for what the model of multi5+permute and seed 0 answers about held-out people (0.29, 0.94, 0.98 "
        "and 0.98 in a pilot; no lower one was tried); published is the best of 1e-3, 3e-4 and 1e-4."
    ),
    (
        "A word-level vocabulary, templates and lists of our own, the whole head is rotary, no biases, bfloat16 with "
        "float32 master weights. Answers are written greedily instead of by a beam of 4."
    ),
    "Tiers smoke and demo: few people, pools cut to few values, small models, in float32.",
)

setting = partial(of_tier, SETTINGS)


def base_run(tier: str, name: str, seed: int = 0, celebrities: int = 0, causal: bool = True) -> RunSpec:
    """A model that reads biographies of the augmentation ``name``, such as ``multi5+permute``.

    An encoder reads them 15/8 times as often as a decoder, 150,000 steps against 80,000, at three tenths of the rate,
    3e-4 against 1e-3, as published.
    """
    found = setting(tier)
    reading = dataclasses.replace(found.reading, seed=seed)
    if not causal:
        reading = dataclasses.replace(reading, exposures=reading.exposures * 15 // 8,
                                      learning_rate=reading.learning_rate * 3 / 10)  # fmt: skip
    task = BioSConfig(found.people, entries_per_row=found.entries[0], row_tokens=found.entries[1], questions=True,
                      pool_size=found.pool_size, celebrities=celebrities, **augmentation(name))  # fmt: skip
    return RunSpec(task, dataclasses.replace(found.model, causal=causal), reading)


def answer_run(tier: str, start: RunSpec, ask: Ask, low_rank: bool = False) -> RunSpec:
    """A model of biographies, or one that answers already, goes on with questions."""
    found = setting(tier)
    assert isinstance(start.task, BioSConfig | QuestionsConfig)
    task = QuestionsConfig(start.task.people, start.task.celebrities, start.task.seed, *found.questions, ask,
                           start.task.pool_size, rewritten=start.task.rewritten)  # fmt: skip
    train = found.low_rank if low_rank else found.answering
    return RunSpec(task, start.model, dataclasses.replace(train, seed=start.train.seed), start)


# rates of finetuning beside that of ``answer_run``
MORE_RATES = {"gpu": (1e-4,), "paper": (3e-4, 1e-3)}
RATES_DEVIATION = "Tier gpu: the best of two rates of finetuning, 3e-5 and 1e-4; published: of 1e-3, 3e-4 and 1e-4."


def answer_runs(tier: str, start: RunSpec, ask: Ask) -> list[RunSpec]:
    """``answer_run`` at its own rate and at ``MORE_RATES``."""
    one = answer_run(tier, start, ask)
    return [one, *(dataclasses.replace(one, train=dataclasses.replace(one.train, learning_rate=rate))
                   for rate in MORE_RATES.get(tier, ()))]  # fmt: skip


# (steps, rate); inverse questions of ten kinds are so long, and so many, that they need more steps to be seen equally
# often (49 times at tier gpu), at a lower rate, lest so many steps move what was read; those of one kind need fewer
SEARCHING = {"demo": (2_400, 3e-4), "gpu": (30_000, 1e-5)}
SEARCHING_ALONE = {"gpu": (4_000, 3e-5)}


def inverse_run(tier: str, base: RunSpec, kinds: Sequence[str] = INVERSE, forms: int = 1) -> RunSpec:
    """The base model goes on with inverse questions of all ten kinds, or of one alone."""
    spec = answer_run(tier, base, Ask(kinds=tuple(kinds), forms=forms))
    found = SEARCHING if len(kinds) > 1 else SEARCHING_ALONE
    steps, rate = found.get(tier, (spec.train.steps, spec.train.learning_rate))
    return dataclasses.replace(spec, train=dataclasses.replace(spec.train, steps=steps, learning_rate=rate))


FEW = 2_500  # people asked about in training that are judged: so many, or the most that a tier asks about below that
LUCK = "Luck: a number from 0 to 99 that each major has."  # for readers of figures
PUBLISHED_PEOPLE = "Open marks: published, of 100,000 people in all."
PUBLISHED_HALF = "Open marks: published, 50,000 people asked about in training, half of all as here."
# of inverse questions, for the same readers
TOLD = "Three: major, university, employer; four: with the birth city; all: with birth date and employer's city."


def mixed_run(tier: str, name: str, ask: Ask, share: float = 0.8) -> RunSpec:
    """A model that reads biographies and questions together, ``share`` of the rows questions."""
    found = setting(tier)
    task = MixedConfig(found.people, entries_per_row=found.entries[0], row_tokens=found.entries[1],
                       questions_per_row=found.questions[0], pool_size=found.pool_size, share=share, ask=ask,
                       **augmentation(name))  # fmt: skip
    return RunSpec(task, found.model, dataclasses.replace(found.reading, exposures=found.mixed_exposures))


# how many people are asked about in training; the last number is the whole half
ASKED = {"smoke": (6, 0), "demo": (0,), "gpu": (1_250, 2_500, 0), "paper": (2_500, 5_000, 10_000, 25_000, 0)}
HINTED_DEVIATION = (
    "Each kind of question is learned alone, by low-rank updates as published (rank 16 of queries and values, 128 of "
    "the embedding), by a model that has learnt to tell attributes, from at most 5,000 people instead of up to 50,000, "
    "in 6,000 steps of 4 windows instead of 50,000 of 48, at a rate of 3e-4 instead of 1e-3. Hints are asked for by a "
    "word, in half of the questions. That start and the rate were chosen by a pilot on the held-out people that are "
    "judged (month parity, 2,500 people in training, hints): 0.976 at 3e-4 and 0.963 at 1e-4, but 0.50 to 0.53 by the "
    "model of biographies alone at 1e-3, 3e-4 and 1e-4, whose hints are wrong; published, the two starts are about a "
    "point apart."
)


def hinted_run(tier: str, base: RunSpec, kind: str, hints: float, most: int = 0) -> RunSpec:
    """The model that answers goes on with one kind of question about ``most`` people (0: half of them).

    A share ``hints`` of the questions asks for hints.
    """
    one = answer_run(tier, answer_run(tier, base, Ask()), Ask(kinds=(kind,), hints=hints, most=most))
    return dataclasses.replace(one, train=dataclasses.replace(setting(tier).hinted, seed=base.train.seed))


def hinted_runs(tier: str, base: RunSpec, kinds: Sequence[str]) -> list[RunSpec]:
    """Each kind of question alone, about more and more people, without hints and with hints in half of them."""
    return [hinted_run(tier, base, kind, hints, most) for kind in kinds for most in ASKED[tier] for hints in (0.0, 0.5)]
