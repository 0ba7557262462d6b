"""What a measure is given: one trained run, its weights read when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from physlm.errors import UserError
from physlm.tasks.biography.config import BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import MixedConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch

    from physlm.models.decoder import Decoder


@dataclass(frozen=True)
class Trained:
    """A run and its models, each of one member, on ``device``.

    Attributes:
        load: reads the weights after a number of steps: one of ``spec.kept_steps``, or the last.
        progress: whether to show bars.
        load_start: reads the weights that the run begins with; None where they are random or no longer there.
    """

    spec: RunSpec
    device: torch.device
    load: Callable[[int], Decoder]
    progress: bool = False
    load_start: Callable[[], Decoder] | None = None

    @cached_property
    def model(self) -> Decoder:
        """The model at the end of its training."""
        return self.load(self.spec.steps)

    @cached_property
    def untrained(self) -> Decoder:
        """The same model before its first step, the control of every measure."""
        from physlm.models.decoder import Decoder

        vocabulary = len(self.spec.task.vocabulary())
        return Decoder(self.spec.model, vocabulary, (self.spec.train.seed,)).to(self.device)

    def ready(self, model: Decoder) -> Decoder:
        """The model in the precision that the run was trained in."""
        return model.in_bfloat16() if self.spec.train.precision == "bf16" else model


def biographies_of(spec: RunSpec, measure: str) -> BioSConfig | BioRConfig:
    """The biographies of bioS or bioR that a run reads, for the measure of this name.

    Raises:
        UserError: it reads none.
    """
    config = spec.task.biographies if isinstance(spec.task, MixedConfig) else spec.task
    if not isinstance(config, (BioSConfig, BioRConfig)):
        raise UserError(f"measure {measure}: got a run on {spec.task.title}, expected one on bioS, bioR or bioMixed, "
                        "which reads biographies")
    return config


def grammar_of(spec: RunSpec, measure: str) -> GrammarConfig:
    """The grammar whose strings a run reads, for the measure of this name.

    Raises:
        UserError: it reads none.
    """
    if not isinstance(spec.task, GrammarConfig):
        raise UserError(f"measure {measure}: got a run on {spec.task.title}, expected one on strings of a grammar")
    return spec.task
