"""What only a CUDA device can show of mixers and of generation: the captured steps do what the CPU does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest
import torch
from positions import BEYOND, way

from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.biography.config import BioSConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
NO_ENCODER = ("uniform", "alibi", "hard_alibi", "t5", "window", "irope", "scalable", "temperature",
              *(name for name in BEYOND if name != "mla"))
POSITIONS = ("rope", "none", "absolute", "relative", "position_only", "half_rope", "gqa", "mla", *NO_ENCODER)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("position", POSITIONS)
def test_the_captured_step_does_what_the_cpu_does(position: str, members: int, causal: bool) -> None:
    if position in NO_ENCODER and not causal:
        pytest.skip("it is about earlier tokens, and has no encoder")
    task = BioSConfig(people=200, entries_per_row=1, row_tokens=60)
    model = ModelConfig(layers=2, heads=2, width=32, causal=causal, **way(position, 64))
    train = TrainConfig(exposures=8, batch_rows=16, precision="float32", learning_rate=2e-3)
    specs = [RunSpec(task, model, dataclasses.replace(train, seed=seed)) for seed in range(members)]
    losses = {}
    for device in ("cpu", "cuda"):
        population = Population(specs, torch.device(device), window=20)
        while population.step < 40:
            population.advance()
        losses[device] = population.recent_losses(20)["loss"]
    torch.testing.assert_close(losses["cpu"], losses["cuda"], rtol=2e-3, atol=2e-3)


@pytest.fixture
def deterministic() -> Iterator[None]:
    """torch's own switch: with it the attention is one whose gradient is summed in a fixed order."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize(("position", "row_tokens"), [
    ("rope", 512), ("relative", 256), ("position_only", 256), ("uniform", 256), ("alibi", 512), ("t5", 256),
    ("window", 512), ("irope", 512), ("scalable", 512), ("gqa", 512),
    *((name, 512) for name in BEYOND)])  # fmt: skip
def test_training_in_bfloat16_gives_the_same_bits_twice(position: str, row_tokens: int) -> None:
    """Attention kernels over several blocks of keys; products written out, at a length beyond the distances' table."""
    task = BioSConfig(people=200, row_tokens=row_tokens)
    model = ModelConfig(layers=2, heads=4, width=128, **way(position, 200))
    spec = RunSpec(task, model, TrainConfig(exposures=160, batch_rows=32))
    states = []
    for _ in range(2):
        population = Population([spec], torch.device("cuda"), window=20)
        while population.step < 20:
            population.advance()
        states.append(population.model_of(0).state_dict())
    for name, value in states[0].items():
        assert bool(value.isfinite().all())
        assert value.equal(states[1][name]), name


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("position", POSITIONS)
def test_generation_in_a_graph_is_generation_on_the_cpu(position: str, members: int) -> None:
    """In float32, where the logits of the two devices differ by 1e-6 or so: nearly every row is the same to its end."""
    config = ModelConfig(layers=2, heads=2, width=32, **way(position, 64))
    model = Decoder(config, 7, tuple(range(members)))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=generator))
    prompts = torch.randint(0, 7, (300, 9), generator=generator)
    lengths = torch.randint(2, 10, (300,), generator=generator)
    here = generate(model, prompts, 50, lengths=lengths, key=3)
    there = generate(model.cuda(), prompts.cuda(), 50, lengths=lengths, key=3, rows_at_once=128)
    same = (here.ids == there.ids.cpu()).all(-1).double().mean()
    assert same > 0.99
    rounded = generate(model.in_bfloat16(), prompts.cuda(), 50, lengths=lengths, key=3)
    assert rounded.ids.shape == here.ids.shape and bool((rounded.ids < 7).all())


@pytest.mark.parametrize("position", POSITIONS)
def test_half_precision_steps_agree_with_whole_rows(position: str) -> None:
    config = ModelConfig(layers=2, heads=4, width=64, **way(position, 96))
    model = Decoder(config, 7).cuda().in_bfloat16()
    ids = torch.randint(0, 7, (1, 5, 80), generator=torch.Generator().manual_seed(0)).cuda()
    whole, _ = model.hidden(ids)
    reading = model.remember(5, 80)
    parts = [model.read(ids[..., :20], reading)]
    parts += [model.step(ids[..., t : t + 1], torch.tensor([t], device="cuda"), reading) for t in range(20, 80)]
    torch.testing.assert_close(torch.cat(parts, 2).float(), whole.float(), atol=0.06, rtol=0.06)
