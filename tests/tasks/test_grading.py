"""Prompts and grades: exact matches, true hints told in the prompt, and what a model writes."""

from typing import Any

import pytest
import torch
from question_texts import asked, decoded, questions
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.tasks.biography.questions import Questions
from physlm.tasks.prompts import cut
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population


def written(task: Questions, prompts: Any, follows: list[str]) -> Tensor:
    """Rows as generation returns them."""
    rows = [[*ids[:n], *task.vocabulary.encode(text)] for ids, n, text in
            zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), follows, strict=True)]
    width = max(map(len, rows))
    return torch.tensor([row + [0] * (width - len(row)) for row in rows])


def test_grading_by_exact_match() -> None:
    task = questions(kinds=("month_mod2", "birth_year", "employer"), half="all", hints=1.0)
    prompts = task.numbered(torch.arange(30))
    truth = [follows for _, _, follows in asked(task)[:30]]
    hinted = prompts.hint_lengths_B > 0
    assert hinted.tolist() == [True, True, False] * 10
    right = task.grade(prompts, written(task, prompts, truth))
    assert all(bool(grade.all()) for grade in right)
    assert all(bool(grade.all()) for grade in task.grade(prompts, written(task, prompts, [f"{t} Meta" for t in truth])))
    # another answer, of another length, or no answer
    for wrong in (lambda t: t.replace(" . <eos>", " Meta . <eos>"), lambda t: t.replace(" . <eos>", " , . <eos>"),
                  lambda t: t.removesuffix(" . <eos>") + " <eos>"):
        grades = task.grade(prompts, written(task, prompts, [wrong(t) for t in truth]))
        assert not grades.exact_B.any() and not grades.answer_B.any() and bool(grades.hint_B.all())
    empty = task.grade(prompts, written(task, prompts, ["<eos>"] * 30))
    assert not empty.exact_B.any() and not empty.answer_B.any() and empty.hint_B.equal(~hinted)
    # a wrong and longer hint before the right answer; a hint that never comes to the answer
    other = ["Meta Meta Meta Meta Meta Meta . " + t[t.index("Answer") :] if "Answer" in t else t for t in truth]
    grades = task.grade(prompts, written(task, prompts, other))
    assert bool(grades.answer_B.all()) and grades.exact_B.equal(~hinted) and grades.hint_B.equal(~hinted)
    silent = [t.split(" . Answer")[0] + " . <eos>" if "Answer" in t else t for t in truth]
    assert task.grade(prompts, written(task, prompts, silent)).answer_B.equal(~hinted)


def test_true_hints_can_be_told_in_the_prompt() -> None:
    task = questions(kinds=("month_mod2", "luck_later"), half="test", hints=0.5)
    prompts = task.numbered(torch.arange(40))
    told, hinted = prompts.told(), prompts.hint_lengths_B > 0
    assert 0 < int(hinted.sum()) < 40 and not told.hint_lengths_B.any()
    for before, after in ((prompts, told), (told, told.told())):
        whole = [[*p[:n], *a[:m]] for p, n, a, m in zip(
            *(x.tolist() for x in (before.ids_BP, before.lengths_B, before.answers_BQ, before.answer_lengths_B)),
            strict=True)]  # fmt: skip
        assert whole == [[*p[:n], *a[:m]] for p, n, a, m in zip(
            *(x.tolist() for x in (after.ids_BP, after.lengths_B, after.answers_BQ, after.answer_lengths_B)),
            strict=True)]  # fmt: skip
    asked, answers = decoded(task, told.ids_BP, told.lengths_B), decoded(task, told.answers_BQ, told.answer_lengths_B)
    assert all(text.endswith("Answer :") and ("Hint :" in text) == hint
               for text, hint in zip(asked, hinted.tolist(), strict=True))  # fmt: skip
    assert all(text.endswith(". <eos>") and "Answer" not in text for text in answers)
    assert bool(task.grade(told, written(task, told, answers)).answer_B.all())
    assert told.ids_BP[torch.arange(40), told.lengths_B - 1].eq(task.vocabulary.id(":")).all()


def test_prompts_and_grades_fit_generation() -> None:
    """An untrained model answers nothing; one that knows the answers by heart everything."""
    task = questions(people=4, kinds=("month_mod2",), half="all", hints=1.0, rows=(1, 20))
    spec = RunSpec(task.config, ModelConfig(width=64),
                   TrainConfig(steps=120, batch_rows=4, learning_rate=5e-3, warmup_steps=10, precision="float32"))
    population, prompts = Population([spec], torch.device("cpu"), window=1), task.numbered(torch.arange(task.count))
    for known in (False, True):
        while known and population.step < population.steps:
            population.advance()
        written = generate(population.model_of(0), prompts.ids_BP, prompts.answers_BQ.shape[1],
                           lengths=prompts.lengths_B, temperature=0.0)  # fmt: skip
        grades = task.grade(prompts, written.ids)
        assert bool(grades.exact_B.all() if known else not grades.answer_B.any())
        assert bool(grades.answer_B.all()) == bool(grades.hint_B.all()) == known


def test_an_answer_without_its_end_is_refused() -> None:
    """Its last token would not be asked for, and every answer of one token would be right."""
    ids, two = torch.tensor([[0, 3, 4, 0]]), torch.tensor([2])
    assert cut(ids, two, two + 2, ("any",), 1).answers_BQ.tolist() == [[4, 0]]
    with pytest.raises(UserError, match="answers whose last token is not 0"):
        cut(ids, two, two + 1, ("any",), 1)
