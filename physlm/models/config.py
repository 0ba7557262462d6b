"""Settings of the decoder; free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from physlm.config import check_choices
from physlm.errors import UserError, counted
from physlm.models.parts.attention import Attention
from physlm.models.parts.mlp import Plain
from physlm.models.parts.norms import LayerNorm
from physlm.models.parts.parallel import OneStream
from physlm.models.parts.part import MLP, Local, Mixer, NormPart, Parallel, Part, Residual, Route
from physlm.models.parts.residual import Add
from physlm.models.parts.route import AllTokens

P = TypeVar("P", bound=Part)
_NORM = LayerNorm()
_RESIDUAL = Add()
_ROUTE = AllTokens()
_PARALLEL = OneStream()

# far beyond every model that fits into a machine: what is larger is a slip, and would take minutes to be counted
_MOST = {"layers": 1 << 12, "heads": 1 << 12, "width": 1 << 17, "absolute": 1 << 20, "vocab_size": 1 << 26}
_MOST_OF_PART = 1 << 20  # of each whole number of a part
_MOST_LOOPS = 1 << 12


@dataclass(frozen=True)
class ModelConfig:
    """A GPT of ``layers`` blocks, ``width`` = d, ``heads`` heads of d / heads dimensions.

    ``GPT2-l-h`` of arXiv 2404.05405 is ``ModelConfig(layers=l, heads=h, width=64 * h)``.  Mixers, MLPs and local mixing
    are patterns that are tiled over the layers: ``mixer=(Attention(),) * 3 + (Attention(rope=0),)`` leaves rotation out
    of every fourth.

    Attributes:
        mixer: what lets tokens see each other, ``physlm.models.parts.MIXERS`` and any other ``Mixer``.
        mlp: what acts on each token, ``MLPS``.
        norm: before each of these, and at the end, ``NORMS``.
        local: what mixes neighbouring tokens, ``LOCALS``; nothing if empty.
        absolute: rows of a table of learnt vectors, one for each position, added to the embeddings (GPT of arXiv
            2305.13673); 0: none.
        vocab_size: rows of the embedding; 0 takes the task's vocabulary exactly, so that every row is used.
        causal: false makes a bidirectional encoder; its embedding has one row more, the mask token.
        ternary: matrices that tokens are multiplied with are read as weights of three values, see
            ``primitives.Ternary`` (BitNet b1.58, arXiv 2402.17764); the embedding and the norms are not.
        tied: whether the logits are products with the rows of the embedding (GPT-2); false gives the output a table of
            its own (LLaMA).
        loops: the layers are passed so many times, with the same weights (Ouro, arXiv 2510.25741): parameters are
            counted once, FLOPs and the state of generation at each pass.
        prelude, coda: of the layers, so many at the beginning and at the end are passed once (Huginn, arXiv
            2502.05171).
        residual: how branches read the stream and add to it, ``RESIDUALS``: ``add``, or hyper-connections.
        route: which tokens a block reads, ``ROUTES``: ``all``, or those that a mixture of depths chooses.
        parallel: in how many streams the layers read each row, ``PARALLELS``: ``one``, or ``parscale``.
    """

    layers: int = 2
    heads: int = 1
    width: int = 64
    mixer: tuple[Mixer, ...] = (Attention(),)
    mlp: tuple[MLP, ...] = (Plain(),)
    norm: NormPart = _NORM
    local: tuple[Local, ...] = ()
    absolute: int = 0
    vocab_size: int = 0
    init_std: float = 0.02
    causal: bool = True
    ternary: bool = False
    tied: bool = True
    loops: int = 1
    prelude: int = 0
    coda: int = 0
    residual: Residual = _RESIDUAL
    route: Route = _ROUTE
    parallel: Parallel = _PARALLEL

    def __post_init__(self) -> None:
        for name in ("layers", "heads", "width"):
            if getattr(self, name) < 1:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at least 1")
        for name, most in _MOST.items():
            if getattr(self, name) > most:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at most {most}")
        if self.width % self.heads:
            raise UserError(f"model.width: got {self.width} for {counted(self.heads, 'head')}, expected a multiple of "
                            "the heads")
        for name in ("absolute", "vocab_size", "prelude", "coda"):
            if getattr(self, name) < 0:
                raise UserError(f"model.{name}: got {getattr(self, name)}, expected at least 0")
        if not 1 <= self.loops <= _MOST_LOOPS:
            raise UserError(f"model.loops: got {self.loops}, expected 1 to {_MOST_LOOPS} passes")
        if self.loops == 1 and (self.prelude or self.coda):
            raise UserError(f"model.prelude, model.coda: got {self.prelude} and {self.coda} with one pass, "
                            "expected 0 and 0, or model.loops above 1")
        if self.prelude + self.coda >= self.layers:
            raise UserError(f"model.prelude, model.coda: got {self.prelude} and {self.coda} of "
                            f"{counted(self.layers, 'layer')}, expected fewer together, as the layers between them "
                            "are those that are looped")
        if not 0 < self.init_std < math.inf:
            raise UserError(f"model.init_std: got {self.init_std}, expected a number above 0")
        for name, least in (("mixer", 1), ("mlp", 1), ("local", 0)):
            count = len(getattr(self, name))
            if not least <= count <= self.layers:
                raise UserError(f"model.{name}: got a pattern of {counted(count, 'part')} for "
                                f"{counted(self.layers, 'layer')}, expected at least {least} and at most as many")
        check_choices(self, "model")
        for part in self.parts:
            self._check_part(part)
        self._check_shared()
        if self.ternary:
            for part in dict.fromkeys((*self.mixer, *self.mlp)):
                if any(weight.role.matrix and len(weight.shape) > 2 for weight in part.weights(self)):
                    raise UserError(f"model.ternary: got true with the part {part.kind!r}, expected false: matrices of "
                                    "experts are not read as ternary")

    def _check_part(self, part: Part) -> None:
        for name, value in vars(part).items():
            if isinstance(value, int) and value > _MOST_OF_PART:
                raise UserError(f"model: {part.kind}.{name}: got {value}, expected at most {_MOST_OF_PART}")
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f"model: {part.kind}.{name}: got {value}, expected a finite number")
            if isinstance(value, Part):
                self._check_part(value)
        part.check(self)

    def _check_shared(self) -> None:
        """Weights that layers share must be the same to all of them."""
        if len(shapes := {shape: mixer for mixer in self.mixer if (shape := mixer.carried(self))}) > 1:
            raise UserError(f"model.mixer: got {' and '.join(one.label for one in shapes.values())}, expected values "
                            "of one shape in all layers that mix those of the first one in")
        found: dict[str, tuple[Mixer, Any]] = {}
        for mixer in self.mixer:
            for weight in mixer.shared_weights(self):
                first, other = found.setdefault(weight.name, (mixer, weight))
                if other != weight:
                    raise UserError(f"model.mixer: got {first.label} and {mixer.label}, which share {weight.name} "
                                    "between layers but list it differently; expected the same settings of it in both")

    @property
    def parts(self) -> tuple[Part, ...]:
        """Each of its parts once, of whatever family."""
        return tuple(dict.fromkeys((*self.mixer, *self.mlp, *self.local, self.norm, self.residual, self.route,
                                    self.parallel)))

    @property
    def mixers(self) -> tuple[Mixer, ...]:
        """One a layer."""
        return _tiled(self.mixer, self.layers)

    @property
    def first_carrying(self) -> int | None:
        """The layer that carries something of itself to later ones (``Mixer.carried``)."""
        return next((layer for layer, mixer in enumerate(self.mixers) if mixer.carried(self)), None)

    @property
    def mlps(self) -> tuple[MLP, ...]:
        """One a layer."""
        return _tiled(self.mlp, self.layers)

    @property
    def locals(self) -> tuple[Local | None, ...]:
        """One a layer, or None."""
        return _tiled(self.local, self.layers) if self.local else (None,) * self.layers

    @property
    def order(self) -> tuple[int, ...]:
        """The layers in the order of reading, each as often as it is passed: 0 1 2 1 2 3 of four layers with a
        ``prelude`` and a ``coda`` of one and two ``loops``."""
        end = self.layers - self.coda
        return (*range(self.prelude), *tuple(range(self.prelude, end)) * self.loops, *range(end, self.layers))

    @property
    def depth(self) -> int:
        """Blocks that a token goes through: the layers, those that are looped at each pass."""
        return len(self.order)

    @property
    def reads_ids(self) -> bool:
        """Whether some part must know which tokens it reads."""
        return any(part.reads_ids for part in self.parts)

    @property
    def reads_among(self) -> bool:
        """Whether it can read tokens at any places that see any of each other (``Decoder.hidden_among``): a causal
        model without local mixing, all of whose parts can read beside rows."""
        return self.causal and not self.local and all(part.reads_beside for part in self.parts)

    @property
    def head_width(self) -> int:
        """Dimensions of one head, d / heads."""
        return self.width // self.heads

    def distances(self, reach: int) -> int:
        """Rows of a table of distances i - j, of query position i and key position j: 0 .. reach - 1, and
        -reach .. reach - 1 where the future is seen."""
        return reach if self.causal else 2 * reach

    def mean_reach(self, row_tokens: int) -> float:
        """Positions that a token sees on average in a row of T: T / 2, or T where the future is seen."""
        return row_tokens / 2 if self.causal else row_tokens

    def used_rows(self, vocabulary: int) -> int:
        """Embedding rows that occur in the task: its tokens, and an encoder's mask token with id ``vocabulary``."""
        return vocabulary if self.causal else vocabulary + 1

    def embedding_rows(self, vocabulary: int) -> int:
        """Rows of the embedding for a task of ``vocabulary`` tokens.

        Raises:
            UserError: fewer rows than tokens, or more than an MLP can read.
        """
        used = self.used_rows(vocabulary)
        rows = self.vocab_size or used
        if rows < used:
            mask = "" if self.causal else " and the mask token"
            raise UserError(f"model.vocab_size: got {rows}, expected at least {used}, the task's vocabulary{mask}")
        for mlp in self.mlps:
            if rows > mlp.most_tokens:
                raise UserError(f"model.mlp: got {mlp.kind} with a vocabulary of {rows}, expected at most "
                                f"{mlp.most_tokens}")
        return rows

    @property
    def label(self) -> str:
        """``l-h`` for the paper's 64-wide heads, else ``l-hxw`` with w the head's width; then whatever is not at its
        default, as ``6-4-uniform`` or ``6-8x32-gated-rmsnorm-canon``.  Different models have different labels."""
        parts = [f"{self.layers}-{self.heads}" + ("" if self.head_width == 64 else f"x{self.head_width}")]
        parts += [f"absolute{self.absolute}"] * bool(self.absolute)
        for pattern, default in ((self.mixer, (Attention(),)), (self.mlp, (Plain(),)), (self.local, ()),
                                 ((self.norm,), (LayerNorm(),)), ((self.residual,), (Add(),)),
                                 ((self.route,), (AllTokens(),)), ((self.parallel,), (OneStream(),))):
            parts += ["+".join(part.label for part in pattern)] * (pattern != default)
        parts += [f"vocab{self.vocab_size}"] * bool(self.vocab_size)
        parts += [f"init{self.init_std:g}"] * (self.init_std != type(self).init_std)
        parts += ["encoder"] * (not self.causal) + ["ternary"] * self.ternary
        parts += ["untied"] * (not self.tied)
        parts += [f"{name}{getattr(self, name)}" for name in ("loops", "prelude", "coda")
                  if getattr(self, name) != getattr(type(self), name)]
        return "-".join(parts)

    def facts(self) -> dict[str, Any]:
        """The columns of tables: every setting, patterns as texts, and ``position``, how tokens know where they are."""
        positions = tuple(dict.fromkeys(mixer.position for mixer in self.mixers))
        if len(positions) > 1:
            positions = tuple(mixer.position for mixer in self.mixer)
        position = ",".join(positions)
        if self.absolute:
            position = "absolute" if position == "none" else f"absolute+{position}"
        return {"layers": self.layers, "heads": self.heads, "width": self.width, "mixer": _labels(self.mixer),
                "mlp": _labels(self.mlp), "norm": self.norm.label, "local": _labels(self.local) or "none",
                "absolute": self.absolute, "vocab_size": self.vocab_size, "init_std": self.init_std,
                "causal": self.causal, "ternary": self.ternary, "tied": self.tied, "position": position,
                "loops": self.loops, "prelude": self.prelude, "coda": self.coda,
                "residual": self.residual.label, "route": self.route.label,
                "parallel": self.parallel.label}


def _tiled(pattern: Sequence[P], layers: int) -> tuple[P, ...]:
    return tuple(pattern[layer % len(pattern)] for layer in range(layers))


def _labels(pattern: Sequence[Part]) -> str:
    return ",".join(part.label for part in pattern)
