"""A GPT of physlm for transformers: what none of its own architectures has, in one file that stands beside the weights.

    x <- x + attention(norm(x));  x <- x + mlp(norm(x));  logits = norm(x) E^T

Each block says for itself how much of a head is rotated (all, a part, nothing: NoPE), whether queries and keys are
normed, which MLP it has (plain, gated, none), and where Canon layers mix neighbouring tokens (arXiv 2512.17351).
No linear map and no norm has a bias.  The file needs torch and transformers, and nothing of physlm.

Shape letters: B rows, T tokens read now, L tokens read so far, d width, H heads, k = d / H, c channels.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer
from transformers.modeling_outputs import CausalLMOutputWithPast

TAPS = 4  # tokens that a Canon layer sees
EPS, QK_EPS = 1e-5, 1e-6
# how this version of transformers calls the memory of generation
MEMORY = "cache" if "cache" in CausalLMOutputWithPast.__dataclass_fields__ else "past_key_values"


class PhyslmConfig(PretrainedConfig):
    """The shape of the model.

    Args:
        blocks: one table a block: ``rope`` (share of a head), ``rope_base``, ``qk_norm`` (none, head, full), ``mlp``
            (plain, gated, none), ``hidden`` (units of the MLP), ``act`` (gelu in its tanh form, relu2, silu), and
            ``canon`` (empty, or any of ABCD), ``canon_residual``, ``canon_act``.
        norm: ``layernorm`` or ``rmsnorm``.
        absolute: rows of a table of learnt positions; 0: none.
    """

    model_type = "physlm"
    keys_to_ignore_at_inference = (MEMORY,)

    def __init__(
        self, vocab_size: int = 1, hidden_size: int = 64, num_attention_heads: int = 1, num_hidden_layers: int = 1,
        blocks: list[dict[str, Any]] | None = None, norm: str = "layernorm", absolute: int = 0,
        tie_word_embeddings: bool = True, **others: Any,
    ):  # fmt: skip
        self.vocab_size, self.hidden_size, self.num_attention_heads = vocab_size, hidden_size, num_attention_heads
        self.num_hidden_layers, self.blocks, self.norm, self.absolute = num_hidden_layers, blocks or [], norm, absolute
        super().__init__(tie_word_embeddings=tie_word_embeddings, **others)


def activation(name: str, x: Tensor) -> Tensor:
    """gelu in its tanh form, silu, or relu2, max(0, x)^2."""
    if name == "gelu":
        return F.gelu(x, approximate="tanh")
    return F.silu(x) if name == "silu" else F.relu(x).square()


def norm(config: PhyslmConfig) -> nn.Module:
    """With a gain and no bias."""
    if config.norm == "rmsnorm":
        return nn.RMSNorm(config.hidden_size, eps=EPS)
    return nn.LayerNorm(config.hidden_size, eps=EPS, bias=False)


class Rows:
    """What the blocks know of the rows that they read.

    Attributes:
        real_BT1: 1 for tokens, 0 for padding.
        place_BT: positions in the text.
        seen: (B, 1, T, L), true where a token sees another; each sees itself, so that padding is a number as well.
    """

    def __init__(self, mask_BL: Tensor, place_BT: Tensor, memory: Any):
        self.tokens, self.place_BT, self.memory = place_BT.shape[1], place_BT, memory
        at_L = torch.arange(mask_BL.shape[1], device=mask_BL.device)
        at_T = at_L[-self.tokens :, None]
        self.seen = (((at_L <= at_T) & mask_BL[:, None].bool()) | (at_L == at_T))[:, None]
        self.real_BT1 = mask_BL[:, -self.tokens :, None]

    def keys(self, layer: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of all tokens so far, (B, H, L, k)."""
        return (k, v) if self.memory is None else self.memory.update(k, v, layer)

    def inputs(self, site: int, x_BTc: Tensor) -> Tensor:
        """Inputs of all tokens so far at one site, (B, L, c).

        They are kept as the keys of one more layer of the memory, whole, so that beam search, cropping and the like
        do with them what they do with keys.
        """
        if self.memory is None:
            return x_BTc
        while len(self.memory.layers) <= site:
            self.memory.layers.append(DynamicLayer())
        found: Tensor = self.memory.layers[site].update(x_BTc[:, None], x_BTc[:, None, :, :0])[0]
        return found[:, 0]


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
    """softmax(q k^T / sqrt(k)) v in each head, after rotation of the first dimensions of q and k."""

    def __init__(self, config: PhyslmConfig, block: dict[str, Any], layer: int, canon: Canon | None):
        super().__init__()
        d = config.hidden_size
        self.layer, self.heads, self.qk_norm = layer, config.num_attention_heads, block["qk_norm"]
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
        if self.qk_norm != "none":
            self.q_gain, self.k_gain = nn.Parameter(torch.ones(d)), nn.Parameter(torch.ones(d))
        self.local = canon
        self.dims, self.base = int(d // self.heads * block["rope"]), block["rope_base"]

    def forward(self, x_BTd: Tensor, rows: Rows) -> Tensor:
        qkv = self.qkv(x_BTd)
        if self.qk_norm != "none":
            q, k, v = qkv.chunk(3, -1)
            qkv = torch.cat((self.normed(q) * self.q_gain, self.normed(k) * self.k_gain, v), -1)
        if self.local is not None:
            qkv = self.local(qkv, rows)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.dims:
            q, k = self.turned(q, rows.place_BT), self.turned(k, rows.place_BT)
        mixed = F.scaled_dot_product_attention(q, *rows.keys(self.layer, k, v), rows.seen)
        found: Tensor = self.out(mixed.transpose(1, 2).reshape(x_BTd.shape))
        return found

    def normed(self, x_BTd: Tensor) -> Tensor:
        """Over the root mean square, of each head or of all."""
        wide = x_BTd.unflatten(-1, (self.heads, -1)) if self.qk_norm == "head" else x_BTd
        return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + QK_EPS)).reshape(x_BTd.shape)

    def turned(self, x_BHTk: Tensor, place_BT: Tensor) -> Tensor:
        """Dimension pairs (j, j + r/2) of the first r turned by t base^(-2j/r)."""
        r = self.dims
        rate = self.base ** (-torch.arange(0, r, 2, device=x_BHTk.device, dtype=torch.float64) / r)
        angle = place_BT[:, None, :, None] * rate
        cos, sin = angle.cos().to(x_BHTk.dtype), angle.sin().to(x_BHTk.dtype)
        a, b = x_BHTk[..., : r // 2], x_BHTk[..., r // 2 : r]
        return torch.cat((a * cos - b * sin, b * cos + a * sin, x_BHTk[..., r:]), -1)


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
            number = config.num_hidden_layers + 4 * layer + "ABCD".index(site)
            return Canon(channels, block["canon_residual"], block["canon_act"], number)

        self.attention_norm, self.local_a = norm(config), canon("A", d)
        self.attention = Attention(config, block, layer, canon("B", 3 * d))
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
        self.final_norm = norm(config)
        tied = config.tie_word_embeddings
        self.output = None if tied else nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

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
            position_ids = (attention_mask.long().cumsum(-1) - 1).clamp_min(0)[:, read:]
        rows = Rows(attention_mask, position_ids.expand(x.shape[0], -1), memory)
        if self.positions is not None:
            x = x + self.positions(rows.place_BT)
        states: tuple[Tensor, ...] = (x,)
        for block in self.blocks:
            x = block(x, rows)
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
