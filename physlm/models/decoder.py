"""The decoder: embedding, blocks, final norm, output.  A population of M models of one shape is the ordinary case.

Shape letters: M members, B rows, T positions, Q tokens beside them, d width, V vocabulary rows.

    model = Decoder(ModelConfig(layers=2, heads=1, width=64), vocabulary=100, seeds=(0, 1, 2))   # three members
    logits, taps = model(ids_MBT, taps=("block.1.out",))                                         # (3, B, T, 100)
    single = model.member(1)                                                                    # an ordinary model

The same model generates with a state (``remember``, ``read``, ``step``), see
``physlm.measures.generation``.  With ``config.causal`` false it is an encoder: the row ``vocabulary`` of its embedding
is the mask token, and the logits at a position predict the token of that position.

Deviation from GPT-2 (named here, as the papers use its shape): linear layers and norms have no biases, which is
0.5 % of the parameters of GPT2-small, and rotary embeddings replace learnt positions (as in the papers) unless
the mixer says otherwise.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from physlm import rng
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.models.block import CARRIED, PLACES, Block, Edit, streams_mean, streams_of
from physlm.models.config import ModelConfig
from physlm.models.counting import state_bytes
from physlm.models.listing import model_weights, shared_weights
from physlm.models.module import Weights
from physlm.models.parts.distances import size_for
from physlm.models.parts.parallel import edit_of_streams, for_streams, side_by_side
from physlm.models.parts.part import Beside, Mixer, Next, Where, Whole
from physlm.models.parts.weight import Weight
from physlm.models.primitives import Embedding, Positions
from physlm.models.reading import Reading

W = TypeVar("W", Whole, Next, Beside, Where)


class Output(NamedTuple):
    """Next-token logits (M, B, T, V) and the activations asked for by name, each (M, B, T, d).

    ``block.i.attention`` alone is (M, B, H, T, T): the weight of key j for query i, written out in float32.
    """

    logits: Tensor
    taps: dict[str, Tensor]


class Decoder(nn.Module):
    """M members of one shape, each with its own weights.  It reads as it does after training; ``train()``, which
    ``training.step.Population`` calls, lets parts do what they do in training alone.

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
        self.weights: dict[str, Weight] = model_weights(config, vocabulary)
        self.embedding = Embedding(self.members, config.embedding_rows(vocabulary), config.width)
        self.output = None if config.tied else Embedding(self.members, config.embedding_rows(vocabulary), config.width)
        self.positions = Positions(self.members, config.absolute, config.width) if config.absolute else None
        for name, weight in shared_weights(config).items():
            module, _, own = name.partition(".")
            self.add_module(module, nn.ParameterDict({own: torch.empty(self.members, *weight.shape)}))
        self.blocks = nn.ModuleList(Block(config, layer, self.members) for layer in range(config.layers))
        self.final_norm = Weights(config.norm, config, self.members, config.norm.weights(config))
        merging = config.parallel.weights(config)
        self.parallel = Weights(config.parallel, config, self.members, merging) if merging else None
        self._run: Callable[..., Any] = _call
        self._tables: dict[tuple[Mixer, int, torch.device], tuple[Tensor, ...]] = {}
        self._edits: dict[str, Edit] = {}
        self._initialise({m: seed for m, seed in enumerate(seeds) if seed is not None})
        self.eval()

    @torch.no_grad()
    def _initialise(self, seeds: Mapping[int, int]) -> None:
        """What each weight's ``init`` draws; a pure function of the seed and the weight's name."""
        for name, tensor in self.state_dict().items():
            weight = self.weights[name]
            for m, seed in seeds.items():
                drawn = weight.init.draw(rng.key("weights", seed, name), weight.numbers, self.config)
                tensor[m] = drawn.view(weight.shape)

    @property
    def output_table(self) -> Tensor:
        """E of logits = hidden E^T, (M, V, d): the embedding, unless the model has an output of its own."""
        return (self.embedding if self.output is None else self.output).weight

    @property
    def tap_names(self) -> tuple[str, ...]:
        """Activations that ``forward`` can return: of block i what its mixer and its MLP add to the stream, and the
        stream after it, ``block.i.mixer``, ``block.i.mlp``, ``block.i.out``; ``block.i.attention``, its weights.

        Blocks are counted as they are read: of 2 layers that are passed 3 times, block 4 is the first one in its third
        pass."""
        names = ["embedding"]
        for i, block in enumerate(self._blocks()):
            names += [f"block.{i}.attention"] * block.shows_attention
            names += [f"block.{i}.{place}" for place in PLACES if place != "mlp" or block.mlp is not None]
        return (*names, "final")

    def edited(self, edits: Mapping[str, Edit]) -> Decoder:
        """The same model with some activations replaced wherever it reads: ``edits["block.2.mlp"](x)`` for x.

        Nothing is copied: it has the weights of this model, and follows them.

        Raises:
            UserError: there is no such activation, or it cannot be replaced.
        """
        allowed = [name for name in self.tap_names if name not in ("embedding", "final") and ".attention" not in name]
        for name in edits:
            if name not in allowed:
                raise UserError(unknown_key("edit", name, allowed))
        model = copy.copy(self)
        model._edits = {**self._edits, **edits}
        return model

    def hidden(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> tuple[Tensor, dict[str, Tensor]]:
        """The final normed activations in the weights' dtype, (M, B, T, d), and the taps."""
        x, found, _ = self._whole_rows(ids_MBT, taps)
        return x, found

    def hidden_with_losses(self, ids_MBT: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The same without taps, and the auxiliary losses of the parts, each (M,) and summed over the blocks."""
        x, _, losses = self._whole_rows(ids_MBT)
        return x, losses

    def _whole_rows(
        self, ids_MBT: Tensor, taps: Sequence[str] = ()
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        for name in taps:
            if name not in self.tap_names:
                raise UserError(unknown_key("tap", name, self.tap_names))
        x, found, losses = self._through_blocks(self._run(self.embedding, ids_MBT), taps, ids_MBT)
        found["final"] = x = self._finished(x)
        return x, {name: found[name] for name in taps}, losses

    def hidden_from(self, x_MBTd: Tensor, places_MBP: Tensor | None = None) -> Tensor:
        """``hidden`` of given embeddings, before the vectors of positions; only at some positions, if given.

        Raises:
            UserError: a part must know which tokens it reads.
        """
        for part in self.config.parts:
            if part.reads_ids:
                raise UserError(f"{part.label}: got embeddings to read, expected tokens, whose ids it looks up")
        x, _, _ = self._through_blocks(x_MBTd)
        if places_MBP is not None:
            places_MBP = places_MBP.repeat_interleave(self.config.parallel.streams, 1)
            x = x.gather(2, places_MBP[..., None].expand(-1, -1, -1, x.shape[-1]))
        return self._finished(x)

    def _finished(self, x: Tensor) -> Tensor:
        """What leaves the last block, normed, and of parallel streams merged."""
        dtype = self.embedding.weight.dtype
        x = self._run(self.final_norm, x, dtype)
        return x if self.parallel is None else self._run(self.parallel, x, dtype)

    def _through_blocks(
        self, x: Tensor, taps: Sequence[str] = (), ids_MBT: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """What leaves the last block, the taps on the way, and the auxiliary losses; no other activation is held longer
        than it is used."""
        if self.positions is not None:
            self.positions.check(x.shape[2])
            x = self._run(self.positions, x)
        found = {"embedding": x} if "embedding" in taps else {}
        x = for_streams(streams_of(x, self.config), self.config.parallel.streams)
        losses: dict[str, Tensor] = {}
        ids_MBT = self._ids(ids_MBT)
        wheres = {mixer: Whole(shared, ids_MBT) for mixer, shared in self._shared(x.shape[2]).items()}
        first: Tensor | None = None
        for i, block in enumerate(self._blocks()):
            name, where = f"block.{i}", _with_first(block, wheres[block.mixer], first)
            if f"{name}.attention" in taps:
                found[f"{name}.attention"] = block.attention_weights(x, where)
            if self._edits or any(f"{name}.{place}" in taps for place in PLACES):
                x, more, places = self._walk(i, block, x, where)
                found |= {f"{name}.{place}": side_by_side(y, self.config.parallel.streams)
                          for place, y in places.items() if f"{name}.{place}" in taps}
                first = places.get(CARRIED) if first is None else first
            elif block.carries:
                x, more, own = self._run(block, x, where)
                first = own if first is None else first
            elif block.losses:
                x, more = self._run(block, x, where)
            else:
                x, more = self._run(block, x, where), ()
            for loss, value in zip(block.losses, more, strict=True):
                losses[loss] = losses[loss] + value if loss in losses else value
        return streams_mean(x, self.config), found, losses

    def _walk(
        self, layer: int, block: Block, x: Tensor, where: Where, state: Mapping[str, Any] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        edits = {place: edit_of_streams(self._edits[name], self.config.parallel.streams) for place in PLACES
                 if (name := f"block.{layer}.{place}") in self._edits}
        return block.walk(x, where, state, edits)

    def forward(self, ids_MBT: Tensor, taps: Sequence[str] = ()) -> Output:
        """Logits of the next token at every position, and the taps."""
        x_MBTd, found = self.hidden(ids_MBT, taps)
        members, rows, positions, width = x_MBTd.shape
        logits = torch.bmm(x_MBTd.reshape(members, rows * positions, width), self.output_table.transpose(1, 2))
        return Output(logits.view(members, rows, positions, -1), found)

    def remember(self, rows: int, positions: int, beside: bool = False) -> Reading:
        """An empty state for B ``rows`` of up to ``positions`` tokens; ``beside``: for ``aside`` too.

        Raises:
            UserError: the model is an encoder, or has no vectors for so many positions.
        """
        if not self.config.causal:
            raise UserError("model.causal: got false, expected true: an encoder sees the future and reads whole rows")
        if self.positions is not None:
            self.positions.check(positions)
        positions = 16 * math.ceil(positions / 16)  # what attention kernels on GPUs want of a mask
        blocks, rows = self._blocks(), rows * self.config.parallel.streams
        return Reading(positions, tuple(block.empty_state(rows, positions, beside) for block in blocks),
                       tuple(block.kept(positions, beside) for block in blocks), self._shared(positions))

    def state_bytes(self, positions: int) -> int:
        """Memory that the state of one row of every member takes."""
        return self.members * state_bytes(self.config, positions, self.embedding.weight.element_size())

    @torch.no_grad()
    def read(self, ids_MBT: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of the first T tokens of the rows, which are kept in ``reading``; no gradient."""
        x = self.embedding(ids_MBT)
        if self.positions is not None:
            x = self.positions(x)
        ids = self._ids(ids_MBT)
        wheres = {mixer: Whole(shared, ids) for mixer, shared in self._shared(ids_MBT.shape[-1]).items()}
        return self._with_states(x, wheres, reading)

    @torch.no_grad()
    def step(self, ids_MB1: Tensor, place_1: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of one token more, (M, B, 1, d), at position ``place``, which follows all tokens read so far.

        The position is a tensor (1,) int64 on the device, so that the step can be captured in a CUDA graph.
        """
        x = self.embedding(ids_MB1)
        if self.positions is not None:
            x = self.positions.at(x, place_1)
        ids = self._ids(ids_MB1)
        wheres = {mixer: Next(place_1, shared, ids) for mixer, shared in reading.shared.items()}
        return self._with_states(x, wheres, reading)

    @property
    def has_aside(self) -> bool:
        """Whether the model can read tokens ``aside``: a causal one all of whose parts can."""
        return self.config.causal and all(part.reads_beside for part in self.config.parts)

    def aside(self, x_MBQd: Tensor, places_BQ: Tensor, reading: Reading) -> Tensor:
        """``hidden`` of given embeddings beside rows that were read, (M, B, Q, d), with their gradient.

        Each of the Q tokens of a row stands in the place of the token at its position ``places_BQ``: it sees what was
        read before that and itself, and no other token sees it.  So a row is read once for all that is tried on it.
        """
        x = x_MBQd if self.positions is None else self.positions.aside(x_MBQd, places_BQ)
        tokens = places_BQ.shape[1]
        before_BQL = torch.arange(reading.positions, device=x.device) < places_BQ[..., None]
        itself = torch.eye(tokens, dtype=torch.bool, device=x.device).expand(len(places_BQ), -1, -1)
        seen = torch.cat((before_BQL, itself), -1)[:, None].repeat(self.members, 1, 1, 1)
        wheres = {mixer: Beside(places_BQ, seen, mixer.shared_at(shared, places_BQ, self.members))
                  for mixer, shared in reading.shared.items()}
        return self._with_states(x, wheres, reading)

    def hidden_among(self, x_MBTd: Tensor, places_BT: Tensor, seen_BTT: Tensor) -> Tensor:
        """``hidden`` of given embeddings each at a place of its own, (M, B, T, d), with their gradient.

        So a text is read once, with several of its continuations beside it: each of these sees the text as far as it
        goes on from there, and itself.

        Args:
            places_BT: below T.
            seen_BTT: whether the first token sees the second; each sees at least itself.
        """
        assert self.config.reads_among, "asked before"
        x = x_MBTd if self.positions is None else self.positions.aside(x_MBTd, places_BT)
        rows, tokens = places_BT.shape
        seen = seen_BTT[:, None].repeat(self.members, 1, 1, 1)
        wheres = {mixer: Beside(places_BT, seen, mixer.shared_at(shared, places_BT, self.members))
                  for mixer, shared in self._shared(tokens).items()}
        blocks = self._blocks()
        states = tuple(block.empty_state(rows, 0, beside=True) for block in blocks)
        return self._with_states(x, wheres, Reading(0, states, tuple(block.kept(0, True) for block in blocks), {}))

    def _with_states(self, x: Tensor, wheres: Mapping[Mixer, Where], reading: Reading) -> Tensor:
        x = for_streams(streams_of(x, self.config), self.config.parallel.streams)
        first: Tensor | None = None
        for i, block in enumerate(self._blocks()):
            x, _, found = self._walk(i, block, x, _with_first(block, wheres[block.mixer], first), reading.states[i])
            first = found.get(CARRIED) if first is None else first
        dtype = self.embedding.weight.dtype
        x = self.final_norm(streams_mean(x, self.config), dtype)
        return x if self.parallel is None else self.parallel(x, dtype)

    def _ids(self, ids_MBT: Tensor | None) -> Tensor | None:
        """Of each stream, where a part asks for them."""
        if ids_MBT is None or not self.config.reads_ids:
            return None
        return for_streams(ids_MBT, self.config.parallel.streams)

    def _blocks(self) -> list[Block]:
        """In the order of reading; one that is passed several times is there as often."""
        blocks = [block for block in self.blocks if isinstance(block, Block)]
        return [blocks[layer] for layer in self.config.order]

    def _shared(self, positions: int) -> dict[Mixer, tuple[Tensor, ...]]:
        """What each kind of mixer has once for all its blocks.  Tables are kept for good, as CUDA graphs read them."""
        found = {}
        for mixer in dict.fromkeys(self.config.mixers):
            key = (mixer, size_for(positions), self.embedding.weight.device)
            if key not in self._tables:
                self._tables[key] = mixer.tables(self.config, *key[1:])
            weights = [self.get_parameter(weight.name) for weight in mixer.shared_weights(self.config)]
            found[mixer] = mixer.shared(self._tables[key], weights, positions)
        return found

    def compile_parts(self, wrap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Compile part by part: one compiled block serves every layer, and every model of this width.

        The number of rows is left open, so that another batch size compiles nothing anew.
        """
        compiled = wrap(_call)

        def run(part: nn.Module, inputs: Tensor, *others: object) -> Any:
            torch._dynamo.maybe_mark_dynamic(inputs, 1)
            for where in others:
                for x in (where.ids_MBT, where.first) if isinstance(where, Whole) else ():
                    if x is not None:
                        torch._dynamo.maybe_mark_dynamic(x, 1)
            return compiled(part, inputs, *others)

        self._run = run

    def member(self, index: int) -> Decoder:
        """Member ``index`` cut out as a model of one member, its weights copied; edited where this one is."""
        single = Decoder(self.config, self.vocabulary, seeds=(None,)).edited(self._edits)
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
        """A copy that computes as bfloat16 training does: weights are rounded, but for roles that stay in float32."""
        rounded = copy.deepcopy(self)
        rounded._run = _call
        for name, tensor in (*rounded.named_parameters(), *rounded.named_buffers()):
            if not self.weights[name].role.float32:
                tensor.data = tensor.data.bfloat16()
        return rounded


def _with_first(block: Block, where: W, first: Tensor | None) -> W:
    """With what the first layer carried, for those behind it."""
    return where._replace(first=first) if block.carries and not block.is_first else where


def _call(part: nn.Module, *inputs: object) -> Any:
    return part(*inputs)
