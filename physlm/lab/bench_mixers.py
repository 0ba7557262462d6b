"""How fast every mixer trains and generates on this machine, beside softmax attention in a model of the same shape.

    training      tokens/s of the whole step, data generation and optimiser included, rows of 512 tokens
    generating    tokens/s of 64 rows of 256 tokens (on a CPU 32)
    ratio         of these over those of rotary attention
    state         bytes that a row of 512 tokens leaves for the next token, all layers

The wanted ratios of training are bounds of ours, on a GPU at 8 x 256; on a CPU nothing is judged, and nowhere mixers
that compute all scores in order to show what is learnt: 2-simplicial and native sparse attention.  On a GPU a quick
table has the same shape, with short measurements, and begins no line after two and a half minutes, most of which are
compilation: it names what it left out, to be asked for.  What was compiled once is kept by torch in a folder of the
machine, so that the next table there has more lines in the same time (docs/speed.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import torch

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.lab.bench import TASK, Case, in_time, speeds
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer
from physlm.models.parts.path import PaTH

CASES = {"cuda": Case(8, 4, 256, rows=96, members=1), "cpu": Case(2, 2, 64, rows=4, members=1)}
QUICK = {"cuda": CASES["cuda"], "cpu": Case(1, 2, 32, rows=1, members=1)}
QUICK_SECONDS = 150.0  # after which a quick table begins no other line
WANTED = 0.6  # of the speed of attention
UNJUDGED = ("nsa", "simplicial")  # what they say themselves is not about speed
LAST = ("relative", "position_only", "uniform", *UNJUDGED)  # controls, and what takes most memory
WANTED_OF = {"deltanet": 0.4, "gated_deltanet": 0.4, "path": 0.4}
LEVELS = 10  # log2 512 + 1


def mixers_of(kinds: Sequence[str], heads: int) -> Iterator[Mixer]:
    """The mixers of these kinds, or of all, with their defaults and with what changes their speed.

    Raises:
        UserError: there is no such mixer.
    """
    variants: dict[str, tuple[Mixer, ...]] = {
        "attention": (Attention(group=2), Attention(group=heads), Attention(window=64)),
        "fox": (FoX(pro=True),), "path": (PaTH(forget=True),), "gla": (GLA(gate="scalar"),),
        "mamba2": (Mamba2(levels=LEVELS),), "deltanet": (DeltaNet(negative=True, steps=2),),
        "gated_deltanet": (GatedDeltaNet(negative=True, steps=2), GatedDeltaNet(levels=LEVELS)),
    }  # fmt: skip
    for kind in kinds:
        if kind not in Mixer.kinds():
            raise UserError(unknown_key("KIND", kind, Mixer.kinds()))
    for kind in kinds or sorted(Mixer.kinds(), key=LAST.__contains__):
        yield from dict.fromkeys((Mixer.of_kind(kind)(), *variants.get(kind, ())))


def wanted(mixer: Mixer) -> float | None:
    """The least ratio of training; none of mixers that are not about speed."""
    if mixer.kind in UNJUDGED:
        return None
    return WANTED_OF["gated_deltanet"] if getattr(mixer, "levels", 0) else WANTED_OF.get(mixer.kind, WANTED)


def bench_mixers(kinds: Sequence[str] = (), quick: bool = False, device: str | None = None) -> None:
    """Print the table, line by line as it is measured."""
    place = place_of(device)
    case, seconds = (QUICK if quick else CASES)[place.type], 0.3 if quick else 2.0
    chosen = [Attention(), *(mixer for mixer in mixers_of(kinds, case.heads) if mixer != Attention())]
    size = f"{case.title}, {case.heads} heads, {case.rows} x {TASK.row_tokens} tokens a step"
    print(f"{machine_of(place)}; {size}", flush=True)
    print(f"{'mixer':<36} {'training':>10} {'ratio':>6} {'wanted':>6} {'generating':>11} {'ratio':>6} {'state':>11}")
    base: tuple[float, float] | None = None
    for mixer in in_time(chosen, QUICK_SECONDS if quick else None, lambda mixer: mixer.kind):
        found = _line(case, mixer, place, seconds, base)
        base = base or found


def place_of(device: str | None) -> torch.device:
    """The device that is meant: by default a GPU where there is one."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def machine_of(place: torch.device) -> str:
    """Its name, for readers."""
    threads = counted(torch.get_num_threads(), "thread")
    machine = torch.cuda.get_device_name(place) if place.type == "cuda" else f"CPU, {threads}"
    return f"{machine}; torch {torch.__version__}"


def _line(
    case: Case, mixer: Mixer, place: torch.device, seconds: float, base: tuple[float, float] | None
) -> tuple[float, float]:
    """Measure one mixer and print it; its steps a second and tokens a second of generation."""
    here = dataclasses.replace(case, mixer=(mixer,))
    print(f"{mixer.label:<36}", end=" ", flush=True)  # so that a table that was cut off tells where
    found = speeds(here, place, seconds)
    ratios, least, verdict = ["", ""], "", ""
    if base is not None:
        ratios = [f"{ours / theirs:.2f}" for ours, theirs in zip(found, base, strict=True)]
        if place.type == "cuda" and (bound := wanted(mixer)) is not None:
            least = f"{bound:.1f}"
            verdict = "  below" if found[0] / base[0] < bound else ""
    trained = found[0] * here.members * here.rows * TASK.row_tokens
    print(f"{trained:>10,.0f} {ratios[0]:>6} {least:>6} {found[1]:>11,.0f} {ratios[1]:>6} "
          f"{_state_bytes(here.model, place):>11,}{verdict}", flush=True)
    return found


def _state_bytes(config: ModelConfig, place: torch.device) -> int:
    model = Decoder(dataclasses.replace(config, vocab_size=2), 2)
    return (model.in_bfloat16() if place.type == "cuda" else model).state_bytes(TASK.row_tokens)
