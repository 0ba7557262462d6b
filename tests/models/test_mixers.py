"""Position schemes against loops, the gradient that is written by hand, reading with a memory, parts as one graph."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import torch
from part_models import randomised
from positions import position_of, way
from torch import Tensor

from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.models.parts.distances import clipped, skew, windows
from physlm.models.parts.mlp import NoMLP
from physlm.models.parts.norms import RMSNorm
from physlm.models.parts.part import Whole
from physlm.models.parts.relative import Relative

VOCABULARY = 11
ROPE = ModelConfig(layers=2, heads=2, width=16)
CAUSAL = [
    ROPE,
    ModelConfig(layers=2, heads=1, width=8, mlp=(NoMLP(),), norm=RMSNorm(), **way("none")),
    ModelConfig(layers=2, heads=2, width=16, **way("absolute", 12)),
    ModelConfig(layers=2, heads=2, width=16, **way("relative", 5)),
    ModelConfig(layers=2, heads=2, width=16, **way("position_only", 5)),
    ModelConfig(layers=2, heads=3, width=12, **way("uniform")),
]
ENCODERS = [dataclasses.replace(config, causal=False) for config in CAUSAL if position_of(config) != "uniform"]


def label(config: ModelConfig) -> str:
    return f"{position_of(config)}{'' if config.causal else '-encoder'}"


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 5, 8])
def test_distances_beyond_the_table_take_its_last_row(causal: bool, rows: int) -> None:
    positions = 5
    table = torch.randn(2, rows if causal else 2 * rows, 3)
    found = clipped(table, positions, causal)
    for place, distance in enumerate(range(0 if causal else -positions, positions)):
        row = min(distance, rows - 1) if causal else min(max(distance, -rows), rows - 1) + rows
        assert found[:, place].equal(table[:, row])
    assert found.shape[1] == place + 1


@pytest.mark.parametrize(("columns", "offset"), [(5, 0), (5, 4), (10, 4), (10, 5)])
def test_skew_moves_each_row_by_its_number(columns: int, offset: int) -> None:
    x = torch.randn(2, 5, columns)
    out = skew(x, offset)
    for a in range(5):
        for b in range(5):
            if 0 <= b - a + offset < columns:
                assert out[:, a, b].equal(x[:, a, b - a + offset])


def test_windows_average_over_the_last_tokens() -> None:
    found = windows(4, 9, torch.device("cpu"))
    for h, reach in enumerate((1, 3, 7, 15)):
        for i in range(9):
            inside = [max(0, i - reach + 1) <= j <= i for j in range(9)]
            expected = torch.tensor(inside).float() / sum(inside)
            torch.testing.assert_close(found[h, i], expected)


@pytest.mark.parametrize("position", ["rope", "uniform"])
def test_tables_stay_where_they_are(position: Literal["rope", "uniform"]) -> None:
    """A CUDA graph of the training step goes on reading them after the model has read rows of other lengths."""
    model = Decoder(ModelConfig(heads=2, width=8, **way(position)), VOCABULARY)
    (before,) = model._shared(48).values()
    copies = [x.clone() for x in before]
    for positions in (3, 500, 47, 64):
        model._shared(positions)
    (after,) = model._shared(48).values()
    for x, copied, again in zip(before, copies, after, strict=True):
        assert x.equal(copied) and x.data_ptr() == again.data_ptr()


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("reach", [2, 6])
def test_gradients_of_relative_attention(causal: bool, reach: int) -> None:
    config = ModelConfig(heads=2, width=4, causal=causal, **way("relative", reach))
    layer = Weights(config.mixer[0], config, 2, config.mixer[0].weights(config)).double()
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(shape, generator=generator).double().requires_grad_() for shape in
              ((2, 2, 4, 4), (2, config.distances(reach), 4), *(p.shape for p in layer.parameters()))]  # fmt: skip
    names = [name for name, _ in layer.named_parameters()]

    def function(x: Tensor, table: Tensor, *weights: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (x, Whole((table,))))
        return out

    assert torch.autograd.gradcheck(function, inputs)


def test_relative_attention_keeps_one_large_tensor() -> None:
    """A batch of 96 x 512 tokens has 200 MB of scores a layer, so what is kept for the backward pass counts."""
    config = ModelConfig(heads=2, width=4, **way("relative"))
    layer = Weights(Relative(), config, 1, Relative().weights(config)).bfloat16()
    kept: dict[int, Tensor] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.data_ptr()] = x
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        layer(torch.randn(1, 3, 32, 4, requires_grad=True), Whole((torch.randn(1, 512, 4),)))
    large = [x for x in kept.values() if x.numel() >= 3 * 2 * 32 * 32]
    assert [x.dtype for x in large] == [torch.bfloat16]


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize("config", CAUSAL, ids=label)
def test_reading_with_a_memory_gives_the_same_activations(
    config: ModelConfig, members: int, precision: torch.dtype
) -> None:
    """Five tokens at once, then one by one."""
    model = randomised(config, members)
    model = model.in_bfloat16() if precision == torch.bfloat16 else model
    ids = torch.arange(members * 3 * 12).view(members, 3, 12) * 7 % VOCABULARY
    whole, _ = model.hidden(ids)
    reading = model.remember(rows=3, positions=12)
    parts = [model.read(ids[..., :5], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t]), reading) for t in range(5, 12)]
    found = torch.cat(parts, 2)
    assert found.dtype == whole.dtype == precision
    tolerance = 2e-5 if precision == torch.float32 else 0.1
    torch.testing.assert_close(found, whole, atol=tolerance, rtol=tolerance)


def test_bfloat16_is_near_and_leaves_the_model_alone() -> None:
    model = randomised(ROPE, 2)
    ids = torch.arange(2 * 3 * 12).view(2, 3, 12) % VOCABULARY
    before = model(ids).logits
    rounded = model.in_bfloat16()
    assert (rounded(ids).logits.float() - before).std() < 0.03 * before.std()
    assert rounded.final_norm.weight.dtype == torch.float32
    assert model(ids).logits.equal(before)


def test_what_cannot_read_with_a_memory_says_so() -> None:
    with pytest.raises(UserError, match="model.causal: got false"):
        Decoder(ENCODERS[0], VOCABULARY).remember(1, 4)
    with pytest.raises(UserError, match="got 13 positions, expected at most 12"):
        Decoder(CAUSAL[2], VOCABULARY).remember(1, 13)


@pytest.fixture
def static_shapes() -> Iterator[None]:
    """As the training step sets them."""
    torch._dynamo.reset()
    with torch._dynamo.config.patch(automatic_dynamic_shapes=False):
        yield
    torch._dynamo.reset()


# torch's tracer warns of what it does itself: it makes an instance of autograd.Function, and looks at .grad
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:The .grad attribute:UserWarning")
@pytest.mark.usefixtures("static_shapes")
@pytest.mark.parametrize(("config", "members"), [
    *((config, 1) for config in CAUSAL if position_of(config) != "none"), (CAUSAL[3], 2), (CAUSAL[4], 2),
    *((config, 1) for config in ENCODERS if position_of(config) in ("relative", "position_only")),
])  # fmt: skip
def test_parts_compile_as_whole_graphs_for_any_number_of_rows(config: ModelConfig, members: int) -> None:
    """The graphs, with plain kernels behind them: what needs no compiler.  A second batch size compiles nothing."""
    model = randomised(config, members)
    ids = torch.arange(members * 5 * 12).view(members, 5, 12) % VOCABULARY

    def gradients(rows: int) -> list[Tensor]:
        hidden, _ = model.hidden(ids[:, :rows].contiguous())
        loss = (hidden * torch.arange(config.width)).square().sum()
        return [hidden, *torch.autograd.grad(loss, list(model.parameters()))]

    plain = [gradients(3), gradients(5)]

    def wrap(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        compiled: Callable[..., Tensor] = torch.compile(function, fullgraph=True, backend="aot_eager")
        return compiled

    model.compile_parts(wrap)
    first = gradients(3)
    with torch._dynamo.config.patch(error_on_recompile=True):
        second = gradients(5)
    for ours, theirs in zip([*first, *second], [*plain[0], *plain[1]], strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4 * float(theirs.detach().abs().max()), rtol=1e-4)
