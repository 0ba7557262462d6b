"""What list and show print of claims, beginnings of their names, and what a shell completes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from toy_claim import EXPERIMENT, Call, line_of

from physlm.lab.experiment import load_experiment

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
pytestmark = pytest.mark.usefixtures("toy_claim")


@pytest.mark.parametrize(("old", "new", "words"), [
    ("rates = {", "rates = tears or {", "in runs: NameError: name 'tears' is not defined"),
    ("return [RunSpec(TASK,", "return [RunSpec({}['x'],", ": KeyError: 'x'"),
    ("EXPERIMENT = Experiment(", "EXPERIMENT = Experiment(cliam='', ", ": TypeError: Experiment.__init__() got an"),
])  # fmt: skip
def test_a_mistake_of_a_claims_author_is_one_line_with_its_place(
    physlm: Call, tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in EXPERIMENT
    (tmp_path / "experiments" / "p33_toy.py").write_text(text := EXPERIMENT.replace(old, new))
    line = next(number for number, line in enumerate(text.splitlines(), 1) if new in line)
    for arguments in (("show", "p33_toy"), ("run", "p33_toy", "--tier", "smoke")):
        code, _, err = physlm(*arguments)
        assert code == 2 and err.count("\n") == 1 and words in err, err
        assert err.startswith(f"error: experiments/p33_toy.py line {line}")


def test_a_bug_of_physlm_keeps_its_traceback(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physlm.lab.cost.cost_of", lambda *_: dict[str, int]()["bug"])
    with pytest.raises(KeyError, match="bug"):
        physlm("show", "p33_toy")


def test_list_has_a_line_for_each_claim(physlm: Call, tmp_path: Path) -> None:
    code, out, _ = physlm("list")
    assert code == 0 and re.search(r"Scores grow with the.* - +not run$", line_of("p33_toy", out))
    assert "results in results/" in out
    physlm("run", "p33_toy", "--tier", "gpu")
    assert re.search(r" 1 of 1$", line_of("p33_toy", physlm("list")[1])), "agrees, and nothing is missed"
    path = tmp_path / "results" / "p33_toy" / "law.json"
    path.write_text(path.read_text().replace("reproduced", "not reproduced").replace('"ours": 4.0', '"ours": 0.25'))
    assert line_of("p33_toy", physlm("list")[1]).endswith("0 of 1  0.25, asked ≥ 1: best score"), "what it says today"
    for verdict, there in (("not reproduced", True), ("not-reproduced", True), ("reproduced", False)):
        assert ("p33_toy" in physlm("list", "--part", "3.3", "--verdict", verdict)[1]) == there
    (tmp_path / "experiments" / "p33_more.py").write_text(EXPERIMENT.replace("p33_toy", "p33_more"))
    code, _, err = physlm("list", "--part", "x")
    assert code == 2 and err.endswith("Allowed: 3.3\n"), "a part that has two claims is named once"
    for arguments, near in ((("--part", "3.4"), "did you mean '3.3'"), (("--verdict", "hold"), "did you mean 'holds'")):
        for command in ("list", "verify"):
            code, _, err = physlm(command, *arguments)
            assert code == 2 and near in err


def test_experiments_are_listed_without_being_run(physlm: Call, tmp_path: Path) -> None:
    folder = tmp_path / "experiments"
    (folder / "p33_bad.py").write_text("raise AssertionError\nEXPERIMENT = Experiment(claim='It is bad.')")
    (folder / "p33_mad.py").write_text("EXPERIMENT = Experiment(claim=" + "(" * 9999)
    code, out, err = physlm("list")
    assert (code, err) == (0, "") and "It is bad." in line_of("p33_bad", out) and "not run" in line_of("p33_mad", out)


def test_the_beginning_of_one_name_is_enough(physlm: Call, tmp_path: Path) -> None:
    assert physlm("show", "p33")[1] == physlm("show", "p33_toy")[1]
    code, out, _ = physlm("run", "p33_t", "p33_toy", "--tier", "gpu")
    assert code == 0 and "results/p33_toy/figure.png" in out and "all 2 claims" not in out
    assert physlm("figure", "p3")[:2] == (0, "results/p33_toy/figure.png\n")
    assert physlm("verify", "p33", "--json")[1] == physlm("verify", "p33_toy", "--json")[1]
    (tmp_path / "experiments" / "p33_toy_more.py").write_text(EXPERIMENT.replace("p33_toy", "p33_toy_more"))
    assert physlm("show", "p33_toy")[0] == 0, "a whole name is no beginning"
    for command in ("show", "run", "figure", "verify"):
        code, _, err = physlm(command, "p33_")
        assert code == 2 and "the beginning of 2 names: p33_toy, p33_toy_more" in err
        assert physlm(command, "")[0] == 2


def test_what_is_shown_fits_and_says_what_is_expected_in_words(physlm: Call) -> None:
    for name in ("p33_capacity", "p33_moe", "p21_accuracy"):
        experiment = load_experiment(name, EXPERIMENTS)
        code, out, _ = physlm("show", name, "--experiments", EXPERIMENTS)
        assert code == 0 and max(map(len, out.splitlines())) < 120
        said = " ".join(out.split())
        assert all(part in said for one in experiment.expect for part in (one.words, one.quantity, one.origin))


def test_shells_complete_claims_and_words(physlm: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PHYSLM_COMPLETE", "complete_bash")
    for words, offered in ((["show", "p"], ["p33_toy"]), (["show", "q"], []), (["list", "--part", ""], ["3.3"]),
                           (["run", "p33_toy", "--tier", "s"], ["smoke"]), (["verify", "p33"], ["p33_toy"]),
                           (["verify", "--verdict", "not"],
                            ["not reproduced", "not judged", "not finished", "not run"]),
                           (["data", "sample", "bios"], ["bios"]),
                           (["data", "export", "mano", "--to", "p"], ["parquet"]),
                           (["data", "sample", "mano", "--split", "e"], ["evaluation"]),
                           (["figure", "p33_toy", "--tier", "g"], ["gpu"]), (["model", "export", "p"], ["p33_toy"]),
                           (["model", "export", "p33_toy", "--tier", "d"], ["demo"]),
                           (["battery", "run", "--finetune", "v"], ["vera"]),
                           (["battery", "prompts", "--kind", "birth_c"], ["birth_city", "birth_city+employer"])):
        monkeypatch.setenv("COMP_WORDS", " ".join(["physlm", *words]))
        monkeypatch.setenv("COMP_CWORD", str(len(words)))
        assert physlm()[1].split() == " ".join(offered).split(), words


def test_show_tells_claim_source_and_cost(physlm: Call) -> None:
    code, out, _ = physlm("show", "p33_toy")
    assert code == 0 and "Scores grow" in out and "Figure 1" in out and "at least 1 bits" in out
    assert "2 runs in 1 population," in out and "H200" in out and "CPU cores" in out
    for tier, runs in (("smoke", 1), ("demo", 2), ("gpu", 3), ("paper", 3)):
        assert re.search(rf"^{tier} +{runs} runs? in", out, re.MULTILINE)


def test_a_folder_of_results_that_is_not_there_is_said(physlm: Call, tmp_path: Path) -> None:
    for command in ("list", "verify", "report"):
        code, _, err = physlm(command, "--results", "reslts")
        assert code in (0, 2) and err.startswith("note: reslts: there is no such folder"), command
        assert "no such folder" not in physlm(command)[2]
