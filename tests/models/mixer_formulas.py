"""The formulas of mixers, for one member and row, token by token: x (T, d), p the weights by name."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mla import MLA
from physlm.models.parts.path import PaTH


def silu(x: Tensor) -> Tensor:
    return x * torch.sigmoid(x)


def filtered(p: dict[str, Tensor], x: Tensor, conv: bool, bias: Tensor | float = 0.0) -> Tensor:
    if not conv:
        return x
    rows = [bias + sum((p["conv"][s] * x[t - s] for s in range(min(4, t + 1))), torch.zeros_like(x[0]))
            for t in range(len(x))]
    return torch.stack(rows)


def short(p: dict[str, Tensor], x: Tensor, conv: bool, bias: Tensor | float = 0.0) -> Tensor:
    return silu(filtered(p, x, conv, bias))


def normed(o: Tensor) -> Tensor:
    return o / (o.square().mean(-1, keepdim=True) + 1e-5).sqrt()


def unit(x: Tensor) -> Tensor:
    return x / (x.square().sum() + 1e-6).sqrt()


def linear(m: LinearAttention, p: dict[str, Tensor], x: Tensor) -> Tensor:
    keys, values = round(16 * m.keys), round(16 * m.values)
    qkv = x @ p["qkv"]
    parts = (short(p, qkv, True) if m.conv else qkv).split((keys, keys, values), -1)
    q, k, v = (part.unflatten(-1, (2, -1)) for part in parts)
    rows = []
    for t in range(len(x)):
        heads = []
        for h in range(2):
            weight = (F.elu(k[: t + 1, h]) + 1) @ (F.elu(q[t, h]) + 1)
            o = weight @ v[: t + 1, h]
            heads.append(o / (weight.sum() + 1e-6) if m.normaliser == "sum" else normed(o))
        rows.append(torch.cat(heads) * (1 if m.normaliser == "sum" else p["gain"]))
    return torch.stack(rows) @ p["out"]


def gla(m: GLA, p: dict[str, Tensor], x: Tensor) -> Tensor:
    keys, values = round(16 * m.keys), round(16 * m.values)
    qkv = x @ p["qkv"]
    q, k, v = (short(p, qkv, True) if m.conv else qkv).split((keys, keys, values), -1)
    a = torch.sigmoid((x @ p["down"] if m.gate == "vector" else x) @ p["up"] + p["bias"]) ** m.exponent
    heads = []
    for h in range(2):
        qh, kh, vh, ah = (y.chunk(2, -1)[h] for y in (q, k, v, a))
        state, rows = torch.zeros(keys // 2, values // 2).double(), []
        for t in range(len(x)):
            state = torch.diag(ah[t].expand(keys // 2)) @ state + torch.outer(kh[t], vh[t])
            rows.append(normed(state.T @ qh[t] / math.sqrt(keys / 2)))
        heads.append(torch.stack(rows))
    return (torch.cat(heads, -1) * p["gain"] * silu(x @ p["gate"])) @ p["out"]


def level(i: int, j: int, levels: int) -> int:
    """Of token j for the one at i: by the first place from the top where their binary digits differ."""
    return min((i ^ j).bit_length(), levels - 1)


def shares(m: Mamba2 | GatedDeltaNet, p: dict[str, Tensor], x: Tensor, h: int) -> Tensor:
    """g of each level of a head, (T, L); 1 where there are no levels."""
    if not m.levels:
        return torch.ones(len(x), 1).double()
    return F.softplus((x @ p["level"] * p["level_scale"]).view(-1, 2, m.levels)[:, h])


def mamba2(m: Mamba2, p: dict[str, Tensor], x: Tensor) -> Tensor:
    inner = 16 * m.expand
    z, mixed = (x @ p["inputs"]).split((inner, inner + 2 * m.size), -1)
    u, b, c = short(p, mixed, m.conv, p.get("conv_bias", 0.0)).split((inner, m.size, m.size), -1)
    step = F.softplus(x @ p["step"] + p["step_bias"])
    heads = []
    for h in range(2):
        uh, share = u.chunk(2, -1)[h], shares(m, p, x, h)
        written: list[Tensor] = []  # of each token, as what it wrote stands now
        rows = []
        for t in range(len(x)):
            a = torch.exp(-torch.exp(p["decay"][h]) * step[t, h])
            written = [a * one for one in written] + [torch.outer(b[t], step[t, h] * uh[t])]
            read = sum((share[t, level(t, j, max(1, m.levels))] * one for j, one in enumerate(written)), 0 * written[0])
            rows.append(read.T @ c[t] + p["skip"][h] * uh[t])
        heads.append(torch.stack(rows))
    return (normed(torch.cat(heads, -1) * silu(z)) * p["gain"]) @ p["out"]


def deltanet(m: DeltaNet | GatedDeltaNet, p: dict[str, Tensor], x: Tensor) -> Tensor:
    gated, n = isinstance(m, GatedDeltaNet), m.steps
    keys, values = round(16 * m.keys), round(16 * m.values)
    q, k, v = filtered(p, x @ p["qkv"], m.conv).split((keys, n * keys, n * values), -1)
    q, k, v = silu(q) if m.silu else q, silu(k) if m.silu else k, silu(v)
    beta = torch.sigmoid(x @ p["beta"]) * (2 if m.negative else 1)
    heads = []
    for h in range(2):
        share = shares(m, p, x, h) if isinstance(m, GatedDeltaNet) else torch.ones(len(x), 1).double()
        written: list[Tensor] = []  # of each token, as what it wrote stands now: the memory is their sum
        rows = []
        for t in range(len(x)):
            if gated:
                step = F.softplus(x[t] @ p["step"][:, h] + p["step_bias"][h])
                written = [torch.exp(-torch.exp(p["decay"][h]) * step) * one for one in written]
            written.append(torch.zeros(keys // 2, values // 2).double())
            for s in range(n):
                key = unit(k[t].view(n, 2, -1)[s, h])
                value, b = v[t].view(n, 2, -1)[s, h], beta[t].view(n, 2)[s, h]
                written = [one - b * torch.outer(key, one.T @ key) for one in written]
                written[t] = written[t] + b * torch.outer(key, value)
            levels = share.shape[-1]
            state = sum((share[t, level(t, j, levels)] * one for j, one in enumerate(written)), 0 * written[0])
            rows.append(normed(state.T @ unit(q[t].view(2, -1)[h]) / math.sqrt(keys / 2)))
        heads.append(torch.stack(rows))
    o = torch.cat(heads, -1) * p["gain"]
    return (o * silu(x @ p["gate"]) if gated else o) @ p["out"]


def fox(m: FoX, p: dict[str, Tensor], x: Tensor) -> Tensor:
    q, k, v = (x @ p["qkv"]).view(-1, 3, 2, 8).unbind(1)
    fade = torch.log(torch.sigmoid(x @ p["forget"] + p["bias"]))
    if m.pro:
        share = torch.sigmoid(x @ p["shift"]).view(-1, 2, 2, 1)
        k, v = (share[:, i] * torch.cat((0 * y[:1], y[:-1])) + (1 - share[:, i]) * y for i, y in enumerate((k, v)))
        q, k = normed(q) * p["q_gain"].view(2, 8), normed(k) * p["k_gain"].view(2, 8)
    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            scores = torch.stack([q[i, h] @ k[j, h] / math.sqrt(8) + fade[j + 1 : i + 1, h].sum()
                                  for j in range(i + 1)])  # fmt: skip
            heads.append(scores.softmax(0) @ v[: i + 1, h])
        rows.append(torch.stack(heads))
    o = torch.stack(rows)
    if m.pro:
        return (normed(o).flatten(1) * p["gain"] * torch.sigmoid(x @ p["gate"])) @ p["out"]
    return o.flatten(1) @ p["out"]


def mla(m: MLA, p: dict[str, Tensor], x: Tensor) -> Tensor:
    r, latent = round(8 * m.rotated), round(16 * m.latent)
    q, c, key = (x @ p["inputs"]).split((2 * (8 + r), latent, r), -1)
    q, kv = q.view(-1, 2, 8 + r), (normed(c) * p["gain"] @ p["up"]).view(-1, 2, 2, 8)

    def at(y: Tensor, t: int) -> Tensor:  # turned by RoPE
        angle = t * m.rope_base ** (-torch.arange(0, r, 2).double() / r)
        a, b = y.chunk(2)
        cos, sin = angle.cos().float().double(), angle.sin().float().double()  # the tables are of float32
        return torch.cat((a * cos - b * sin, b * cos + a * sin))

    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            scores = torch.stack([q[i, h, :8] @ kv[j, 0, h] + (at(q[i, h, 8:], i) @ at(key[j], j) if r else 0.0)
                                  for j in range(i + 1)])  # fmt: skip
            heads.append((scores / math.sqrt(8 + r)).softmax(0) @ kv[: i + 1, 1, h])
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ p["out"]


def path(m: PaTH, p: dict[str, Tensor], x: Tensor) -> Tensor:
    q, k, v = (x @ p["qkv"]).view(-1, 3, 2, 8).unbind(1)
    turn = short(p, x @ p["down"] @ p["up"], m.conv).view(-1, 2, 8)
    beta = 2 * torch.sigmoid(x @ p["beta"] + p["bias"])
    fade = torch.log(torch.sigmoid(x @ p["fade"] + p["fade_bias"])) if m.forget else torch.zeros(len(x), 2).double()
    rows = []
    for i in range(len(x)):
        heads = []
        for h in range(2):
            product, scores = torch.eye(8).double(), []
            for j in reversed(range(i + 1)):
                scores.append(k[j, h] @ product @ q[i, h] / math.sqrt(8) + fade[j + 1 : i + 1, h].sum())
                w = unit(turn[j, h])
                product = (torch.eye(8) - beta[j, h] * torch.outer(w, w)) @ product
            heads.append(torch.stack(scores[::-1]).softmax(0) @ v[: i + 1, h])
        rows.append(torch.cat(heads))
    return torch.stack(rows) @ p["out"]


FORMULAS: dict[str, Any] = {"mla": mla, "path": path, "linear": linear, "gla": gla, "mamba2": mamba2,
                            "deltanet": deltanet, "gated_deltanet": deltanet, "fox": fox}  # fmt: skip
