"""How fast grammars are sampled, parsed and weighed on this machine.

Membership takes batches of 1000 strings, half valid and half with one token replaced; next-token distributions are
those behind every prefix of a whole string; sampling includes the labels of all levels.  Compilation and drawing the
strings are outside of the times.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from physlm.errors import counted
from physlm.machine import cpu_cores
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.published import published

if TYPE_CHECKING:
    import torch

GRAMMARS = ("cfg3b", "cfg3f", "cfg3k")
BATCH = 1000
_SAMPLED = {"cpu": 1_000, "cuda": 65_536}  # strings at once


def half_corrupted(grammar: Grammar, count: int, key: int = 0) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(tokens_BW, lengths_B): strings of the grammar, each second one with one token replaced by another."""
    import torch

    from physlm import rng
    from physlm.tasks.grammar.sampler import Sampler

    sample = Sampler(grammar).draw(torch.arange(count), key, labels=False)
    tokens_BW, lengths_B = sample.tokens_BW.long().numpy().copy(), sample.lengths_B.long().numpy()
    rows = torch.arange(1, count, 2)
    place = (rng.uniform(rng.key("corrupted place", key), rows).numpy() * lengths_B[1::2]).astype(np.int64)
    alphabet = len(grammar.terminals)
    if alphabet > 1:
        other = 1 + rng.below(alphabet - 1, rng.key("corrupted token", key), rows).numpy()
        tokens_BW[rows.numpy(), place] = (tokens_BW[rows.numpy(), place] + other) % alphabet
    return tokens_BW, lengths_B


def time_membership(grammar: Grammar, threads: int, seconds: float) -> float:
    """Strings a second; with several threads the batch grows so that each has 1000 strings."""
    from physlm.tasks.grammar.parser import Parser

    tokens_BW, lengths_B = half_corrupted(grammar, BATCH * threads)
    parser = Parser(grammar)
    return BATCH * threads / _time(lambda: parser.valid(tokens_BW, lengths_B, threads=threads), seconds)


def time_next_token(grammar: Grammar, seconds: float) -> float:
    """Seconds for the next-token distributions along one whole string, mean over 32 strings."""
    from physlm.tasks.grammar.likelihood import Likelihood

    tokens_BW, lengths_B = half_corrupted(grammar, 64)
    strings = [tokens[:length] for tokens, length in zip(tokens_BW[::2], lengths_B[::2], strict=True)]
    likelihood = Likelihood(grammar)
    return _time(lambda: [likelihood.next_token(string) for string in strings], seconds) / len(strings)


def time_sampling(grammar: Grammar, device: torch.device, seconds: float) -> float:
    """Tokens a second with labels; on one core on a CPU."""
    import torch

    from physlm.tasks.grammar.sampler import Sampler

    sampler = Sampler(grammar, device)
    index_B = torch.arange(_SAMPLED[device.type], device=device)

    def draw() -> int:
        return int(sampler.draw(index_B, 0).lengths_B.sum())  # reading the sum waits for the device

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return draw() / _time(draw, seconds)
    finally:
        torch.set_num_threads(threads)


def bench_grammar(quick: bool = False) -> None:
    """Print the table, line by line as it is measured."""
    import torch

    seconds = 0.5 if quick else 3.0
    gpu = torch.cuda.is_available()
    device = f", {torch.cuda.get_device_name()}" if gpu else ""
    print(f"{counted(cpu_cores(), 'CPU core')}{device}; torch {torch.__version__}")
    columns = ("grammar", "strings/s", f"on {counted(cpu_cores(), 'core')}", "next-token ms", "M tokens/s",
               "on the GPU")
    print("{:>8} {:>12} {:>14} {:>14} {:>12} {:>12}".format(*columns))
    for name in GRAMMARS:
        grammar = published(name)
        one, every = (time_membership(grammar, threads, seconds) for threads in (1, cpu_cores()))
        milliseconds = time_next_token(grammar, seconds) * 1e3
        drawn = time_sampling(grammar, torch.device("cpu"), seconds) / 1e6
        on_gpu = f"{time_sampling(grammar, torch.device('cuda'), seconds) / 1e6:.1f}" if gpu else "n/a"
        print(f"{name:>8} {one:>12,.0f} {every:>14,.0f} {milliseconds:>14.2f} {drawn:>12.1f} {on_gpu:>12}", flush=True)


def _time(call: Callable[[], object], seconds: float) -> float:
    """Mean seconds a call, over enough calls to fill ``seconds``; the first, which compiles, does not count."""
    call()
    count, start = 0, time.perf_counter()
    while count == 0 or time.perf_counter() - start < seconds:
        call()
        count += 1
    return (time.perf_counter() - start) / count
