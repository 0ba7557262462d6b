"""Cross-entropy and embedding against float64 autograd: the obvious implementation, the kernels, and compiled graphs.

One table of cases for all implementations.  The kernels run on a CUDA device, or on the CPU under triton's interpreter
(``TRITON_INTERPRET=1``), which ``test_kernels_under_the_interpreter`` starts in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from interpreted import CUDA, DEVICE, KERNEL_DTYPES, assert_passes_interpreted, needs_kernels, starts_interpreter
from torch import Tensor

from physlm.models import cross_entropy
from physlm.models.cross_entropy import embedding, linear_cross_entropy, token_nll

needs_cuda = pytest.mark.skipif(not CUDA, reason="needs a CUDA device")


class Case(NamedTuple):
    """M members, N tokens, V rows, D width; logits are normal with standard deviation ``logits``."""

    members: int
    tokens: int
    rows: int
    width: int
    logits: float = 1.0
    silent: bool = False  # the last member has no scored token
    ignore: int = -1

    def __str__(self) -> str:
        return "-".join(f"{value:g}" for value in self)


CASES = (
    Case(1, 131, 150, 16),
    Case(2, 37, 201, 48, silent=True),
    Case(3, 33, 130, 64, logits=20.0),  # logits beyond 50
    Case(2, 41, 140, 96, ignore=5),
    Case(1, 70, 64, 128),
    Case(3, 1, 40, 20),
    Case(1, 200, 3, 32),  # fewer rows than any tile
)
WIDE_CASES = (*CASES[:3], Case(1, 29, 70, 256), Case(2, 19, 65, 768))


class Problem(NamedTuple):
    hidden: Tensor
    table: Tensor
    targets: Tensor
    upstream: Tensor


def problem(case: Case, dtype: torch.dtype, device: torch.device) -> Problem:
    """Random inputs, rounded to ``dtype``; targets repeat, and about a fifth are ignored."""
    generator = torch.Generator().manual_seed(case.tokens)
    size = (case.logits**2 / case.width) ** 0.25
    hidden = torch.randn(case.members, case.tokens, case.width, generator=generator) * size
    table = torch.randn(case.members, case.rows, case.width, generator=generator) * size
    targets = torch.randint(0, case.rows, (case.members, case.tokens), generator=generator)
    targets[torch.rand(targets.shape, generator=generator) < 0.2] = case.ignore
    targets[:, : case.tokens // 4] = case.rows - 1
    if case.silent:
        targets[-1] = case.ignore
    upstream = torch.randn(case.members, generator=generator)
    return Problem(hidden.to(device, dtype), table.to(device, dtype), targets.to(device), upstream.to(device))


def oracle(problem: Problem, ignore: int, z: float = 0.0) -> tuple[Tensor, ...]:
    """(nll_MN, d / d hidden, d / d table) of sum_m upstream_m nll_m: float64 autograd through torch's own loss.

    With ``z``, z lse^2 is added to each scored token's.
    """
    hidden, table = (tensor.double().requires_grad_() for tensor in problem[:2])
    logits = hidden @ table.mT
    nll = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), problem.targets.flatten(), ignore_index=ignore, reduction="none"
    ).view(problem.targets.shape)
    nll = nll + z * logits.logsumexp(-1).square().where(problem.targets != ignore, 0.0)
    return nll.detach(), *torch.autograd.grad((nll.sum(1) * problem.upstream).sum(), (hidden, table))


def run(loss: Callable[..., Tensor], problem: Problem, ignore: int) -> tuple[Tensor, ...]:
    """(nll_M, d / d hidden, d / d table) by the code under test."""
    hidden, table = (tensor.clone().requires_grad_() for tensor in problem[:2])
    nll = loss(hidden, table, problem.targets, ignore)
    return nll.detach(), *torch.autograd.grad(nll, (hidden, table), problem.upstream)


def distance(found: Tensor, expected: Tensor) -> float:
    """Relative error in the Euclidean norm; absolute where zeros are expected."""
    norm = expected.double().norm().item()
    return (found.double() - expected.double()).norm().item() / (norm or 1.0)


def assert_matches(
    found: tuple[Tensor, ...], problem: Problem, ignore: int, tolerance: float, z: float = 0.0
) -> None:
    nll_MN, *grads = oracle(problem, ignore, z)
    assert distance(found[0], nll_MN.sum(1)) < tolerance
    for gradient, expected, given in zip(found[1:], grads, problem[:2], strict=True):
        assert gradient.dtype == given.dtype
        assert distance(gradient, expected) < tolerance
    unscored = problem.targets == ignore
    assert not found[1][unscored].any()
    silent = unscored.all(1)
    assert not found[0][silent].any()
    assert not found[2][silent].any()


# Rounding of the inputs' dtype, once or twice, and of the softmax weights within the kernels.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 2e-3, torch.bfloat16: 1e-2}


# ---- The obvious implementation


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_loss_and_gradients_are_those_of_float64_autograd(case: Case, dtype: torch.dtype) -> None:
    given = problem(case, dtype, torch.device("cpu"))
    assert_matches(run(linear_cross_entropy, given, case.ignore), given, case.ignore, TOLERANCE[dtype])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_token_losses_are_exact_and_sum_to_the_loss(case: Case) -> None:
    given = problem(case, torch.float32, torch.device("cpu"))
    hidden = given.hidden.requires_grad_()
    found = token_nll(hidden, given.table, given.targets, case.ignore)
    assert found.dtype == torch.float32
    assert not found.requires_grad
    assert not found[given.targets == case.ignore].any()
    torch.testing.assert_close(found.double(), oracle(given, case.ignore)[0], rtol=1e-5, atol=1e-5)
    whole = linear_cross_entropy(given.hidden, given.table, given.targets, case.ignore)
    torch.testing.assert_close(found.sum(1), whole.detach(), rtol=1e-5, atol=1e-4)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    given = problem(CASES[1], torch.float64, torch.device("cpu"))
    whole = run(linear_cross_entropy, given, -1)
    tokens = token_nll(*given[:3])
    monkeypatch.setattr(cross_entropy, "CHUNK_LOGITS", 5 * CASES[1].members * CASES[1].rows)
    for chunked, expected in zip(run(linear_cross_entropy, given, -1), whole, strict=True):
        torch.testing.assert_close(chunked, expected, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(token_nll(*given[:3]), tokens, rtol=1e-13, atol=1e-13)


def test_a_member_of_a_population_is_that_member_alone() -> None:
    given = problem(CASES[2], torch.float64, torch.device("cpu"))
    together = run(linear_cross_entropy, given, -1)
    for member in range(3):
        alone = run(linear_cross_entropy, Problem(*(tensor[member : member + 1] for tensor in given)), -1)
        for one, all_of_them in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_of_them[member], rtol=1e-12, atol=1e-12)


def test_any_number_of_token_axes() -> None:
    given = problem(CASES[0]._replace(tokens=12), torch.float32, torch.device("cpu"))
    hidden, targets = given.hidden.view(1, 3, 4, -1), given.targets.view(1, 3, 4)
    assert torch.equal(linear_cross_entropy(hidden, given.table, targets), linear_cross_entropy(*given[:3]))
    assert torch.equal(token_nll(hidden, given.table, targets), token_nll(*given[:3]).view(1, 3, 4))
    ids = targets.clamp(min=0)
    assert torch.equal(embedding(ids, given.table), embedding(ids.flatten(1), given.table).view(1, 3, 4, -1))


def test_what_does_not_fit_is_named() -> None:
    hidden, table, targets = torch.zeros(2, 5, 8), torch.zeros(2, 7, 8), torch.zeros(2, 5, dtype=torch.int64)
    for wrong in ((hidden[:1], table, targets), (hidden, table[..., :4], targets), (hidden, table, targets[:, :4])):
        with pytest.raises(ValueError, match=r"expected \(M, \.\.\., D\), \(M, V, D\) and \(M, \.\.\.\)"):
            linear_cross_entropy(*wrong)
    with pytest.raises(ValueError, match="expected one dtype"):
        token_nll(hidden, table.bfloat16(), targets)
    with pytest.raises(ValueError, match=r"expected \(M, \.\.\.\) and \(M, V, D\)"):
        embedding(targets[:1], table)


def embedding_problem(case: Case, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Ids with many repeats, a table, and the gradient from above."""
    given = problem(case, dtype, device)
    return given.targets.clamp(min=0), given.table, given.hidden


def embedding_oracle(ids: Tensor, rows: int, above: Tensor) -> Tensor:
    """The gradient as a product with written-out one-hot rows, in float64."""
    return torch.nn.functional.one_hot(ids, rows).double().mT @ above.double()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_embedding_gathers_and_its_gradient_sums(case: Case, dtype: torch.dtype) -> None:
    ids, table, above = embedding_problem(case, dtype, torch.device("cpu"))
    table.requires_grad_()
    out = embedding(ids, table)
    assert all(torch.equal(out[member], table[member][ids[member]]) for member in range(case.members))
    (gradient,) = torch.autograd.grad(out, table, above)
    assert gradient.dtype == dtype
    assert distance(gradient, embedding_oracle(ids, case.rows, above)) < TOLERANCE[dtype]


# ---- In compiled graphs


def tied_model(table: Tensor, ids: Tensor, targets: Tensor) -> Tensor:
    return linear_cross_entropy(torch.tanh(embedding(ids, table)), table, targets)


# torch's own tracer makes an instance of torch.autograd.Function, which torch itself deprecates
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_without_a_graph_break(backend: str) -> None:
    ids, table, _ = embedding_problem(CASES[1], torch.float32, torch.device("cpu"))
    targets = problem(CASES[1], torch.float32, torch.device("cpu")).targets
    torch._dynamo.reset()
    compiled = torch.compile(tied_model, backend=backend, fullgraph=True)
    results = []
    for model in (tied_model, compiled):
        leaf = table.clone().requires_grad_()
        nll = model(leaf, ids, targets)
        results.append((nll.detach(), *torch.autograd.grad(nll, leaf, torch.tensor([0.5, -2.0]))))
    assert torch.equal(results[0][0], results[1][0])
    torch.testing.assert_close(results[0][1], results[1][1])


def test_the_operators_declare_what_they_do() -> None:
    """Schemas, shapes of outputs without data, and gradients under tracing, by torch's own checker."""
    given = problem(CASES[1], torch.float32, torch.device("cpu"))
    hidden, table = (tensor.requires_grad_() for tensor in given[:2])
    ids = given.targets.clamp(min=0)
    for operator, inputs in (
        (cross_entropy._whole, (hidden, table, given.targets, -1, 0.1)),
        (cross_entropy._token_nll, (hidden.detach(), table.detach(), given.targets, -1)),
        (cross_entropy._embedding_gradient, (ids, hidden.detach(), CASES[1].rows)),
    ):
        torch.library.opcheck(operator, inputs)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_z_loss(case: Case) -> None:
    """nll + z lse^2 with its gradients, and the squares alone."""
    given = problem(case, torch.float32, torch.device("cpu"))

    def loss(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int) -> Tensor:
        both, squares = cross_entropy.linear_cross_entropy_z(hidden, table, targets, 0.3, ignore)
        plain = linear_cross_entropy(hidden, table, targets, ignore)
        assert not squares.requires_grad
        torch.testing.assert_close(both, plain + 0.3 * squares, rtol=1e-5, atol=1e-4)
        return both

    assert_matches(run(loss, given, case.ignore), given, case.ignore, TOLERANCE[torch.float32], z=0.3)


# ---- The kernels, on whatever device they can run


def fused(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int) -> Tensor:
    """The fused kernels whatever the device and the width."""
    return cross_entropy._narrow(hidden, table, targets, ignore, 0.0)[0]


# The interpreter multiplies bfloat16 by its bits; float16 takes the same way through the kernels.


@needs_kernels
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fused_kernels(case: Case, dtype: torch.dtype) -> None:
    given = problem(case, dtype, DEVICE)
    assert_matches(run(fused, given, case.ignore), given, case.ignore, TOLERANCE[dtype])


@needs_kernels
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fused_kernels_with_z_loss(case: Case, dtype: torch.dtype) -> None:
    given = problem(case, dtype, DEVICE)

    def loss(hidden: Tensor, table: Tensor, targets: Tensor, ignore: int) -> Tensor:
        both, squares, _, _ = cross_entropy._narrow(hidden, table, targets, ignore, 0.3)
        torch.testing.assert_close(both, fused(hidden, table, targets, ignore) + 0.3 * squares, rtol=1e-4, atol=1e-2)
        return both

    assert_matches(run(loss, given, case.ignore), given, case.ignore, TOLERANCE[dtype], z=0.3)


@needs_kernels
@pytest.mark.parametrize("case", CASES, ids=str)
def test_fused_kernel_without_gradient(case: Case) -> None:
    from physlm.models.kernels import cross_entropy as kernels

    given = problem(case, KERNEL_DTYPES[-1], DEVICE)
    found = kernels.forward(*given[:3], case.ignore, gradient=False)[0]
    assert not found[given.targets == case.ignore].any()
    torch.testing.assert_close(found.double(), oracle(given, case.ignore)[0], rtol=1e-5, atol=1e-4)


@needs_kernels
@pytest.mark.parametrize("dtype", KERNEL_DTYPES)
@pytest.mark.parametrize("z", [0.0, 0.3])
@pytest.mark.parametrize("case", WIDE_CASES, ids=str)
def test_chunked_kernel(case: Case, z: float, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    from physlm.models.kernels import cross_entropy as kernels

    given = problem(case, dtype, DEVICE)
    monkeypatch.setattr(kernels, "CHUNK_BYTES", 1)  # 128 tokens a chunk
    nll_MN, *grads, squares_MN = kernels.wide(*given[:3], case.ignore, z)
    scaled = [grad * given.upstream[:, None, None] for grad in grads]
    found = (nll_MN.sum(1), *(grad.to(dtype) for grad in scaled))
    # Logits are rounded to the inputs' dtype on this path, so their size decides the error.
    assert_matches(found, given, case.ignore, TOLERANCE[dtype] * max(1.0, case.logits / 2), z)
    if z:
        plain_MN = kernels.wide(*given[:3], case.ignore)[0]
        torch.testing.assert_close(nll_MN, plain_MN + z * squares_MN, rtol=1e-3, atol=1e-2)


@starts_interpreter
def test_kernels_under_the_interpreter() -> None:
    assert_passes_interpreted(__file__, "kernel and not interpreter")


# ---- On a CUDA device, through the public functions


CUDA_CASES = (Case(1, 5000, 3100, 64), Case(3, 1500, 515, 32), Case(2, 3000, 1024, 128), Case(1, 2500, 3100, 256))


@needs_cuda
@pytest.mark.parametrize("case", CUDA_CASES, ids=str)
def test_cuda_agrees_and_repeats_itself_bit_by_bit(case: Case) -> None:
    given = problem(case, torch.bfloat16, DEVICE)
    first = run(linear_cross_entropy, given, -1)
    assert_matches(first, given, -1, TOLERANCE[torch.bfloat16])
    again = run(linear_cross_entropy, given, -1)
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    tokens = token_nll(*given[:3])
    torch.testing.assert_close(tokens.double(), oracle(given, -1)[0], rtol=1e-4, atol=1e-3)


@needs_cuda
@pytest.mark.filterwarnings("ignore:TensorFloat32")  # advice of the compiler about products that are not in this graph
def test_cuda_graph_of_the_compiled_model_replays_the_eager_one() -> None:
    ids, table, _ = embedding_problem(CUDA_CASES[1], torch.bfloat16, DEVICE)
    targets = problem(CUDA_CASES[1], torch.bfloat16, DEVICE).targets
    leaf = table.clone().requires_grad_()
    compiled = torch.compile(tied_model, fullgraph=True)

    def step() -> tuple[Tensor, Tensor]:
        nll = compiled(leaf, ids, targets)
        return nll.detach(), torch.autograd.grad(nll.sum(), leaf)[0]

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(2):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = step()
    graph.replay()
    nll = tied_model(leaf, ids, targets)
    (gradient,) = torch.autograd.grad(nll.sum(), leaf)
    torch.testing.assert_close(captured[0], nll.detach(), rtol=1e-3, atol=0.0)
    assert distance(captured[1], gradient) < 1e-2
