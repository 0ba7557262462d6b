"""Length: questions as long as is said, planted answers and planted attention, models that are changed afterwards."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from taken_rows import the
from torch import Tensor

from physlm.config import from_dict, to_dict
from physlm.errors import NotFiniteError, UserError
from physlm.measures import answers, measure
from physlm.measures.generation import Generated
from physlm.measures.length import attending
from physlm.measures.length.accuracy import Length
from physlm.measures.length.asking import Asked, models_of
from physlm.measures.length.needle import NeedleAttention
from physlm.measures.length.settings import Variant
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.tasks.config import TaskConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.prompts import Prompts, cut, grade_without_hints
from physlm.tasks.vocabulary import Vocabulary
from physlm.training.config import RunSpec, TrainConfig

CPU, MODEL = torch.device("cpu"), ModelConfig(layers=2, heads=2, width=16)
HAY, LOST, VALUES = 3, 5, 4  # the first words of hay and of values; so many values


@pytest.fixture(autouse=True)
def lost() -> Iterator[None]:
    """The kind of the task below is known in this file alone."""
    yield
    TaskConfig._members.pop("lost", None)


def task_of(**settings: Any) -> Any:
    """<bos> hay hay @ value hay ? value <bos>: the value after @ among ``words`` tokens of hay is asked for."""

    @dataclass(frozen=True)
    class LostConfig(TaskConfig):
        kind: ClassVar[str] = "lost"
        words: int = 6
        most: int = 1000
        row_tokens: int = 32
        seed: int = 0

        def vocabulary(self) -> Vocabulary:
            return Vocabulary(("<bos>", "@", "?", "hay", "straw", *(f"v{n}" for n in range(VALUES))))

        def build(self) -> Any:
            return Lost(self)

        def conditions(self) -> Any:
            return {("answer", "test"): {"stream": "prompts"}}

        def longer(self, times: int) -> dict[str, int]:
            return {"words": times * self.words}

    return LostConfig(**settings)


class Lost:
    grade = staticmethod(grade_without_hints)

    def __init__(self, config: Any):
        self.config, self.vocabulary = config, config.vocabulary()
        self.device = "cpu"

    def to(self, device: Any) -> Lost:
        return self

    def prompts(self, n: int, split: str = "evaluation", *, stream: str, words: int = 0) -> Prompts:
        assert stream == "prompts" and split == "evaluation"
        words = words or self.config.words
        if words > self.config.most:
            raise UserError(f"lost: words: got {words}, expected between 1 and {self.config.most}")
        draw = np.random.default_rng(1)
        rows = []
        for i in range(n):
            hay = (HAY + draw.integers(2, size=words)).tolist()
            place, value = int(draw.integers(words + 1)), LOST + i % VALUES
            rows.append([0, *hay[:place], 1, value, *hay[place:], 2, value, 0])
        lengths = torch.full((n,), words + 4)
        return cut(torch.tensor(rows), lengths, lengths + 2, ("value",), 1)


def run_of(task: Any, model: ModelConfig = MODEL, trained: Decoder | None = None) -> Trained:
    spec = RunSpec(task, model, TrainConfig(steps=1, precision="float32"))
    found = trained or Decoder(model, len(task.vocabulary()), (3,))
    return Trained(spec, CPU, lambda step: found)


def test_questions_are_as_long_as_is_said_and_planted_answers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that finds the value among at most 12 words of hay; random weights never do."""
    run, asked = run_of(task_of()), Counter[tuple[bool, int]]()

    def write(model: Any, prompts: Tensor, room: int, *, lengths: Tensor, temperature: float, progress: bool
              ) -> Generated:  # fmt: skip
        assert temperature == 0.0 and len(lengths.unique()) == 1, "each length by itself"
        words, trained = int(lengths[0]) - 4, model is run.model
        asked[trained, words] += len(prompts)
        ids = torch.nn.functional.pad(prompts, (0, room))
        places = (prompts == 1).int().argmax(1) + 1
        value = prompts.gather(1, places[:, None])[:, 0]
        ids[:, words + 4] = value if trained and words <= 12 else HAY
        return Generated(ids, lengths, torch.ones(len(ids), dtype=torch.bool))

    monkeypatch.setattr(answers, "generate", write)
    rows = Length(times=(1, 2, 4), questions=60)(run)
    assert asked == {(trained, 6 * times): 60 if trained else 50 for trained in (True, False) for times in (1, 2, 4)}
    for times, right in ((1, 1.0), (2, 1.0), (4, 0.0)):
        row = the(rows, "answered", times=times)
        assert row.where == {"times": times, "variant": "trained", "kind": "value", "half": "test"}
        assert (row.value, row.n) == (right, 60) and row.lo <= right <= row.hi
        assert the(rows, "answered_untrained", times=times).value == 0.0
        assert the(rows, "answered_constant", times=times).value == 1 / VALUES
        context = the(rows, "tokens", times=times)
        assert (context.value, context.unit) == (6 * times + 5, "tokens") and context.where == {"times": times}
    assert len(rows) == 12


def test_a_model_that_is_changed_is_another_one_with_the_same_weights() -> None:
    run = run_of(task_of())
    raised = Variant("raised", ("ro*",), rope_base=1e6)
    unfit = Variant("unfit", ("nope", "rope_logn"), rope_base=1e6)
    given = Length(times=(1,), questions=4, variants=(Variant(), raised, unfit))
    assert {row.where["variant"] for row in given(run) if row.quantity == "answered"} == {"trained", "raised"}
    assert from_dict(Length, to_dict(given)) == given and given.name != Length().name
    plain, changed = dict(models_of(given, run)).values()
    ids = torch.arange(9)[None, None]
    assert plain is run.model and not plain(ids).logits.equal(changed(ids).logits)
    assert all(changed.state_dict()[name].equal(value) for name, value in plain.state_dict().items())
    based = Decoder(replace(MODEL, mixer=(Attention(rope_base=1e6),)), 9, (3,))
    assert based(ids).logits.equal(changed(ids).logits)


def test_planted_attention_has_mass_one_and_no_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head 2 of layer 1 looks at the needle up to 12 words of hay, and evenly beyond; all else always evenly."""
    run = run_of(task_of())

    def planted(model: Any, ids_BT: Tensor) -> list[Tensor]:
        rows, positions = ids_BT.shape
        even = torch.ones(positions, positions).tril() / torch.arange(1, positions + 1)[:, None]
        weights = even.expand(2, rows, 2, -1, -1).clone()
        if model is run.model and positions <= 16:
            value = torch.nn.functional.pad((ids_BT == 1).float(), (1, 0))[:, :-1]  # after @
            weights[0, :, 1, -1] = value
        return list(weights)

    monkeypatch.setattr(attending, "decoder_attention", planted)
    rows = NeedleAttention(times=(1, 2, 4), questions=8)(run)
    for times, found in ((1, True), (2, True), (4, False)):
        n = 6 * times + 4
        best = {name: the(rows, name, times=times, layer=1, head="best", variant="trained").value
                for name in ("mass", "entropy")}
        assert best["mass"] == pytest.approx(1.0 if found else 1 / n)
        assert best["entropy"] == pytest.approx(0.0 if found else math.log(n), abs=1e-6)
        mean = the(rows, "mass", times=times, layer=1, head="mean").value
        assert mean == pytest.approx((1 + 1 / n) / 2 if found else 1 / n)
        for row, even in ((the(rows, "mass", times=times, layer=2, head="best"), 1 / n),
                          (the(rows, "mass_untrained", times=times, layer=1, head="best"), 1 / n),
                          (the(rows, "mass_even", times=times), 1 / n),
                          (the(rows, "entropy_untrained", times=times, layer=2, head="mean"), math.log(n)),
                          (the(rows, "entropy_even", times=times), math.log(n))):
            assert row.value == pytest.approx(even) and row.lo < even < row.hi and row.n == 8


def test_attention_is_that_of_the_last_token_in_any_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts of several lengths, one with a hint, against the tap of each by itself."""
    model = Decoder(MODEL, 9, (3,))
    rows = torch.tensor([[0, 3, 1, 6, 4, 2, 6, 0, 0, 0], [0, 1, 5, 2, 5, 0, 0, 0, 0, 0],
                         [0, 7, 4, 7, 3, 1, 2, 2, 7, 0]])
    prompts = cut(rows, torch.tensor([6, 4, 7]), torch.tensor([8, 6, 10]), ("value",), 1,
                  hint_lengths_B=torch.tensor([0, 0, 1]))  # fmt: skip
    places = [[3], [2], [1, 3]]
    for memory in (1, 1 << 20):
        monkeypatch.setitem(attending.WEIGHTS, "cpu", memory)
        read = attending.attending(model, prompts)
        for b, (length, place) in enumerate(zip((6, 4, 8), places, strict=True)):
            _, taps = model.hidden(rows[b, :length][None, None], ["block.0.attention", "block.1.attention"])
            for j in range(2):
                row = taps[f"block.{j}.attention"][0, 0, :, -1].double()
                assert np.allclose(read.mass[b, j], row[:, place].sum(-1).numpy(force=True), atol=1e-6)
                entropy = -(row * row.log()).sum(-1)
                assert np.allclose(read.entropy[b, j], entropy.numpy(force=True), atol=1e-5)


def test_what_cannot_be_measured_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(most=100)
    Length().check(run_of(task).spec)
    for run, message in (
        (run_of(ManoConfig(row_tokens=64)), r"measure length: got a run on mano .*, expected .*lost"),
        (run_of(task_of(most=95)), r"words: got 96, expected between 1 and 95"),
        (run_of(task, replace(MODEL, causal=False)), "got an encoder"),
    ):
        with pytest.raises(UserError, match=message):
            Length().check(run.spec)
    sheet = Asked(task).sheet(16, 1).prompts
    tokens = int((sheet.lengths_B + sheet.answer_lengths_B).max()) - 1
    Length().check(run_of(task, replace(MODEL, absolute=tokens)).spec)
    with pytest.raises(UserError, match=rf"{tokens} tokens with their answers, expected at most {tokens - 1}, model"):
        Length().check(run_of(task, replace(MODEL, absolute=tokens - 1)).spec)
    with pytest.raises(UserError, match="unrotated"):
        Length(variants=(Variant("x", among="unrotated", floor=8),)).check(run_of(task).spec)
    for settings, message in (({"times": (2, 1)}, "times"), ({"times": ()}, "times"), ({"times": (0,)}, "times"),
                              ({"variants": ()}, "variants"), ({"variants": (Variant(), Variant())}, "variants"),
                              ({"questions": -1}, "questions")):  # fmt: skip
        with pytest.raises(UserError, match=message):
            NeedleAttention(**settings)
    with monkeypatch.context() as hidden:
        hidden.setattr(Attention, "shows_attention", False)
        with pytest.raises(UserError, match="show their attention"):
            NeedleAttention().check(run_of(task).spec)
    nowhere = Asked(task).sheet(1, 4).prompts
    with pytest.raises(UserError, match="does not stand in the prompt"):
        attending.answer_places(nowhere._replace(answers_BQ=nowhere.answers_BQ * 0 + 8))
    with torch.no_grad():
        broken = Decoder(MODEL, 9, (3,))
        next(weight for name, weight in broken.named_parameters() if "qkv" in name).fill_(torch.nan)
    with pytest.raises(NotFiniteError):
        attending.attending(broken, nowhere)


def test_both_are_measures_of_the_package() -> None:
    run = run_of(task_of(words=2))
    for name in ("length", "needle_attention"):
        measure.check(name, run.spec)
        found = measure.take(name, run)
        for row in found:
            measure.check_quantity([name], row.quantity)
        assert {row.where["times"] for row in found} == {1, 2, 4, 8, 16}


def test_a_guess_is_any_fitting_word_of_the_text_however_long_it_is() -> None:
    """One of four values of needles; of pairs that grow with the text, one of more and more."""
    from physlm.tasks.playground.needle import NeedleConfig

    asked = Asked(NeedleConfig(60, 16, 3, row_tokens=64))
    for times in (1, 4):
        assert asked.sheet(times, 400).guessed().double().mean().item() == pytest.approx(1 / 4, abs=0.05)
