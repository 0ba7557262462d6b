"""The tensors of a part: what a part lists, as parameters and buffers with an axis of members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from physlm.models.config import ModelConfig
from physlm.models.local_filter import activate
from physlm.models.parts.part import Local, Part, State, Where
from physlm.models.parts.weight import Weight
from physlm.models.primitives import Linear, Ternary


class Weights(nn.Module):
    """The weights of one part of one block, of all members; ``w`` in the parts' code.

    Each weight is an attribute under its name: the tensor (M, *shape), or for a matrix the linear map to call.

    Attributes:
        part: whose they are.
        model: the settings of the whole model.
        members: M.
    """

    def __init__(
        self, part: Part, model: ModelConfig, members: int, weights: Sequence[Weight], local: Weights | None = None
    ):
        super().__init__()
        self.part, self.model, self.members = part, model, members
        for weight in weights:
            if weight.role.matrix:
                linear = Ternary if weight.role.ternary else Linear
                setattr(self, weight.name, linear(members, weight.shape, weight.trained))
            elif weight.trained:
                setattr(self, weight.name, nn.Parameter(torch.empty(members, *weight.shape)))
            else:
                self.register_buffer(weight.name, torch.empty(members, *weight.shape))
        self.local = local
        self._computes_in = next((w.path for w in weights if not w.role.float32), None)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...

    @property
    def dtype(self) -> torch.dtype:
        """What the part computes in: that of its weights but for those that stay in float32."""
        if self._computes_in is None:
            return torch.float32
        found = self
        for name in self._computes_in.split("."):
            found = getattr(found, name)
        return found.dtype

    def forward(self, x: Tensor, where: Where | torch.dtype, state: State | None = None) -> Any:
        """``part.read``."""
        return self.part.read(self, x, state, where)  # type: ignore[arg-type]

    def mix_local(self, x: Tensor, state: State | None, where: Where, then: str = "") -> Tensor:
        """The local mixing within the part, (.., channels), and what follows it; x itself where there is neither."""
        if self.local is None:
            return activate(x, then)
        part = self.local.part
        assert isinstance(part, Local)
        return part.read_then(self.local, x, None if state is None else state["local"], where, then)


def per_member(weight_Mx: Tensor) -> Tensor:
    """A weight for each channel, to be multiplied with (M, B, T, x): (M, 1, 1, x), and (x,) with one member.

    With one member a weight of shape (1, 1, 1, x) breaks the compiled backward of torch 2.11.
    """
    return weight_Mx[0] if len(weight_Mx) == 1 else weight_Mx[:, None, None]


def per_row(each_MH: Tensor, rows: int) -> Tensor:
    """A number of each member and head for each of the rows of all members, (rows, H); with one member (H,), see
    ``per_member``."""
    if len(each_MH) == 1:
        return each_MH[0]
    return each_MH[:, None].expand(-1, rows // len(each_MH), -1).flatten(0, 1)
