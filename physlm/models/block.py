"""One block of the decoder: x + mixer(norm x), then x + mlp(norm x); of several streams, see ``parts.residual``, and of
some of the tokens, see ``parts.route``.

Shape letters: M members, B rows, T positions, C tokens that are chosen, n streams, d width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from physlm.models.config import ModelConfig
from physlm.models.listing import block_slots
from physlm.models.module import Weights
from physlm.models.parts.part import Mixer, Next, Residual, Route, State, Where, Whole
from physlm.models.parts.residual import Coefficients
from physlm.models.parts.route import Choice

Edit = Callable[[Tensor], Tensor]
# places of a block whose activations can be looked at and edited: what the two branches add, and what leaves it
PLACES = ("mixer", "mlp", "out")
CARRIED = "carried"  # beside them in what ``walk`` gives: what its mixer carries


class Block(nn.Module):
    """The residual stream is float32; each branch computes in the dtype of its weights.

    Attributes:
        carries: its mixer has values of its own for others, or gets those of the first (``Mixer.carried``).
        is_first: these are its own.
    """

    def __init__(self, config: ModelConfig, layer: int, members: int):
        super().__init__()
        self._slots = block_slots(config, layer)
        made: dict[str, Weights] = {}
        for place, slot in reversed(self._slots.items()):  # what is within another is made before it
            made[place] = Weights(slot.part, config, members, slot.weights, made.pop(f"{place}.local", None))
        self.attention_norm, self.local_a, self.attention = (
            made["attention_norm"], made.get("local_a"), made["attention"])
        self.mlp_norm, self.local_c, self.mlp = made.get("mlp_norm"), made.get("local_c"), made.get("mlp")
        self.attention_residual, self.mlp_residual = made.get("attention_residual"), made.get("mlp_residual")
        self.route = made.get("route")
        self.config = config
        self._losses = {training: tuple(name for slot in self._slots.values()
                                        if training or not isinstance(slot.part, Route) for name in slot.part.losses)
                        for training in (False, True)}  # fmt: skip
        self.carries, self.is_first = bool(self.mixer.carried(config)), layer == config.first_carrying

    @property
    def losses(self) -> tuple[str, ...]:
        """Names of the auxiliary losses of its parts, in the order in which ``forward`` returns them; of a router they
        are given in training alone."""
        return self._losses[self.training]

    def forward(self, x_MBTd: Tensor, where: Where, state: State | None = None) -> Any:
        """The stream after the block; with auxiliary losses of its parts, (stream, (loss_M, ..)); of one that
        ``carries`` (stream, losses, what it carries)."""
        x, losses, found = self.walk(x_MBTd, where, state)
        if self.carries:
            return x, losses, found[CARRIED]
        return (x, losses) if self.losses else x

    def walk(
        self, x: Tensor, where: Where, state: State | None = None, edits: Mapping[str, Edit] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """The same with what each branch added, which ``edits`` may replace: keys are ``PLACES``.  Of a routed block it
        is what they give before the router's factor, and 0 for tokens that pass by."""
        edits = edits or {}
        walk = self._branches if self.route is None else self._routed
        x, losses, found = walk(x, where, state, edits)
        found["out"] = streams_mean(x, self.config)
        if "out" in edits:
            x, found["out"] = _with_mean(x, found["out"], edits["out"](found["out"]))
        return x, losses, found

    def _routed(
        self, x: Tensor, where: Where, state: State | None, edits: Mapping[str, Edit]
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """x + g f(x) for the tokens that are chosen, with f the sum of what the branches add."""
        assert self.route is not None and isinstance(self.route.part, Route)
        choice: Choice = self.route.part.choose(self.route, x, None if state is None else state["route"], where)
        if choice.places_MBC is None:
            where = _among(choice, where)
        else:
            assert state is None, "nothing is kept in training"
            where = self._alone(choice.places_MBC, where)
        here = {name: _of_chosen(choice, edit, x.shape) for name, edit in edits.items() if name != "out"}
        _, losses, found = self._branches(taken(choice, x), where, state, here)
        added = spread(choice, sum(found.values(), x.new_zeros(())), x.shape)
        return (x + choice.gate_MBT1 * added, (*choice.losses, *losses),
                {name: spread(choice, one, x.shape) for name, one in found.items()})

    def _alone(self, places_MBC: Tensor, where: Where) -> Whole:
        """The chosen tokens as whole rows, each token at its place."""
        return Whole(self.mixer.shared_at(where.shared, places_MBC.flatten(0, 1), 1))

    def _branches(
        self, x: Tensor, where: Where, state: State | None, edits: Mapping[str, Edit]
    ) -> tuple[Tensor, tuple[Tensor, ...], dict[str, Tensor]]:
        """Both of them in turn."""
        found: dict[str, Tensor] = {}
        losses: tuple[Tensor, ...] = ()
        for name, branch, path, norm, part, local, mixing in (
            ("mixer", "attention", self.attention_residual, self.attention_norm, self.attention, "local_a",
             self.local_a),
            ("mlp", "mlp", self.mlp_residual, self.mlp_norm, self.mlp, "local_c", self.local_c),
        ):  # fmt: skip
            if part is None or norm is None:
                continue
            read, how = _read(path, x)
            normed = norm(read, part.dtype)
            if mixing is not None:
                normed = mixing(normed, where, None if state is None else state[local])
            added = part(normed, where, None if state is None else state[branch])
            if part is self.attention and self.carries:
                added, found[CARRIED] = added
            if part.part.losses:
                added, more = added
                losses += more
            found[name] = edits[name](added) if name in edits else added
            x = x + found[name] if how is None else _added(how, x, found[name])
        return x, losses, found

    @property
    def mixer(self) -> Mixer:
        """What lets tokens see each other here."""
        assert isinstance(self.attention.part, Mixer)
        return self.attention.part

    @property
    def shows_attention(self) -> bool:
        """Whether ``attention_weights`` can be asked for."""
        parallel = self.config.parallel
        return self.mixer.shows_attention and self.route is None and parallel.streams == 1 and not parallel.prefix

    def attention_weights(self, x_MBTd: Tensor, where: Whole) -> Tensor:
        """The weights of this block's mixer, (M, B, H, T, T) float32."""
        read, _ = _read(self.attention_residual, x_MBTd)
        normed = self.attention_norm(read, self.attention.dtype)
        if self.local_a is not None:
            normed = self.local_a(normed, where)
        return self.mixer.attention(self.attention, normed, where)

    def kept(self, positions: int, beside: bool) -> dict[str, Any]:
        """What the state of the block consists of, by place: names of ``Kept``, and within a place ``local``."""
        kept: dict[str, Any] = {}
        for place, slot in self._slots.items():
            here = {one.name: one for one in slot.state(self.config, positions, beside)}
            outer, _, inner = place.partition(".")
            if inner:
                kept[outer][inner] = here
            else:
                kept[place] = here
        return kept

    def empty_state(self, rows: int, positions: int, beside: bool) -> dict[str, Any]:
        """Zeros for B rows of up to so many positions."""
        device = next(self.parameters()).device

        def zeros(kept: Mapping[str, Any], w: Weights) -> dict[str, Any]:
            wide = torch.promote_types(w.dtype, torch.float32)
            return {name: zeros(one, w) if isinstance(one, dict) else
                    torch.zeros(w.members, rows, *one.shape, device=device, dtype=wide if one.float32 else w.dtype)
                    for name, one in kept.items()}

        kept = self.kept(positions, beside)
        # local mixing at A and C computes in the dtype of the branch that it feeds
        feeds = {"local_a": "attention", "local_c": "mlp"}
        return {place: zeros(kept[place], getattr(self, feeds.get(place, place))) for place in kept}


def taken(choice: Choice, x_MBTd: Tensor) -> Tensor:
    """The tokens that a block computes, (M, B, C, d); all of them where any number of them may be chosen."""
    if choice.places_MBC is None:
        return x_MBTd
    return x_MBTd.gather(2, choice.places_MBC[..., None].expand(-1, -1, -1, x_MBTd.shape[-1]))


def spread(choice: Choice, y: Tensor, shape: torch.Size) -> Tensor:
    """What was computed of them at their places, (M, B, T, d); 0 at those of others."""
    if choice.places_MBC is None:
        assert choice.chosen_MBT is not None
        return torch.where(choice.chosen_MBT[..., None], y, 0.0)
    at = choice.places_MBC[..., None].expand(-1, -1, -1, shape[-1])
    return y.new_zeros(*shape).scatter(2, at, y)


def _of_chosen(choice: Choice, edit: Edit, shape: torch.Size) -> Edit:
    """An edit of the activations of all tokens as one of what a block computes."""
    return lambda y: taken(choice, edit(spread(choice, y, shape)))


def _among(choice: Choice, where: Where) -> Where:
    """All tokens, of which those that are chosen are seen."""
    if isinstance(where, Next):
        return where._replace(chosen_MBL=choice.kept_MBL)
    assert isinstance(where, Whole)
    return where._replace(chosen_MBT=choice.chosen_MBT)


def _read(path: Weights | None, x_MBTnd: Tensor) -> tuple[Tensor, Coefficients | None]:
    """What a branch reads of the streams, (M, B, T, d), and what it does with them; of one it is the stream."""
    if path is None:
        return x_MBTnd, None
    assert isinstance(path.part, Residual)
    how: Coefficients = path.part.coefficients(path, x_MBTnd)
    return (how.read_n[..., None] * x_MBTnd.unflatten(-1, (path.part.streams, -1))).sum(-2), how


def _added(how: Coefficients, x_MBTnd: Tensor, y_MBTd: Tensor) -> Tensor:
    """R H + b y^T."""
    streams = how.read_n.shape[-1]
    mixed = how.mix_nn @ x_MBTnd.unflatten(-1, (streams, -1))
    return (mixed + how.add_n[..., None] * y_MBTd[..., None, :]).flatten(-2)


def streams_of(x_MBTd: Tensor, config: ModelConfig) -> Tensor:
    """The streams before the first block, each the embedding."""
    return x_MBTd if config.residual.streams == 1 else x_MBTd.repeat(1, 1, 1, config.residual.streams)


def streams_mean(x_MBTnd: Tensor, config: ModelConfig) -> Tensor:
    """What is read of the streams after the last block, and looked at after each."""
    streams = config.residual.streams
    return x_MBTnd if streams == 1 else x_MBTnd.unflatten(-1, (streams, -1)).mean(-2)


def _with_mean(x_MBTnd: Tensor, before_MBTd: Tensor, after_MBTd: Tensor) -> tuple[Tensor, Tensor]:
    """Streams moved alike, so that their mean is another one; and that mean."""
    streams = x_MBTnd.shape[-1] // before_MBTd.shape[-1]
    if streams == 1:
        return after_MBTd, after_MBTd
    return x_MBTnd + (after_MBTd - before_MBTd).repeat(1, 1, 1, streams), after_MBTd
