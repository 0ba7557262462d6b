"""The kernels of fla-core in place of ours: the mapping, held against that library's own references in plain torch.

Those are read from their files: importing ``fla.ops`` takes triton, which a CPU build of torch does not bring.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from extras import of_extra
from torch import Tensor

from physlm.lab import bench_fla
from physlm.lab.fla_kernels import KERNELS, NAMES, Kernel, drawn, off_by
from physlm.models.config import ModelConfig

fla = of_extra("fla", "linear")
of_extra("einops", "linear")
OPS = Path(fla.__file__).parent / "ops"
MODEL = ModelConfig(layers=1, heads=2, width=32)


def reference(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"naive_{name}", OPS / name / "naive.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def delta_rule(q: Tensor, k: Tensor, v: Tensor, beta: Tensor, scale: float) -> Tensor:
    """Of heads before positions, and with a scale of its own."""
    q, k, v, beta = (x.transpose(1, 2) for x in (q * scale * q.shape[-1] ** 0.5, k, v, beta))
    o: Tensor = reference("delta_rule").delta_rule_recurrence(q, k, v, beta)[0]
    return o.transpose(1, 2)


def gla(q: Tensor, k: Tensor, v: Tensor, g: Tensor, scale: float) -> Tensor:
    o: Tensor = reference("gla").naive_recurrent_gla(q * scale * q.shape[-1] ** 0.5, k, v, g)[0]
    return o


def path(q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, scale: float, g: Tensor | None = None) -> Tensor:
    o: Tensor = reference("path_attn").naive_path_attn(q, k, v, w, beta, torch.zeros_like(beta) if g is None else g,
                                                       scale)  # fmt: skip
    return o


REFERENCES: dict[str, Callable[..., Any]] = {
    "linear_attn.chunk_linear_attn": lambda **x: reference("linear_attn").naive_recurrent_linear_attn(**x),
    "gla.chunk_gla": gla,
    "simple_gla.chunk_simple_gla": lambda **x: reference("simple_gla").naive_recurrent_simple_gla(**x),
    "log_linear_attn.chunk_log_linear_attn": lambda **x: reference("log_linear_attn").naive_log_linear_attn(**x),
    "delta_rule.chunk_delta_rule": delta_rule,
    "gated_delta_rule.chunk_gated_delta_rule":
        lambda **x: reference("gated_delta_rule").naive_recurrent_gated_delta_rule(**x),
    "gated_delta_product.chunk_gated_delta_product":
        lambda **x: reference("gated_delta_product").naive_recurrent_gated_delta_product(**x),
    "forgetting_attn.parallel_forgetting_attn": lambda **x: reference("forgetting_attn").naive_forgetting_attn(**x),
    "path_attn.parallel_path_attn": path,
}  # fmt: skip


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.mixer.label)
def test_their_definition_of_our_tensors_is_our_core(kernel: Kernel) -> None:
    """Outputs and all gradients, in float32, members and rows apart."""
    kernel = dataclasses.replace(kernel, type=torch.float32)
    given = {name: x.requires_grad_() for name, x in drawn(kernel, MODEL, 70, rows=2, members=3).items()}
    ours = kernel.ours(given, torch.float32)
    theirs = kernel.theirs(REFERENCES[kernel.function], given)
    assert theirs.shape == ours.shape and ours.shape[:2] == (3, 2)
    along = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    inputs = list(given.values())
    found = [[o, *torch.autograd.grad(o, inputs, along)] for o in (ours, theirs)]
    assert off_by(*found) < 1e-4


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.mixer.label)
def test_the_kernel_takes_what_it_is_called_with(kernel: Kernel) -> None:
    folder, name = kernel.function.split(".")
    assert re.search(f"""['"]{name}['"]""", (OPS / folder / "__init__.py").read_text().partition("__all__")[2])
    (found,) = (node for file in (OPS / folder).glob("*.py") for node in ast.walk(ast.parse(file.read_text()))
                if isinstance(node, ast.FunctionDef) and node.name == name)  # fmt: skip
    arguments = {argument.arg for argument in (*found.args.args, *found.args.kwonlyargs)}
    given = {NAMES.get(one, one) for one in kernel.inputs} | set(kernel.options) | {"scale"}
    assert given <= arguments
    without = {argument.arg for argument in found.args.args[: len(found.args.args) - len(found.args.defaults)]}
    assert without <= given


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_every_kernel_is_measured(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fla, "QUICK_SECONDS", 1e9)
    monkeypatch.setattr(bench_fla, "both_ways", lambda *given, **more: 1.0)
    bench_fla.bench_fla(quick=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(sum(line.startswith((f"{kernel.mixer.label} ", f"{kernel.mixer.label}:")) for line in lines) == 1
               for kernel in KERNELS)  # fmt: skip
    assert not any("raises" in line for line in lines)
