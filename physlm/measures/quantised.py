"""How much of its knowledge a model keeps when its weights are stored in fewer bits (arXiv 2404.05405, Result 8).

    bits=32 method=none     embedding=no     the weights as they were trained: the numbers of ``capacity``
    bits=16 method=none     embedding=no     all cast to bfloat16, but for what training keeps in float32
    bits=8  method=nearest  embedding=no     matrices rounded to a grid of 2^8 levels for each output row, the rest cast
            method=gptq                      the same by GPTQ, calibrated on 1000 biographies
                            embedding=yes    the tied embedding as well

Whatever is not at its default has a place too, ``group=64``, ``grid=asymmetric``, ``order=activation``; see
``physlm.models.quantisation`` for what they are.  Of each setting

    bits, bits_signed, bits_name, ..    capacity, of the same people and texts and by the same code as of ``capacity``
    bits_per_param                      bits for each parameter
    bits_kept                           bits over those of the weights as they were trained, of the same people
    bits_per_stored_bit                 bits for each bit that the weights take to store, scales and zero points counted
    stored_bits_per_param               of these, exact

The quantised model computes in float32, as the model of ``capacity`` does; its weights are float32 numbers on a grid.
A model that was trained in bf16 computed with its weights cast to bfloat16 in every step: 16 bits are these very
weights, and their capacity is the same number.

Calibration texts are of the task's own people, and of the split "validation": they are neither those of training nor
those by which capacity is measured.  Published: AutoGPTQ with 1000 biographies, 8 and 4 bits, the embedding as it was.
Ours: 2 and 3 bits, groups, round-to-nearest, the embedding, and stored bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from physlm.errors import UserError
from physlm.measures import QUANTITIES
from physlm.measures.measure import Measure
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.quantisation import CAST, GRIDS, METHODS, ORDERS, Quantisation, check_model
from physlm.tasks.biography.config import BiographyConfig
from physlm.training.config import RunSpec

EMBEDDING = ("no", "yes")
MOST_TEXTS = 1_000_000


@dataclass(frozen=True)
class Quantised(Measure):
    """See the module.

    Attributes:
        bits: 16 is measured once, whatever the other settings; 32, once and unasked.
        methods, embedding: every one with every number of bits below 16.
        group, grid, order: of all of them, see ``Quantisation``.
        calibration: biographies that GPTQ reads.
    """

    kind: ClassVar[str] = "quantised"
    quantities: ClassVar[tuple[str, ...]] = QUANTITIES["quantised"]
    bits: tuple[int, ...] = (16, 8, 4, 3, 2)
    methods: tuple[str, ...] = METHODS
    embedding: tuple[str, ...] = EMBEDDING
    group: int = 0
    grid: Literal["symmetric", "asymmetric"] = "symmetric"
    order: Literal["given", "activation"] = "given"
    calibration: int = 1000

    def __post_init__(self) -> None:
        for name, allowed in (("methods", METHODS), ("embedding", EMBEDDING)):
            for value in getattr(self, name):
                if value not in allowed:
                    raise UserError(f"measure quantised: {name}: got {value!r}, expected {' or '.join(allowed)}")
        for name in ("bits", "methods", "embedding"):
            values = getattr(self, name)
            if not values or len(set(values)) < len(values):
                raise UserError(f"measure quantised: {name}: got {values}, expected at least one, each once")
        if not 1 <= self.calibration <= MOST_TEXTS:
            raise UserError(f"measure quantised: calibration: got {self.calibration}, expected 1 to {MOST_TEXTS} "
                            "biographies")
        self.settings()  # each refuses what makes no sense

    def settings(self) -> list[Quantisation]:
        """All settings, in the order of the rows."""
        found: list[Quantisation] = []
        for bits in self.bits:
            if bits == CAST:
                found.append(Quantisation(CAST))
                continue
            found += [Quantisation(bits, method, embedding == "yes", self.group, self.grid,  # type: ignore[arg-type]
                                   self.order) for method in self.methods for embedding in self.embedding]
        return found

    def check(self, spec: RunSpec) -> None:
        """Refuse a run without biographies, an encoder, and a model with weights that cannot be quantised."""
        if not isinstance(spec.task, BiographyConfig):
            raise UserError(f"measure quantised: got a run on {spec.task.title}, expected one on biographies, whose "
                            "bits can be counted")
        if not spec.model.causal:
            raise UserError("measure quantised: got an encoder (model.causal: false), expected a model that predicts "
                            "the next token")
        check_model(spec.model, len(spec.task.vocabulary()))

    def __call__(self, run: Trained) -> list[Row]:
        """The rows of one run."""
        from physlm.measures.quantising import rows

        return rows(self, run)


def where(setting: Quantisation | None) -> dict[str, int | str]:
    """The places of a setting's rows; None is the model as it was trained."""
    if setting is None or setting.bits == CAST:
        return {"bits": CAST if setting else 32, "method": "none", "embedding": EMBEDDING[0]}
    own: dict[str, int | str] = {"bits": setting.bits, "method": setting.method,
                                 "embedding": EMBEDDING[setting.embedding]}
    if setting.group:
        own["group"] = setting.group
    if setting.grid != GRIDS[0]:
        own["grid"] = setting.grid
    if setting.order != ORDERS[0] and setting.method == "gptq":
        own["order"] = setting.order
    return own


measure = Quantised()  # that of the table of measures
check = measure.check
