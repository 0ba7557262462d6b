"""The table of fla-core's kernels beside ours, with stand-ins for them: what it says of right, wrong, broken ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from physlm.lab import bench_fla
from physlm.lab.fla_kernels import KERNELS, refused
from physlm.models.parts.fox import FoX
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.part import Mixer

(FOX,) = (kernel for kernel in KERNELS if kernel.mixer == FoX())
CPU = torch.device("cpu")


def forgetting(q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float) -> Tensor:
    """Forgetting attention by its definition, of (B, T, H, c) and g (B, T, H)."""
    faded = g.cumsum(1).transpose(1, 2)  # (B, H, T)
    scores = scale * torch.einsum("bqhc,bkhc->bhqk", q.float(), k.float()) + faded[..., None] - faded[..., None, :]
    hidden = torch.ones(scores.shape[-2:]).triu(1).bool()
    return torch.einsum("bhqk,bkhc->bqhc", scores.masked_fill(hidden, -torch.inf).softmax(-1), v.float())


def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, function: Callable[..., Any],
            seconds: dict[bool, float]) -> list[str]:  # fmt: skip
    """The lines of FoX with such a function, where theirs and ours take so many seconds: by whether it is compiled."""
    monkeypatch.setattr(bench_fla, "both_ways", lambda *given, wrapped=True: seconds[wrapped])
    bench_fla.table([FOX, FOX], lambda name: function, CPU, quick=True)
    return capsys.readouterr().out.splitlines()[2:]


def test_a_right_kernel_is_named_by_its_speed(capsys: pytest.CaptureFixture[str],
                                              monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    for theirs, word in ((0.5, "faster"), (4.0, "slower")):
        first, second = printed(capsys, monkeypatch, forgetting, {True: 2.0, False: theirs})
        assert first == second and first.endswith(("right and faster", "right, slower")) and first.endswith(word)
        name, kind, error, own, their_speed, our_speed, ratio, *_ = first.split()
        assert (name, kind, own, ratio) == ("fox", "bfloat16", "0.0e+00", f"{2.0 / theirs:.2f}")
        assert float(error) < 1e-2
        assert float(their_speed.replace(",", "")) == 512 / theirs and float(our_speed) == 256


def test_the_measure_is_the_time_of_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    bench_fla.table([FOX], lambda name: forgetting, CPU, quick=True)
    assert float(capsys.readouterr().out.splitlines()[2].split()[4].replace(",", "")) > 0


@pytest.mark.parametrize("wrong", [
    lambda o, g: 1.05 * o, lambda o, g: o.flip(1), lambda o, g: o + torch.nan,
    lambda o, g: o.detach() + 0 * o + 0.0 * g.sum(),  # right outputs, gradients of zero
])  # fmt: skip
def test_a_wrong_kernel_is_not_right_however_fast(
    wrong: Callable[[Tensor, Tensor], Tensor], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = printed(capsys, monkeypatch, lambda g, **x: wrong(forgetting(g=g, **x), g), {True: 2.0, False: 0.1})
    assert all(line.endswith("  not right") for line in lines)


def test_a_kernel_that_raises_does_not_end_the_table(capsys: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    def broken(**given: Tensor) -> Tensor:
        raise AssertionError("no such type\nand more")

    lines = printed(capsys, monkeypatch, broken, {True: 1.0, False: 1.0})
    assert len(lines) == 2
    assert all(line.endswith("not right: forgetting_attn.parallel_forgetting_attn raises AssertionError: no such type")
               for line in lines)  # fmt: skip


class Backwards(torch.autograd.Function):
    """The same number, whose backward pass raises."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        raise ValueError("no such width")


def test_what_their_backward_pass_raises_is_theirs(capsys: pytest.CaptureFixture[str],
                                                   monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    lines = printed(capsys, monkeypatch, lambda **x: Backwards.apply(forgetting(**x)), {True: 1.0, False: 1.0})
    assert all(line.endswith("not right: forgetting_attn.parallel_forgetting_attn raises ValueError: no such width")
               for line in lines)  # fmt: skip


def test_a_function_that_is_not_there_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def load(name: str) -> Callable[..., Any]:
        raise ImportError("no module")

    bench_fla.table([FOX], load, CPU, quick=True)
    told = "not right: forgetting_attn.parallel_forgetting_attn raises ImportError: no module"
    assert told in capsys.readouterr().out


@pytest.mark.parametrize(("share", "told"), [(1.0, "  right"), (1.05, "  not right")])
def test_a_timing_that_fails_says_nothing_of_what_is_right(
    share: float, told: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed(*given: Any, wrapped: bool = True) -> float:
        if not wrapped:
            raise RuntimeError("cannot be captured\nand more")
        return 2.0

    monkeypatch.setattr(bench_fla, "both_ways", timed)
    bench_fla.table([FOX, FOX], lambda name: lambda **x: share * forgetting(**x), CPU, quick=True)
    lines = capsys.readouterr().out.splitlines()[2:]
    assert len(lines) == 2, "the table goes on"
    assert all(line.endswith(f"{told}, not timed: RuntimeError: cannot be captured") for line in lines)
    assert all(line.split()[4:7] == ["-", "256", "-"] for line in lines), "ours was timed"


def test_a_mistake_of_our_own_is_not_told_as_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the way from our tensors to theirs nor in our timing."""
    def broken(*given: Any, **more: Any) -> Tensor:
        raise KeyError("ours")

    with monkeypatch.context() as patch:
        patch.setattr(type(FOX), "theirs", broken)
        with pytest.raises(KeyError, match="ours"):
            bench_fla.table([FOX], lambda name: forgetting, CPU, quick=True)
    monkeypatch.setattr(bench_fla, "both_ways", broken)
    with pytest.raises(KeyError, match="ours"):
        bench_fla.table([FOX], lambda name: forgetting, CPU, quick=True)


def test_what_is_compiled_wrongly_on_hopper_is_refused_with_the_reason() -> None:
    gated = {kernel.mixer.label for kernel in KERNELS if refused(kernel, (9, 0), "3.6.0", tilelang=False)}
    assert gated == {"gla_gatescalar", "mamba2", "gated_deltanet", "gated_deltanet_negativetrue_steps2"}
    (mamba2,) = (kernel for kernel in KERNELS if kernel.mixer == Mamba2())
    assert "Hopper with triton 3.6.0" in refused(mamba2, (9, 0), "3.6.0", tilelang=False)
    for capability, triton, tilelang in (((9, 0), "3.3.1", False), ((9, 0), "3.7.1", False), ((9, 0), "3.10.0", False),
                                         ((9, 0), "3.6.0", True), ((8, 0), "3.6.0", False), ((10, 0), "3.6.0", False)):
        assert not refused(mamba2, capability, triton, tilelang)


def test_every_kernel_is_of_a_mixer_of_its_own() -> None:
    assert len({kernel.mixer for kernel in KERNELS}) == len(KERNELS)
    assert {kernel.mixer.kind for kernel in KERNELS} < set(Mixer.kinds())


def test_what_is_missing_is_said_with_the_way_to_it(physlm: Callable[..., tuple[int, str, str]],
                                                    monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    assert "unknown name 'foxx'; did you mean 'fox'" in physlm("bench", "mixers", "foxx", "--fla")[2]
    assert "--chunks, --fla: got both" in physlm("bench", "mixers", "--fla", "--chunks")[2]
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, said = physlm("bench", "mixers", "--fla")
    assert code == 2 and "found no GPU" in said and "pip install 'physlm[linear]'" in said
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "fla", None)
    code, _, said = physlm("bench", "mixers", "--fla")
    assert code == 2 and "fla is not installed" in said and "pip install 'physlm[linear]'" in said
