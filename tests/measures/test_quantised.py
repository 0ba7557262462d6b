"""What a model keeps of its knowledge in fewer bits: the same items and code as capacity, and bits counted by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from physlm.errors import NotFiniteError, UserError
from physlm.measures import capacity, quantised
from physlm.measures.measure import check, check_quantity, name_of, take
from physlm.measures.quantised import Quantised, where
from physlm.measures.quantising import READ_AT_ONCE, calibration_texts
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.quantisation import Quantisation
from physlm.models.quantised import quantised as quantised_model
from physlm.tasks.biography.config import BioDConfig, BioSConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

CPU = torch.device("cpu")
# eight people, 112 bits
TASK = BioDConfig(people=8, attributes=2, diversity=16, chunk_tokens=1, alphabet=16, name_pools=(8, 8, 8),
                  entries_per_row=2, row_tokens=40)  # fmt: skip
MODEL = ModelConfig(layers=1, heads=1, width=12)
CELLS = ("bits", "method", "embedding")


@pytest.fixture(scope="module", params=["float32", "bf16"])
def run(request: pytest.FixtureRequest) -> Trained:
    """A model that has eight people by heart."""
    train = TrainConfig(exposures=200, batch_rows=4, learning_rate=2e-2, precision=request.param)
    spec = RunSpec(TASK, MODEL, train)
    population = Population([spec], CPU)
    while population.step < population.steps:
        population.advance()
    model = population.model_of(0)
    return Trained(spec, CPU, lambda step: model)


def by_cell(rows: list[Row]) -> dict[tuple[Any, ...], dict[str, Row]]:
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in rows:
        here = found.setdefault(tuple(row.where[name] for name in CELLS), {})
        assert row.quantity not in here
        here[row.quantity] = row
    return found


def plain(row: Row) -> tuple[Any, ...]:
    return row.quantity, row.value, row.unit, row.n, row.lo, row.hi


@pytest.fixture(scope="module")
def cells(run: Trained) -> dict[tuple[Any, ...], dict[str, Row]]:
    return by_cell(take("quantised", run))


def test_every_setting_has_its_rows(cells: dict[tuple[Any, ...], dict[str, Row]]) -> None:
    below = [(bits, method, embedding) for bits in (8, 4, 3, 2) for method in ("nearest", "gptq")
             for embedding in ("no", "yes")]  # fmt: skip
    assert list(cells) == [(32, "none", "no"), (16, "none", "no"), *below]
    for rows in cells.values():
        assert set(rows) == {"bits", "bits_signed", "bits_name", "bits_value", "bits_diversity", "bits_per_param",
                             "bits_kept", "bits_per_stored_bit", "stored_bits_per_param"}  # fmt: skip
        for quantity in rows:
            check_quantity(["quantised"], quantity)
        assert rows["bits_per_stored_bit"].unit == "bits/bit"
        assert rows["stored_bits_per_param"].lo == rows["stored_bits_per_param"].hi


def test_the_unquantised_model_has_the_rows_of_capacity(
    run: Trained, cells: dict[tuple[Any, ...], dict[str, Row]]
) -> None:
    expected = {row.quantity: row for row in capacity.measure(run)}
    for name, row in cells[32, "none", "no"].items():
        if name in expected:
            assert plain(row) == plain(expected[name])
    assert expected["bits"].value > 80, "there is something to lose"


def test_sixteen_bits_have_the_capacity_of_the_weights_that_training_computed_with(
    run: Trained, cells: dict[tuple[Any, ...], dict[str, Row]]
) -> None:
    """The same numbers, to the last bit, and of any model that is stored in bfloat16 the same as unquantised."""
    trained_with = run.model.in_bfloat16().float()
    stored = Trained(run.spec, CPU, lambda step: trained_with)
    expected = {row.quantity: row for row in capacity.measure(stored)}
    again = by_cell(Quantised(bits=(16,))(stored))
    for name, row in cells[16, "none", "no"].items():
        if name in expected:
            assert plain(row) == plain(expected[name]) == plain(again[16, "none", "no"][name])
            assert plain(again[32, "none", "no"][name]) == plain(row)
    assert cells[16, "none", "no"]["bits"].value == pytest.approx(cells[32, "none", "no"]["bits"].value, rel=0.01)


def test_what_is_kept_is_a_ratio_of_the_same_people(cells: dict[tuple[Any, ...], dict[str, Row]]) -> None:
    """So that the whole model keeps exactly all of itself, and a ratio has less spread than its two numbers."""
    whole = cells[32, "none", "no"]
    assert (whole["bits_kept"].value, whole["bits_kept"].lo, whole["bits_kept"].hi) == (1.0, 1.0, 1.0)
    for rows in cells.values():
        kept, ratio = rows["bits_kept"], rows["bits"].value / whole["bits"].value
        assert kept.value == pytest.approx(ratio) and kept.lo <= kept.value <= kept.hi and kept.unit == "1"
        assert kept.lo >= rows["bits"].lo / whole["bits"].hi - 1e-9
        assert kept.hi <= rows["bits"].hi / whole["bits"].lo + 1e-9


def test_of_nothing_no_share_is_kept() -> None:
    untrained = Decoder(MODEL, len(TASK.vocabulary()), (0,))
    run = Trained(RunSpec(TASK, MODEL, TrainConfig(exposures=1)), CPU, lambda step: untrained)
    kept = [row for row in Quantised(bits=(16, 8))(run) if row.quantity == "bits_kept"]
    assert len(kept) == 6 and all(math.isnan(row.value) for row in kept)


def test_eight_bits_keep_what_two_lose(cells: dict[tuple[Any, ...], dict[str, Row]]) -> None:
    """Control: what is lost is lost by few bits, not by being quantised."""
    whole = cells[32, "none", "no"]["bits"].value
    for method in ("nearest", "gptq"):
        for embedding in ("no", "yes"):
            kept = {bits: cells[bits, method, embedding]["bits"].value / whole for bits in (8, 2)}
            assert kept[8] == pytest.approx(1, abs=0.03) and kept[2] < 0.8, (method, embedding)


def test_a_model_that_is_full_loses_half_by_four_bits_and_gptq_keeps_more() -> None:
    """5,300 of 5,376 bits in 3,996 parameters, two seeds: the published loss, nothing at 8 bits and half at 4."""
    task = BioDConfig(people=48, attributes=1, chunks=16, diversity=128, chunk_tokens=1, alphabet=128,
                      name_pools=(1, 1, 48), entries_per_row=1, row_tokens=40)  # fmt: skip
    model = ModelConfig(layers=1, heads=6, width=12, init_std=0.1)
    specs = [RunSpec(task, model, TrainConfig(exposures=200, batch_rows=16, learning_rate=4e-2, warmup_steps=100,
                                              precision="float32", seed=seed)) for seed in (1, 2)]  # fmt: skip
    population = Population(specs, CPU)
    while population.step < population.steps:
        population.advance()
    measure = Quantised(bits=(8, 4), embedding=("no",))
    kept: dict[tuple[int, str], list[float]] = {}
    for m, spec in enumerate(specs):
        single = population.model_of(m)
        found = by_cell(measure(Trained(spec, CPU, lambda step, single=single: single)))  # type: ignore[misc]
        whole = found[32, "none", "no"]["bits"].value
        for bits, method in ((8, "nearest"), (8, "gptq"), (4, "nearest"), (4, "gptq")):
            kept.setdefault((bits, method), []).append(found[bits, method, "no"]["bits"].value / whole)
    assert min(*kept[8, "nearest"], *kept[8, "gptq"]) > 0.99
    assert max(*kept[4, "nearest"], *kept[4, "gptq"]) < 0.6
    assert sum(kept[4, "gptq"]) > 1.1 * sum(kept[4, "nearest"])


def test_bits_per_stored_bit_counted_by_hand(run: Trained, cells: dict[tuple[Any, ...], dict[str, Row]]) -> None:
    """A layer of 12 x 12^2 weights in matrices of 36 + 12 + 48 + 12 rows, three gains of 12, and the tokens."""
    tokens = len(run.spec.task.vocabulary())
    matrices, rows, gains, embedding = 12 * 12**2, 36 + 12 + 48 + 12, 3 * 12, tokens * 12
    params = matrices + gains + embedding
    for (bits, _, quantised_embedding), found in cells.items():
        if bits in (16, 32):
            stored = bits * (matrices + embedding) + 32 * gains
        elif quantised_embedding == "yes":
            stored = bits * (matrices + embedding) + 16 * (rows + tokens) + 32 * gains
        else:
            stored = bits * matrices + 16 * rows + 16 * embedding + 32 * gains
        assert found["stored_bits_per_param"].value == stored / params
        for name in ("value", "lo", "hi"):
            whole = getattr(found["bits"], name)
            assert getattr(found["bits_per_stored_bit"], name) == pytest.approx(whole / stored)
            assert getattr(found["bits_per_param"], name) == pytest.approx(whole / params)


def test_other_settings_are_measured_of_the_model_that_they_name(run: Trained) -> None:
    measure = Quantised(bits=(3,), methods=("gptq",), embedding=("yes",), group=8, grid="asymmetric", calibration=20)
    found = [row for row in measure(run) if row.where["bits"] == 3]
    assert all(row.where == {"bits": 3, "method": "gptq", "embedding": "yes", "group": 8, "grid": "asymmetric"}
               for row in found)  # fmt: skip
    texts = calibration_texts(TASK.build(), 20, CPU)
    model = quantised_model(run.model, Quantisation(3, "gptq", True, 8, "asymmetric"), texts)
    expected = capacity.measure(Trained(run.spec, CPU, lambda step: model))
    assert {plain(row) for row in found} & {plain(row) for row in expected} == {
        plain(row) for row in expected if row.quantity in {one.quantity for one in found}}
    assert name_of(measure) != name_of(Quantised())
    assert where(Quantisation(8, order="activation"))["order"] == "activation"


def test_calibration_texts_are_of_everybody_and_measured_by_nobody() -> None:
    """One of each person, then another of each; of another split than the texts of capacity, without their padding."""
    config = BioSConfig(people=120)
    task = config.build()
    count = 2 * READ_AT_ONCE + 100
    found = calibration_texts(task, count, CPU)
    ids = torch.cat([read.ids_BT for read in found])
    assert len(ids) == count and max(len(read.ids_BT) for read in found) <= READ_AT_ONCE
    lengths = [int(read.sum()) for one in found for read in one.counts_BT]
    texts = [tuple(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)]
    everybody = torch.arange(config.people)
    for draw in range(2):
        entries = task.entries(everybody, torch.full_like(everybody, draw), split="validation")
        for person, (row, length) in enumerate(zip(entries.ids_RW, entries.lengths_R.tolist(), strict=True)):
            assert texts[draw * config.people + person] == tuple(row[: length - 1].tolist())
        measured = task.entries(everybody, torch.full_like(everybody, draw))
        assert not {tuple(row[: length - 1].tolist())
                    for row, length in zip(measured.ids_RW, measured.lengths_R.tolist(), strict=True)} & set(texts)
    assert len(set(texts)) == count


# ---- Refusals, before anything is trained


@pytest.mark.parametrize("given", [{"bits": ()}, {"bits": (1,)}, {"bits": (4, 4)}, {"bits": (32,)}, {"methods": ()},
                                   {"methods": ("best",)}, {"embedding": ("maybe",)}, {"embedding": ("no", "no")},
                                   {"group": -2}, {"grid": "odd"}, {"order": "activation", "group": 4},
                                   {"calibration": 0}, {"calibration": 10**9}], ids=str)  # fmt: skip
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"quantis.*: got .*, expected"):
        Quantised(**given)


def test_runs_that_it_cannot_be_taken_of_are_refused() -> None:
    train = TrainConfig(steps=1, precision="float32")
    check("quantised", RunSpec(TASK, MODEL, train))
    with pytest.raises(UserError, match="got a run on .*, expected one on biographies"):
        check("quantised", RunSpec(ManoConfig(length=2, modulus=5, row_tokens=64), MODEL, train))


def test_an_encoder_is_refused() -> None:
    """A run on biographies that is one is refused by its settings or by the measure, whichever is asked first."""
    with pytest.raises(UserError, match="encoder|causal"):
        quantised.check(RunSpec(BioSConfig(people=8), ModelConfig(causal=False), TrainConfig(steps=1)))


def test_a_diverged_model_is_refused_before_it_is_quantised(run: Trained) -> None:
    model = Decoder(MODEL, len(TASK.vocabulary()), (0,))
    with torch.no_grad():
        model.blocks[0].mlp.up.weight.fill_(torch.nan)  # type: ignore[operator, union-attr]
    with pytest.raises(NotFiniteError, match="not finite"):
        take("quantised", Trained(run.spec, CPU, lambda step: model))
