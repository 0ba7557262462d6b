"""The decoder: tied embedding, blocks, final norm.  A population of M models of one shape is the ordinary case.

Shape letters: M members, B rows, T positions, d width, V vocabulary rows.

    model = Decoder(ModelConfig(layers=2, heads=1, width=64), vocabulary=100, seeds=(0, 1, 2))   # three members
    logits, taps = model(ids_MBT, taps=("block.1.out",))                                         # (3, B, T, 100)
    single = model.member(1)                                                                    # an ordinary model

Deviation from GPT-2 (named here, as the papers use its shape): linear layers and norms have no biases, which is
0.5 % of the parameters of GPT2-small, and rotary embeddings replace learnt positions (as in the papers).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.models.block import Block
from physlm.models.config import ModelConfig
from physlm.models.primitives import Embedding, Norm


class Output(NamedTuple):
    """Next-token logits (M, B, T, V) and the activations asked for by name, each (M, B, T, d)."""

    logits: Tensor
    taps: dict[str, Tensor]


class Decoder(nn.Module):
    """M members of one shape, each with its own weights.

    Args:
        config: the shape; ``config.vocab_size`` = 0 takes ``vocabulary`` rows.
        vocabulary: tokens of the task.
        seeds: one seed a member.  A member's first weights depend on its seed alone, not on its companions.

    Raises:
        UserError: fewer embedding rows than tokens.
    """

    def __init__(self, config: ModelConfig, vocabulary: int, seeds: Sequence[int] = (0,)):
        super().__init__()
        self.config, self.vocabulary, self.members = config, vocabulary, len(seeds)
        self.embedding = Embedding(self.members, config.embedding_rows(vocabulary), config.width)
        self.blocks = nn.ModuleList(Block(config, self.members) for _ in range(config.layers))
        self.final_norm = Norm(self.members, config.width, config.norm)
        self._run: Callable[..., Tensor] = _call
        self._initialise(seeds)

    @torch.no_grad()
    def _initialise(self, seeds: Sequence[int]) -> None:
        """N(0, init_std^2) as in GPT-2; the two projections into the residual stream get init_std / sqrt(2 layers)."""
        small = self.config.init_std / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                continue
            std = small if name.endswith(("attention.out.weight", "mlp.down.weight")) else self.config.init_std
            for m, seed in enumerate(seeds):
                draws = rng.normal(rng.key("weights", seed, name), parameter[m].numel())
                parameter[m] = (std * draws).view_as(parameter[m])

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Activations that ``forward`` can return."""
        blocks = (f"block.{i}.out" for i in range(self.config.layers))
        return ("embedding", *blocks, "final")

    def hidden(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The final normed activations in the weights' dtype, (M, B, T, d), and the taps."""
        for name in taps:
            if name not in self.tap_names:
                raise UserError(unknown_key("tap", name, self.tap_names))
        found = {}
        x = self._run(self.embedding, ids_MBT)
        found["embedding"] = x
        first = self.blocks[0]
        assert isinstance(first, Block)
        rotary = first.attention.rotary
        angles = rotary.angles(ids_MBT.shape[-1]) if rotary is not None else None
        for i, block in enumerate(self.blocks):
            x = self._run(block, x, angles)
            found[f"block.{i}.out"] = x
        x = self._run(self.final_norm, x, self.embedding.weight.dtype)
        found["final"] = x
        return x, {name: found[name] for name in taps}

    def forward(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> Output:
        """Logits of the next token at every position, and the taps."""
        x_MBTd, found = self.hidden(ids_MBT, taps)
        members, rows, positions, width = x_MBTd.shape
        logits = torch.bmm(x_MBTd.reshape(members, rows * positions, width), self.embedding.weight.transpose(1, 2))
        return Output(logits.view(members, rows, positions, -1), found)

    def compile_parts(self, wrap: Callable[[Callable[..., Tensor]], Callable[..., Tensor]]) -> None:
        """Compile part by part: one compiled block serves every layer, and every model of this width.

        The number of rows is left open, so that another batch size compiles nothing anew.
        """
        compiled = wrap(_call)

        def run(part: nn.Module, x: Tensor, *others: object) -> Tensor:
            torch._dynamo.maybe_mark_dynamic(x, 1)
            return compiled(part, x, *others)

        self._run = run

    def member(self, index: int) -> Decoder:
        """Member ``index`` cut out as a model of one member, its weights copied."""
        single = Decoder(self.config, self.vocabulary, (0,))
        state = {name: value[index : index + 1].detach().float().cpu() for name, value in self.state_dict().items()}
        single.load_state_dict(state)
        return single


def _call(part: nn.Module, *inputs: object) -> Tensor:
    result: Tensor = part(*inputs)
    return result
