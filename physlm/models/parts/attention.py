"""Softmax attention over contents: how it knows positions, what it sees, and the scale of its scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.models.parts.attention_checks import check_settings, check_within
from physlm.models.parts.part import Beside, Kept, Mixer, Next, Where, Whole
from physlm.models.parts.qk_norm import QKNorm, gain_weights, normed
from physlm.models.parts.scores import BUCKETS, Bias, scaled
from physlm.models.parts.value_embeddings import looked_up, table_weights
from physlm.models.parts.value_residual import mixed_values, residual_weights
from physlm.models.parts.weight import GATE_MATRIX, MATRIX, SINK, TABLE, TEMPERATURE, Constant, Normal, Weight

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from physlm.models.config import ModelConfig
    from physlm.models.module import Weights
    from physlm.models.parts.part import State


@dataclass(frozen=True)
class Attention(Mixer):
    """softmax_j(t_i q_i . k_j / sqrt(k) + b[i - j]) v_j in each head; causal unless the model is an encoder.

    Positions are known by rotation, by a bias b of distance (``scores``), by what is in sight, or not at all; these
    compose.  The state of a window or of chunks holds as many tokens as they see, rounded up to a multiple of 16,
    however long the row.

    Attributes:
        rope: share of a head's dimensions that are turned (arXiv 2104.09864): 1 all of them (GPT_rot of arXiv
            2305.13673), 0.25 a quarter (RoPE-quarter of arXiv 2512.17351), 0 none (NoPE).
        rope_base: of the angles, see ``distances.angles``.
        qk_norm: q and k are divided by their root mean square and multiplied by learnt gains, over each ``head`` or
            over the ``full`` width; over each head without gains, ``unit`` (Llama 4); ``none`` leaves them; see
            ``qk_norm``.
        rope_heads: share of the heads that are turned, the first ones.  Half of the dimensions of half of the heads is
            the other way to turn a quarter.
        bias: ``alibi``, -m_h (i - j) (arXiv 2108.12409); ``hard_alibi``, where each of the first half of the heads sees
            its 1, 2, .. nearest tokens alone (H-ALiBi, arXiv 2402.01032); ``t5``, a learnt number for each head and
            bucket of distances, shared by all layers (arXiv 1910.10683).
        window: tokens that each one sees, itself the last of them; 0: all before it.
        chunk: each token sees its own chunk of the row alone, [0, c), [c, 2 c), ..; 0: all before it.
        scale: of all logits; the first value of a learnt one.
        learnt_scale: a scale for each ``head``, or ``one`` for all heads and layers.
        log_n: the logits are multiplied with ln n, where n is how many keys the query sees in this head, of a window, a
            chunk or its nearest (scalable softmax, arXiv 2501.19399).  ``scale`` is its s; a learnt one should begin at
            ``scores.scalable_start`` of the row.
        floor: logits grow with the position of the query from so many tokens on, see ``scores.floor_scale`` (iRoPE); 0:
            they do not.
        group: heads of queries that share one head of keys and values (GQA, arXiv 2305.13245), neighbours; as many as
            there are heads is MQA (arXiv 1911.02150).  Keys and values then have d / group channels, and so has the
            state.
        gate: what the heads give is multiplied with sigmoid(x W) before ``out``, a number for each ``head`` or for each
            ``element`` (arXiv 2505.06708).
        sink: a learnt logit of each head joins its softmax and has no value (gpt-oss); it begins at 0.
        value_rows: a row of a table of so many for each token, gated, is added to the values, see
            ``value_embeddings``; 0 rows: none.
        value_residual: share of the first layer's values in those of each later one, see ``value_residual``; 0: none.
        learnt_residual: both factors are learnt in each layer, from that share on.
    """

    kind: ClassVar[str] = "attention"
    rope: float = 1.0
    rope_base: float = 10_000.0
    qk_norm: QKNorm = "none"
    rope_heads: float = 1.0
    bias: Bias = "none"
    window: int = 0
    chunk: int = 0
    scale: float = 1.0
    learnt_scale: Literal["none", "head", "one"] = "none"
    log_n: bool = False
    floor: int = 0
    group: int = 1
    gate: Literal["none", "head", "element"] = "none"
    sink: bool = False
    value_rows: int = 0
    value_residual: float = 0.0
    learnt_residual: bool = False

    def __post_init__(self) -> None:
        check_settings(self)

    def check(self, model: ModelConfig) -> None:
        check_within(self, model)

    def dims(self, model: ModelConfig) -> int:
        """Dimensions of a head that are turned."""
        return int(model.head_width * self.rope)

    def turned_heads(self, model: ModelConfig) -> int:
        """Heads that are turned, the first ones."""
        return round(model.heads * self.rope_heads)

    @property
    def reads_ids(self) -> bool:  # type: ignore[override]
        """For the table of values."""
        return self.value_rows > 0

    @property
    def reads_beside(self) -> bool:  # type: ignore[override]
        """What stands beside rows is no token of a table."""
        return not self.value_rows

    @property
    def reads_chosen(self) -> bool:
        """Where nothing counts or stores the tokens in between."""
        return self.bias == "none" and not (self.reach or self.log_n or self.value_rows or self._mixes)

    @property
    def _mixes(self) -> bool:
        """Whether values of the first layer are mixed in."""
        return self.value_residual > 0 or self.learnt_residual

    def carried(self, model: ModelConfig) -> tuple[int, ...]:
        return (model.heads // self.group, model.head_width) if self._mixes else ()

    @property
    def reads_prefix(self) -> bool:
        return self.bias == "none" and not (self.reach or self.log_n)

    @property
    def reach(self) -> int:
        """Tokens that it can see at most; 0: all of the row."""
        return self.window or self.chunk

    @property
    def label(self) -> str:
        rope = "nope" if not self.rope else "rope" if self.rope == 1 else f"rope{self.rope:g}"
        heads = f"_heads{self.rope_heads:g}" if self.rope_heads != 1 else ""
        base = f"_base{self.rope_base:g}" if self.rope_base != type(self).rope_base else ""
        parts = [rope + heads + base]
        parts += [f"qk{self.qk_norm}"] * (self.qk_norm != "none")
        parts += [self.bias.replace("_", "")] * (self.bias != "none")
        parts += [f"{name}{getattr(self, name)}" for name in ("window", "chunk", "floor") if getattr(self, name)]
        parts += [f"group{self.group}"] * (self.group != 1)
        parts += [f"values{self.value_rows}"] * (self.value_rows > 0)
        parts += [f"residual{self.value_residual:g}"] * self._mixes + ["learnt"] * self.learnt_residual
        parts += [f"gate{self.gate}"] * (self.gate != "none") + ["sink"] * self.sink
        parts += ["logn"] * self.log_n + [f"scale{self.scale:g}"] * (self.scale != 1)
        return "_".join(parts + [f"learnt{self.learnt_scale}"] * (self.learnt_scale != "none"))

    @property
    def position(self) -> str:
        rope = "" if not self.rope else "rope" if self.rope == 1 else f"rope{self.rope:g}"
        parts = [rope + (f"x{self.rope_heads:g}" if rope and self.rope_heads != 1 else "")] if rope else []
        parts += [self.bias] * (self.bias != "none")
        parts += [f"{name}{getattr(self, name)}" for name in ("window", "chunk") if getattr(self, name)]
        return "+".join(parts) or "none"

    def key_channels(self, model: ModelConfig) -> int:
        """Channels of the keys, and as many of the values, of all heads together."""
        return model.width // self.group

    def weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        return (*self.first_weights(model), *residual_weights(self.value_residual, self.learnt_residual))

    def first_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        d, keys = model.width, self.key_channels(model)
        scale = Weight("scale", (model.heads,), Constant(self.scale), TEMPERATURE)
        moved = (*range(self.group), self.group + 1)  # q, in blocks as wide as k, and v
        return (Weight("qkv", (d, d + 2 * keys), Normal(), MATRIX, low_rank=moved, blocks=self.group + 2,
                       parts=(d, keys, keys)),
                *gain_weights(self.qk_norm, d, keys),
                *(scale,) * (self.learnt_scale == "head"),
                *(Weight("gate", (d, model.heads if self.gate == "head" else d), Normal(), GATE_MATRIX)
                  for _ in range(self.gate != "none")),
                *(Weight("sink", (model.heads,), Constant(0.0), SINK) for _ in range(self.sink)),
                *table_weights(self.value_rows, d, model.heads // self.group, keys),
                *model.parallel.prefix_weights(keys),
                Weight("out", (d, d), Normal(small=True), MATRIX))

    def shared_weights(self, model: ModelConfig) -> tuple[Weight, ...]:
        buckets = Weight("buckets.weight", (BUCKETS, model.heads), Normal(), TABLE)
        scale = Weight("scale.weight", (1,), Constant(self.scale), TEMPERATURE)
        return (buckets,) * (self.bias == "t5") + (scale,) * (self.learnt_scale == "one")

    def tables(self, model: ModelConfig, size: int, device: torch.device) -> tuple[Tensor, ...]:
        from physlm.models.parts import scores
        from physlm.models.parts.distances import angles

        found: tuple[Tensor, ...] = angles(self.dims(model), self.rope_base, size, device) if self.rope else ()
        if self.log_n or self.floor:
            hard = self.log_n and self.bias == "hard_alibi"
            reach = scores.nearest(model.heads) if hard else (0,)
            found += (scores.row_scale(self.log_n, self.floor, self.window, self.chunk, size, device, reach),)
        return found + ((scores.bias(self.bias, model.heads, size, device),) if self.bias != "none" else ())

    def shared(self, tables: tuple[Tensor, ...], weights: Sequence[Tensor], positions: int) -> tuple[Tensor, ...]:
        """In the order of ``_named``."""
        at = len(tables) - (self.bias != "none")
        return (*(x[:positions] for x in tables[:at]), *(x[:, :positions] for x in tables[at:]), *weights)

    def shared_at(self, shared: tuple[Tensor, ...], places_BQ: Tensor, members: int) -> tuple[Tensor, ...]:
        def at(name: str, x: Tensor) -> Tensor:
            found = x[places_BQ].repeat(members, 1, 1)
            return found if name == "rows" else found[:, None]

        return tuple(at(name, x) if name in _OF_PLACES else x for name, x in self._named(shared).items())

    def _named(self, shared: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """``shared`` by name: of each place ``cos`` and ``sin``, (T, r / 2), and ``rows``, (T, 1) or (T, H); ``bias``,
        (H, T), or which bucket, (32, T); learnt ones, ``buckets`` (M, 32, H) and ``scale`` (M, 1)."""
        names = [*("cos", "sin") * bool(self.rope), *("rows",) * bool(self.log_n or self.floor),
                 *("bias",) * (self.bias != "none"), *("buckets",) * (self.bias == "t5"),
                 *("scale",) * (self.learnt_scale == "one")]  # fmt: skip
        return dict(zip(names, shared, strict=True))

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        # tokens beside the rows look at any place; multiples of 16 are what attention kernels on GPUs want of a mask
        kept = min(positions, 16 * -(-self.reach // 16)) if self.reach and not beside else positions
        shape = (model.heads // self.group, kept, model.head_width)
        return Kept("keys", shape, axis=1), Kept("values", shape, axis=1)

    def local_width(self, model: ModelConfig) -> int:
        return model.width + 2 * self.key_channels(model)

    def flops(self, model: ModelConfig, row_tokens: int) -> float:
        """2 d for the score and 2 d for the mixture at each position that is read, see ``mean_reach``: of a window w of
        T tokens w (1 - w / 2 T) on average, of a chunk c / 2; a sink is one more, a prefix as many as it has."""
        reach = min(self.reach, row_tokens) if self.reach else row_tokens
        seen = model.mean_reach(reach)
        if self.window and row_tokens:
            seen = reach * (1 - reach / (2 * row_tokens))
        return 4.0 * model.width * (seen + (self.sink + model.parallel.prefix) * (row_tokens > 0))

    def kept_numbers(self, model: ModelConfig, row_tokens: int) -> int:
        """Of a learnt bias its gradient at each key and head; other masks are shared by all rows."""
        return model.heads * row_tokens if self.bias == "t5" else 0

    def read(self, w: Weights, x: Tensor, state: State | None, where: Where) -> Any:
        """What it mixes; and beside it its values, where those of the first layer are mixed in."""
        from physlm.models.module import per_row
        from physlm.models.parts.attend import among, attend, behind_prefix, everywhere, masked, with_sink, without_sink
        from physlm.models.parts.distances import keep

        q, k, v = self._project(w, x, state, where)
        if self.value_rows:
            assert not isinstance(where, Beside) and where.ids_MBT is not None
            v = v + looked_up(w, x, where.ids_MBT, self.value_rows)
        if where.first is not None:
            v = mixed_values(w, v, where.first, self.value_residual, self.learnt_residual)
        own = v
        if state is not None and not isinstance(where, Beside):
            place = None
            if isinstance(where, Next):
                place = where.place_1 % state["keys"].shape[3] if self.reach else where.place_1
            for name, new in (("keys", k), ("values", v)):
                keep(state[name], new.unflatten(0, x.shape[:2]), place)
        if not isinstance(where, Whole):
            assert state is not None
            k, v = self._with_kept(state, k, v, where)
        before = w.model.parallel.prefix
        if before:
            q, k, v = behind_prefix(q, k, v, w.prefix, isinstance(where, Whole) and w.model.causal)
        if self.sink:
            q, k, v = with_sink(q, k, v, per_row(w.sink, len(q))[..., None, None])
        if not w.model.causal:
            mixed = everywhere(q, self._for_queries(k), self._for_queries(v), self.sink)
        elif isinstance(where, Whole) and where.chosen_MBT is not None:
            mixed = masked(q, self._for_queries(k), self._for_queries(v), among(where.chosen_MBT), self.sink)
        elif isinstance(where, Whole):
            mixed = attend(q, self._for_queries(k), self._for_queries(v), self._bias(where), self.window, self.chunk,
                           self.sink)  # fmt: skip
            mixed = mixed[:, :, before:]
        else:
            mixed = self._of_kept(w, q, k, v, where)
        mixed = without_sink(mixed) if self.sink else mixed
        y = w.out(self._gated(w, x, mixed.transpose(1, 2).reshape(x.shape)))
        return (y, own.unflatten(0, x.shape[:2])) if self._mixes else y

    def _with_kept(self, state: State, k: Tensor, v: Tensor, where: Next | Beside) -> tuple[Tensor, Tensor]:
        """Keys and values that are kept, and behind them those beside the rows."""
        import torch

        keys, values = state["keys"].flatten(0, 1), state["values"].flatten(0, 1)
        return (keys, values) if isinstance(where, Next) else (torch.cat((keys, k), 2), torch.cat((values, v), 2))

    def _of_kept(self, w: Weights, q: Tensor, k: Tensor, v: Tensor, where: Next | Beside) -> Tensor:
        """Attention of tokens whose keys are kept."""
        from physlm.models.parts.attend import behind_mask, beside_in_sight, kept_in_sight, masked, opened

        sight = self._bias(where), self.window, self.chunk
        if isinstance(where, Beside):
            mask = beside_in_sight(where, w.members, k, *sight)
            return masked(q, self._for_queries(k), self._for_queries(v), mask, self.sink)
        before = w.model.parallel.prefix
        mask = behind_mask(kept_in_sight(where.place_1, k[:, :, opened(before) :], *sight), before)
        if where.chosen_MBL is not None:
            mask = mask & where.chosen_MBL.flatten(0, 1)[:, None, None]
        if self.group == 1:
            return masked(q, k, v, mask, self.sink)
        # the queries of a group stand side by side, and nothing of the state is written out for each
        mask = mask.unflatten(1, (-1, self.group)).squeeze(3) if mask.shape[1] > 1 else mask
        mixed = masked(q.unflatten(1, (-1, self.group)).squeeze(3), k, v, mask, self.sink)
        return mixed.flatten(1, 2)[:, :, None]

    def _gated(self, w: Weights, x: Tensor, mixed_MBTd: Tensor) -> Tensor:
        """Times sigmoid(x W)."""
        if self.gate == "none":
            return mixed_MBTd
        from physlm.models.parts.recurrent import widened

        gate = widened(w.gate(x)).sigmoid().to(mixed_MBTd.dtype)
        return mixed_MBTd * (gate.repeat_interleave(w.model.head_width, -1) if self.gate == "head" else gate)

    def _for_queries(self, x_NGTk: Tensor) -> Tensor:
        """Keys or values once for each head of queries, (N, H, T, k)."""
        return x_NGTk.repeat_interleave(self.group, 1) if self.group > 1 else x_NGTk

    def _bias(self, where: Where) -> Tensor | None:
        """b of each head at each distance, (m, H, W) float32, with m = M where it is learnt, else 1."""
        if self.bias == "none":
            return None
        found = self._named(where.shared)
        if self.bias == "t5":
            return found["buckets"].mT.float() @ found["bias"]
        return found["bias"][None]

    @property
    def shows_attention(self) -> bool:
        return True

    def attention(self, w: Weights, x: Tensor, where: Whole) -> Tensor:
        import torch

        from physlm.models.parts.attend import scores_in_sight
        from physlm.models.parts.recurrent import widened

        q, k, _ = self._project(w, x, None, where)
        scores = (widened(q @ self._for_queries(k).mT) / q.shape[-1] ** 0.5).unflatten(0, x.shape[:2])
        if w.model.causal:
            scores = scores_in_sight(scores, self._bias(where), self.window, self.chunk)
        if not self.sink:
            return scores.softmax(-1)
        sink = w.sink[:, None, :, None, None].expand(-1, *scores.shape[1:4], 1)
        return torch.cat((sink, scores), -1).softmax(-1)[..., 1:]

    def _project(
        self, w: Weights, x_MBTd: Tensor, state: State | None, where: Where
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q (M B, H, T, k), and k and v, (M B, H / group, T, k) each, in the order of the released code: norm, local
        mixing, rotation; then the scale, of q."""
        from physlm.models.parts.distances import turn_first

        qkv = w.qkv(x_MBTd)
        if self.qk_norm != "none":
            qkv = normed(w, self.qk_norm, *self._parted(w.model, qkv))
        qkv = w.mix_local(qkv, state, where).flatten(0, 1)
        if self.group == 1:
            q, k, v = qkv.unflatten(-1, (3, w.model.heads, -1)).permute(2, 0, 3, 1, 4)
        else:
            q, k, v = (x.unflatten(-1, (-1, w.model.head_width)).transpose(1, 2) for x in self._parted(w.model, qkv))
        shared = self._named(where.shared)
        if isinstance(where, Next):
            shared |= {name: x.index_select(0, where.place_1) for name, x in shared.items() if name in _OF_PLACES}
        if self.rope:
            turned = self.turned_heads(w.model)
            q = turn_first(q, turned, shared["cos"], shared["sin"])
            k = turn_first(k, turned // self.group, shared["cos"], shared["sin"])
        learnt = w.scale if self.learnt_scale == "head" else shared.get("scale")
        return scaled(q, self.scale, learnt, shared.get("rows")), k, v

    def _parted(self, model: ModelConfig, qkv: Tensor) -> tuple[Tensor, ...]:
        """The channels of q, k and v."""
        keys = self.key_channels(model)
        return qkv.split((model.width, keys, keys), -1)


_OF_PLACES = ("cos", "sin", "rows")
