"""Shorter solutions: their texts, their controls, twin and kernel alike, and what the checker makes of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from physlm.errors import UserError
from physlm.tasks.igsm import chains, kernel, plain
from physlm.tasks.igsm.chains import check_chain, dropped, shortened
from physlm.tasks.igsm.checker import standard_reader
from physlm.tasks.igsm.config import FAMILIES, Chain, IgsmConfig, Noise, Retry
from physlm.tasks.igsm.draws import stream_key
from physlm.tasks.igsm.pieces import join, pieces
from physlm.tasks.igsm.problem import Problem
from physlm.tasks.igsm.writing import solution_tokens

MED, SMALL, TINY = (FAMILIES[name] for name in ("med", "small8", "tiny"))
FORMS = ("define", "names", "sums", "all")
CHAINS = {f"{form}{' at random' * at_random}": Chain(form, at_random) for form in FORMS  # type: ignore[arg-type]
          for at_random in (False, True)}  # fmt: skip
FULL = ("Define Zoo's Lion as x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. "
        "Define Zoo's Animal as b; so b = x = 12. Define Lion's Paw as c; so c = 3.")  # fmt: skip
SHORT = {
    "define": "Zoo's Lion x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. Zoo's Animal b; so b = x = 12."
              " Lion's Paw c; so c = 3.",
    "names": "Define Zoo's Lion as x; R = y + z = 3 + 4 = 7; so x = 5 * R = 5 * 7 = 12. Define Animal as b; "
             "so b = x = 12. Define Paw as c; so c = 3.",
    "sums": "Define Zoo's Lion as x; so x = 12. Define Zoo's Animal as b; so b = 12. Define Lion's Paw as c; so c = 3.",
    "all": "Zoo's Lion x; so x = 12. Animal b; so b = 12. Paw c; so c = 3.",
}  # fmt: skip


def cut(text: str) -> list[str]:
    for mark in ("'s", ".", ";"):
        text = text.replace(mark, f" {mark}")
    return text.split()


def problem(config: IgsmConfig, index: int) -> Problem:
    return plain.generate(config, stream_key(config, "evaluation"), index, "evaluation")


@pytest.mark.parametrize("form", FORMS)
def test_each_form_by_hand(form: Any) -> None:
    assert join(shortened(cut(FULL), Chain(form), 0)) == SHORT[form]
    assert shortened(cut(FULL), Chain("none"), 0) == cut(FULL)


def test_a_pair_whose_names_both_were_written_is_gone_and_all_is_all_three() -> None:
    made = problem(MED.exactly(15), 4)
    tokens = solution_tokens(made)[0]
    gone = {form: dropped(tokens, form) for form in FORMS}
    assert [any(one) for one in zip(gone["define"], gone["names"], gone["sums"], strict=True)] == gone["all"]
    words = join(shortened(tokens, Chain("names"), 0))
    assert "Define as " in words and "Define's" not in words and " 's" not in words
    for parameter in made.needed:
        for name in (made.parameters[parameter].owner, made.parameters[parameter].owned):
            assert words.count(name) == 1, "each name stands once"


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("base", [SMALL, TINY, replace(MED, order="qp"), replace(MED, op=20, noise=Noise("graph"))])
def test_twin_and_kernel_are_equal_bit_for_bit(base: IgsmConfig, name: str) -> None:
    config = replace(base, chain=CHAINS[name])
    numbers = [*range(15), 2**40 + 3]
    batch, full = (kernel.problems(one, numbers, "evaluation") for one in (config, base))
    assert batch.records_N.tobytes() == full.records_N.tobytes(), "the problem is the same"
    for place, number in enumerate(numbers):
        ids, length = batch.ids_NW[place], int(batch.lengths_N[place])
        assert ids[:length].tolist() == problem(config, number).ids() and not ids[length:].any()
        assert ids[length - 2 : length].tolist() == full.ids_NW[place][full.lengths_N[place] - 2 :][:2].tolist()


def test_rows_have_the_same_problems_as_their_numbers() -> None:
    config = replace(SMALL, row_tokens=200, chain=Chain("all", at_random=True))
    ids, lost = kernel.rows(config, np.arange(3))
    assert lost.shape == (3, 0)
    for row, tokens in enumerate(ids):
        batch = kernel.problems(config, row * kernel.ROW_PROBLEMS + np.arange(16))
        kept = [one[:n] for one, n in zip(batch.ids_NW, batch.lengths_N, strict=True) if n <= config.row_tokens]
        assert np.array_equal(np.concatenate(kept)[: len(tokens)], tokens)


@pytest.mark.parametrize("form", FORMS)
def test_the_control_leaves_out_as_many_tokens_anywhere(form: Any) -> None:
    ends: list[tuple[bool, bool, float]] = []
    for index in range(120):
        made = problem(SMALL, index)
        tokens, stream = solution_tokens(made)[0], int(made.record["stream"])
        short, random = (shortened(tokens, Chain(form, at_random), stream) for at_random in (False, True))
        assert len(short) == len(random) <= len(tokens) and random == shortened(tokens, Chain(form, True), stream)
        rest = iter(tokens)
        assert all(token in rest for token in random), "in their order"
        gone = len(tokens) - len(random)
        again = shortened(tokens, Chain(form, True), stream + 1)
        assert len(again) == len(random) and (again != random or gone < 4)
        ends.append((random[0] == tokens[0], random[-1] == tokens[-1], len(random) / len(tokens)))
    first, last, share = np.mean(ends, 0)
    assert share < 0.97 and abs(first - share) < 0.12 and abs(last - share) < 0.12, "the ends are as safe as the rest"


def test_how_many_tokens_each_form_leaves() -> None:
    """Of the solutions of iGSM-med at op <= 15; what the figure's axis is made of."""
    counts = {}
    for name, chain in {"none": Chain(), **CHAINS}.items():
        batch = kernel.problems(replace(MED, chain=chain), np.arange(2000))
        begins = (batch.ids_NW == pieces(MED).vocabulary.id("<solution>")).argmax(1)
        counts[name] = (batch.lengths_N - begins - 3).mean()
    assert all(counts[form] == counts[f"{form} at random"] for form in FORMS)
    assert counts["all"] < counts["sums"] < counts["define"] < counts["names"] < counts["none"]
    assert 85 < counts["none"] < 90, "igsm.md has 87"
    sentences = kernel.problems(MED, np.arange(2000)).records_N["needed"].mean()
    assert counts["none"] - counts["define"] == pytest.approx(2 * sentences)
    assert counts["sums"] == pytest.approx(12 * sentences), "Define A's B as x; so x = 7."


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("base", [SMALL, TINY, MED.exactly(18)])
def test_true_short_solutions_are_right(base: IgsmConfig, name: str) -> None:
    reader, chain = standard_reader(base.modulus), CHAINS[name]
    for index in range(40):
        made = problem(base, index)
        short = made.solution(chain=chain)
        verdict = check_chain(made.text(), f"{short} <answer> {made.answer}", chain, reader=reader, answer=True)
        assert verdict.right and verdict.answer == made.answer, verdict
        wrong = (made.answer + 1) % base.modulus
        judged = check_chain(made.text(), f"{short} <answer> {wrong}", chain, reader=reader, answer=True)
        assert judged.kind == "wrong answer"
        assert check_chain(made.text(), short, chain, reader=reader, answer=True).kind == "wrong answer"
        if chains.judged(chain) == "answer":
            assert check_chain(made.text(), f"7 . <answer> {made.answer}", chain, reader=reader).right
        else:
            whole = check_chain(made.text(), made.solution(), Chain(), reader=reader)
            assert (verdict.steps, verdict.sentences) == (whole.steps, whole.sentences)


PROBLEM = ("The number of each Maple Academy's Physics Lab equals 5 more than each Physics Lab's Beach Tote. "
           "The number of each Physics Lab's Beach Tote equals 7. The number of each Maple Academy's Geology Lab "
           "equals the difference of each Physics Lab's Beach Tote and each Maple Academy's Physics Lab. "
           "How many Geology Lab does Maple Academy have?")  # fmt: skip
RIGHT = {
    "sums": "Define Physics Lab's Beach Tote as k; so k = 7. Define Maple Academy's Physics Lab as c; so c = 12. "
            "Define Maple Academy's Geology Lab as d; so d = 18. <answer> 18",
    "define": "Physics Lab's Beach Tote k; so k = 7. Maple Academy's Physics Lab c; so c = 5 + k = 5 + 7 = 12. "
              "Maple Academy's Geology Lab d; so d = k - c = 7 - 12 = 18. <answer> 18",
}  # fmt: skip


@pytest.mark.parametrize(("form", "old", "new", "kind"), [
    ("sums", "c = 12", "c = 13", "wrong result"),
    ("sums", "d = 18", "d = 41", "wrong result"),
    ("sums", "Define Physics Lab's Beach Tote as k; so k = 7. ", "", "not computable yet"),
    ("sums", "Define Maple Academy's Geology Lab as d; so d = 18. ", "", "query not reached"),
    ("sums", "as d; so d", "as c; so c", "letter reused"),
    ("sums", "Physics Lab as c", "Beach Tote as c", "absent parameter"),
    ("sums", "so c = 12", "so c = 5 + k = 5 + 7 = 12", "malformed sentence"),
    ("sums", "so c = 12", "R = 3; so c = 12", "malformed sentence"),
    ("sums", "so c = 12", "so k = 12", "malformed sentence"),
    ("sums", "so c = 12", "so c = twelve", "malformed sentence"),
    ("sums", "<answer> 18", "<answer> 17", "wrong answer"),
    ("sums", "<answer> 18", "", "wrong answer"),
    ("sums", "d = 18.", "d = 18. Define Maple Academy's Physics Lab as e; so e = 12.", "continues after query"),
    ("define", "5 + k = 5 + 7 = 12", "6 + k = 6 + 7 = 13", "wrong constant"),
    ("define", "k - c = 7 - 12", "k + c = 7 + 12", "wrong result"),
    ("define", "k - c = 7 - 12 = 18", "c - k = 12 - 7 = 5", "wrong grouping"),
    ("define", "Physics Lab's Beach Tote k", "Define Physics Lab's Beach Tote as k", "unknown name"),
    ("define", "Geology Lab d", "Geology Lab", "unknown name"),
    ("define", "Geology Lab d; so d", "d; so d", "malformed sentence"),
    ("define", "Geology Lab d", "Chemistry Lab d", "absent parameter"),
    ("define", " = 18. <answer> 18", "", "truncated sentence"),
])  # fmt: skip
def test_errors_in_what_can_still_be_read(form: Any, old: str, new: str, kind: str) -> None:
    assert check_chain(PROBLEM, RIGHT[form], Chain(form), answer=True).right
    assert old in RIGHT[form]
    verdict = check_chain(PROBLEM, RIGHT[form].replace(old, new), Chain(form), answer=True)
    assert (verdict.kind, verdict.right) == (kind, False), verdict.text


@pytest.mark.parametrize("chain", [*CHAINS.values(), Chain()])
@pytest.mark.parametrize("text", ["", ".", "<answer>", "<answer> 18", "Define", ";" * 40, "Zoo's Lion",
                                  "a b; so. <answer> x"])  # fmt: skip
def test_nothing_raises(chain: Chain, text: str) -> None:
    verdict = check_chain(PROBLEM, text, chain, answer=True)
    assert verdict.right == (text == "<answer> 18" and chains.judged(chain) == "answer")
    assert check_chain("no problem", text, chain, answer=True).kind == "not a problem"


def test_generated_short_solutions_are_graded() -> None:
    for chain in (Chain("define"), Chain("sums"), Chain("all"), Chain("names", at_random=True)):
        task = replace(SMALL, chain=chain).build()
        prompts = task.prompts(12)
        told = np.pad(prompts.ids_BP.numpy(), ((0, 0), (0, prompts.answers_BQ.shape[1])))
        for row, (length, end) in enumerate(zip(prompts.lengths_B.tolist(), prompts.answer_lengths_B.tolist(),
                                                strict=True)):  # fmt: skip
            told[row, length : length + end] = prompts.answers_BQ[row, :end]
        assert task.grade(prompts, prompts.ids_BP.new_tensor(told)).exact_B.all()


def test_wrong_starts_are_of_whole_solutions() -> None:
    with pytest.raises(UserError, match=r"task\.chain\.drop: got 'sums' with task\.retry\.rate=0\.2, expected one of"):
        replace(SMALL, chain=Chain("sums"), retry=Retry(0.2))
    assert replace(SMALL, chain=Chain("sums", at_random=True)).title == "iGSM op<=8 ip<=12 without sums at random"
