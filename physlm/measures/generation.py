"""Batched generation with a key-value memory.

    made = generate(model, prompts_BP, new_tokens=400, temperature=1.0, key=7)
    string = made.ids[b, 1 : made.lengths[b]]                 # after a one-token prompt; ended[b]: the end was drawn

All rows go forward together, one position a step: where a row's prompt still goes on the step reads the prompt, after
it the token drawn.  On a GPU the step is captured once in CUDA graphs and replayed, and the host only asks now and then
whether every row has ended.

A draw is a pure function of (key, row, position).  The same row gets the same draws in any batch, so the result
does not depend on the batch, up to the rounding of the logits (products of other sizes may round differently).

Shape letters: M members, B rows, R rows at once, P positions of the longest prompt, W = P + new tokens, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm

from physlm import rng
from physlm.errors import UserError, counted
from physlm.measures.finite import check_finite
from physlm.models.decoder import Decoder
from physlm.models.reading import Reading
from physlm.training.captured import captured

POSITIONS = 1 << 24  # more than any row has: counters of different rows never meet
# Memory of keys and values, and rows of all members together, at once.
MEMORY_BYTES = {"cuda": 8 << 30, "cpu": 256 << 20}
MEMBER_ROWS = {"cuda": 16384, "cpu": 1024}
ASK_EVERY = 32  # steps between two questions whether every row has ended
# A step at position t looks at the memory up to the next multiple of this; on a GPU each has a graph of its own.
STAGE = {"cuda": 128, "cpu": 32}


class Generated(NamedTuple):
    """What was generated: ids (B, W), lengths and ended (B,); with an axis of members first where there are several.

    Attributes:
        ids: int64; prompt, then what was drawn, then ``end`` up to the last column.
        lengths: tokens of the prompt and tokens drawn; a drawn ``end`` is not counted.
        ended: whether ``end`` was drawn; rows that reached ``new_tokens`` before are false.
    """

    ids: Tensor
    lengths: Tensor
    ended: Tensor


@torch.no_grad()
def generate(
    model: Decoder,
    prompts: Tensor,
    new_tokens: int,
    *,
    lengths: Tensor | None = None,
    temperature: float = 1.0,
    key: int | Sequence[int] = 0,
    first_row: int = 0,
    end: int = 0,
    rows_at_once: int | None = None,
    progress: bool = False,
) -> Generated:
    """Continue each prompt by tokens drawn from the model until ``end`` is drawn, by ``new_tokens`` at most.

    p(token) = softmax(logits / temperature) over the tokens of the task; temperature 0 takes the likeliest token.
    Rows of the embedding that are no token of the task are never drawn.  Logits and probabilities are computed in
    float32 and float64 from the last activations, also where the model computes in bfloat16 (``Decoder.in_bfloat16``).

    Args:
        model: causal, on any device; one member or a population, whose members all generate at once.
        prompts: ids (B, P), for every member the same, or (M, B, P).
        lengths: tokens of each prompt, (B,), 1 .. P; without it all have P.
        key: names the draws; one for all members, who then share their random numbers, or one a member.
        first_row: the number of the first row, so that pieces of one list can be generated in several calls.
        end: the id that ends a row.  In a prompt it ends nothing.
        rows_at_once: rows in memory together; without it what fits into some gigabytes.

    Returns:
        ``Generated`` on the model's device, with a first axis of members unless the model has one and ``prompts`` two
        axes.

    Raises:
        UserError: arguments that do not fit together, an encoder, or more positions than the model has vectors for.
        NotFiniteError: logits are not finite.
    """
    lengths_B = _checked(model, prompts, lengths, new_tokens, temperature)
    device, members = model.embedding.weight.device, model.members
    together = prompts.dim() == 2
    prompts_MBP = (prompts[None].expand(members, -1, -1) if together else prompts).to(device)
    rows, columns = prompts_MBP.shape[1:]
    keys = [key] * members if isinstance(key, int) else list(key)
    if len(keys) != members:
        raise UserError(f"generation: got {counted(len(keys), 'key')} for {counted(members, 'member')}, expected one "
                        "or one a member")
    if rows_at_once is not None and rows_at_once < 1:
        raise UserError(f"generation: got {rows_at_once} rows at once, expected at least 1")
    size = min(rows, rows_at_once or _fitting(model, columns + new_tokens))
    batch = _Batch(model, size, columns, new_tokens, temperature, keys, end)
    parts = []
    with tqdm(total=rows, desc="generating", unit="row", leave=False, disable=None if progress else True) as bar:
        for start in range(0, rows, size):
            part = slice(start, start + size)
            parts.append(batch.run(prompts_MBP[:, part], lengths_B[part], first_row + start))
            bar.update(parts[-1].ids.shape[1])
    ids, counts, ended = (torch.cat([part[i] for part in parts], 1) for i in range(3))
    return Generated(ids[0], counts[0], ended[0]) if together and members == 1 else Generated(ids, counts, ended)


def draw(logits: Tensor, temperature: float, key: int | Tensor, counter: Tensor) -> Tensor:
    """One token for each row of logits (..., V), by inverting the cumulative distribution in float64.

    ``key`` and ``counter`` broadcast to the rows.  Temperature 0 is the likeliest token.
    """
    if temperature == 0.0:
        return logits.argmax(-1)
    cumulative = (logits.double() / temperature).softmax(-1).cumsum(-1)
    threshold = rng.uniform(key, counter)[..., None] * cumulative[..., -1:]
    return (cumulative <= threshold).sum(-1).clamp(max=logits.shape[-1] - 1)


class _Batch:
    """The buffers of R rows, and the step that works on them; its CUDA graphs serve every batch of this size."""

    def __init__(self, model: Decoder, rows: int, columns: int, new_tokens: int, temperature: float,
                 keys: Sequence[int], end: int):  # fmt: skip
        self.model, self.temperature, self.end, self.new_tokens = model, temperature, end, new_tokens
        device, members = model.embedding.weight.device, model.members
        self.width = columns + new_tokens
        self.reading = model.remember(rows, self.width - 1)
        self.stage = STAGE[device.type]
        self.readings = [self.reading.upto(end) for end in
                         range(self.stage, self.reading.positions + self.stage, self.stage)]  # fmt: skip
        self.table_MdV = model.output_table[:, : model.vocabulary].float().mT
        self.key_M1 = torch.tensor([[rng.key("generation", k)] for k in keys], device=device)
        self.ids_MRW = torch.full((members, rows, self.width), end, device=device)
        # first all rows have ended, as those of an unfilled batch
        self.ended_MR = torch.ones(members, rows, dtype=torch.bool, device=device)
        self.length_MR = torch.ones(members, rows, dtype=torch.long, device=device)
        self.prompt_R = torch.ones(rows, dtype=torch.long, device=device)
        self.number_R = torch.arange(rows, device=device)
        self.place_1 = torch.zeros(1, dtype=torch.long, device=device)
        # 0 times all logits so far: NaN once one of them was not finite, which the host asks for at the end
        self.finite_MR = torch.zeros(members, rows, device=device)
        self.steps = self._capture() if device.type == "cuda" else [partial(self._step, one) for one in self.readings]

    def run(self, prompts_MBP: Tensor, lengths_B: Tensor, first_row: int) -> Generated:
        """Generate for B <= R rows, numbered from ``first_row`` on."""
        rows, columns = prompts_MBP.shape[1:]
        self.ids_MRW.fill_(self.end)
        inside = torch.arange(columns) < lengths_B[:, None]
        self.ids_MRW[:, :rows, :columns] = torch.where(inside.to(prompts_MBP.device), prompts_MBP, self.end)
        self.prompt_R.fill_(1)
        self.prompt_R[:rows] = lengths_B.to(self.prompt_R.device)
        self.number_R.copy_(torch.arange(first_row, first_row + len(self.number_R)))
        self.length_MR.copy_(self.prompt_R.expand_as(self.length_MR))
        self.ended_MR.fill_(True)
        self.ended_MR[:, :rows] = False
        self.finite_MR.zero_()
        first = int(lengths_B.min()) - 1
        if first:  # what all prompts have, but for its last token, at once
            self.model.read(self.ids_MRW[:, :, :first], self.reading)
        else:  # a recurrent state would go on from the rows before these
            self.reading.clear()
        self.place_1.fill_(first)
        for place in range(first, self.width - 1):
            if (place - first) % ASK_EVERY == ASK_EVERY - 1 and bool(self.ended_MR.all()):
                break
            self.steps[place // self.stage]()
        check_finite(self.finite_MR[:, :rows], "logits of generated words")
        return Generated(*(x[:, :rows].clone() for x in (self.ids_MRW, self.length_MR, self.ended_MR)))

    def _step(self, reading: Reading) -> None:
        """Read the token at ``place``, decide the one after it."""
        token = self.ids_MRW.index_select(2, self.place_1)
        hidden_MRd = self.model.step(token, self.place_1, reading)[:, :, 0]
        self.place_1 += 1
        counter_R = self.number_R * POSITIONS + self.place_1
        logits_MRV = hidden_MRd.float() @ self.table_MdV
        self.finite_MR.add_(logits_MRV.sum(-1), alpha=0.0)
        drawn_MR = draw(logits_MRV, self.temperature, self.key_M1, counter_R)
        given_R = self.place_1 < self.prompt_R
        free_R = self.place_1 < self.prompt_R + self.new_tokens
        live_MR = ~self.ended_MR & ~given_R & free_R
        prompt_MR = self.ids_MRW.index_select(2, self.place_1)[..., 0]
        token_MR = torch.where(given_R, prompt_MR, torch.where(live_MR, drawn_MR, self.end))
        self.ids_MRW.index_copy_(2, self.place_1, token_MR[..., None])
        stops_MR = live_MR & (drawn_MR == self.end)
        self.length_MR += live_MR & ~stops_MR
        self.ended_MR |= stops_MR

    def _capture(self) -> list[Callable[[], None]]:
        """A recording of the step for each stage; ``run`` overwrites all that warming up leaves behind.

        They share their scratch memory: they never run at the same time and leave nothing in it.
        """
        pool = torch.cuda.graph_pool_handle()
        return [captured(partial(self._step, reading), lambda: (self.place_1,), self.place_1.device, pool, warm_up=1)
                for reading in self.readings]


def _checked(model: Decoder, prompts: Tensor, lengths: Tensor | None, new_tokens: int, temperature: float) -> Tensor:
    """The lengths of the prompts on the host, once all arguments fit together."""
    if prompts.dim() not in (2, 3) or 0 in prompts.shape or (prompts.dim() == 3 and len(prompts) != model.members):
        raise UserError(f"generation: got prompts of shape {tuple(prompts.shape)}, expected (rows, tokens) or "
                        f"({model.members}, rows, tokens), none of them 0")
    if new_tokens < 1:
        raise UserError(f"generation: got {new_tokens} new tokens, expected at least 1")
    if not 0.0 <= temperature < float("inf"):
        raise UserError(f"generation: got temperature {temperature}, expected a number of at least 0")
    low, high = (int(x) for x in prompts.aminmax())
    if low < 0 or high >= model.embedding.weight.shape[1]:
        raise UserError(f"generation: got prompts with ids {low} to {high}, expected 0 to {model.vocabulary - 1}")
    rows, columns = prompts.shape[-2:]
    counts = torch.full((rows,), columns) if lengths is None else lengths.cpu().long()
    if counts.shape != (rows,) or int(counts.min()) < 1 or int(counts.max()) > columns:
        raise UserError(f"generation: got lengths {tuple(counts.shape)} from {int(counts.min())} to "
                        f"{int(counts.max())}, expected one for each of {rows} prompts, from 1 to {columns}")
    return counts


def _fitting(model: Decoder, positions: int) -> int:
    """Rows whose keys and values fit into memory."""
    kind = "cuda" if model.embedding.weight.is_cuda else "cpu"
    return max(1, min(MEMORY_BYTES[kind] // max(1, model.state_bytes(positions)), MEMBER_ROWS[kind] // model.members))
