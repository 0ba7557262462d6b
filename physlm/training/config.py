"""Settings of training, and the whole description of one run; free of torch."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from itertools import zip_longest
from typing import Any, Literal

from physlm.config import check_choices, content_hash, from_dict, to_dict
from physlm.errors import UserError, counted
from physlm.models.config import ModelConfig
from physlm.models.listing import model_weights
from physlm.models.parts.weight import TEMPERATURE
from physlm.models.retuning import SETTINGS, can_retune
from physlm.models.upcycling import can_begin
from physlm.tasks.config import TaskConfig

MOST_ROW_TOKENS = 1 << 20
MOST_STEP_TOKENS = 1 << 27  # tokens, or entries, of one step: a GiB each for the inputs and the targets
# Members of one population share every setting of their training but these.
_MEMBER_FIELDS = ("train.learning_rate", "train.weight_decay", "train.seed")
Decay = Literal["cosine", "linear", "sqrt"]
LowRankKind = Literal["lora", "vera", "singlora"]
# what low-rank updates of each kind have a use for
_OF_KIND: dict[str, tuple[str, ...]] = {"lora": ("lora_alpha", "lora_ratio"), "vera": ("lora_initial",),
                                        "singlora": ("lora_alpha", "lora_ramp")}


@dataclass(frozen=True)
class TrainConfig:
    """AdamW, or Muon, with linear warm-up and a decay to ``final_fraction`` of the peak learning rate.

    Attributes:
        exposures: how often each item of the task is seen, such as a person; steps = exposures * items / entries
            per step, rounded up.
        steps: optimiser steps; 0 takes them from the exposures, which only a task with a finite set of items has.
        batch_rows: rows of ``task.row_tokens`` tokens a step.
        warmup_steps: at most a tenth of all steps is used.
        decay: ``cosine``, or ``linear`` (Part 1), or ``sqrt``, 1 - sqrt (arXiv 2405.18392).
        stable: share of all steps at which the decay begins; between it and the warm-up the rate is at its peak.  0.8
            is WSD with a decay over the last fifth; at 1 the rate stays at its peak to the end.
        betas, eps: AdamW's; (0.9, 0.98) and 1e-6 as in arXiv 2309.14316.
        precision: ``bf16`` computes in bfloat16 with float32 master weights; ``float32`` throughout.
        seed: initial weights and the order of the data.
        mask_rate: an encoder predicts the tokens at this share of the places, most of them hidden
            (arXiv 1810.04805), and on questions whose answers alone are scored all of the answer; a causal model
            predicts each token from those before it.
        snapshots: k keeps the weights after 1/2^k, .., 1/4 and 1/2 of the steps, for learning curves.
        kept: steps after which the weights are kept, besides; for merging (``physlm.measures.merged``).
        lora_rank, lora_embedding_rank: train low-rank updates alone (arXiv 2106.09685), of these ranks, of each query
            and value matrix and of the embedding; 0 leaves that update out, and both 0 train the whole model.
        lora_alpha: the updates are scaled by alpha / rank.
        lora_ratio: the learning rate of the factors on the side of the outputs over that of those on the side of the
            inputs, whichever begin at zero (LoRA+, arXiv 2402.12354, published 16).
        lora_kind: what the updates are made of, see ``physlm.models.low_rank_kinds``: ``lora``; ``vera``, two vectors
            that scale random matrices (arXiv 2310.11454), without alpha; ``singlora``, one matrix (arXiv 2507.05566).
        lora_initial: first value of VeRA's d.
        lora_ramp: steps over which SingLoRA's updates rise from nothing; at most a tenth of all steps is used.
        redrawn: of a mixture of experts that begins with a dense model: the share of each expert's hidden units that is
            drawn anew, see ``physlm.models.upcycling``; 0 begins with copies.
        z_loss: times the mean over scored tokens of (log sum_v exp logit_v)^2 is added to the loss (arXiv 2204.02311).
        optimiser: ``adamw``; or ``muon`` for the matrices of the layers and AdamW for the rest
            (``physlm.training.muon``), with the same learning rate and decay; its momentum is the first of ``betas``.
        trained: ``scales`` trains the learnt scales of attention alone, and all else is frozen (arXiv 2404.12224).
    """

    exposures: int = 100
    batch_rows: int = 96
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    final_fraction: float = 0.1
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = 1e-6
    precision: Literal["bf16", "float32"] = "bf16"
    seed: int = 0
    steps: int = 0
    decay: Decay = "cosine"
    mask_rate: float = 0.15
    snapshots: int = 0
    lora_rank: int = 0
    lora_embedding_rank: int = 0
    lora_alpha: float = 4.0
    lora_ratio: float = 1.0
    z_loss: float = 0.0
    redrawn: float = 0.0
    trained: Literal["all", "scales"] = "all"
    optimiser: Literal["adamw", "muon"] = "adamw"
    stable: float = 0.0
    kept: tuple[int, ...] = ()
    lora_kind: LowRankKind = "lora"
    lora_initial: float = 0.1
    lora_ramp: int = 1000

    def __post_init__(self) -> None:
        check_choices(self, "train")
        for name in ("exposures", "batch_rows"):
            if getattr(self, name) < 1:
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected at least 1")
        for name, low, high in (("learning_rate", 0.0, math.inf), ("weight_decay", 0.0, math.inf),
                                ("final_fraction", 0.0, 1.0), ("eps", 0.0, math.inf), ("mask_rate", 0.0, 1.0),
                                ("lora_alpha", 0.0, math.inf), ("lora_ratio", 0.0, math.inf),
                                ("z_loss", 0.0, math.inf), ("redrawn", 0.0, 1.0), ("stable", 0.0, 1.0),
                                ("lora_initial", -math.inf, math.inf)):
            if not low <= getattr(self, name) <= high or math.isinf(getattr(self, name)):
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected between {low} and {high}")
        for name, most in (("warmup_steps", math.inf), ("steps", math.inf), ("snapshots", 62), ("lora_rank", 1 << 17),
                           ("lora_embedding_rank", 1 << 17), ("lora_ramp", math.inf)):
            if getattr(self, name) < 0:
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected at least 0")
            if getattr(self, name) > most:
                raise UserError(f"train.{name}: got {getattr(self, name)}, expected at most {most}")
        if not self.mask_rate:
            raise UserError(f"train.mask_rate: got {self.mask_rate}, expected more than 0: something must be predicted")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise UserError(f"train.betas: got {list(self.betas)}, expected two numbers in [0, 1)")
        if list(self.kept) != sorted({step for step in self.kept if step > 0}):
            raise UserError(f"train.kept: got {list(self.kept)}, expected rising numbers of steps from 1")
        if self.low_rank:
            self._check_kind()

    def _check_kind(self) -> None:
        """Refuse settings of another kind of low-rank update than that which is trained."""
        for name in dict.fromkeys(name for names in _OF_KIND.values() for name in names):
            default = getattr(TrainConfig, name)
            if name not in _OF_KIND[self.lora_kind] and getattr(self, name) != default:
                kinds = " or ".join(kind for kind, names in _OF_KIND.items() if name in names)
                raise UserError(f"train.{name}: got {getattr(self, name)} with train.lora_kind={self.lora_kind}, which "
                                f"has no use for it; expected {default}, or train.lora_kind={kinds}")

    @property
    def low_rank(self) -> bool:
        """Whether low-rank updates are trained, and all else is frozen."""
        return bool(self.lora_rank or self.lora_embedding_rank)


@dataclass(frozen=True)
class RunSpec:
    """One run: one task, one model, one training.  Its content hash names its folder.

    Attributes:
        start: the run whose final weights this one begins with, as finetuning does; it may begin with another in turn.
            None begins with random weights.  Both have the same vocabulary and the same model; or the start has an MLP
            where this one has experts, which begin as copies of it (``physlm.models.upcycling``); or its attention
            reads with the same weights in another way (``physlm.models.retuning``).
    """

    task: TaskConfig
    model: ModelConfig
    train: TrainConfig
    start: RunSpec | None = None

    def __post_init__(self) -> None:
        check_choices(self.task, "task")
        if self.task.row_tokens > MOST_ROW_TOKENS:
            raise UserError(f"task.row_tokens: got {self.task.row_tokens}, expected at most {MOST_ROW_TOKENS}")
        for name, count in (("task.row_tokens", self.task.row_tokens), ("entries in a row", self.task.entries_per_row)):
            if self.train.batch_rows * count > MOST_STEP_TOKENS:
                raise UserError(f"train.batch_rows: got {self.train.batch_rows} with {count} {name}, expected at most "
                                f"{MOST_STEP_TOKENS} for one times the other")
        if not self.train.steps and self.task.items is None:
            raise UserError(f"train.steps: got 0 for {self.task.title}, which has no finite set to be exposed to; "
                            "expected at least 1")
        if self.train.kept and self.train.kept[-1] > self.steps:
            raise UserError(f"train.kept: got {self.train.kept[-1]}, expected at most {self.steps}, the last step")
        if self.start is not None:
            _check_start(self.start, self)
        elif self.train.low_rank:
            raise UserError(f"train.lora_rank, train.lora_embedding_rank: got {self.train.lora_rank} and "
                            f"{self.train.lora_embedding_rank} without a start; expected a start, or 0 and 0")
        if self.train.trained == "scales":
            self._check_scales()
        if self.train.optimiser == "muon" and (self.train.low_rank or self.train.trained == "scales"):
            found = "low-rank updates" if self.train.low_rank else "learnt scales alone"
            raise UserError(f"train.optimiser: got muon with {found}, of which no whole matrix is trained; expected "
                            "adamw")
        if self.train.low_rank and self.model.ternary:
            raise UserError("train.lora_rank, train.lora_embedding_rank: got updates of a ternary model, whose "
                            "merged weights would be rounded anew; expected 0 and 0, or model.ternary=false")
        if self.train.redrawn and not self.upcycled:
            raise UserError(f"train.redrawn: got {self.train.redrawn}, expected 0 unless experts begin with the "
                            "MLP of a dense start")
        movable = (weight.low_rank for mixer in self.model.mixer for weight in mixer.weights(self.model))
        if self.train.lora_rank and not any(movable):
            names = ", ".join(mixer.kind for mixer in self.model.mixer)
            raise UserError(f"train.lora_rank: got {self.train.lora_rank} with the mixers {names}, which have no "
                            "queries to move; expected 0")

    def _check_scales(self) -> None:
        """Learnt scales alone can be trained where there are some, of a trained model."""
        if self.start is None or self.train.low_rank:
            found = "without a start" if self.start is None else "with low-rank updates"
            raise UserError(f"train.trained: got scales {found}; expected a start and no low-rank updates, or all")
        if not any(weight.role == TEMPERATURE for weight in model_weights(self.model, 1).values()):
            raise UserError("train.trained: got scales of a model that learns none; expected "
                            "model.mixer.learnt_scale=head or one, or train.trained=all")

    def check_positions(self) -> None:
        """Refuse rows that are longer than the model's table of positions, before anything is trained."""
        rows = self.task.row_tokens
        if 0 < self.model.absolute < rows:
            raise UserError(f"model.absolute: got a table of {self.model.absolute} positions, expected at least "
                            f"{rows}, the tokens of a row (task.row_tokens), or 0 for no table")

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process gets the settings, and reads them with the classes that it has."""
        return from_dict, (RunSpec, to_dict(self))

    @property
    def starts(self) -> tuple[RunSpec, ...]:
        """The runs that must be trained before this one, in the order of training."""
        return () if self.start is None else (*self.start.starts, self.start)

    @property
    def upcycled(self) -> bool:
        """Whether it is a mixture of experts that begins with a dense model."""
        return self.start is not None and self.start.model.mlp != self.model.mlp

    @property
    def retuned(self) -> bool:
        """Whether it begins with a model whose attention reads in another way."""
        return self.start is not None and self.start.model.mixer != self.model.mixer

    @property
    def steps(self) -> int:
        """Optimiser steps: those of the settings, or else ceil(exposures * items / (batch_rows * entries_per_row))."""
        if self.train.steps:
            return self.train.steps
        assert self.task.items is not None
        return math.ceil(self.train.exposures * self.task.items / self.entries_per_step)

    @property
    def member_fields(self) -> tuple[str, ...]:
        """Settings in which members of one population may differ, under their dotted names."""
        return (*(f"task.{name}" for name in self.task.member_fields), *_MEMBER_FIELDS)

    @property
    def snapshot_steps(self) -> tuple[int, ...]:
        """The steps along training after which much is measured, rising; the end of training is not among them."""
        steps = {self.steps >> k for k in range(1, self.train.snapshots + 1)}
        return tuple(sorted(steps - {0, self.steps}))

    @property
    def kept_steps(self) -> tuple[int, ...]:
        """All steps after which weights are kept, rising; the end of training is not among them."""
        return tuple(sorted({*self.snapshot_steps, *self.train.kept} - {self.steps}))

    @property
    def entries_per_step(self) -> int:
        """Entries, such as biographies, in one step."""
        return self.train.batch_rows * self.task.entries_per_row

    @property
    def tokens(self) -> int:
        """Token positions trained on, padding included."""
        return self.steps * self.train.batch_rows * self.task.row_tokens

    @property
    def slug(self) -> str:
        """A readable name: task, model, exposures or steps, learning rate, seed; ``-ft`` if it begins with a run."""
        length = f"{self.train.steps}steps" if self.train.steps else f"{self.train.exposures}x"
        rate = f"{self.train.learning_rate:g}"
        name = f"{self.task.slug}-{self.model.label}-{length}-lr{rate}-s{self.train.seed}"
        return name if self.start is None else f"{name}-ft"

    @property
    def title(self) -> str:
        """For readers: task, model, exposures or steps."""
        length = "" if self.train.steps else f"{counted(self.train.exposures, 'exposure')}, "
        start = "" if self.start is None else f", from {self.start.task.title}"
        return f"{self.task.title} {self.model.label}, {length}{counted(self.steps, 'step')}{start}"


def _check_start(start: RunSpec, spec: RunSpec) -> None:
    """The weights of ``start`` must fit the model of ``spec``, mean the same words, and know what its task needs."""
    for field in fields(ModelConfig):
        theirs, ours = getattr(start.model, field.name), getattr(spec.model, field.name)
        fits = {"mlp": can_begin, "mixer": can_retune}.get(field.name)
        if theirs != ours and not (fits is not None and fits(spec.model, start.model)):
            raise UserError(f"start.model.{field.name}: got {theirs!r} where the run itself has {ours!r}; expected the "
                            "same model, or of a mixture without a shared expert or a chain the MLPs that its experts "
                            f"are, or attention that differs in {', '.join(SETTINGS)} alone")
    if start.task == spec.task:
        return
    first, second = start.task.vocabulary().words, spec.task.vocabulary().words
    if first != second:
        place, pair = next((i, pair) for i, pair in enumerate(zip_longest(first, second)) if pair[0] != pair[1])
        words = ["missing" if word is None else repr(word) for word in pair]
        raise UserError(f"start.task: {start.task.title} has {len(first)} words, {spec.task.title} has {len(second)}; "
                        f"word {place} is {words[0]} in the one and {words[1]} in the other; expected the same words "
                        "in the same order")
    spec.task.check_start(start.task)


def shape_key(spec: RunSpec) -> str:
    """Equal for two runs if and only if they may train as members of one population.

    They differ in nothing but the member fields and the runs that they begin with, and their vocabularies are equally
    large.
    """
    plain = {name: to_dict(getattr(spec, name)) for name in ("task", "model", "train")}
    for field in spec.member_fields:
        part, name = field.split(".")
        del plain[part][name]
    return content_hash([plain, len(spec.task.vocabulary())])
