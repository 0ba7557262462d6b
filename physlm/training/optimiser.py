"""AdamW over one flat float32 buffer, with a learning rate and a weight decay for each member.

All parameters of all members live in one flat vector of master weights; the model computes with views of it (float32)
or of its bfloat16 copy, so that the whole update is a single elementwise kernel, whatever the number of tensors:

    m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
    w = w - lr (decay w + m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps))

Weight decay acts on what decays by its role: matrices and embeddings, not the gains of norms.
Source: arXiv 1711.05101.

Parameters that require no gradient are frozen: they are rounded as the others are, and are in no state.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from physlm.models.decoder import Decoder
from physlm.models.lora import LowRank
from physlm.models.low_rank_kinds import maker
from physlm.models.parts.weight import TABLE
from physlm.training.config import TrainConfig
from physlm.training.schedule import adam_coefficients, ramp_steps

Wrap = Callable[[Callable[..., Any]], Callable[..., Any]]

_ALIGN = 16  # elements; every tensor starts at a multiple of 32 bytes, also in bfloat16


class AdamW:
    """The optimiser of one population.  Takes over the storage of ``model``'s parameters.

    Args:
        model: its parameters have a leading axis of members.  A ``Decoder`` says of each which role it has; weights of
            other modules all decay.
        configs: one a member; they agree on everything but the learning rate and the weight decay.
        steps: length of the schedule.
        wrap: applied to the elementwise update, for example ``torch.compile``.
        half: let the model compute with a bfloat16 copy; by default where the precision is ``bf16``.
        float32_gradient: keep the gradient in float32 in any case, as sums over processes need it.
    """

    def __init__(
        self,
        model: nn.Module,
        configs: Sequence[TrainConfig],
        steps: int,
        wrap: Wrap = lambda update: update,
        half: bool | None = None,
        float32_gradient: bool = False,
    ):
        self.config = configs[0]
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        device = self.parameters[0].device
        sizes = [math.ceil(p.numel() / _ALIGN) * _ALIGN for p in self.parameters]
        self.master = torch.zeros(sum(sizes), device=device)
        self.first, self.second = torch.zeros_like(self.master), torch.zeros_like(self.master)
        half = self.config.precision == "bf16" if half is None else half
        self.working = torch.zeros_like(self.master, dtype=torch.bfloat16) if half else None
        # in the dtype that the gradients come in: then all are copied by one kernel
        computed = self.master if self.working is None else self.working
        self.gradient = torch.zeros_like(self.master if float32_gradient else computed)
        # group 2 m + 1: decayed weights of member m; group 2 m: its others
        group = torch.zeros(sum(sizes), dtype=torch.uint8)
        self.gradient_views: list[Tensor] = []
        self.master_views: dict[str, Tensor] = {}
        offset = 0
        aligned = iter(sizes)
        for name, p in model.named_parameters():
            role = model.weights[name].role if isinstance(model, Decoder) else TABLE
            if not p.requires_grad:
                self.master_views[name] = p.detach().float()
                p.data = p.detach().bfloat16() if half and not role.float32 else p.data
                continue
            size = next(aligned)
            here = slice(offset, offset + p.numel())
            self.master[here] = p.detach().flatten().float()
            for m, part in enumerate(group[here].view(len(configs), -1)):
                part.fill_(2 * m + (1 if role.decays else 0))
            storage = self.master if self.working is None or role.float32 else self.working
            p.data = storage[here].view_as(p)
            self.master_views[name] = self.master[here].view_as(p)
            self.gradient_views.append(self.gradient[here].view_as(p))
            offset += size
        self.group = group.to(device)
        self.coefficients = adam_coefficients(self.config, steps).to(device)
        rates = [(c.learning_rate, c.weight_decay) for c in configs]
        self.rate_G = torch.tensor([lr for lr, _ in rates for _ in range(2)], device=device)
        self.decay_G = torch.tensor([d for _, decay in rates for d in (0.0, decay)], device=device)
        self._update = wrap(_update)
        self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        """Bring the working copy up to date with the master weights, after loading a state."""
        if self.working is not None:
            self.working.copy_(self.master)

    @torch.no_grad()
    def take(self, gradients: Sequence[Tensor]) -> None:
        """Have ``gradient`` hold these, of ``parameters`` in their order."""
        torch._foreach_copy_(self.gradient_views, list(gradients))

    @torch.no_grad()
    def update(self, step: Tensor) -> None:
        """One update by ``gradient``; ``step``, the number of updates done so far, is a 0-dimensional int64 tensor on
        the device."""
        for buffer in (self.master, self.gradient, self.first, self.second, self.working, self.group):
            if buffer is not None:
                torch._dynamo.maybe_mark_dynamic(buffer, 0)  # compiled once for every size
        self._update(
            self.master, self.gradient, self.first, self.second, self.working, self.group, self.rate_G, self.decay_G,
            self.coefficients.index_select(0, step.view(1))[0], self.config.betas, self.config.eps,
        )  # fmt: skip

    def faster(self, views: Sequence[Tensor], ratio: float) -> None:
        """Let these views of ``master`` have learning rates of their own, ``ratio`` times those of the members; 0 holds
        them."""
        if ratio == 1:
            return
        count = len(self.rate_G)
        if 2 * count > torch.iinfo(self.group.dtype).max:
            self.group = self.group.to(torch.int16)
        self.rate_G = torch.cat((self.rate_G, ratio * self.rate_G))
        self.decay_G = torch.cat((self.decay_G, self.decay_G))
        for view in views:
            self.group.as_strided(view.size(), view.stride(), view.storage_offset()).add_(count)

    def gradient_norms(self) -> Tensor:
        """The Euclidean norm of each member's gradient, the last one taken, (M,) float32.

        Summed in float64: the order of a sum depends on how many members there are, and a member's record does not.
        """
        squares = [view_M.double().flatten(1).square().sum(1) for view_M in self.gradient_views]
        return torch.stack(squares).sum(0).sqrt().float()

    def tensors(self) -> dict[str, Tensor]:
        """The state of the optimiser, which is the state of the weights too."""
        return {"master": self.master, "first": self.first, "second": self.second}

    @torch.no_grad()
    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        for name, tensor in self.tensors().items():
            tensor.copy_(tensors[name])
        self.refresh()


class LowRankAdamW:
    """AdamW on low-rank updates of a model's weights, with the interface of ``AdamW``; only they have a state.

    ``parameters`` are the weights of the model that the factors move: their gradients are asked for.
    """

    def __init__(self, model: Decoder, configs: Sequence[TrainConfig], steps: int, wrap: Wrap = lambda update: update):
        config = configs[0]
        self.factors = LowRank(
            model, config.lora_rank, config.lora_embedding_rank, config.lora_alpha, [c.seed for c in configs],
            half=config.precision == "bf16", make=maker(config.lora_kind, config.lora_initial),
        )  # fmt: skip
        self.parameters = list(self.factors.weights)
        self._adamw = AdamW(self.factors, configs, steps, wrap, half=False)
        self._rising = ramp_steps(config, steps) if config.lora_kind == "singlora" else 0
        if config.lora_kind == "lora":
            last = [view for name, view in self._adamw.master_views.items() if name.endswith(".b")]
            self._adamw.faster(last, config.lora_ratio)

    @property
    def master_views(self) -> dict[str, Tensor]:
        """All weights of the model in float32, merged."""
        return self.factors.merged()

    @property
    def gradient(self) -> Tensor:
        """Of the factors, in float32; see ``AdamW.take``."""
        return self._adamw.gradient

    def take(self, gradients: Sequence[Tensor]) -> None:
        """Have ``gradient`` hold what follows for the factors from the gradients of ``parameters``."""
        self._adamw.take(self.factors.gradients(gradients))

    def update(self, step: Tensor) -> None:
        """One update of the factors and of the model; see ``AdamW.update``."""
        self._adamw.update(step)
        if self._rising:
            self.factors.ramp.copy_(((step + 1) / self._rising).clamp(max=1.0))
        self.factors.merge()

    def gradient_norms(self) -> Tensor:
        """Of each member's factors; see ``AdamW.gradient_norms``."""
        return self._adamw.gradient_norms()

    def tensors(self) -> dict[str, Tensor]:
        """The state of the optimiser and of the factors.  The frozen weights are not in it, nor are random ones."""
        return {**self._adamw.tensors(), **({"ramp": self.factors.ramp} if self._rising else {})}

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Continue from a saved state."""
        self._adamw.load(tensors)
        if self._rising:
            self.factors.ramp.copy_(tensors["ramp"])
        self.factors.merge()


def _update(
    master: Tensor, gradient: Tensor, first: Tensor, second: Tensor, working: Tensor | None, group: Tensor,
    rate_G: Tensor, decay_G: Tensor, coefficients: Tensor, betas: tuple[float, float], eps: float,
) -> None:  # fmt: skip
    """The formula at the top of this page, in place; ``coefficients`` is this step's row of ``adam_coefficients``."""
    scale, correct_first, correct_second = coefficients.unbind()
    gradient = gradient.float()
    which = group.long()
    m = torch.lerp(first, gradient, 1 - betas[0])
    v = torch.lerp(second, gradient.square(), 1 - betas[1])
    direction = m * correct_first / (v.sqrt() * correct_second + eps)
    weight = master - scale * rate_G[which] * (decay_G[which] * master + direction)
    first.copy_(m)
    second.copy_(v)
    master.copy_(weight)
    if working is not None:
        working.copy_(weight)
