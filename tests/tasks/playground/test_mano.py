"""Mano: the fast writer against an obvious one, on one table of cases; the laws that it draws by; its controls."""

from __future__ import annotations

import math
from collections import Counter
from functools import cache

import pytest
import torch

from physlm.errors import UserError
from physlm.measures import answers
from physlm.measures.generation import Generated
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.playground.mano import Mano, ManoConfig
from physlm.training.config import RunSpec, TrainConfig

CPU = torch.device("cpu")
CASES = [  # prefix expression, operations, value modulo 23
    ("+ 5 * 3 4", 2, 17), ("- 2 9", 1, 16), ("* 22 22", 1, 1), ("+ 22 1", 1, 0), ("- - 3 4 5", 2, 17),
    ("- 3 - 4 5", 2, 4), ("* 0 + * 7 8 - 9 10", 4, 0), ("* + 2 3 - 2 3", 3, 18), ("- 0 * 22 * 22 22", 3, 1),
]


def split(words: list[str]) -> tuple[list[str], list[str]]:
    """The first operand at the beginning of ``words``, and what follows it."""
    if words[0].isdigit():
        return words[:1], words[1:]
    left, rest = split(words[1:])
    right, rest = split(rest)
    return [words[0], *left, *right], rest


def value(words: list[str], modulus: int = 23) -> int:
    """By the definition."""
    if words[0].isdigit():
        return int(words[0])
    left, rest = split(words[1:])
    right, rest = split(rest)
    assert not rest
    a, b = value(left, modulus), value(right, modulus)
    return {"+": a + b, "-": a - b, "*": a * b}[words[0]] % modulus


def operations(words: list[str]) -> int:
    return sum(not word.isdigit() for word in words)


@pytest.mark.parametrize(("text", "length", "expected"), CASES)
def test_the_obvious_evaluation(text: str, length: int, expected: int) -> None:
    assert value(text.split()) == expected and operations(text.split()) == length


@pytest.mark.parametrize(("text", "length", "expected"), CASES)
def test_the_fast_one_on_the_same_cases(
    monkeypatch: pytest.MonkeyPatch, text: str, length: int, expected: int
) -> None:
    """Draws are planted so that it has to write the case."""
    words, task = text.split(), ManoConfig().build()
    first = {2 + i: operations(split(words[i + 1 :])[0]) for i, word in enumerate(words) if not word.isdigit()}

    def below(n: int, key: int, counter: torch.Tensor) -> torch.Tensor:
        if counter.shape[-1] == 1:
            return torch.full_like(counter, length - 1)
        table = [0] * counter.shape[-1]
        for i, word in enumerate(words):
            if word.isdigit() == (n == 23):
                table[2 + i] = int(word) if word.isdigit() else "+-*".index(word)
        return torch.tensor(table).expand_as(counter)

    def uniform(key: int, counter: torch.Tensor) -> torch.Tensor:
        """Times the operations of the part at this place it is just enough for those of its first operand."""
        found = torch.zeros(counter.shape, dtype=torch.double)
        for place, count in first.items():
            part = operations(split(words[place - 2 :])[0])
            found[counter == place] = (count + 0.5) / part
        return found

    monkeypatch.setattr("physlm.rng.below", below)
    monkeypatch.setattr("physlm.rng.uniform", uniform)
    (one,) = task.texts(torch.tensor([0]))
    assert task.vocabulary.decode(one.ids) == f"<bos> <len_{length}> {text} <ans_{length}> {expected}"


@pytest.mark.parametrize("config", [
    ManoConfig(), ManoConfig(length=1, modulus=2, row_tokens=7), ManoConfig(4, 5, 40, seed=3), ManoConfig(16, 23, 300),
], ids=lambda config: f"{config.title} {config.row_tokens}")  # fmt: skip
def test_rows_are_true_instances_end_to_end(config: ManoConfig) -> None:
    task = config.build()
    words = config.vocabulary().words
    inputs, targets = task.rows(torch.arange(40))
    whole = torch.cat((inputs, targets[:, -1:]), 1)
    seen = 0
    for row in whole.tolist():
        text, place, number = [words[i] for i in row], 0, 0
        while place < len(text):
            assert text[place] == "<bos>"
            if place + 1 == len(text):
                break
            length = int(text[place + 1].removeprefix("<len_").removesuffix(">"))
            one = text[place : place + 2 * length + 5]
            place += 2 * length + 5
            if len(one) < 2 * length + 5:
                assert number > 0, "the first of a row is whole"
                break
            expression, rest = split(one[2:])
            assert operations(expression) == length <= config.length
            assert rest == [f"<ans_{length}>", str(value(expression, config.modulus))]
            number, seen = number + 1, seen + 1
    assert seen >= 40 and bool((targets >= 0).all()), "everything is learnt"


@pytest.mark.parametrize(("text", "length", "expected"), CASES)
def test_the_verifier_on_the_same_cases(text: str, length: int, expected: int) -> None:
    task, whole = ManoConfig().build(), f"<bos> <len_{length}> {text} <ans_{length}> "
    assert task.fault(task.vocabulary.encode(f"{whole}{expected}")) == ""
    wrong = task.fault(task.vocabulary.encode(f"{whole}{(expected + 1) % 23} <bos>"))
    assert wrong == "got another value than that of the expression"


@pytest.mark.parametrize(("text", "fault"), [
    ("<len_1> + 1 2 <ans_1> 3", "got no <bos>"), ("<bos> <len_2> + 1 2 <ans_2> 3", "got no <bos>"),
    ("<bos> <len_1> + 1 2 <ans_2> 3", "got no <bos>"), ("<bos>", "got no <bos>"),
    ("<bos> <len_1> 1 2 + <ans_1> 3", "got an operation without two operands"),
    ("<bos> <len_1> + 1 <len_1> <ans_1> 3", "got something other"),
    ("<bos> <len_1> + <bos> 3 <ans_1> 3", "got something other"),
    ("<bos> <len_1> 1 2 3 <ans_1> 3", "got more than one expression"),
    ("<bos> <len_1> + 1 2 <ans_1> +", "got another value than that of the expression"),
])  # fmt: skip
def test_the_verifier_on_planted_faults(text: str, fault: str) -> None:
    task = ManoConfig().build()
    assert task.fault(task.vocabulary.encode(text)).startswith(fault)


def test_its_own_samples_pass_the_verifier() -> None:
    task = ManoConfig().build()
    blocks = (task.texts(torch.arange(begin, begin + 10_000)) for begin in range(0, 100_000, 10_000))
    texts = (text.ids for block in blocks for text in block)
    assert Counter(map(task.fault, texts)) == {"": 100_000}


@pytest.mark.parametrize("config", [
    ManoConfig(), ManoConfig(length=1, modulus=2, row_tokens=7), ManoConfig(4, 5, 40, seed=3), ManoConfig(16, 23, 300),
    ManoConfig(100, 1000, 512), ManoConfig(3, 23, 12),
], ids=lambda config: f"{config.title} {config.row_tokens}")  # fmt: skip
def test_the_compiled_loop_writes_the_bits_of_the_tensors(config: ManoConfig) -> None:
    task, index = config.build(), torch.cat((torch.arange(200), torch.tensor([2**20, 2**35 + 7, 2**38])))
    for split, stream in (("train", 0), ("train", 5), ("validation", 0)):
        width = config.row_tokens + 1
        compiled = task._compiled(index, width, split, stream)
        assert compiled.equal(task._written(index, 1 + config.row_tokens // 7, width, split, stream))
        rows = task.rows(index, split, stream)
        assert rows.inputs_RT.equal(compiled[:, :-1]) and rows.targets_RT.equal(compiled[:, 1:])


def test_a_text_is_the_first_instance_of_its_row() -> None:
    task = ManoConfig(row_tokens=60).build()
    for text, row in zip(task.texts(torch.arange(9), "train"), task.rows(torch.arange(9)).inputs_RT, strict=True):
        assert text.ids == row[: len(text.ids)].tolist() and text.about["length"] == (len(text.ids) - 5) // 2


def test_lengths_shapes_operations_and_values_are_uniform() -> None:
    task = ManoConfig(length=6, modulus=5, seed=1).build()
    texts = [task.vocabulary.decode(text.ids).split() for text in task.texts(torch.arange(6000))]
    lengths = Counter(word for text in texts for word in text[1:2])
    used = Counter(word for text in texts for word in text[2:-2])
    firsts = Counter(operations(split(text[3:-2])[0]) for text in texts if text[1] == "<len_6>")
    for counts in ([lengths[f"<len_{n}>"] for n in range(1, 7)], [firsts[n] for n in range(6)],
                   [used[word] for word in "+-*"], [used[word] for word in "01234"]):  # fmt: skip
        expected = sum(counts) / len(counts)
        assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts), counts
    assert len(used) == 8 and len(lengths) == len(firsts) == 6


@cache
def distribution(length: int, modulus: int) -> tuple[float, ...]:
    """The exact probability of each value of an expression of so many operations."""
    if length == 0:
        return (1 / modulus,) * modulus
    found = [0.0] * modulus
    for first in range(length):
        left, right = distribution(first, modulus), distribution(length - 1 - first, modulus)
        for a, p in enumerate(left):
            for b, q in enumerate(right):
                for result in (a + b, a - b, a * b):
                    found[result % modulus] += p * q / 3 / length
    return tuple(found)


def test_the_best_constant_is_the_published_chance() -> None:
    """Zero, at 7.0 % where L = 10 (exactly 7.03; 7.1 and 7.2 at 13 and 16): what models without positions came to."""
    assert 100 * max(distribution(10, 23)) == pytest.approx(7.0, abs=0.05) == 100 * distribution(10, 23)[0]
    assert [round(100 * max(distribution(length, 23)), 1) for length in (13, 16)] == [7.1, 7.2]
    prompts = ManoConfig().build().prompts(20_000, before=0)
    shares = torch.bincount(prompts.answers_BQ[:, 0] - 4, minlength=23) / 20_000
    exact = torch.tensor(distribution(10, 23))
    assert bool(((shares - exact).abs() < 5 * (exact / 20_000).sqrt()).all())


def test_prompts_are_at_every_place_of_a_row_in_turn() -> None:
    task = ManoConfig(length=3, row_tokens=60).build()  # 5 instances of 11 tokens
    prompts = task.prompts(12)
    assert prompts.lengths_B.tolist() == [11 * (i % 5) + 10 for i in range(12)] and prompts.kinds == ("length3",)
    words = task.vocabulary.words
    for ids, n in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True):
        text = [words[i] for i in ids[:n]]
        assert text[::11] == ["<bos>"] * (n // 11 + 1) and set(text[1::11]) == {"<len_3>"} and text[-1] == "<ans_3>"
        for begin in range(0, n - 10, 11):
            assert text[begin + 10] == str(value(text[begin + 2 : begin + 9]))
    assert task.prompts(6, before=4).lengths_B.tolist() == [54] * 6
    assert task.prompts(6, length=1, before=0).lengths_B.tolist() == [6] * 6
    for wrong in ({"length": 4}, {"length": -1}, {"before": 5}, {"before": -1}):
        with pytest.raises(UserError, match="expected what a row has room for"):
            task.prompts(6, **wrong)  # type: ignore[arg-type]


def test_a_right_answer_counts_whatever_comes_after_it() -> None:
    task: Mano = ManoConfig(length=2).build()
    prompts = task.prompts(5, before=0)
    ids = torch.cat((prompts.ids_BP, prompts.answers_BQ), 1)
    ids[1, -1], ids[2, -2] = 7, ids[2, -2] % 20 + 5
    grades = task.grade(prompts, ids)
    assert grades.answer_B.tolist() == [True, True, False, True, True]
    assert grades.exact_B.tolist() == [True, False, False, True, True]


def test_the_measure_finds_what_a_planted_model_knows_and_its_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trained model evaluates the last expression of a prompt if that begins with a product, else it says zero."""
    config = ManoConfig(length=2, modulus=7, row_tokens=40)
    spec = RunSpec(config, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, precision="float32"))
    run = Trained(spec, CPU, lambda step: Decoder(spec.model, len(config.vocabulary()), (1,)))
    words, asked = config.vocabulary().words, Counter[str]()

    def write(model: Decoder, prompts: torch.Tensor, new_tokens: int, *, lengths: torch.Tensor, temperature: float,
              progress: bool) -> Generated:  # fmt: skip
        ids = torch.zeros(len(prompts), prompts.shape[1] + new_tokens, dtype=torch.long)
        for row, prompt, length in zip(ids, prompts.tolist(), lengths.tolist(), strict=True):
            text = [words[i] for i in prompt[:length]]
            expression = text[-6:-1]
            assert text[-7:-5] == ["<len_2>", expression[0]] and text[-1] == "<ans_2>" and temperature == 0.0
            known = model is run.model and expression[0] == "*"
            row[: length + 1] = torch.tensor([*prompt[:length], words.index(str(value(expression, 7) if known else 0))])
            asked[f"{length // 9} {model is run.model}"] += 1
        return Generated(ids, lengths, torch.ones(len(ids), dtype=torch.bool))

    monkeypatch.setattr(answers, "generate", write)
    rows = {row.label: row for row in answers.measure(run)}
    count, found = answers.QUESTIONS["cpu"], {}
    for name, before in (("answer", None), ("answer_first", 0)):
        prompts = config.build().prompts(count, before=before)
        last = prompts.ids_BP.gather(1, prompts.lengths_B[:, None] - torch.arange(6, 1, -1))
        zero = prompts.answers_BQ[:, 0] == words.index("0")
        right = (last[:, 0] == words.index("*")) | zero
        found[f"{name}/kind=length2/half=test"] = int(right.sum())
        if name == "answer":
            found["answer_untrained/kind=length2/half=test"] = int(zero.sum())
            common = Counter(prompts.answers_BQ[:, 0].tolist()).most_common(1)[0]
            assert words[common[0]] == "0"
            found["majority/kind=length2/half=test"] = common[1]
    assert {name: (round(row.value * row.n, 6), row.n) for name, row in rows.items()} == {
        name: (hits, count) for name, hits in found.items()}
    assert asked == {"0 True": count // 4 + count, **{f"{i} True": count // 4 for i in (1, 2, 3)},
                     **{f"{i} False": count // 4 for i in range(4)}}  # fmt: skip
