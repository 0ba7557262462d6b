"""Whether fla-core's kernels are right on this GPU, and whether they are faster than what training uses.

Of each mixer that has one, the core alone at the shape of ``bench mixers``, forward and backward:

    error      |o - exact| / |exact| by root mean squares, the largest over o and all gradients; exact is our core in
               float32 throughout; theirs, and beside it ours as in training, whose products go through TF32 or bfloat16
    tokens/s   of one layer; both are recorded as a CUDA graph, and ours is compiled, as in training
    verdict    right and faster / right, slower / not right; right, not timed, where it cannot be recorded or timed

Right is an error of at most 1e-3 where q, k and v are float32, and 2e-2 where they are bfloat16: one rounding is
1.7e-3, and a delta rule rounds what it has rounded.  Kernels that are compiled wrongly are off by a half.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.extras import needed
from physlm.lab.bench import TASK, in_time
from physlm.lab.bench_chunks import both_ways
from physlm.lab.bench_mixers import CASES, QUICK, QUICK_SECONDS, machine_of
from physlm.lab.fla_kernels import KERNELS, Given, Kernel, drawn, off_by, refused
from physlm.models.parts.part import Mixer

TRAINED = {"cuda": torch.bfloat16, "cpu": torch.float32}  # what models compute in there
BOUNDS = {torch.float32: 1e-3, torch.bfloat16: 2e-2}
Load = Callable[[str], Callable[..., Any]]


def bench_fla(kinds: Sequence[str] = (), quick: bool = False) -> None:
    """Print the table, line by line as it is measured.

    Raises:
        UserError: there is no such mixer, no GPU, or no fla-core.
    """
    for kind in kinds:
        if kind not in Mixer.kinds():
            raise UserError(unknown_key("KIND", kind, Mixer.kinds()))
    if not torch.cuda.is_available():
        raise UserError("--fla: found no GPU; expected one that CUDA sees, as fla-core's kernels run nowhere else, and "
                        "fla-core: pip install 'physlm[linear]'")
    fla, triton = needed("fla", "linear"), needed("triton", "linear")
    place, tilelang = torch.device("cuda"), importlib.util.find_spec("tilelang") is not None
    print(f"{machine_of(place)}; triton {triton.__version__}; fla-core {fla.__version__}")
    offered = []
    for kernel in KERNELS:
        if kinds and kernel.mixer.kind not in kinds:
            continue
        if why := refused(kernel, torch.cuda.get_device_capability(place), triton.__version__, tilelang):
            print(f"{kernel.mixer.label}: {kernel.function} is not offered: {why}")
        else:
            offered.append(kernel)
    without = [kind for kind in kinds or Mixer.kinds() if kind not in {kernel.mixer.kind for kernel in KERNELS}]
    if without:
        print(f"no kernel that computes the same: {', '.join(without)}")
    table(offered, _function, place, quick)


def table(kernels: Sequence[Kernel], load: Load, place: torch.device, quick: bool) -> None:
    """A line for each kernel; what ``load`` gives stands for their function of this name."""
    case = (QUICK if quick else CASES)[place.type]
    print(f"{case.rows} rows, {case.heads} heads, {TASK.row_tokens} positions; tokens/s of one layer's core, both ways")
    print(f"{'mixer':<36} {'type':<8} {'error':>8} {'of ours':>8} {'theirs':>12} {'ours':>12} {'ratio':>6}  verdict",
          flush=True)
    for kernel in in_time(kernels, QUICK_SECONDS if quick else None, lambda kernel: kernel.mixer.kind):
        given = {name: x.to(place) for name, x in drawn(kernel, case.model, TASK.row_tokens, case.rows).items()}
        print(f"{kernel.mixer.label:<36} {_name(kernel.type):<8}", end=" ", flush=True)
        print(_compared(kernel, load, given, place, 0.05 if quick else 0.5), flush=True)


class Raised(Exception):
    """What a function of theirs raised, forward or backward; the text names it."""


@contextmanager
def of_theirs() -> Iterator[None]:
    """Whatever is raised in here is theirs."""
    try:
        yield
    except Exception as error:  # a kernel may raise anything, which the table tells
        raise Raised(_first_line(error)) from error


def _compared(kernel: Kernel, load: Load, given: Given, place: torch.device, seconds: float) -> str:
    """The rest of its line, of which errors are printed before anything is timed."""
    inputs = list(given.values())

    def ours(*tensors: Tensor, rounded: torch.dtype = TRAINED[place.type]) -> Tensor:
        return kernel.ours(dict(zip(given, tensors, strict=True)), rounded)

    def function(**arguments: Any) -> Any:
        with of_theirs():
            return loaded(**arguments)

    def theirs(*tensors: Tensor) -> Tensor:
        return kernel.theirs(function, dict(zip(given, tensors, strict=True)))

    exact = _results(partial(ours, rounded=torch.float32), inputs)
    ours_off = off_by(exact, _results(ours, inputs))
    try:
        with of_theirs():
            loaded = load(kernel.function)
        results = _results(theirs, inputs, of_theirs)
    except Raised as error:
        return f" not right: {kernel.function} raises {error}"
    off = off_by(exact, results)
    print(f"{off:>8.1e} {ours_off:>8.1e}", end=" ", flush=True)
    our_seconds, tokens = both_ways(ours, inputs, place, seconds), inputs[0].shape[1] * TASK.row_tokens
    try:
        their_seconds = both_ways(theirs, inputs, place, seconds, wrapped=False)
    except Exception as error:  # it was compared before, so that it can be captured or timed is all that failed
        told = "right" if off <= BOUNDS[kernel.type] else "not right"
        return f"{'-':>12} {tokens / our_seconds:>12,.0f} {'-':>6}  {told}, not timed: {_first_line(error)}"
    ratio = our_seconds / their_seconds
    return (f"{tokens / their_seconds:>12,.0f} {tokens / our_seconds:>12,.0f} {ratio:>6.2f}  "
            + verdict(off, BOUNDS[kernel.type], ratio))


def verdict(off: float, bound: float, ratio: float) -> str:
    """In words; an error that is not a number is not right."""
    if not off <= bound:
        return "not right"
    return "right and faster" if ratio > 1 else "right, slower"


def _results(run: Callable[..., Tensor], given: Sequence[Tensor],
             backward: Callable[[], AbstractContextManager[None]] = nullcontext) -> list[Tensor]:
    """o, and the gradients of all inputs along one direction; the backward pass is made within ``backward()``."""
    inputs = [x.detach().requires_grad_() for x in given]
    o = run(*inputs).float()
    along = torch.randn(o.shape, generator=torch.Generator().manual_seed(1)).to(o.device)
    with backward():
        return [o.detach(), *torch.autograd.grad(o, inputs, along)]


def _first_line(error: Exception) -> str:
    told = str(error).partition("\n")[0]
    return told if isinstance(error, Raised) else f"{type(error).__name__}: {told}"


def _function(name: str) -> Callable[..., Any]:
    folder, _, function = name.partition(".")
    found: Callable[..., Any] = getattr(import_module(f"fla.ops.{folder}"), function)
    return found


def _name(kind: torch.dtype) -> str:
    return str(kind).removeprefix("torch.")
