"""What both measures of length share: which questions, and what is changed of a model after its training.

Free of torch.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.errors import UserError
from physlm.measures.measure import Measure
from physlm.models.retuning import Among, changed
from physlm.tasks.config import TaskConfig

if TYPE_CHECKING:
    from physlm.models.config import ModelConfig
    from physlm.tasks.prompts import Prompts
    from physlm.training.config import RunSpec

TIMES = (1, 2, 4, 8, 16)


@dataclass(frozen=True)
class Variant:
    """The trained model whose attention reads in another way (``physlm.models.retuning``).

    Attributes:
        name: what its rows are called.
        mixers: of which models it is made, by their column ``model.mixer``, ``*`` for any text; none: of all.
        among: in which layers.
        rope_base, scale, floor, log_n: the settings that are changed; 0 and false: as in training.
    """

    name: str = "trained"
    mixers: tuple[str, ...] = ()
    among: Among = "all"
    rope_base: float = 0.0
    scale: float = 0.0
    floor: int = 0
    log_n: bool = False

    @property
    def settings(self) -> dict[str, Any]:
        """Those that are changed."""
        return {name: value for name in ("rope_base", "scale", "floor", "log_n") if (value := getattr(self, name))}

    def fits(self, model: ModelConfig) -> bool:
        """Whether it is made of this model."""
        label = model.facts()["mixer"]
        return not self.mixers or any(fnmatchcase(label, pattern) for pattern in self.mixers)


TRAINED = Variant()


@dataclass(frozen=True)
class OverLength(Measure):
    """A measure on questions of several lengths.

    Attributes:
        times: lengths, in those of training.
        variants: what is measured.
        questions: of each kind; 0: as many as the device allows.
    """

    quantities: ClassVar[tuple[str, ...]] = ()
    times: tuple[int, ...] = TIMES
    variants: tuple[Variant, ...] = (TRAINED,)
    questions: int = 0

    def __post_init__(self) -> None:
        if not self.times or min(self.times) < 1 or list(self.times) != sorted({*self.times}):
            raise UserError(f"measure {self.kind}: times: got {self.times}, expected different numbers of at least 1, "
                            "the smallest first")
        names = [variant.name for variant in self.variants]
        if not names or len({*names}) < len(names):
            raise UserError(f"measure {self.kind}: variants: got {names}, expected at least one, each with another "
                            "name")
        if self.questions < 0:
            raise UserError(f"measure {self.kind}: questions: got {self.questions}, expected at least 0")

    def check(self, spec: RunSpec) -> None:
        """Refuse a run on a task whose questions do not grow, or not so far; an encoder."""
        check_longer(spec.task, self.kind)
        if not spec.model.causal:
            raise UserError(f"measure {self.kind}: got an encoder, expected a causal model, which writes")
        for variant in self.variants:
            if variant.settings and variant.fits(spec.model):
                changed(spec.model, variant.among, **variant.settings)
        from physlm.measures.length.asking import Asked

        sheet = Asked(spec.task).sheet(self.times[-1], 1)  # refuses a length that there is not
        check_positions(spec, sheet.prompts, self.kind)


def check_positions(spec: RunSpec, prompts: Prompts, measure: str) -> None:
    """Refuse questions that are longer, with their answers, than a model's table of positions."""
    most, longest = spec.model.absolute, int((prompts.lengths_B + prompts.answer_lengths_B).max()) - 1  # without an end
    if most and longest > most:
        raise UserError(f"measure {measure}: got questions of {longest} tokens with their answers, expected at most "
                        f"{most}, model.absolute, the rows of the table of absolute positions")


def check_longer(task: TaskConfig, measure: str) -> None:
    """Refuse a task whose questions are all as long as in training."""
    if not task.longer(1):
        growing = [kind for kind in TaskConfig.kinds() if TaskConfig.of_kind(kind).longer is not TaskConfig.longer]
        raise UserError(f"measure {measure}: got a run on {task.title}, expected one on a task whose questions can be "
                        f"longer: {', '.join(growing) or 'there is none'}")
