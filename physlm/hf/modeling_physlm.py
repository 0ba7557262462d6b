"""A GPT of physlm for transformers: what none of its own architectures has, in one file that stands beside the weights.

    x <- x + attention(norm(x));  x <- x + mlp(norm(x));  logits = norm(x) E^T

Each block says for itself how its attention knows positions and what it sees (``Attention``), which MLP it has (plain,
gated, none), and where Canon layers mix neighbouring tokens (arXiv 2512.17351).
No linear map and no norm has a bias.  The file needs torch and transformers, and nothing of physlm.

Shape letters: B rows, T tokens read now, L tokens read so far, d width, H heads, k = d / H, c channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

TAPS = 4  # tokens that a Canon layer sees
QK_EPS = 1e-6
# what a block says of its attention beside ``rope``, ``rope_base`` and ``qk_norm``, where it says nothing
PLAIN: dict[str, Any] = {"rope_heads": 1.0, "bias": "none", "window": 0, "chunk": 0, "scale": 1.0,
                         "learnt_scale": "none", "log_n": False, "floor": 0, "group": 1, "gate": "none",
                         "sink": False, "value_rows": 0}
LEAST_SINK = -1e4  # what is below counts as this
# the smallest distance of each bucket of T5 but the first: 1 .. 16, and 15 more of equal ratio up to 128
BOUNDS = (*range(1, 17), *(math.ceil(16 * 8 ** (s / 16)) for s in range(1, 16)))
# how this version of transformers calls the memory of generation
MEMORY = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


class PhyslmConfig(PretrainedConfig):
    """The shape of the model.

    Args:
        blocks: one table a block: the settings of ``Attention``, ``mlp`` (plain, gated, none), ``hidden`` (units of the
            MLP), ``act`` (gelu in its tanh form, relu2, silu), and ``canon`` (empty, or any of ABCD),
            ``canon_residual``, ``canon_act``.
        norm, norm_eps: ``layernorm`` or ``rmsnorm``, and what is added to the mean square.
        absolute: rows of a table of learnt positions; 0: none.
        loops, prelude, coda: the blocks are passed ``loops`` times, but for the first ``prelude`` and the last
            ``coda`` of them.
    """

    model_type = "physlm"
    keys_to_ignore_at_inference = (MEMORY,)

    def __init__(
        self, vocab_size: int = 1, hidden_size: int = 64, num_attention_heads: int = 1, num_hidden_layers: int = 1,
        blocks: list[dict[str, Any]] | None = None, norm: str = "layernorm", absolute: int = 0,
        tie_word_embeddings: bool = True, norm_eps: float = 1e-5, loops: int = 1, prelude: int = 0, coda: int = 0,
        **others: Any,
    ):  # fmt: skip
        self.vocab_size, self.hidden_size, self.num_attention_heads = vocab_size, hidden_size, num_attention_heads
        self.num_hidden_layers, self.blocks, self.norm, self.absolute = num_hidden_layers, blocks or [], norm, absolute
        self.norm_eps, self.loops, self.prelude, self.coda = norm_eps, loops, prelude, coda
        super().__init__(tie_word_embeddings=tie_word_embeddings, **others)

    @property
    def order(self) -> list[int]:
        """The blocks in the order of reading."""
        blocks = list(range(self.num_hidden_layers))
        end = self.num_hidden_layers - self.coda
        return blocks[: self.prelude] + blocks[self.prelude : end] * self.loops + blocks[end:]


def activation(name: str, x: Tensor) -> Tensor:
    """gelu in its tanh form, silu, or relu2, max(0, x)^2."""
    if name == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x) if name == "silu" else F.relu(x).square()


def norm(config: PhyslmConfig) -> nn.Module:
    """With a gain and no bias."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.hidden_size, eps=config.norm_eps)
    return nn.LayerNorm(config.hidden_size, eps=config.norm_eps, bias=False)


def places(mask_BL: Tensor) -> Tensor:
    """Positions in the text, which begins after the padding."""
    return (mask_BL.long().cumsum(-1) - 1).clamp_min(0)


class Rows:
    """What the blocks know of the rows that they read.

    Attributes:
        real_BT1: 1 for tokens, 0 for padding.
        place_BT: positions in the text.
        distance_BTL: how far before a token another stands in the text.
        seen: (B, 1, T, L), true where a token sees another; each sees itself, so that padding is a number as well.
        shared: weights of attention that all blocks have in common, by name.
        ids_BT: the tokens, where they are known.
        depth, at: of so many passes through blocks, which one reads now; each has a memory of its own.
    """

    def __init__(
        self, mask_BL: Tensor, place_BT: Tensor, memory: Any, shared: dict[str, Tensor], ids_BT: Tensor | None,
        depth: int,
    ):  # fmt: skip
        self.tokens, self.place_BT, self.memory, self.shared = place_BT.shape[1], place_BT, memory, shared
        self.ids_BT, self.depth, self.at = ids_BT, depth, 0
        places_BL = torch.cat((places(mask_BL)[:, : -self.tokens], place_BT), 1)
        self.distance_BTL = place_BT[:, :, None] - places_BL[:, None]
        at_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
        at_T = at_L[-self.tokens :, None]
        self.seen = (((at_L <= at_T) & mask_BL[:, None].bool()) | (at_L == at_T))[:, None]
        self.real_BT1 = mask_BL[:, -self.tokens :, None]

    def keys(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens so far, (B, H / group, L, k)."""
        return (k, v) if self.memory is None else self.kept(self.at, k, v)

    def inputs(self, site: int, x_BTc: Tensor) -> Tensor:
        """Inputs of all tokens so far at one of the four sites of Canon layers, (B, L, c).

        They are kept as the keys of one more layer of the memory, whole, so that beam search, cropping and the like
        do with them what they do with keys.
        """
        if self.memory is None:
            return x_BTc
        found, _ = self.kept(self.depth + 4 * self.at + site, x_BTc[:, None], x_BTc[:, None, :, :0])
        return found[:, 0]

    def kept(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """What a layer of the memory holds, these included."""
        while len(self.memory.layers) <= layer:
            self.memory.layers.append(DynamicLayer())
        found: tuple[Tensor, Tensor] = self.memory.layers[layer].update(k, v)
        return found


class Canon(nn.Module):
    """y_t = x_t + sum_{s=0..3} w_s * x_{t-s}, a filter w for each channel, with zeros before the first token."""

    def __init__(self, channels: int, residual: bool, act: bool, site: int):
        super().__init__()
        self.filter = nn.Parameter(torch.zeros(TAPS, channels))
        self.residual, self.act, self.site = residual, act, site

    def forward(self, x_BTc: Tensor, rows: Rows) -> Tensor:
        before = rows.inputs(self.site, x_BTc * rows.real_BT1)[:, -rows.tokens - TAPS + 1 :]
        padded = F.pad(before, (0, 0, rows.tokens + TAPS - 1 - before.shape[1], 0))
        total = sum(self.filter[s] * padded[:, TAPS - 1 - s : TAPS - 1 - s + rows.tokens] for s in range(TAPS))
        assert isinstance(total, Tensor)
        total = F.silu(total) if self.act else total
        return x_BTc + total if self.residual else total


class Attention(nn.Module):
    """softmax_j(t_i q_i . k_j / sqrt(k) + b[i - j]) v_j in each head, q and k rotated in their first dimensions.

    Of the table of a block:

        qk_norm             q and k over their root mean square with learnt gains, over each ``head`` or the ``full``
                            width; over each head without gains, ``unit``; ``none``
        rope, rope_base     share of a head's dimensions that are rotated; 0: none (NoPE)
        rope_heads          share of the heads that are rotated, the first ones
        bias                b: ``alibi``, ``hard_alibi`` (the first half of the heads sees its 1, 2, .. nearest tokens
                            alone), ``t5``, ``none``
        window, chunk       each token sees so many tokens, or its own chunk of the text; 0: all before it
        scale, learnt_scale t: a number, or learnt, for each ``head`` or ``one`` for the model
        log_n               t: times ln n, n the number of keys that the query sees in this head (scalable softmax)
        floor               t: times 1 + 0.1 ln(floor((i + 1) / floor) + 1); 0: not
        group               heads of queries that share one head of keys and values
        gate                what is mixed, times sigmoid(x W), a number for each ``head`` or ``element``; ``none``
        sink                a learnt logit of each head joins its softmax and has no value
        value_rows          values get 2 sigmoid(x W) E[token] more, E a table of so many rows, token modulo rows
    """

    def __init__(self, config: PhyslmConfig, block: dict[str, Any], canon: Canon | None):
        super().__init__()
        block = PLAIN | block
        d, self.heads, self.qk_norm = config.hidden_size, config.num_attention_heads, block["qk_norm"]
        self.group, self.gated, self.rows = block["group"], block["gate"], block["value_rows"]
        self.channels = (d, d // self.group, d // self.group)
        self.qkv, self.out = nn.Linear(d, sum(self.channels), bias=False), nn.Linear(d, d, bias=False)
        if self.qk_norm in ("head", "full"):
            self.q_gain, self.k_gain = (nn.Parameter(torch.ones(width)) for width in self.channels[:2])
        if self.gated != "none":
            self.gate = nn.Linear(d, d if self.gated == "element" else self.heads, bias=False)
        self.sink = nn.Parameter(torch.zeros(self.heads)) if block["sink"] else None
        if self.rows:
            self.values = nn.Parameter(torch.zeros(self.rows, self.channels[2]))
            self.value_gate = nn.Linear(d, self.heads // self.group, bias=False)
        self.local = canon
        self.dims, self.base = int(d // self.heads * block["rope"]), block["rope_base"]
        self.turned_heads = round(self.heads * block["rope_heads"])
        self.bias, self.window, self.chunk = block["bias"], block["window"], block["chunk"]
        self.factor, self.learnt, self.log_n, self.floor = (
            block["scale"], block["learnt_scale"], block["log_n"], block["floor"])
        if self.learnt == "head":
            self.scale = nn.Parameter(torch.full((self.heads,), float(self.factor)))

    def forward(self, x_BTd: Tensor, rows: Rows) -> Tensor:
        qkv = self.qkv(x_BTd)
        if self.qk_norm != "none":
            q, k, v = qkv.split(self.channels, -1)
            q, k = self.normed(q), self.normed(k)
            qkv = torch.cat((q, k, v) if self.qk_norm == "unit" else (q * self.q_gain, k * self.k_gain, v), -1)
        if self.local is not None:
            qkv = self.local(qkv, rows)
        size = x_BTd.shape[-1] // self.heads
        q, k, v = (x.unflatten(-1, (-1, size)).transpose(1, 2) for x in qkv.split(self.channels, -1))
        if self.dims:
            q, k = self.turned(q, rows.place_BT), self.turned(k, rows.place_BT)
        if self.rows:
            v = v + self.looked_up(x_BTd, rows)
        q, (k, v), sight = self.scaled(q, rows), rows.keys(k, v), self.sight(rows, q.dtype)
        k, v = (x.repeat_interleave(self.group, 1) for x in (k, v))
        if self.sink is not None:
            k, v, sight = self.with_sink(k, v, sight)
        mixed = F.scaled_dot_product_attention(q, k, v, sight).transpose(1, 2)
        if self.gated != "none":
            gate = self.gate(x_BTd).float().sigmoid().to(mixed.dtype)
            mixed = mixed * gate.view(*mixed.shape[:3], -1)
        found: Tensor = self.out(mixed.reshape(x_BTd.shape))
        return found

    def looked_up(self, x_BTd: Tensor, rows: Rows) -> Tensor:
        """What the table adds to the values, (B, H / group, T, k)."""
        if rows.ids_BT is None:
            raise ValueError("this model looks up rows of its tokens: got inputs_embeds, expected input_ids")
        gate = 2 * self.value_gate(x_BTd).float().sigmoid()
        found = self.values[rows.ids_BT % self.rows].unflatten(-1, (gate.shape[-1], -1))
        return (gate[..., None] * found).to(found.dtype).transpose(1, 2)

    def with_sink(self, k: Tensor, v: Tensor, sight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A key before all others, without a value, whose score is the sink of its head."""
        if sight.dtype == torch.bool:
            sight = torch.zeros_like(sight, dtype=k.dtype).masked_fill(~sight, -torch.inf)
        assert self.sink is not None
        logit = self.sink.clamp_min(LEAST_SINK).to(k.dtype)[:, None, None]
        sight = sight.expand(k.shape[0], self.heads, -1, -1)
        return F.pad(k, (0, 0, 1, 0)), F.pad(v, (0, 0, 1, 0)), torch.cat(
            (logit.expand(*sight.shape[:3], 1), sight), -1)

    def normed(self, x_BTd: Tensor) -> Tensor:
        """Over the root mean square, of each head or of all."""
        wide = x_BTd if self.qk_norm == "full" else x_BTd.unflatten(-1, (-1, self.channels[0] // self.heads))
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + QK_EPS)).reshape(x_BTd.shape)

    def turned(self, x_BHTk: Tensor, place_BT: Tensor) -> Tensor:
        """Dimension pairs (j, j + r/2) of the first r turned by t base^(-2j/r), in the first heads."""
        r, turned = self.dims, self.turned_heads * x_BHTk.shape[1] // self.heads
        x_BHTk, others = x_BHTk[:, :turned], x_BHTk[:, turned:]
        rate = self.base ** (-torch.arange(0, r, 2, device=x_BHTk.device, dtype=torch.float64) / r)
        angle = place_BT[:, None, :, None] * rate
        cos, sin = angle.cos().to(x_BHTk.dtype), angle.sin().to(x_BHTk.dtype)
        a, b = x_BHTk[..., : r // 2], x_BHTk[..., r // 2 : r]
        return torch.cat((torch.cat((a * cos - b * sin, b * cos + a * sin, x_BHTk[..., r:]), -1), others), 1)

    def scaled(self, q_BHTk: Tensor, rows: Rows) -> Tensor:
        """t q."""
        if self.learnt == "none":
            scale = torch.tensor(float(self.factor), device=q_BHTk.device)
        else:
            scale = (self.scale if self.learnt == "head" else rows.shared["scale"])[:, None, None].float()
        place = rows.place_BT[:, None, :, None]
        if self.log_n:
            seen = place % self.chunk + 1 if self.chunk else place + 1
            seen = seen.clamp_max(self.window) if self.window else seen
            if self.bias == "hard_alibi":
                number = torch.arange(1, self.heads + 1, device=seen.device)[:, None, None]
                seen = torch.where(number <= self.heads // 2, torch.minimum(seen, number), seen)
            scale = scale * seen.double().log().float()
        if self.floor:
            scale = scale * (1 + 0.1 * ((place + 1) // self.floor + 1).double().log()).float()
        return (q_BHTk.float() * scale).to(q_BHTk.dtype)

    def sight(self, rows: Rows, dtype: torch.dtype) -> Tensor:
        """Which keys are seen, (B, 1, T, L), or with a bias what is added to their scores, (B, H, T, L)."""
        distance, seen = rows.distance_BTL[:, None], rows.seen
        if self.window:
            seen = seen & (distance < self.window)
        if self.chunk:
            place = rows.place_BT[:, None, :, None]
            seen = seen & (place // self.chunk == (place - distance) // self.chunk)
        if self.bias == "none":
            return seen
        return self.biases(distance, rows).to(dtype).masked_fill(~seen, -torch.inf)

    def biases(self, distance_B1TL: Tensor, rows: Rows) -> Tensor:
        """b of each head, (B, H, T, L)."""
        device = distance_B1TL.device
        if self.bias == "t5":
            bucket = torch.bucketize(distance_B1TL[:, 0], torch.tensor(BOUNDS, device=device), right=True)
            return rows.shared["buckets"][bucket].permute(0, 3, 1, 2)
        if self.bias == "alibi":
            return -torch.tensor(slopes(self.heads), device=device)[:, None, None] * distance_B1TL
        reach = torch.arange(1, self.heads + 1, device=device)[:, None, None]
        far = (distance_B1TL >= reach) & (reach <= self.heads // 2)
        return torch.zeros_like(far, dtype=torch.float32).masked_fill(far, -torch.inf)


def slopes(heads: int) -> list[float]:
    """Of ALiBi: 2^(-8 h / H), h = 1 .. H; where H is no power of two those of the next lower one, and then every other
    of those of twice that power."""
    power = 1 << (heads.bit_length() - 1)
    if power == heads:
        return [2.0 ** (-8 * h / heads) for h in range(1, heads + 1)]
    return slopes(power) + slopes(2 * power)[::2][: heads - power]


class Shared(nn.Module):
    """A weight that attention has in all blocks."""

    def __init__(self, *shape: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(shape))


class MLP(nn.Module):
    """act(x W_up) W_down, or with a gate (act(x W_gate) * (x W_up)) W_down, whose two matrices are one, ``up``."""

    def __init__(self, config: PhyslmConfig, block: dict[str, Any], canon: Canon | None):
        super().__init__()
        d, hidden, self.gated, self.act = config.hidden_size, block["hidden"], block["mlp"] == "gated", block["act"]
        self.up = nn.Linear(d, (1 + self.gated) * hidden, bias=False)
        self.down = nn.Linear(hidden, d, bias=False)
        self.local = canon

    def forward(self, x_BTd: Tensor, rows: Rows) -> Tensor:
        x = self.up(x_BTd)
        if self.local is not None:
            x = self.local(x, rows)
        if self.gated:
            gate, up = x.chunk(2, -1)
            x = activation(self.act, gate) * up
        else:
            x = activation(self.act, x)
        found: Tensor = self.down(x)
        return found


class Block(nn.Module):
    """A norm, Canon layer A and attention (with B inside); a norm, Canon layer C and the MLP (with D inside)."""

    def __init__(self, config: PhyslmConfig, layer: int):
        super().__init__()
        d, block = config.hidden_size, config.blocks[layer]
        hidden = block["hidden"] * (2 if block["mlp"] == "gated" else 1)

        def canon(site: str, channels: int) -> Canon | None:
            if site not in block["canon"]:
                return None
            return Canon(channels, block["canon_residual"], block["canon_act"], "ABCD".index(site))

        self.attention_norm, self.local_a = norm(config), canon("A", d)
        self.attention = Attention(config, block, canon("B", d + 2 * (d // block.get("group", 1))))
        self.mlp = None
        if block["mlp"] != "none":
            self.mlp_norm, self.local_c = norm(config), canon("C", d)
            self.mlp = MLP(config, block, canon("D", hidden))

    def forward(self, x_BTd: Tensor, rows: Rows) -> Tensor:
        normed = self.attention_norm(x_BTd)
        x = x_BTd + self.attention(normed if self.local_a is None else self.local_a(normed, rows), rows)
        if self.mlp is None:
            return x
        normed = self.mlp_norm(x)
        return x + self.mlp(normed if self.local_c is None else self.local_c(normed, rows), rows)


class PhyslmForCausalLM(PreTrainedModel, GenerationMixin):
    """The model with logits of the next token, as transformers wants it."""

    config_class = PhyslmConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_cache_class = True
    _no_split_modules = ("Block",)

    def __init__(self, config: PhyslmConfig):
        super().__init__(config)
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.positions = nn.Embedding(config.absolute, config.hidden_size) if config.absolute else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.num_hidden_layers))
        tables = [PLAIN | block for block in config.blocks]
        if any(block["bias"] == "t5" for block in tables):
            self.buckets = Shared(len(BOUNDS) + 1, config.num_attention_heads)
        if any(block["learnt_scale"] == "one" for block in tables):
            self.scale = Shared(1)
        self.final_norm = norm(config)
        tied = config.tie_word_embeddings
        self.output = None if tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def shared_weights(self) -> dict[str, Tensor]:
        """Those of attention that all blocks have in common, by name."""
        return {name: module.weight for name, module in self.named_children() if isinstance(module, Shared)}

    def get_input_embeddings(self) -> nn.Module:
        return self.embedding

    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.embedding = value

    def get_output_embeddings(self) -> nn.Module | None:
        return self.output

    def set_output_embeddings(self, value: nn.Linear) -> None:
        self.output = value

    def forward(
        self, input_ids: Tensor | None = None, attention_mask: Tensor | None = None, position_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None, cache: Cache | None = None, past_key_values: Cache | None = None,
        labels: Tensor | None = None, use_cache: bool | None = None, output_hidden_states: bool | None = None,
        logits_to_keep: int | Tensor = 0, **others: Any,
    ) -> CausalLMOutputWithPast:  # fmt: skip
        """Logits (B, T, V); ``labels`` as usual: ids of the same texts, -100 where nothing is to be predicted."""
        x = self.embedding(input_ids) if inputs_embeds is None else inputs_embeds
        memory = past_key_values if cache is None else cache
        if memory is None and use_cache:
            memory = DynamicCache()
        read = 0 if memory is None else int(memory.get_seq_length())
        if attention_mask is None:
            attention_mask = torch.ones(x.shape[0], read + x.shape[1], dtype=torch.long, device=x.device)
        if position_ids is None:
            position_ids = places(attention_mask)[:, read:]
        order = self.config.order
        rows = Rows(attention_mask, position_ids.expand(x.shape[0], -1), memory, self.shared_weights(), input_ids,
                    len(order))
        if self.positions is not None:
            x = x + self.positions(rows.place_BT)
        states: tuple[Tensor, ...] = (x,)
        for rows.at, number in enumerate(order):
            x = self.blocks[number](x, rows)
            states = (*states, x)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        table = (self.embedding if self.output is None else self.output).weight
        logits = F.linear(self.final_norm(x[:, kept]), table)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **others)
        return CausalLMOutputWithPast(loss=loss, logits=logits, hidden_states=states if output_hidden_states else None,
                                      **{MEMORY: memory})  # fmt: skip


PhyslmConfig.register_for_auto_class()
PhyslmForCausalLM.register_for_auto_class("AutoModelForCausalLM")
