"""How fast attention within short rows is by kernels of our own beside torch's, in one run.

First a layer alone, forward and backward, recorded and compiled as in training: as many tokens in rows of each length,
with heads of each width.  Then whole models of Part 3.3, whose rows are one biography, data generation and optimiser
included.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.lab.bench_chunks import both_ways
from physlm.lab.bench_sharing import TASK
from physlm.lab.bench_training import Case, time_training
from physlm.models import short_attention
from physlm.models.config import ModelConfig
from physlm.models.parts.attend import attend

TOKENS = 1 << 17  # of a layer
WIDTH = 64  # of all heads together
LENGTHS = (16, 32, 60, 64, 72, 96, 128)
MODELS = (Case(ModelConfig(2, 4, 64), rows=960), Case(ModelConfig(4, 4, 64), rows=960))


@contextlib.contextmanager
def longest(tokens: int) -> Iterator[None]:
    """Rows of at most so many tokens count as short: of 0 tokens, all are torch's."""
    before = short_attention.LONGEST
    short_attention.LONGEST = tokens
    try:
        yield
    finally:
        short_attention.LONGEST = before


def bench_rows(quick: bool = False) -> None:
    """Print both tables, line by line as they are measured.

    Raises:
        UserError: there is no GPU.
    """
    if not torch.cuda.is_available():
        raise UserError("physlm bench rows: found no GPU; expected one that CUDA sees, as the kernels run nowhere else")
    place, seconds = torch.device("cuda"), 0.2 if quick else 1.0
    print(f"{torch.cuda.get_device_name(place)}; torch {torch.__version__}; {TOKENS} tokens of {WIDTH} channels, ms "
          f"forward and backward; taken in training: rows of at most {short_attention.LONGEST} tokens")
    print(f"{'tokens a row':>12} {'width of a head':>15} {'torch':>9} {'ours':>9} {'torch over ours':>15}")
    for length in (60, 128) if quick else LENGTHS:
        for width in (16, 64) if quick else short_attention.WIDTHS:
            theirs, ours = times(length, width, place, seconds)
            print(f"{length:>12} {width:>15} {theirs * 1e3:>9.3f} {ours * 1e3:>9.3f} {theirs / ours:>15.2f}",
                  flush=True)  # fmt: skip
    print(f"{'model':>36} {'torch':>9} {'ours':>9} {'ours over torch':>15}  M tokens/s")
    for case in MODELS[:1] if quick else MODELS:
        theirs, ours = (_speed(case, tokens, place, 5 * seconds) for tokens in (0, TASK.row_tokens))
        print(f"{case.title(TASK.row_tokens):>36} {theirs / 1e6:>9.2f} {ours / 1e6:>9.2f} {ours / theirs:>15.3f}",
              flush=True)  # fmt: skip


def _speed(case: Case, tokens: int, place: torch.device, seconds: float) -> float:
    """Tokens a second of training where rows of at most so many tokens count as short."""
    with longest(tokens):
        (found,) = time_training([TASK], case, place, seconds)
    torch._dynamo.reset()
    return found


def times(length: int, width: int, place: torch.device, seconds: float) -> tuple[float, float]:
    """Seconds of a layer's attention, forward and backward: torch's, and that of our kernels where there are any."""
    generator = torch.Generator().manual_seed(0)
    rows, heads = TOKENS // length, WIDTH // width
    dtype = torch.bfloat16 if place.type == "cuda" else torch.float32
    qkv = torch.randn(rows, length, 3, heads, width, generator=generator).to(place, dtype)

    def run(x: Tensor) -> Tensor:
        q, k, v = x.permute(2, 0, 3, 1, 4)
        return attend(q, k, v).transpose(1, 2).flatten(2)

    with longest(0):
        theirs = both_ways(run, [qkv], place, seconds)
    with longest(length):
        return theirs, both_ways(run, [qkv], place, seconds)
