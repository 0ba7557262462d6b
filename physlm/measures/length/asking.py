"""Questions of several lengths, and models that are asked them as they were trained, or changed since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch

from physlm.measures.answers import HELD_OUT, Sheet, grade
from physlm.measures.intervals import count_mean
from physlm.measures.length.accuracy import Length
from physlm.measures.length.settings import OverLength
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.models.retuning import retuned
from physlm.places import Place
from physlm.tasks.config import TaskConfig
from physlm.tasks.task import AskedTask

QUESTIONS = {"cuda": 1000, "cpu": 100}  # of each kind
CONTROLS = {"cuda": 200, "cpu": 50}  # the first of them, for a model that has learned no answers


class Asked:
    """The questions of one task, which can be longer than in training, by their length."""

    def __init__(self, config: TaskConfig, device: torch.device | str = "cpu"):
        self.config = config
        # a config with longer questions builds a task that is asked
        self.task = cast(AskedTask, config.build()).to(device)

    def sheet(self, times: int, count: int) -> Sheet:
        """At most ``count`` held-out questions of each kind, ``times`` as long as those of training.

        Raises:
            UserError: there are none so long.
        """
        condition = {**self.config.conditions()[HELD_OUT], **self.config.longer(times)}
        return Sheet(self.task, self.task.prompts(count, **condition))


def models_of(measure: OverLength, run: Trained) -> Iterator[tuple[str, Decoder]]:
    """The trained model and its variants, by name, each ready to be read."""
    for variant in measure.variants:
        if variant.fits(run.spec.model):
            model = retuned(run.model, variant.among, **variant.settings) if variant.settings else run.model
            yield variant.name, run.ready(model)


def rows(measure: Length, run: Trained) -> list[Row]:
    """Everything that ``length`` promises, of one run.

    Each length is asked by itself, since a model's memory is as long as the longest prompt that it is given;
    ``generate`` cuts questions into as many batches as memory needs.
    """
    asked, kind = Asked(run.spec.task, run.device), run.device.type
    found: list[Row] = []
    variants, untrained = dict(models_of(measure, run)), run.ready(run.untrained)
    for times in measure.times:
        count = measure.questions or QUESTIONS[kind]
        sheet, few = asked.sheet(times, count), asked.sheet(times, min(count, CONTROLS[kind]))
        where: dict[str, Place] = {"times": times}
        for name, model in variants.items():
            (grades,) = grade(model, [sheet], run.progress)
            found += sheet.rows("answered", "test", grades.answer_B, **where, variant=name)
        (grades,) = grade(untrained, [few], run.progress)
        found += few.rows("answered_untrained", "test", grades.answer_B, **where)
        found += sheet.rows("answered_constant", "test", sheet.commonest(), **where)
        if run.spec.task.guesses_from_text:
            found += sheet.rows("answered_guess", "test", sheet.guessed(), **where)
        context_B = sheet.prompts.lengths_B + sheet.prompts.answer_lengths_B - 1  # without the token that ends it
        found.append(count_mean(context_B.cpu().numpy()).row("tokens", len(context_B), unit="tokens", where=where))
    return found
