"""Linear attention finds the missing letter: a mixer, a task and a measure that only this file knows."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import elu, pad

from physlm import rng
from physlm.figures.plots import bars
from physlm.lab.experiment import Experiment
from physlm.laws.forms import Shares, laws
from physlm.laws.verdict import own_test
from physlm.measures.measure import Measure
from physlm.measures.rows import Row
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.part import Kept, Mixer, Next
from physlm.models.parts.weight import MATRIX, Normal, Weight
from physlm.tasks.config import TaskConfig
from physlm.tasks.prompts import cut, grade_without_hints
from physlm.tasks.rows import Rows
from physlm.tasks.vocabulary import Vocabulary
from physlm.training.config import RunSpec, TrainConfig


@dataclass(frozen=True)
class Linear(Mixer):
    """o_t = phi(q_t)^T S_t / phi(q_t)^T z_t, S_t = sum_s phi(k_s) v_s^T, z_t = sum_s phi(k_s), phi = elu + 1."""

    kind: ClassVar[str] = "elu_linear"
    reads_beside = False

    def weights(self, model):
        return (Weight("qkv", (model.width, 3 * model.width), Normal(), MATRIX, low_rank=(0, 2), blocks=3),
                Weight("out", (model.width, model.width), Normal(small=True), MATRIX))

    def state(self, model, positions, beside):
        shape = (model.heads, model.head_width)
        return Kept("S", (*shape, model.head_width), float32=True), Kept("z", shape, float32=True)

    def read(self, w, x, state, where):
        q, k, v = w.qkv(x).float().unflatten(-1, (3, w.model.heads, -1)).unbind(3)
        q, k = elu(q) + 1, elu(k) + 1  # (M, B, T, H, k)
        if state is not None:
            for name, new in (("S", torch.einsum("mbshk,mbshv->mbhkv", k, v)), ("z", k.sum(2))):
                state[name].copy_(state[name] + new if isinstance(where, Next) else new)
        if isinstance(where, Next):
            mixed, total = torch.einsum("mbthk,mbhkv->mbthv", q, state["S"]), (q * state["z"][:, :, None]).sum(-1)
        else:
            scores = torch.einsum("mbthk,mbshk->mbhts", q, k)
            scores = scores.tril() if w.model.causal else scores
            mixed, total = torch.einsum("mbhts,mbshv->mbthv", scores, v), scores.sum(-1).transpose(2, 3)
        return w.out((mixed / total[..., None].clamp_min(1e-6)).flatten(-2))  # both 0 where phi is


@dataclass(frozen=True)
class MissingConfig(TaskConfig):
    """Three of four letters in random order, then the fourth: <bos> d a c ? b."""

    kind: ClassVar[str] = "missing"
    row_tokens: int = 6
    seed: int = 0

    def vocabulary(self):
        return Vocabulary(("<bos>", "?", "a", "b", "c", "d"))

    def build(self):
        return Missing(self)

    def conditions(self):
        return {("answer", "test"): {}}


class Missing:
    grade = staticmethod(grade_without_hints)

    def __init__(self, config, device="cpu"):
        self.config, self.vocabulary, self.device = config, config.vocabulary(), device

    def to(self, device):
        return Missing(self.config, device)

    def rows(self, index_R, split="train", stream=0):
        counter = index_R[:, None] * 4 + torch.arange(4, device=index_R.device)
        order = 2 + rng.uniform(rng.key("missing", self.config.seed, split, stream), counter).argsort(-1)
        ids = pad(torch.cat((order[:, :3], torch.ones_like(order[:, :1]), order[:, 3:]), 1), (1, 1))
        return Rows(ids[:, :-1], ids[:, 1:])

    def prompts(self, n, split="evaluation"):
        ids = pad(self.rows(torch.arange(n, device=self.device), split, "asked").inputs_RT, (0, 1))
        return cut(ids, 0 * ids[:, 0] + 5, 0 * ids[:, 0] + 7, ("missing",), 1)


@dataclass(frozen=True)
class AnswerNats(Measure):
    kind: ClassVar[str] = "answer_nats"
    quantities: ClassVar[tuple[str, ...]] = ("nats",)
    rows: int = 256

    def __call__(self, run):
        ids, _ = run.spec.task.build().rows(torch.arange(self.rows), "validation")
        nats = -run.ready(run.model)(ids[None]).logits[0, :, 4].log_softmax(-1).gather(-1, ids[:, 5:])
        value, half = nats.mean().item(), 1.96 * nats.std().item() / self.rows**0.5
        return [Row("nats", value, "nats", self.rows, value - half, value + half)]


def runs(tier):
    train = TrainConfig(steps=150, batch_rows=64, learning_rate=2e-2, warmup_steps=10, precision="float32")
    return [RunSpec(MissingConfig(), ModelConfig(2, 2, 16, mixer, init_std=0.1), train)
            for mixer in ((Linear(),), (Attention(rope=0.0), Linear()))]


ANSWER = Shares("answer", ("model.mixer",), {"at.half": "test", "at.kind": "missing"})
EXPERIMENT = Experiment(
    "p9_linear", "Linear attention knows which letter is missing.", "none", runs, ("answers", AnswerNats()),
    laws(ANSWER, Shares("nats", ("model.mixer",), unit="nats", share=False), items="questions"),
    bars(ANSWER, "mixer", control=ANSWER.of("majority")),
    (own_test("answer@mixer=elu_linear", "at least", 0.9, "a guess is right in a quarter"),
     own_test("nats@mixer=elu_linear", "at most", 0.3, "a guess costs 1.4 nats", unit="nats")))
