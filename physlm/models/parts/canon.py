"""Canon layers: a causal depth-wise convolution over the last four tokens (arXiv 2512.17351)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from physlm.errors import UserError
from physlm.models.parts.part import FILTER, Beside, Kept, Local, Next, Uniform, Weight, Where

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
        import torch.nn.functional as F

        from physlm.models.module import per_member

        taps = [per_member(w.filter[:, s]) for s in range(TAPS)]
        total = taps[0] * x.float()
        for tap, before in zip(taps[1:], self._past(x, state, where), strict=True):
            total = total + tap * before.float()
        total = F.silu(total) if self.act else total
        if state is not None and not isinstance(where, Beside):
            _move_on(state, x, where)
        return (x.float() + total if self.residual else total).to(x.dtype)

    def _past(self, x_MBTm: Tensor, state: State | None, where: Where) -> list[Tensor]:
        """The inputs one, two and three tokens before each of x."""
        import torch
        import torch.nn.functional as F

        if isinstance(where, (Next, Beside)):
            assert state is not None
            if "last" in state:
                return [state["last"][:, :, -s : (1 - s) or None] for s in range(1, TAPS)]
            found = []
            for s in range(1, TAPS):
                if isinstance(where, Next):
                    before = state["row"].index_select(2, (where.place_1 - s).clamp_min(0))
                    inside = where.place_1 >= s
                else:
                    at_BQ = (where.places_BQ - s).clamp_min(0)
                    index = at_BQ[None, :, :, None].expand(len(x_MBTm), -1, -1, x_MBTm.shape[-1])
                    before, inside = state["row"].gather(2, index), (where.places_BQ >= s)[..., None]
                found.append(torch.where(inside, before, 0.0))
            return found
        return [F.pad(x_MBTm, (0, 0, s, 0))[:, :, : x_MBTm.shape[2]] for s in range(1, TAPS)]


def _move_on(state: State, x_MBTm: Tensor, where: Where) -> None:
    """Leave in the state what the next token needs."""
    import torch

    if "row" in state:
        if isinstance(where, Next):
            state["row"].index_copy_(2, where.place_1, x_MBTm)
        else:
            state["row"][:, :, : x_MBTm.shape[2]] = x_MBTm
        return
    before = state["last"] if isinstance(where, Next) else torch.zeros_like(state["last"])
    state["last"].copy_(torch.cat((before, x_MBTm), 2)[:, :, -(TAPS - 1) :])
