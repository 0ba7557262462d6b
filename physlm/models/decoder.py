"""The decoder: tied embedding, blocks, final norm.  A population of M models of one shape is the ordinary case.

Shape letters: M members, B rows, T positions, Q tokens beside them, d width, V vocabulary rows.

    model = Decoder(ModelConfig(layers=2, heads=1, width=64), vocabulary=100, seeds=(0, 1, 2))   # three members
    logits, taps = model(ids_MBT, taps=("block.1.out",))                                         # (3, B, T, 100)
    single = model.member(1)                                                                    # an ordinary model

The same model generates with a memory of keys and values (``remember``, ``read``, ``step``), see
``physlm.measures.generation``.  With ``config.causal`` false it is an encoder: the row ``vocabulary`` of its embedding
is the mask token, and the logits at a position predict the token of that position.

Deviation from GPT-2 (named here, as the papers use its shape): linear layers and norms have no biases, which is
0.5 % of the parameters of GPT2-small, and rotary embeddings replace learnt positions (as in the papers) unless
``config.position`` says otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.models.attention import Attention, Memory, PositionalAttention, Shared, View
from physlm.models.block import Block
from physlm.models.config import ModelConfig
from physlm.models.position import Distances, Positions, size_for, windows
from physlm.models.primitives import Embedding, Norm


class Output(NamedTuple):
    """Next-token logits (M, B, T, V) and the activations asked for by name, each (M, B, T, d).

    ``block.i.attention`` alone is (M, B, H, T, T): the weight of key j for query i, written out in float32.
    """

    logits: Tensor
    taps: dict[str, Tensor]


class Reading(NamedTuple):
    """What a model remembers of the rows that it is reading, for up to L positions."""

    shared: Shared
    blocks: tuple[Memory, ...]

    @property
    def positions(self) -> int:
        """L."""
        return self.blocks[0].values.shape[3]

    def upto(self, positions: int) -> Reading:
        """The first positions, in the same storage: a step at an early one need not look at all."""
        return Reading(self.shared, tuple(memory.upto(positions) for memory in self.blocks))


class Decoder(nn.Module):
    """M members of one shape, each with its own weights.

    Args:
        config: the shape; ``config.vocab_size`` = 0 takes ``vocabulary`` rows.
        vocabulary: tokens of the task.
        seeds: one seed a member.  A member's first weights depend on its seed alone, not on its companions.
            None in the place of a seed: that member's weights are to be loaded and mean nothing before (drawing them
            takes long).

    Raises:
        UserError: fewer embedding rows than tokens.
    """

    def __init__(self, config: ModelConfig, vocabulary: int, seeds: Sequence[int | None] = (0,)):
        super().__init__()
        self.config, self.vocabulary, self.members = config, vocabulary, len(seeds)
        self.embedding = Embedding(self.members, config.embedding_rows(vocabulary), config.width)
        tables = (self.members, config.max_positions, config.width)
        self.positions = Positions(*tables) if config.position == "absolute" else None
        relative = config.position == "relative"
        self.distances = Distances(self.members, config.distances, config.width) if relative else None
        self.blocks = nn.ModuleList(Block(config, self.members) for _ in range(config.layers))
        self.final_norm = Norm(self.members, config.width, config.norm)
        self._run: Callable[..., Tensor] = _call
        self._windows: dict[tuple[int, torch.device], Tensor] = {}
        self._initialise({m: seed for m, seed in enumerate(seeds) if seed is not None})

    @torch.no_grad()
    def _initialise(self, seeds: Mapping[int, int]) -> None:
        """N(0, init_std^2) as in GPT-2; the two projections into the residual stream get init_std / sqrt(2 layers)."""
        small = self.config.init_std / math.sqrt(2 * self.config.layers)
        for name, parameter in self.named_parameters():
            if name.endswith("norm.weight"):
                continue
            std = small if name.endswith(("attention.out.weight", "mlp.down.weight")) else self.config.init_std
            for m, seed in seeds.items():
                draws = rng.normal(rng.key("weights", seed, name), parameter[m].numel())
                parameter[m] = (std * draws).view_as(parameter[m])

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Activations that ``forward`` can return."""
        blocks = (f"block.{i}.{part}" for i in range(self.config.layers) for part in ("attention", "out"))
        return ("embedding", *blocks, "final")

    def hidden(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The final normed activations in the weights' dtype, (M, B, T, d), and the taps."""
        for name in taps:
            if name not in self.tap_names:
                raise UserError(unknown_key("tap", name, self.tap_names))
        x, found = self._through_blocks(self._run(self.embedding, ids_MBT), taps)
        x = self._run(self.final_norm, x, self.embedding.weight.dtype)
        found["final"] = x
        return x, {name: found[name] for name in taps}

    def hidden_from(self, x_MBTd: Tensor, places_MBP: Tensor | None = None) -> Tensor:
        """``hidden`` of given embeddings, before the vectors of positions; only at some positions, if given."""
        x, _ = self._through_blocks(x_MBTd)
        if places_MBP is not None:
            x = x.gather(2, places_MBP[..., None].expand(-1, -1, -1, x.shape[-1]))
        return self._run(self.final_norm, x, self.embedding.weight.dtype)

    def _through_blocks(self, x: Tensor, taps: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """What leaves the last block, and the taps on the way; no other activation is held longer than it is used."""
        positions = x.shape[2]
        if self.positions is not None:
            self.positions.check(positions)
            x = self._run(self.positions, x)
        found, shared = {"embedding": x} if "embedding" in taps else {}, self._shared(positions)
        for i, block in enumerate(self._blocks()):
            if f"block.{i}.attention" in taps:
                found[f"block.{i}.attention"] = block.attention_weights(x, shared)
            x = self._run(block, x, shared)
            if f"block.{i}.out" in taps:
                found[f"block.{i}.out"] = x
        return x, found

    def forward(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> Output:
        """Logits of the next token at every position, and the taps."""
        x_MBTd, found = self.hidden(ids_MBT, taps)
        members, rows, positions, width = x_MBTd.shape
        logits = torch.bmm(x_MBTd.reshape(members, rows * positions, width), self.embedding.weight.transpose(1, 2))
        return Output(logits.view(members, rows, positions, -1), found)

    def remember(self, rows: int, positions: int) -> Reading:
        """Empty memory for B ``rows`` of up to ``positions`` tokens, in the weights' dtype.

        Raises:
            UserError: the model is an encoder, or has no vectors for so many positions.
        """
        if not self.config.causal:
            raise UserError("model.causal: got false, expected true: an encoder sees the future and reads whole rows")
        if self.positions is not None:
            self.positions.check(positions)
        positions = 16 * math.ceil(positions / 16)  # what attention kernels on GPUs want of a mask
        table = self.embedding.weight
        shape = (self.members, rows, self.config.heads, positions, self.config.head_width)
        keyless = isinstance(self._blocks()[0].attention, PositionalAttention)
        memories = (Memory(None if keyless else table.new_zeros(shape), table.new_zeros(shape)) for _ in self.blocks)
        return Reading(self._shared(positions), tuple(memories))

    @torch.no_grad()
    def read(self, ids_MBT: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of the first T tokens of the rows, which are kept in ``reading``; no gradient."""
        x = self.embedding(ids_MBT)
        if self.positions is not None:
            x = self.positions(x)
        shared = self._shared(ids_MBT.shape[-1])
        for block, memory in zip(self._blocks(), reading.blocks, strict=True):
            x = block(x, shared, memory)
        return self._finish(x)

    @torch.no_grad()
    def step(self, ids_MB1: Tensor, place_1: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of one token more, (M, B, 1, d), at position ``place``, which follows all tokens read so far.

        The position is a tensor (1,) int64 on the device, so that the step can be captured in a CUDA graph.
        """
        x = self.embedding(ids_MB1)
        if self.positions is not None:
            x = self.positions.at(x, place_1)
        for block, memory in zip(self._blocks(), reading.blocks, strict=True):
            x = block.step(x, reading.shared, memory, place_1)
        return self._finish(x)

    @property
    def has_aside(self) -> bool:
        """Whether the model can read tokens ``aside``: a causal one whose attention looks at contents alone."""
        return self.config.causal and isinstance(self._blocks()[0].attention, Attention)

    def aside(self, x_MBQd: Tensor, places_BQ: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of given embeddings beside rows that were read, (M, B, Q, d), with their gradient.

        Each of the Q tokens of a row stands in the place of the token at its position ``places_BQ``: it sees what was
        read before that and itself, and no other token sees it.  So a row is read once for all that is tried on it.
        """
        x = x_MBQd if self.positions is None else self.positions.aside(x_MBQd, places_BQ)
        view = View.of(self.members, places_BQ, reading.shared, reading.positions)
        for block, memory in zip(self._blocks(), reading.blocks, strict=True):
            x = block.aside(x, view, memory)
        return self._finish(x)

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _finish(self, x_MBTd: Tensor) -> Tensor:
        normed: Tensor = self.final_norm(x_MBTd, self.embedding.weight.dtype)
        return normed

    def _shared(self, positions: int) -> Shared:
        """What the position scheme computes once for all blocks."""
        if self.distances is not None:
            return (self.distances.weight,)
        if self.config.position == "uniform":
            at = (size_for(positions), self.embedding.weight.device)
            if at not in self._windows:  # kept for good, since a CUDA graph may read them
                self._windows[at] = windows(self.config.heads, *at)
            return (self._windows[at][:, :positions, :positions],)
        attention = self._blocks()[0].attention
        if isinstance(attention, Attention) and attention.rotary is not None:
            return attention.rotary.angles(positions)
        return ()

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
        single = Decoder(self.config, self.vocabulary, seeds=(None,))
        state = {name: value[index : index + 1].detach().float().cpu() for name, value in self.state_dict().items()}
        single.load_state_dict(state)
        return single

    @torch.no_grad()
    def load_member(self, index: int, state: Mapping[str, Tensor]) -> None:
        """Give member ``index`` the weights of a model of one member, its ``state_dict``.

        Raises:
            UserError: weights of another model.
        """
        ours = self.state_dict()
        expected = {name: (1, *value.shape[1:]) for name, value in ours.items()}
        given = {name: tuple(value.shape) for name, value in state.items()}
        if given != expected:
            name = min(name for name in {*given, *expected} if given.get(name) != expected.get(name))
            raise UserError(f"weights of member {index}: {name}: got the shape {given.get(name, 'none')}, expected "
                            f"{expected.get(name, 'none')}")
        for name, value in ours.items():
            value[index : index + 1].copy_(state[name])

    def in_bfloat16(self) -> Decoder:
        """A copy that computes as bfloat16 training does: matrices and tables rounded, the gains of norms float32."""
        rounded = copy.deepcopy(self)
        rounded._run = _call
        for name, parameter in rounded.named_parameters():
            if not name.endswith("norm.weight"):
                parameter.data = parameter.data.bfloat16()
        return rounded


def _call(part: nn.Module, *inputs: object) -> Tensor:
    result: Tensor = part(*inputs)
    return result
