"""Which optimiser the settings of training ask for."""

from __future__ import annotations

from collections.abc import Sequence

from physlm.models.decoder import Decoder
from physlm.models.parts.weight import TEMPERATURE
from physlm.training.config import TrainConfig
from physlm.training.muon import Muon
from physlm.training.optimiser import AdamW, LowRankAdamW, Wrap


def optimiser_for(
    model: Decoder, configs: Sequence[TrainConfig], steps: int, wrap: Wrap, float32_gradient: bool = False
) -> AdamW | LowRankAdamW | Muon:
    """``LowRankAdamW`` where the settings ask for low-rank updates, else ``Muon`` or ``AdamW``, of learnt scales alone
    if they say so."""
    if configs[0].trained == "scales":
        for name, p in model.named_parameters():
            p.requires_grad_(model.weights[name].role == TEMPERATURE)
    if configs[0].low_rank:
        return LowRankAdamW(model, configs, steps, wrap)
    if configs[0].optimiser == "muon":
        return Muon(model, configs, steps, wrap, float32_gradient)
    return AdamW(model, configs, steps, wrap, float32_gradient=float32_gradient)
