"""Quantised weights: on their grids, no farther off than half a step, and by GPTQ for the good of the output."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from physlm.errors import NotFiniteError, UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.listing import model_weights
from physlm.models.parts.canon import Canon
from physlm.models.parts.gated import Gated
from physlm.models.parts.relative import Relative
from physlm.models.quantisation import Quantisation, check_model, stored_bits
from physlm.models.quantised import DAMPING, Grid, Read, gptq, quantised, second_moments, to_nearest

VOCABULARY = 11
GRIDS = [Quantisation(bits, grid=grid, group=group)  # type: ignore[arg-type]
         for bits, grid, group in itertools.product((2, 3, 4, 8), ("symmetric", "asymmetric"), (0, 5, 8))]  # fmt: skip
CONFIG = ModelConfig(layers=2, heads=2, width=16)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def correlated(inputs: int, samples: int = 400, seed: int = 0, correlation: float = 0.8) -> Tensor:
    """X X^T of inputs each two of which have this correlation."""
    x = correlation**0.5 * normal(samples, 1, seed=seed) + (1 - correlation) ** 0.5 * normal(samples, inputs, seed=seed)
    return x.mT @ x


def output_error(weights: Tensor, found: Tensor, moments: Tensor) -> float:
    """|| (W - Q) X ||^2."""
    off = weights.double() - found.double()
    return float((off @ moments * off).sum())


def obvious(weights: Tensor, moments: Tensor, setting: Quantisation) -> Tensor:
    """GPTQ as it is derived: of the inputs that are left, H is inverted anew for every column."""
    w, inputs = weights.double().clone(), weights.shape[-1]
    damped = moments + DAMPING * moments.diagonal().mean() * torch.eye(inputs, dtype=torch.double)
    size = setting.group or inputs
    for c in range(inputs):
        if c % size == 0:
            grid = Grid.of(w[:, c : c + size], setting)
        inverse = torch.linalg.inv(damped[c:, c:])
        level = grid.nearest(w[:, c : c + 1])
        w[:, c:] -= (w[:, c : c + 1] - level) / inverse[0, 0] * inverse[:1]
        w[:, c : c + 1] = level
    return w.to(weights.dtype)


# ---- Grids


@pytest.mark.parametrize("setting", GRIDS, ids=str)
def test_every_weight_lies_on_a_level_of_its_grid(setting: Quantisation) -> None:
    """An index of ``bits`` bits, a scale that is a bfloat16 number, a zero point that is an index."""
    weights = normal(6, 21).float()
    for found in (to_nearest(weights, setting), gptq(weights, correlated(21), setting)):
        for was, group in zip(*(x.split(setting.group or 21, -1) for x in (weights, found)), strict=True):
            assert all(len(row.unique()) <= 2**setting.bits for row in group)
            if setting.group:
                continue  # by GPTQ the grid of a group is that of weights which were changed by then
            grid = Grid.of(was.double(), setting)
            assert grid.scale.equal(grid.scale.bfloat16().double()) and (grid.scale > 0).all()
            for index in (group.double() / grid.scale + grid.zero, grid.zero):
                assert index.equal(index.round()) and index.min() >= 0 and index.max() <= 2**setting.bits - 1


# scales far below any weight's would be subnormal numbers, of fewer digits
WEIGHTS = st.floats(-1e6, 1e6, width=32).map(lambda weight: weight if abs(weight) > 1e-30 else 0.0)


@given(st.lists(WEIGHTS, min_size=1, max_size=9),
       st.sampled_from(range(2, 9)), st.sampled_from(("symmetric", "asymmetric")))  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_no_weight_is_moved_by_more_than_half_a_step(row: list[float], bits: int, grid: Any) -> None:
    setting, weights = Quantisation(bits, grid=grid), torch.tensor([row])
    off = (to_nearest(weights, setting) - weights).abs().double()
    widest = max(map(abs, row)) * 2 if grid == "symmetric" else max(*row, 0.0) - min(*row, 0.0)
    step = widest / (2**bits - 1)
    scale = float(Grid.of(weights.double(), setting).scale)
    assert not widest or step * (1 - 1e-6) <= scale <= step * (1 + 2**-7)
    assert (off <= scale / 2 * (1 + 1e-5) + 1e-30).all()
    assert widest or not off.any(), "zeros stay zeros"


@pytest.mark.parametrize("setting", GRIDS, ids=str)
def test_zero_is_a_level(setting: Quantisation) -> None:
    weights = normal(4, 16).abs() + 1
    weights[:, 3] = 0
    weights[2] *= -1
    assert not to_nearest(weights, setting)[:, 3].any()


def test_an_asymmetric_grid_is_finer_where_weights_have_one_sign() -> None:
    weights = normal(64, 32).abs()
    one, other = (to_nearest(weights, Quantisation(4, grid=grid)) for grid in ("symmetric", "asymmetric"))
    assert (other - weights).square().sum() < 0.4 * (one - weights).square().sum(), "half the step, a quarter"


# ---- GPTQ


@pytest.mark.parametrize("setting", [*GRIDS, Quantisation(3, order="activation")], ids=str)
def test_inputs_without_correlation_leave_round_to_nearest_bit_for_bit(setting: Quantisation) -> None:
    """The Hessian is the identity, or any diagonal: there is nothing that other weights could make up for."""
    weights = normal(3, 7, 40).float()
    for diagonal in (torch.ones(40), torch.full((40,), 1e-12), normal(40).abs() + 0.1, torch.zeros(40)):
        found = gptq(weights, torch.diag(diagonal.double()).expand(3, -1, -1), setting)
        assert found.equal(to_nearest(weights, setting))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("setting", [*GRIDS, Quantisation(3, order="activation")], ids=str)
def test_correlated_inputs_have_a_smaller_output_error_than_by_round_to_nearest(
    setting: Quantisation, seed: int
) -> None:
    """64 rows of 12 inputs, correlation 0.8; at 3 bits about three quarters of it."""
    weights, moments = normal(64, 12, seed=seed).float(), correlated(12, seed=seed)
    errors = [output_error(weights, found, moments)
              for found in (gptq(weights, moments, setting), to_nearest(weights, setting))]  # fmt: skip
    assert errors[0] < 0.95 * errors[1]
    off = [(found - weights).square().sum()
           for found in (gptq(weights, moments, setting), to_nearest(weights, setting))]  # fmt: skip
    assert off[0] > off[1], "of the weights themselves it is larger"


@pytest.mark.parametrize("block", [1, 3, 128])
@pytest.mark.parametrize("setting", GRIDS, ids=str)
def test_it_is_the_obvious_column_by_column_algorithm(setting: Quantisation, block: int) -> None:
    weights, moments = normal(9, 21), correlated(21, correlation=0.5)
    torch.testing.assert_close(gptq(weights, moments, setting, block), obvious(weights, moments, setting))


def test_blocks_alter_nothing_where_there_are_several() -> None:
    weights, moments = normal(4, 300), correlated(300, samples=500)
    torch.testing.assert_close(gptq(weights, moments, Quantisation(4)), gptq(weights, moments, Quantisation(4), 300))


def test_the_order_of_activations_is_a_renaming_of_inputs() -> None:
    """Inputs of falling mean square are in this order already; in any other they are found back."""
    weights, scale = normal(5, 16), torch.linspace(3, 1, 16, dtype=torch.double)
    moments = correlated(16) / correlated(16).diagonal().sqrt()
    moments = torch.diag(scale) @ (moments + moments.mT) @ torch.diag(scale) + 5 * torch.diag(scale**2)
    order = moments.diagonal().argsort(descending=True)
    moments, weights = moments[order][:, order], weights[:, order]
    mixed = torch.randperm(16, generator=torch.Generator().manual_seed(3))
    given, by_activation = Quantisation(3), Quantisation(3, order="activation")
    expected = gptq(weights, moments, given)
    assert gptq(weights, moments, by_activation).equal(expected)
    found = gptq(weights[:, mixed], moments[mixed][:, mixed], by_activation)
    torch.testing.assert_close(found, expected[:, mixed])
    assert not gptq(weights[:, mixed], moments[mixed][:, mixed], given).allclose(expected[:, mixed])


def test_the_scale_of_the_inputs_does_not_matter() -> None:
    weights, moments = normal(9, 20), correlated(20)
    moments[3], moments[:, 3] = 0, 0
    expected = gptq(weights, moments, Quantisation(3))
    for factor in (1e-12, 1e9):
        torch.testing.assert_close(gptq(weights, factor * moments, Quantisation(3)), expected)


def test_inputs_that_are_always_zero_are_rounded_to_nearest_and_alter_nothing() -> None:
    weights, moments, setting = normal(9, 20), correlated(20), Quantisation(3)
    weights[:, 7] *= 0.5  # not what the grid is made of
    moments[7], moments[:, 7] = 0, 0
    found = gptq(weights, moments, setting)
    assert found[:, 7].equal(to_nearest(weights, setting)[:, 7])
    weights[:, 7] = 0
    others = torch.arange(20) != 7
    assert gptq(weights, moments, setting)[:, others].equal(found[:, others])


def test_matrices_along_leading_axes_are_quantised_alone() -> None:
    weights, moments = normal(2, 3, 6, 10), torch.stack([correlated(10, seed=seed) for seed in range(6)])
    together = gptq(weights, moments.view(2, 3, 10, 10), Quantisation(3))
    for i, j in itertools.product(range(2), range(3)):
        torch.testing.assert_close(together[i, j], gptq(weights[i, j], moments[3 * i + j], Quantisation(3)))


def test_a_hessian_that_is_not_finite_is_refused() -> None:
    moments = correlated(10)
    moments[2, 3] = torch.nan
    with pytest.raises(NotFiniteError, match="not finite"):
        gptq(normal(4, 10), moments, Quantisation(3))


# ---- Models


def model_of(config: ModelConfig = CONFIG, members: int = 1) -> Decoder:
    model = Decoder(config, VOCABULARY, range(members))
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.2 * normal(*p.shape, seed=i).float())
    return model


def texts(seed: int = 0, padded: int = 0) -> list[Read]:
    """Two batches of texts, of which the last ``padded`` positions are padding with other tokens for each seed."""
    found = []
    for batch in range(2):
        ids = torch.randint(VOCABULARY, (6, 14), generator=torch.Generator().manual_seed(batch))
        counts = torch.ones_like(ids, dtype=torch.bool)
        if padded:
            other = torch.randint(VOCABULARY, (6, padded), generator=torch.Generator().manual_seed(100 + seed))
            ids[:, -padded:], counts[:, -padded:] = other, False
        found.append(Read(ids, counts))
    return found


@pytest.mark.parametrize("method", ["nearest", "gptq"])
@pytest.mark.parametrize("embedding", [False, True])
def test_roles_say_what_is_quantised(method: Any, embedding: bool) -> None:
    """Matrices, and the embedding if asked for; the rest is cast, and what stays in float32 in training stays."""
    config = dataclasses.replace(CONFIG, local=(Canon(),), absolute=16)
    model, setting = model_of(config), Quantisation(3, method, embedding)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = quantised(model, setting, texts()).state_dict()
    kinds = {"grid": 0, "cast": 0, "kept": 0}
    for name, weight in model_weights(config, VOCABULARY).items():
        assert found[name].dtype == torch.float32
        if weight.role.matrix or (embedding and name == "embedding.weight"):
            rows = found[name][0].mT if weight.role.matrix else found[name][0]
            assert max(len(row.unique()) for row in rows) <= 8 < rows.shape[1]
            kinds["grid"] += 1
        elif weight.role.float32:
            assert found[name].equal(before[name])
            kinds["kept"] += 1
        else:
            assert found[name].equal(before[name].bfloat16().float()) and not found[name].equal(before[name])
            kinds["cast"] += 1
    assert kinds == {"grid": 8 + embedding, "cast": 2 - embedding, "kept": 13}
    assert all(tensor.equal(before[name]) for name, tensor in model.state_dict().items()), "the model is left alone"


def test_sixteen_bits_are_the_weights_that_bf16_training_computes_with() -> None:
    """Bit for bit, whatever the other settings; cast once more they are the same."""
    model = model_of(dataclasses.replace(CONFIG, local=(Canon(),)))
    for setting in (Quantisation(16), Quantisation(16, "nearest", True, 4, "asymmetric")):
        found = quantised(model, setting)
        trained_with = model.in_bfloat16().state_dict()
        assert all(tensor.equal(trained_with[name].float()) for name, tensor in found.state_dict().items())
        again = quantised(found, setting).state_dict()
        assert all(tensor.equal(again[name]) for name, tensor in found.state_dict().items())


def test_the_tied_embedding_is_quantised_once_a_row_a_token() -> None:
    """Both its ends have the same numbers; both methods round it to nearest."""
    model = model_of()
    table = model.embedding.weight.detach()
    for method in ("nearest", "gptq"):
        setting = Quantisation(4, method, True)
        found = quantised(model, setting, texts())
        assert found.embedding.weight.equal(to_nearest(table, setting))
        _, taps = found(texts()[0].ids_BT[None], taps=("embedding", "final"))
        assert taps["embedding"].equal(found.embedding.weight[:, texts()[0].ids_BT])
        assert sum(name.startswith("embedding") for name, _ in found.named_parameters()) == 1


@pytest.mark.parametrize("embedding", [False, True])
@pytest.mark.parametrize("config", [CONFIG, dataclasses.replace(CONFIG, mixer=(Relative(reach=8),), mlp=(Gated(),))],
                         ids=lambda config: config.label)
def test_each_matrix_is_calibrated_on_what_those_before_it_give_once_quantised(
    config: ModelConfig, embedding: bool
) -> None:
    """So what each gets in the end is what it was calibrated on."""
    model, setting = model_of(config, members=2), Quantisation(4, embedding=embedding)
    found = quantised(model, setting, texts())
    for name, weight in model.weights.items():
        if weight.role.matrix:
            matrix = model.get_parameter(name).detach().mT
            expected = gptq(matrix, second_moments(found, name, texts()), setting)
            assert found.get_parameter(name).mT.equal(expected), name
            assert not found.get_parameter(name).mT.equal(to_nearest(matrix, setting)), name


def test_second_moments_are_those_of_all_that_is_read_but_padding() -> None:
    model = model_of()
    reads = texts(padded=5)
    x = torch.cat([model(read.ids_BT[None], taps=("embedding",)).taps["embedding"][..., :-5, :] for read in reads], 1)
    normed = model.blocks[0].attention_norm(x, torch.float32).double().flatten(0, 2)  # type: ignore[operator]
    moments = second_moments(model, "blocks.0.attention.qkv.weight", reads)
    torch.testing.assert_close(moments[0], normed.mT @ normed)
    found, other = (quantised(model, Quantisation(3), texts(seed, padded=5)).state_dict() for seed in (0, 1))
    assert all(tensor.equal(other[name]) for name, tensor in found.items()), "padding is of no account"
    assert not all(tensor.equal(other[name])
                   for name, tensor in quantised(model, Quantisation(3), texts()).state_dict().items())


def test_a_matrix_of_a_table_is_calibrated_on_its_rows_once_a_batch() -> None:
    """They are no tokens: neither how many texts there are nor which of their positions are padding counts."""
    config = dataclasses.replace(CONFIG, mixer=(Relative(reach=14),))
    model, name = model_of(config), "blocks.1.attention.distance.weight"
    rows_Pd = model.get_parameter("distances.weight").detach()[0].double()
    for reads in (texts(), texts(padded=5)):
        torch.testing.assert_close(second_moments(model, name, reads)[0], 2 * rows_Pd.mT @ rows_Pd)


def test_the_output_of_a_model_is_nearer_by_gptq() -> None:
    """On inputs of few directions, as tokens are: 11 embeddings in 16 dimensions; of texts that it has not seen."""
    model = model_of(members=4)
    ids = torch.randint(VOCABULARY, (4, 30, 14), generator=torch.Generator().manual_seed(9))
    ids = ids[:1].expand(4, -1, -1)
    expected = model(ids).logits
    errors = [(quantised(model, Quantisation(4, method), texts())(ids).logits - expected).square().mean((1, 2, 3))
              for method in ("gptq", "nearest")]  # fmt: skip
    assert errors[0].mean() < 0.8 * errors[1].mean()
    finer = quantised(model, Quantisation(8), texts())(ids).logits - expected
    assert finer.square().mean() < 0.02 * errors[0].mean()


# ---- Stored bits


def test_stored_bits_counted_by_hand() -> None:
    """One layer of width 4, 5 tokens: matrices 4 x 12, 4 x 4, 4 x 16 and 16 x 4; three gains of 4; embedding 5 x 4."""
    config = ModelConfig(layers=1, heads=1, width=4)
    matrices, rows, gains, embedding = 48 + 16 + 64 + 64, 12 + 4 + 16 + 4, 12, 20
    assert parameter_counts(config, 5)["params_used"] == matrices + gains + embedding == 224
    rest = 32 * gains
    expected = {
        None: 32 * 224,
        Quantisation(16): 16 * (matrices + embedding) + rest,
        Quantisation(8): 8 * matrices + 16 * rows + 16 * embedding + rest,
        Quantisation(8, "nearest"): 8 * matrices + 16 * rows + 16 * embedding + rest,
        Quantisation(3, embedding=True): 3 * (matrices + embedding) + 16 * (rows + 5) + rest,
        Quantisation(4, grid="asymmetric"): 4 * matrices + (16 + 4) * rows + 16 * embedding + rest,
        # of 16 inputs: six groups of 3, the last of one alone; of 4 inputs: two
        Quantisation(4, group=3): 4 * matrices + 16 * (2 * 32 + 6 * 4) + 16 * embedding + rest,
        Quantisation(4, group=8): 4 * matrices + 16 * (32 + 2 * 4) + 16 * embedding + rest,
        Quantisation(2, "gptq", True, 2, "asymmetric"):
            2 * (matrices + embedding) + 18 * (2 * 32 + 8 * 4 + 2 * 5) + rest,
    }  # fmt: skip
    for setting, bits in expected.items():
        assert stored_bits(config, 5, setting) == bits, setting


def test_rows_that_no_token_uses_and_what_is_not_trained_take_no_bits() -> None:
    for setting in (None, Quantisation(16), Quantisation(4), Quantisation(4, embedding=True)):
        plain = stored_bits(CONFIG, VOCABULARY, setting)
        assert stored_bits(dataclasses.replace(CONFIG, vocab_size=50), VOCABULARY, setting) == plain
        fixed = dataclasses.replace(CONFIG, local=(Canon(trained=False),))
        assert stored_bits(fixed, VOCABULARY, setting) == plain
        filters = parameter_counts(fixed, VOCABULARY)["params_fixed"]
        assert stored_bits(dataclasses.replace(CONFIG, local=(Canon(),)), VOCABULARY, setting) == plain + 32 * filters


# ---- Refusals


@pytest.mark.parametrize("given", [{"bits": 1}, {"bits": 9}, {"bits": 32}, {"bits": 0}, {"method": "best"},
                                   {"group": -1}, {"group": 2**30}, {"grid": "round"}, {"order": "random"},
                                   {"order": "activation", "group": 8}], ids=str)  # fmt: skip
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=f"quantisation: {next(iter(given))}: got .* expected"):
        Quantisation(**given)


def test_matrices_of_more_than_two_axes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    check_model(CONFIG, VOCABULARY)
    weights = Gated.weights
    monkeypatch.setattr(Gated, "weights", lambda self, model: tuple(
        dataclasses.replace(weight, shape=(2, *weight.shape)) for weight in weights(self, model)))  # fmt: skip
    with pytest.raises(UserError, match=r"got blocks.0.mlp.up.weight of the shape \(2, 16, 80\), expected matrices"):
        check_model(dataclasses.replace(CONFIG, mlp=(Gated(),)), VOCABULARY)
