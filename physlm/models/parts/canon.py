"""Canon layers: a causal depth-wise convolution over the last four tokens (arXiv 2512.17351)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import Beside, Kept, Local, Next, Where, Whole
from physlm.models.parts.weight import FILTER, Uniform, Weight

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.models.module import Weights
    from physlm.models.parts.part import State

TAPS = 4


@dataclass(frozen=True)
class Canon(Local):
    """y_t = x_t + sum_{s=0..3} w_s * x_{t-s}, a filter for each channel, with zeros before the first token.

    The first weights are uniform in (-1/2, 1/2), torch's default for a convolution of four taps.

    Attributes:
        sites: any of the places A, B, C and D, see ``Local``.
        residual: false leaves x_t out.
        act: SiLU around the sum.
        trained: false holds the filters fixed at their random first values, Canon(cst).
    """

    kind: ClassVar[str] = "canon"
    sites: str = "ABCD"
    residual: bool = True
    act: bool = False
    trained: bool = True

    def __post_init__(self) -> None:
        if not self.sites or self.sites != "".join(site for site in "ABCD" if site in self.sites):
            raise UserError(f"model.local.sites: got {self.sites!r}, expected some of ABCD, in this order")

    @property
    def label(self) -> str:
        return super().label.replace("canon_sites", "canon")

    def weights_at(self, width: int) -> tuple[Weight, ...]:
        bound = TAPS**-0.5
        return (Weight("filter", (TAPS, width), Uniform(-bound, bound), FILTER, trained=self.trained),)

    def state_at(self, width: int, positions: int, beside: bool) -> tuple[Kept, ...]:
        """The last three inputs; for tokens beside the rows, all inputs."""
        return (Kept("row", (positions, width), axis=0) if beside else Kept("last", (TAPS - 1, width)),)

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Tensor:
        return self.read_then(w, x, state, where, "")

    def read_then(self, w: Weights, x: Tensor, state: State | None, where: Where, then: str) -> Tensor:
        import torch.nn.functional as F

        from physlm.models.local_filter import activate

        if not self.act:
            return self._filtered(w, x, state, where, self.residual, then)
        total = F.silu(self._filtered(w, x, state, where, False, "").float())
        return activate(x.float() + total if self.residual else total, then).to(x.dtype)

    def _filtered(
        self, w: Weights, x: Tensor, state: State | None, where: Where, residual: bool, then: str
    ) -> Tensor:
        """then(residual + filter), see ``models.local_filter``; the state moves on."""
        import torch

        from physlm.models.local_filter import activate, local_filter, local_filter_step

        if isinstance(where, Whole):
            y = local_filter(x, w.filter, residual, then)
            if state is not None:
                begin(state, x)
            return y
        assert state is not None
        if isinstance(where, Next) and "last" in state:
            return local_filter_step(x, state["last"], w.filter, residual, then)
        taken = (x, *self._past(x, state, where))
        total = torch.stack([tap * tokens.float() for tap, tokens in zip(_taps(w.filter), taken, strict=True)]).sum(0)
        if isinstance(where, Next):
            state["row"].index_copy_(2, where.place_1, x)
        return activate(x.float() + total if residual else total, then).to(x.dtype)

    def _past(self, x_MBTm: Tensor, state: State, where: Where) -> list[Tensor]:
        """The inputs one, two and three tokens before each of x, out of a state of whole rows."""
        import torch

        found = []
        for s in range(1, TAPS):
            if isinstance(where, Next):
                before = state["row"].index_select(2, (where.place_1 - s).clamp_min(0))
                inside = where.place_1 >= s
            else:
                assert isinstance(where, Beside)
                at_BQ = (where.places_BQ - s).clamp_min(0)
                index = at_BQ[None, :, :, None].expand(len(x_MBTm), -1, -1, x_MBTm.shape[-1])
                before, inside = state["row"].gather(2, index), (where.places_BQ >= s)[..., None]
            found.append(torch.where(inside, before, 0.0))
        return found


def _taps(filter_M4m: Tensor) -> list[Tensor]:
    """The filter of each distance, to be multiplied with (M, B, T, m)."""
    from physlm.models.module import per_member

    return [per_member(filter_M4m[:, s]) for s in range(TAPS)]


def begin(state: State, x_MBTm: Tensor) -> None:
    """Leave in the state of rows from their beginning what later tokens need."""
    import torch

    if "row" in state:
        state["row"][:, :, : x_MBTm.shape[2]] = x_MBTm
    else:
        before = torch.zeros_like(state["last"])
        state["last"].copy_(torch.cat((before, x_MBTm), 2)[:, :, -(TAPS - 1) :])


@dataclass(frozen=True)
class NoLocal(Local):
    """No local mixing in some layers of a pattern: ``local=(Canon(), NoLocal())`` has it in every other layer."""

    kind: ClassVar[str] = "nolocal"
    sites: ClassVar[str] = ""  # type: ignore[misc]
