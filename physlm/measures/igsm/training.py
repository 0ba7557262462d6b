"""How variable probes are trained: the settings, and the loop.

Published: 100,000 steps of 256 queries (128 for iGSM-hard), half as many tokens as the model's own training or a
quarter; rate 2e-3 falling linearly to 0, weight decay 0.01.  On a GPU ours see 2.5 % of these queries.

Cost.  A step of one kind reads ``problems`` rows of each member, a text and ten queries of 5 or 9 tokens, forward and
backward through frozen weights: 4 FLOPs a weight and token.  For iGSM-med, 32 x (about 190 + 50) tokens of three members
(trained, untrained, shuffled) in a model of 12 x 768 are 7.8 TFLOP; 2,000 steps of six kinds, 94 PFLOP.

Shape letters as in ``physlm.measures.igsm.heads``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from physlm import rng
from physlm.errors import UserError
from physlm.measures.igsm.asking import Source
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.labels import Kind, Population, classes
from physlm.measures.probes import IGNORE
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import IgsmConfig, Retry

PRIOR_PROBLEMS = 512  # that are looked at for how frequent each label is


@dataclass(frozen=True)
class VariableConfig:
    """How probes are built and trained.

    Attributes:
        rank: r of the change of the embedding.
        problems: of a step.
        queries: about each problem, at most.
        population: the parameters that are asked about: those of the dependency ``graph``, as the paper says, or all
            ``existing`` ones, edges and totals.
        balanced: half of the queries of training have the answer true (known, of values); else they are uniform.
    """

    rank: int = 8
    steps: int = 2_000
    problems: int = 32
    queries: int = 10
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    population: Population = "graph"
    balanced: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("rank", 0), ("steps", 1), ("problems", 1), ("queries", 2)):
            if getattr(self, name) < least:
                raise UserError(f"probes: {name}: got {getattr(self, name)}, expected at least {least}")
        if self.population not in ("graph", "existing"):
            raise UserError(f"probes: population: got {self.population!r}, expected 'graph' or 'existing'")
        if not self.learning_rate > 0 or not self.weight_decay >= 0:
            raise UserError(f"probes: got learning_rate {self.learning_rate}, weight_decay {self.weight_decay}, "
                            "expected > 0 and >= 0")


SETTINGS = {"cuda": VariableConfig(), "cpu": VariableConfig(steps=60, problems=8, learning_rate=5e-3)}


def source_of(kind: Kind, config: IgsmConfig, setting: VariableConfig, device: torch.device, balanced: bool) -> Source:
    """Where the queries come from: error-free problems of the family."""
    return Source(kind, replace(config, retry=Retry()), setting.problems, setting.queries, setting.population, balanced,
                  setting.seed, device)  # fmt: skip


def train_probe(model: Decoder, config: IgsmConfig, kind: Kind, setting: VariableConfig,
                shuffled: tuple[bool, ...] = (), progress: bool = False) -> VariableProbe:
    """The probe of one kind, for every member, learnt from problems of the training split.

    Args:
        model: any number of members; it is not changed.
        config: the family whose problems it learns from.
        shuffled: members that learn from answers to other questions of the same batch, a control.
    """
    frozen = copy.deepcopy(model).requires_grad_(False)
    device = model.embedding.weight.device
    probe = VariableProbe(frozen, classes(kind, config.modulus), setting.rank, setting.seed)
    optimiser = torch.optim.AdamW(probe.parameters(), lr=setting.learning_rate, betas=(0.9, 0.98),
                                  weight_decay=setting.weight_decay)
    batches = source_of(kind, config, setting, device, setting.balanced).training()
    bar = tqdm(islice(batches, setting.steps), total=setting.steps, desc=f"training probes of {kind}", leave=False,
               disable=not progress)
    for step, batch in enumerate(bar):
        for group in optimiser.param_groups:
            group["lr"] = setting.learning_rate * (1 - step / setting.steps)
        labels_MBQ = batch.labels_BQ.expand(model.members, -1, -1)
        if any(shuffled):
            others_BQ = _shuffled(batch.labels_BQ, rng.key("shuffled labels", setting.seed, step))
            labels_MBQ = torch.stack([others_BQ if one else batch.labels_BQ for one in shuffled])
        optimiser.zero_grad()
        _loss(probe(batch.asked), labels_MBQ).backward()
        optimiser.step()
    if setting.balanced:
        frequent = [_frequencies(source_of(kind, config, setting, device, balanced), probe.log_prior)
                    for balanced in (False, True)]
        probe.log_prior.copy_(frequent[0].log() - frequent[1].log())
    return probe.requires_grad_(False)


def _loss(logits_MBQC: Tensor, labels_MBQ: Tensor) -> Tensor:
    """Mean nats an answer, summed over members, which share no parameter."""
    nll = F.cross_entropy(logits_MBQC.flatten(0, 2), labels_MBQ.flatten(), reduction="none", ignore_index=IGNORE)
    asked_M = (labels_MBQ != IGNORE).sum((1, 2)).clamp_min(1)
    return (nll.view(labels_MBQ.shape).sum((1, 2)) / asked_M).sum()


def _shuffled(labels_BQ: Tensor, key: int) -> Tensor:
    """The same answers in a random order."""
    found = labels_BQ.clone()
    asked = labels_BQ != IGNORE
    count = int(asked.sum())
    found[asked] = labels_BQ[asked][rng.uniform(key, torch.arange(count)).argsort().to(labels_BQ.device)]
    return found


def _frequencies(source: Source, like_C: Tensor) -> Tensor:
    """The share of each label, (C,); one is added to each count, so that none is 0."""
    counts = torch.ones_like(like_C)
    for batch in source.of(PRIOR_PROBLEMS, "train"):
        labels = batch.labels_BQ[batch.labels_BQ != IGNORE]
        counts += labels.bincount(minlength=len(counts))
    return counts / counts.sum()
