"""Generation against an obvious loop without a memory, against the distribution itself, and against other batches."""

from __future__ import annotations

import pytest
import torch
from positions import position_of, way
from scipy import stats
from torch import Tensor

from physlm import rng
from physlm.errors import UserError
from physlm.measures import generation
from physlm.measures.generation import POSITIONS, Generated, draw, generate
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder

VOCABULARY = 5
CONFIGS = [
    ModelConfig(layers=2, heads=2, width=16, vocab_size=9),
    ModelConfig(layers=1, heads=2, width=16, **way("none")),
    ModelConfig(layers=2, heads=2, width=16, **way("absolute", 30)),
    ModelConfig(layers=2, heads=2, width=16, **way("relative", 6)),
    ModelConfig(layers=2, heads=2, width=16, **way("position_only", 6)),
    ModelConfig(layers=2, heads=3, width=12, **way("uniform")),
]
PROMPTS = torch.tensor([[0, 1, 2, 3, 4], [0, 4, 0, 0, 0], [0, 0, 2, 1, 1], [3, 3, 3, 3, 3], [0, 2, 2, 0, 0]])
LENGTHS = torch.tensor([5, 2, 4, 5, 3])


def randomised(config: ModelConfig, members: int = 1) -> Decoder:
    """Peaked distributions, so that the context matters."""
    model = Decoder(config, VOCABULARY, tuple(range(members)))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return model


def obvious(
    model: Decoder, prompt: list[int], new: int, temperature: float, key: int, row: int
) -> tuple[list[int], bool]:
    """One row, the whole of it read again for each token; the ids without the end, and whether there was one."""
    ids = list(prompt)
    for _ in range(new):
        logits = model(torch.tensor([[ids]])).logits[0, 0, -1, :VOCABULARY].double()
        if temperature == 0:
            token = int(logits.argmax())
        else:
            u = float(rng.uniform(rng.key("generation", key), torch.tensor(row * POSITIONS + len(ids))))
            cumulative = (logits / temperature).softmax(-1).cumsum(-1)
            token = next(v for v in range(VOCABULARY) if cumulative[v] > u * cumulative[-1])
        if token == 0:
            return ids, True
        ids.append(token)
    return ids, False


def rows_of(made: Generated) -> list[tuple[list[int], bool]]:
    columns = (x.tolist() for x in made)
    return [(ids[:length], ended) for ids, length, ended in zip(*columns, strict=True)]


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.5])
@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: position_of(c))
def test_rows_are_those_of_the_obvious_loop(
    monkeypatch: pytest.MonkeyPatch, config: ModelConfig, temperature: float
) -> None:
    monkeypatch.setitem(generation.STAGE, "cpu", 6)
    model = randomised(config)
    made = generate(model, PROMPTS, 12, lengths=LENGTHS, temperature=temperature, key=8, first_row=100)
    assert made.ids.shape == (5, 17)
    expected = [obvious(model, PROMPTS[b, : LENGTHS[b]].tolist(), 12, temperature, 8, 100 + b) for b in range(5)]
    assert rows_of(made) == expected
    if temperature == 1.0:
        assert len({tuple(ids) for ids, _ in expected}) > 1


def test_the_cases_contain_rows_with_and_without_an_end() -> None:
    ended = torch.stack([generate(randomised(config), PROMPTS, 12, lengths=LENGTHS).ended for config in CONFIGS])
    assert bool(ended.any()) and not bool(ended.all())


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: position_of(c))
def test_members_generate_as_if_alone(config: ModelConfig) -> None:
    population = randomised(config, members=3)
    shared = generate(population, PROMPTS, 9, lengths=LENGTHS, key=(4, 5, 5))
    own = generate(population, PROMPTS.expand(3, -1, -1), 9, lengths=LENGTHS, key=(4, 5, 5))
    for m in range(3):
        alone = generate(population.member(m), PROMPTS, 9, lengths=LENGTHS, key=(4, 5, 5)[m])
        for both in (shared, own):
            assert all(x[m].equal(y) for x, y in zip(both, alone, strict=True))


@pytest.mark.parametrize("config", CONFIGS[::3], ids=lambda c: position_of(c))
def test_the_batch_does_not_matter(config: ModelConfig) -> None:
    model = randomised(config)
    prompts, lengths = PROMPTS.repeat(4, 1), LENGTHS.repeat(4)
    whole = generate(model, prompts, 12, lengths=lengths, key=3)
    few = generate(model, prompts, 12, lengths=lengths, key=3, rows_at_once=3)
    second = generate(model, prompts[8:], 12, lengths=lengths[8:], key=3, first_row=8)
    assert all(x.equal(y) for x, y in zip(whole, few, strict=True))
    assert all(x[8:].equal(y) for x, y in zip(whole, second, strict=True))
    assert not whole.ids.equal(generate(model, prompts, 12, lengths=lengths, key=4).ids)
    assert not whole.ids[:5].equal(whole.ids[5:10]), "equal prompts in other rows are continued in other ways"


def test_ended_rows_stay_ended() -> None:
    made = generate(randomised(CONFIGS[0]), PROMPTS.repeat(40, 1), 40, lengths=LENGTHS.repeat(40))
    after = torch.arange(45) >= made.lengths[:, None]
    assert bool((made.ids[after] == 0).all())
    drawn = ~after & (torch.arange(45) >= LENGTHS.repeat(40)[:, None])
    assert bool((made.ids[drawn] != 0).all())
    assert bool((made.lengths[~made.ended] == LENGTHS.repeat(40)[~made.ended] + 40).all())


def test_another_end_and_rows_that_are_no_tokens() -> None:
    """Token 3 ends; embedding rows 5 to 8 belong to no token and are made likely: they are never drawn."""
    model = randomised(CONFIGS[0])
    with torch.no_grad():
        model.embedding.weight[:, VOCABULARY:] *= 10
    made = generate(model, PROMPTS.repeat(20, 1), 20, end=3)
    assert int(made.ids.max()) < VOCABULARY
    assert bool((made.ids[:, 5:] == 0).any()) and bool(made.ended.any())
    assert bool((made.ids[torch.arange(25) >= made.lengths[:, None]] == 3).all())


def test_frequencies_are_the_models() -> None:
    """Two tokens after a fixed prompt against the exact joint distribution; the control has another temperature."""
    model = randomised(CONFIGS[3])
    n = 20_000
    made = generate(model, torch.tensor([[1, 2]]).expand(n, -1), 2, key=11, end=0)

    def joint(temperature: float) -> Tensor:
        def after(ids: list[int]) -> Tensor:
            return (model(torch.tensor([[ids]])).logits[0, 0, -1, :VOCABULARY].double() / temperature).softmax(-1)
        first = after([1, 2])
        # the end is followed by nothing but the end
        second = [torch.eye(VOCABULARY, dtype=torch.double)[0]] + [after([1, 2, v]) for v in range(1, VOCABULARY)]
        return (first[:, None] * torch.stack(second)).flatten()

    counts = torch.bincount(made.ids[:, 2] * VOCABULARY + made.ids[:, 3], minlength=VOCABULARY**2)

    def p_value(temperature: float) -> float:
        expected = n * joint(temperature).detach()
        cells = expected > 0
        assert int(counts[~cells].sum()) == 0
        return float(stats.chisquare(counts[cells].numpy(), expected[cells].numpy()).pvalue)

    assert p_value(1.0) > 0.01
    assert p_value(1.1) < 1e-4


def test_impossible_tokens_are_never_drawn() -> None:
    logits = torch.tensor([0.0, -torch.inf, 1.0, -torch.inf]).expand(10_000, -1)
    drawn = draw(logits, 1.0, 5, torch.arange(10_000))
    assert set(drawn.tolist()) == {0, 2}


def test_bfloat16_generates_from_nearly_the_same_distribution() -> None:
    model = randomised(CONFIGS[0])
    prompts = torch.tensor([[0, 1]]).expand(2000, -1)
    rounded = generate(model.in_bfloat16(), prompts, 1)
    plain = generate(model, prompts, 1)
    assert (rounded.ids == plain.ids).double().mean() > 0.95


@pytest.mark.parametrize(("change", "message"), [
    ({"prompts": torch.zeros(3, dtype=torch.long)}, "prompts of shape (3,)"),
    ({"prompts": torch.zeros(2, 3, 4, dtype=torch.long)}, "prompts of shape (2, 3, 4), expected (rows, tokens) or (1,"),
    ({"prompts": torch.zeros(3, 0, dtype=torch.long)}, "none of them 0"),
    ({"prompts": torch.full((1, 2), 30)}, "ids 30 to 30, expected 0 to 4"),
    ({"new_tokens": 0}, "got 0 new tokens"),
    ({"new_tokens": 40}, "got 44 positions, expected at most 30"),
    ({"temperature": -1.0}, "got temperature -1.0"),
    ({"lengths": torch.tensor([5, 2, 4, 6, 3])}, "from 2 to 6, expected one for each of 5 prompts, from 1 to 5"),
    ({"lengths": torch.tensor([5, 2])}, "got lengths (2,)"),
    ({"key": (1, 2)}, "got 2 keys for 1 member"),
    ({"rows_at_once": 0}, "got 0 rows at once"),
])  # fmt: skip
def test_bad_requests_are_named(change: dict[str, object], message: str) -> None:
    arguments = {"prompts": PROMPTS, "new_tokens": 3, **change}
    with pytest.raises(UserError) as error:
        generate(randomised(CONFIGS[2]), **arguments)  # type: ignore[arg-type]
    assert message in str(error.value)
