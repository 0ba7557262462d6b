"""What a part of a model is: a frozen config that lists its weights and its state, and reads.  Free of torch.

A part says everything about itself, and the rest is derived from what it says: parameters, their first values, what
decays, what stays in float32, counts, FLOPs, memory, the state of generation.  ``parts.weight`` says what a weight is;
``models.module.Weights`` holds the tensors that a part lists; the part's ``read`` computes with them.

    class Scale(Mixer):                                      # y = s * x, one learnt s a channel
        kind = "scale"
        def weights(self, model): return (Weight("gain", (model.width,), Constant(1.0), GAIN),)
        def read(self, w, x, state, where): return x * w.gain[:, None, None]

One way to read, ``read(w, x, state, where)``; ``where`` says which tokens x holds:

    Whole     all tokens of rows from their beginning; with a state, the part leaves in it what later tokens need
    Next      one token more of each row, at a place that only the device knows; the state is read and moved on
    Beside    Q tokens of each row that stand in the places of others, for trying things out: each sees what the row
              holds before its place, and itself; the state is left as it is

Shape letters: M members, B rows, T positions, Q tokens beside, L positions of a state, d width, H heads, k = d / H.
Parts import torch inside of their methods, so that settings can be read at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from physlm.config import Family
from physlm.models.parts import LOCALS, MIXERS, MLPS, NORMS, PARALLELS, RESIDUALS, ROUTES

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.weight import Weight

State = Mapping[str, Any]  # tensors by name, and those of the local mixing within under "local"


# ---- Reading


class Whole(NamedTuple):
    """All tokens of the rows; ``shared`` is what the mixer has once for all blocks, see ``Mixer.shared``, and ``ids``
    (M, B, T) which tokens they are, where a part of the model asks for that (``Part.reads_ids``).  Tokens that are not
    ``chosen``, (M, B, T), are seen by none but themselves (``Mixer.reads_chosen``); None: all are.  ``first``, here and
    below, is what the first layer carries to this one (``Mixer.carried``)."""

    shared: tuple[Tensor, ...] = ()
    ids_MBT: Tensor | None = None
    chosen_MBT: Tensor | None = None
    first: Tensor | None = None


class Next(NamedTuple):
    """One token more of each row, at ``place`` (1,), which follows all that was read.  Of the L positions of the state
    it sees those that are ``chosen``, (M, B, L), itself among them; None: all that were read."""

    place_1: Tensor
    shared: tuple[Tensor, ...] = ()
    ids_MBT: Tensor | None = None
    chosen_MBL: Tensor | None = None
    first: Tensor | None = None


class Beside(NamedTuple):
    """Q tokens of each row at ``places``, and which positions of the state, and then which of each other, they see,
    (M B, 1, Q, L + Q); ``shared`` is ``Mixer.shared_at`` their places."""

    places_BQ: Tensor
    seen: Tensor
    shared: tuple[Tensor, ...] = ()
    first: Tensor | None = None


Where = Whole | Next | Beside


@dataclass(frozen=True)
class Kept:
    """One tensor of a state: (M, B, *shape) zeros in the dtype that the part computes in, or ``float32``, at least.

    Attributes:
        axis: of ``shape``, the one that counts positions; None where the size does not depend on them.
    """

    name: str
    shape: tuple[int, ...]
    axis: int | None = None
    float32: bool = False


# ---- Parts, and their families


class Part:
    """What all parts say of themselves; see the top of this page.

    Attributes:
        losses: names of the auxiliary losses that ``read`` returns beside its result, ``y, (loss_M, ..)``, in nats.
            They are added to the loss of training and logged under their names; one without a gradient is logged alone.
        reads_beside: whether tokens can stand ``Beside`` rows.
        reads_ids: whether it must know which tokens it reads, and not their activations alone.
    """

    kind: ClassVar[str]
    losses: ClassVar[tuple[str, ...]] = ()
    reads_beside: bool = True
    reads_ids: bool = False

    def check(self, model: ModelConfig) -> None:
        """Raise UserError where the part does not fit the model."""

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        """All its weights."""
        raise TypeError(f"{type(self).__name__} does not list its weights")

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        """What it keeps of rows of up to so many positions; ``beside``: for tokens beside them."""
        return ()

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Any:
        """The formula of the part."""
        raise TypeError(f"{type(self).__name__} does not read")

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """Forward FLOPs a token beyond those of its weights."""
        return 0.0

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Numbers a token that training keeps for the backward pass beyond those of an ordinary block."""
        return 0

    @property
    def label(self) -> str:
        """A short name for readers and folders, different for different settings."""
        own: list[str] = []
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value != field.default:
                own.append(f"{field.name}{_text(value)}")
        return "_".join([self.kind, *own])


def _text(value: object) -> str:
    """A setting in a folder's name."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (tuple, list)):
        return "+".join(map(_text, value))
    if isinstance(value, Part):
        return value.label
    return str(value).lower() if isinstance(value, bool) else str(value)


class Mixer(Part, Family):
    """What lets tokens see each other: (M, B, T, d) to (M, B, T, d)."""

    table = MIXERS

    @property
    def position(self) -> str:
        """How it knows positions; a column of tables."""
        return self.kind

    def carried(self, model: ModelConfig) -> tuple[int, ...]:
        """The shape of a token in what the first layer with such a mixer carries to the later ones; () for nothing.

        Then ``read`` returns ``y, own``, (M, B, T, d) and (M, B, *shape) with T next to last; those of the first layer
        come to the others as ``where.first``.
        """
        return ()

    def first_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        """Its weights in the first of these layers."""
        return self.weights(model)

    def shared_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        """Weights that all blocks with this mixer share; they belong to the model."""
        return ()

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        """Constants for rows of up to ``size`` tokens, a power of two; built once and kept."""
        return ()

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        """What ``Whole`` and ``Next`` bring for so many positions, of ``tables`` and of ``shared_weights``."""
        return ()

    def shared_at(self, shared: tuple[Tensor, ...], places_BQ: Tensor, members: int) -> tuple[Tensor, ...]:
        """What ``Beside`` brings, of ``shared`` and the tokens' places."""
        return ()

    def local_width(self, model: ModelConfig) -> int:
        """Channels of what it projects tokens to before they see each other, where local mixing acts; 0: none."""
        return 0

    @property
    def reads_chosen(self) -> bool:
        """Whether tokens of a row can be left out: those that ``Whole`` and ``Next`` have not chosen are not seen; and
        some can be given alone as ``Whole`` rows, with ``shared_at`` their places of all rows, (M B, C)."""
        return False

    @property
    def reads_prefix(self) -> bool:
        """Whether it lists ``Parallel.prefix_weights`` among its weights and sees them before all tokens."""
        return False

    @property
    def shows_attention(self) -> bool:
        """Whether ``attention`` can be asked for."""
        return False

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        """The weight of key j for query i, (M, B, H, T, T) float32."""
        raise TypeError(f"{self.kind} has no attention weights to show")


class MLP(Part, Family):
    """What acts on each token alone: (M, B, T, d) to (M, B, T, d)."""

    table = MLPS

    @property
    def empty(self) -> bool:
        """Whether there is none, nor a norm before it."""
        return False

    @property
    def most_tokens(self) -> int:
        """Tokens of the largest vocabulary that it can read."""
        return 1 << 31

    def local_width(self, model: ModelConfig) -> int:
        """Channels of its hidden layer before the activation, where local mixing acts; 0: none."""
        return 0


class NormPart(Part, Family):
    """What keeps activations at one scale; ``read`` gets the dtype of its result in place of ``where``."""

    table = NORMS


class Local(Part, Family):
    """What mixes each token with its nearest predecessors, at some of four places of a block (arXiv 2512.17351).

    A: the input of the mixer, after its norm; B: what the mixer projects tokens to; C: the input of the MLP, after its
    norm; D: the hidden layer of the MLP, before its activation.
    """

    table = LOCALS
    sites: str = "ABCD"

    def weights_at(self, width: int) -> tuple[Weight, ...]:
        """Its weights at a place of so many channels."""
        raise TypeError(f"{type(self).__name__} does not list its weights")

    def state_at(self, width: int, positions: int, beside: bool) -> tuple[Kept, ...]:
        """What it keeps at a place of so many channels."""
        raise TypeError(f"{type(self).__name__} does not list its state")

    def read_then(self, w: Weights, x: Tensor, state: State | None, where: Where, then: str) -> Tensor:
        """``read``, and what follows it, see ``local_filter.activate``; a part may do both in one pass over memory."""
        from physlm.models.local_filter import activate

        return activate(self.read(w, x, state, where), then)


class Residual(Part, Family):
    """How a branch of a block reads the stream and adds to it: n streams of d channels side by side, (M, B, T, n d).

    Attributes:
        streams: n.
    """

    table = RESIDUALS
    streams: int = 1

    def weights_at(self, model: ModelConfig, branch: int) -> tuple[Weight, ...]:
        """Its weights at a branch; they are counted from 0 on, two in each layer."""
        raise TypeError(f"{type(self).__name__} does not list its weights")

    def coefficients(self, w: Weights, x: Tensor) -> Any:
        """What a branch does with the streams (``residual.Coefficients``); not asked for of a single one that is
        added to."""
        raise TypeError(f"{type(self).__name__} has no coefficients")

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """Of one branch: what is read, added and mixed."""
        n = self.streams
        return 2.0 * model.width * (n * n + 2 * n)

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Of one branch: the streams beyond the one that all models have, before and after it."""
        return 2 * (self.streams - 1) * model.width


class Route(Part, Family):
    """Which tokens of a row a block reads; the others pass it by on the residual path."""

    table = ROUTES

    def routes(self, layer: int) -> bool:
        """Whether this layer reads some of the tokens alone."""
        return False

    def share(self, layer: int) -> float:
        """Of the tokens of a row, those that the layer reads."""
        return 1.0

    def tokens(self, layer: int, row_tokens: int) -> int:
        """How many these are."""
        return row_tokens

    def choose(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Any:
        """Those of the stream x, (M, B, T, d) (``route.Choice``)."""
        raise TypeError(f"{type(self).__name__} chooses no tokens")


class Parallel(Part, Family):
    """How often the layers read each row at once; a model's P streams are P rows beside each other, (M, B P, T, d).

    ``weights`` belong to the model; ``read`` gets what leaves the final norm, (M, B P, T, d), gives (M, B, T, d), and
    is not asked for where there are no weights.

    Attributes:
        streams: P.
        prefix: learnt keys and values before each row, n of each layer and stream.
    """

    table = PARALLELS
    streams: int = 1
    prefix: int = 0

    def prefix_weights(self, channels: int) -> tuple[Weight, ...]:
        """Keys and values of a layer that has so many channels of each."""
        return ()
