"""physlm igsm solve: a problem, the solution of a trained model, and the checker's reading."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from physlm.commands.solving import shown
from physlm.lab.experiment import load_experiment
from physlm.lab.store import Store
from physlm.measures.igsm.solving import Written, truth
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.checker import check, standard_reader
from physlm.tasks.igsm.config import IgsmConfig

FOLDER = Path(__file__).parents[2] / "experiments"


@pytest.fixture
def solve(physlm, tmp_path):
    """``physlm igsm solve p21_accuracy --tier smoke`` with these arguments, in an own store."""
    return partial(physlm, "igsm", "solve", "p21_accuracy", "--tier", "smoke", "--runs", tmp_path)


@pytest.fixture
def stored(tmp_path):
    """The untrained model of the claim's first run, as if it had been trained."""
    spec = load_experiment("p21_accuracy", FOLDER).runs("smoke")[0]
    run = Store(tmp_path).run(spec)
    run.path.mkdir(parents=True)
    run.write_model(Decoder(spec.model, len(spec.task.vocabulary()), (1,)).state_dict())


@pytest.mark.usefixtures("stored")
def test_it_prints_problem_solution_and_reading(solve):
    code, out, _ = solve("--op", 3, "--index", 2)
    assert code == 0 and out.startswith("problem 2 of iGSM op=3 ip<=4 mod 5\n  The number of each ")
    assert "the model writes\n" in out and "\nthe checker: not a solution" in out and "no more room" in out
    assert solve("--op", 3, "--index", 1)[1] != out == solve("--op", 3, "--index", 2)[1]
    assert solve()[1].startswith("problem 0 of iGSM op<=4 ip<=4 mod 5\n")


@pytest.mark.usefixtures("stored")
def test_mistakes_are_one_line(solve):
    for arguments, message in ((("--op", 9), "ops: got 9, expected between 1 and 7"),
                               (("--run", 7), "--run: got 7, expected between 0 and 1, the runs of tier smoke of p21_"),
                               (("--run", 1), "no trained model here; first physlm run p21_accuracy --tier smoke")):
        code, out, error = solve(*arguments)
        assert code == 2 and not out and message in error and error.count("\n") == 1, arguments


def test_each_sentence_is_marked():
    task = load_experiment("p21_accuracy", FOLDER).runs("smoke")[0].task
    assert isinstance(task, IgsmConfig)
    built = task.build()
    prompts = built.prompts(3, op=3)
    ids = truth(prompts)[2].tolist()
    begin, length = int(prompts.lengths_B[2]), int(prompts.answer_lengths_B[2])
    problem = built.vocabulary.decode(ids[2 : begin - 1])
    text = built.vocabulary.decode(ids[begin : begin + length - 1])
    solution = text.split(" <answer>")[0]
    sentences = tuple(f"{part.strip()}." for part in solution.split(".")[:-1])
    assert len(sentences) > 1 and torch.tensor(ids).ndim == 1

    def reading(sentences: tuple[str, ...]) -> str:
        verdict = check(problem, " ".join(sentences) + " <answer> 1", reader=standard_reader(5), answer=True)
        return shown(Written(2, task.title, problem, sentences, 1, verdict, True))

    right = check(problem, text, reader=standard_reader(5), answer=True)
    good = shown(Written(2, task.title, problem, sentences, right.answer or 0, right, True))
    assert good.count("  right  Define") == len(sentences) and "WRONG" not in good
    assert f"the checker: right, {len(sentences)} sentences, 3 operations, no unneeded parameters" in good
    bad = reading((sentences[0].replace("as", "at"), *sentences[1:]))
    assert bad.count("  WRONG  ") == 1 and bad.count("  -      Define") == len(sentences) - 1
    assert "the checker: malformed sentence in sentence 1" in bad
