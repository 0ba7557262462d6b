"""The iGSM commands: what one writes the other checks, and each mistake of a user is one line."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from physlm.tasks.igsm.checker import ERRORS

Command = Callable[..., tuple[Any, str, str]]
PROBLEM = ("The number of each Film Studio's Gel Pen Case equals 5.", "How many Gel Pen Case does Film Studio have?")


@pytest.fixture
def physlm(physlm: Command) -> Command:
    """``physlm igsm`` with these arguments."""
    return partial(physlm, "igsm")


@pytest.fixture
def objects(physlm: Command) -> Callable[..., list[dict[str, Any]]]:
    """What ``physlm igsm sample --json`` writes."""

    def sampled(*arguments: Any) -> list[dict[str, Any]]:
        code, out, _ = physlm("sample", "--json", *arguments)
        assert code == 0
        return [json.loads(line) for line in out.splitlines()]

    return sampled


def lines(objects: list[dict[str, Any]], **changes: Any) -> str:
    return "".join(json.dumps({**one, **changes}) + "\n" for one in objects)


# ---- sample


def test_samples_repeat_and_differ_by_seed_and_split(physlm: Command) -> None:
    code, out, _ = physlm("sample", "--n", 3, "--op", 7)
    assert code == 0 and len(re.findall(r"^problem \d, op 7, ip \d+, template [0-9a-f]{16}, bin \d+:$", out, re.M)) == 3
    assert out.startswith(physlm("sample", "--n", 2, "--op", 7)[1])
    others = [physlm("sample", "--n", 3, "--op", 7, *more)[1] for more in (("--seed", 1), ("--split", "train"))]
    assert len({out, *others}) == 3
    (bins,) = [[int(number) for number in re.findall(r"bin (\d+):$", out, re.M)]]
    assert all(number >= 17 for number in bins)


def test_objects_hold_the_whole_problem(objects: Callable[..., list[dict[str, Any]]]) -> None:
    """Every value follows from its formula and those of its dependencies; the rest says the same in other words."""
    for family in ("med", "hard", "tiny"):
        for one in objects("--family", family, "--n", 20):
            parameters = one["parameters"]
            for name, parameter in parameters.items():
                right = re.sub("|".join(map(re.escape, sorted(parameters, key=len, reverse=True))),
                               lambda found: str(parameters[found[0]]["value"]), parameter["formula"])  # noqa: B023
                assert re.fullmatch(r"[\d +*()-]+", right)
                assert eval(right) % one["modulus"] == parameter["value"], (name, parameter)
                assert set(parameter["dependencies"]) == {other for other in parameters if other in re.findall(
                    "|".join(map(re.escape, parameters)), parameter["formula"])}  # fmt: skip
            assert one["answer"] == parameters[one["query"]]["value"] and one["query"] == one["needed"][-1]
            assert one["needed"] == re.findall(r"Define (.*?) as", one["solution"])
            assert one["needed"] == one["order"][: len(one["needed"])]
            assert set(one["needed"]) == {name for name, parameter in parameters.items() if parameter["needed"]}
            done: set[str] = set()
            for name in one["order"]:
                assert done.issuperset(parameters[name]["dependencies"])
                done.add(name)
            assert done == set(parameters)
            assert one["sentences"] == re.findall(r"The number of each (.*?) equals", one["problem"])
            assert one["op"] == one["solution"].count(";") and one["ip"] == len(one["sentences"])
            for layer in one["layers"]:
                owned = {name.split("'s ")[1] for name, parameter in parameters.items() if parameter["total"]}
                assert layer["items"] and (layer["category"] in owned) == (layer is not one["layers"][0])


def test_options_of_samples(objects: Callable[..., list[dict[str, Any]]]) -> None:
    assert all(one["problem"].startswith("How many ") for one in objects("--order", "qp"))
    assert any("BACK" in one["solution"] for one in objects("--retry", 0.5, "--n", 10))
    plain, other = objects("--op", 8, "--n", 5), objects("--op", 8, "--n", 5, "--reask")
    assert [one["query"] for one in plain] != [one["query"] for one in other]
    assert all(one["ip"] <= 13 for one in objects("--ip", 13, "--n", 30))
    assert {one["modulus"] for one in objects("--set", "modulus=7")} == {7}


def test_samples_go_to_a_file(physlm: Command, tmp_path: Path) -> None:
    code, out, err = physlm("sample", "--n", 2, "--out", tmp_path / "problems")
    assert (code, out) == (0, "") and "2 problems in" in err
    assert (tmp_path / "problems").read_text() == physlm("sample", "--n", 2)[1]


# ---- check


@pytest.mark.parametrize("options", [(), ("--family", "hard", "--op", 32), ("--order", "qp"), ("--retry", 0.3),
                                     ("--family", "tiny"), ("--op", 12, "--reask")])  # fmt: skip
def test_samples_are_right(physlm: Command, options: tuple[Any, ...]) -> None:
    text = physlm("sample", "--n", 20, "--json", *options)[1]
    code, out, _ = physlm("check", "-", stdin=text)
    assert code == 0 and "\n20 solutions: 20 right, 0 wrong\n" in out
    assert len(re.findall(r"^\d+: right, answer \d+, op \d+(, wrong starts: \d+)?$", out, re.M)) == 20


def test_a_wrong_solution_is_named_and_counted(physlm: Command, objects: Callable[..., list[dict[str, Any]]]) -> None:
    one, two, three = objects("--op", 6, "--n", 3)
    cut = {**two, "solution": two["solution"][:-1]}
    wrong = {**three, "answer": (three["answer"] + 1) % 23}
    code, out, _ = physlm("check", "-", stdin=lines([one, cut, wrong]))
    assert code == 1 and "\n3 solutions: 1 right, 2 wrong\n" in out
    assert re.match(r"1: right, answer \d+, op 6\n2: truncated sentence in sentence \d+: '.*' has no full stop, "
                    r"expected .*\n3: wrong answer: '\d+' stands after <answer>, expected \d+, the number of '.*'\n\n",
                    out)
    code, out, _ = physlm("check", "-", "--json", stdin=lines([one, cut, wrong]))
    found = json.loads(out)
    assert code == 1 and (found["count"], found["right"]) == (3, 1)
    assert found["kinds"] == {"right": 1, "truncated sentence": 1, "wrong answer": 1}
    first, second, _ = found["solutions"]
    assert (first["line"], first["right"], first["answer"], first["operations"]) == (1, True, one["answer"], 6)
    assert (second["kind"], second["sentence"]) == ("truncated sentence", two["solution"].count("."))


def test_what_a_line_says_and_what_options_say(physlm: Command, objects: Callable[..., list[dict[str, Any]]]) -> None:
    made = [one for one in objects("--retry", 0.5, "--n", 20, "--set", "modulus=7") if "BACK" in one["solution"]]
    assert len(made) > 5
    assert physlm("check", "-", stdin=lines(made))[0] == 0
    assert physlm("check", "-", stdin=lines(made, retry=0))[0] == 1
    assert physlm("check", "-", "--retries", stdin=lines(made, retry=0))[0] == 0
    assert physlm("check", "-", stdin=lines(made, modulus=None))[0] == 1
    assert physlm("check", "-", "--modulus", 7, stdin=lines(made, modulus=None))[0] == 0
    assert physlm("check", "-", "--modulus", 23, stdin=lines(made))[0] == 1  # an option goes before the line
    assert physlm("check", "-", stdin=lines(made, answer=None))[0] == 0
    code, out, _ = physlm("check", "-", "--answers", stdin=lines(made, answer=None))
    assert code == 1 and f"\n{len(made)} solutions: 0 right" in out and "there is no <answer>" in out


def test_two_files_of_text(physlm: Command, objects: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    made = objects("--n", 4)
    for key in ("problem", "solution"):
        (tmp_path / key).write_text("".join(one[key] + "\n" for one in made))
    code, out, _ = physlm("check", tmp_path / "problem", tmp_path / "solution")
    assert code == 0 and "4 solutions: 4 right" in out
    (tmp_path / "solution").write_text("".join(one["solution"] + "\n" for one in made[:3]))
    code, out, err = physlm("check", tmp_path / "problem", tmp_path / "solution")
    assert (code, out) == (2, "") and "solution: got 3 lines, and more in" in err


def test_checking_a_file_needs_no_torch(physlm: Command, objects: Callable[..., list[dict[str, Any]]],
                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    text = lines(objects("--n", 2))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "numba", None)
    assert physlm("check", "-", stdin=text)[0] == 0


def test_the_checker_tests_itself(physlm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = physlm("check", "--generated", 100)
    assert code == 0 and out.startswith("100 solutions of the generator: 100 right") and "a second and core" in out
    code, out, _ = physlm("check", "--planted", 60, "--json")
    assert code == 0 and json.loads(out) == {"planted": 60, "caught": 60, "kinds": dict.fromkeys(ERRORS, 3)}
    assert physlm("check", "--planted", 60)[1].endswith("\n60 planted: 60 caught and named\n")
    from physlm.tasks.igsm import audit, checker, planted_errors

    monkeypatch.setattr(audit, "agrees", lambda verdict, made: made.op != 3)
    code, out, err = physlm("check", "--generated", 100, "--json")
    right = json.loads(out)["right"]
    assert code == 1 and 50 < right < 100 and err.count("Define ") > 3
    monkeypatch.setattr(planted_errors, "check", lambda *_, **__: checker.check(*PROBLEM))
    code, out, err = physlm("check", "--planted", 20, "--json")
    assert code == 1 and json.loads(out)["caught"] == 0 and "truncated sentence in sentence" in err


def test_kernel_and_twin_are_compared(physlm: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from physlm.tasks.igsm import plain
    from physlm.tasks.igsm.audit import COMPARED
    from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
    from physlm.tasks.igsm.problem import Problem

    cheap = {name: COMPARED[name] for name in ("tiny", "small8 without sums", "med retry masked start")}
    monkeypatch.setattr("physlm.tasks.igsm.audit.COMPARED", cheap)
    code, out, err = physlm("check", "--twin", 20)
    assert (code, err) == (0, "") and "\n20 problems of kernel and twin: 20 equal bit for bit and right; " in out
    made = plain.generate

    def altered(config: IgsmConfig, key: int, index: int, split: str) -> Problem:
        problem = made(config, key, index, split)
        if config == FAMILIES["tiny"] and index == 2:
            problem.record["letters"][0] += 1 - 2 * int(problem.record["letters"][0] > 0)
        return problem

    monkeypatch.setattr(plain, "generate", altered)
    code, out, err = physlm("check", "--twin", 24, "--json")
    found = json.loads(out)
    assert code == 1 and (found["problems"], found["equal"]) == (24, 22) and found["problems_per_second"] > 0
    assert found["families"] == {"tiny": {"problems": 8, "equal": 6},
                                 **{name: {"problems": 8, "equal": 8} for name in list(cheap)[1:]}}
    differences = [line for line in err.splitlines() if line]
    assert [line.partition(":")[0] for line in differences] == ["tiny, problem 2 of train",
                                                                "tiny, problem 2 of evaluation"]
    assert all(": the records differ in letters; token " in line for line in differences)


# ---- show


def test_all_about_one_problem(physlm: Command, objects: Callable[..., list[dict[str, Any]]], tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    options = ("--op", 9, "--seed", 3)
    one = objects(*options, "--n", 4)[3]
    assert max(map(len, physlm("show", *options, "--index", 3)[1].splitlines())) < 120
    monkeypatch.setattr("physlm.commands.tables.width", lambda: 100_000)
    code, out, _ = physlm("show", *options, "--index", 3, "--figure", tmp_path / "graph.png")
    assert code == 0 and one["problem"] in out and all(f"  {s}.\n" in out for s in one["solution"][:-1].split(". "))
    table = out[out.index("\nParameters") : out.index("\nDependency graph")]
    for name, parameter in one["parameters"].items():
        (line,) = re.findall(rf"^([* -]) {re.escape(name)} += +(\d+)(?: = (.*))?$", table, re.M)
        mark = "*" if parameter["needed"] else " " if parameter["graph"] else "-"
        value = str(parameter["value"])
        assert line == (mark, value, "" if parameter["formula"] == value else parameter["formula"])
    tree = out[out.index("Dependency graph") : out.index("\n\nProblem\n")].splitlines()[1:]
    depths = {line.strip().partition(" = ")[0]: (len(line) - len(line.lstrip())) // 2 for line in reversed(tree)}
    assert depths.keys() == set(one["needed"]) and depths[one["query"]] == 1
    assert one["template"] in out and f"bin {one['bin']}" in out and all(layer["category"] in out
                                                                         for layer in one["layers"])
    assert (tmp_path / "graph.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(physlm("show", *options, "--index", 3, "--json")[1]) == one


# ---- mistakes


@pytest.mark.parametrize(("arguments", "message"), [
    (["sample", "--family", "mid"], "--family: unknown name 'mid'; did you mean 'med'?"),
    (["sample", "--op", "53"], "task.op: got 53, expected between 1 and 52"),
    (["sample", "--op", "32", "--ip", "12"], "task.op: got 32, expected between 1 and 31; 12 instance parameters"),
    (["show", "--ip", "11"], "task.max_ip: got 11, expected between 12 and 36 with task.layers=4 and task.width=4"),
    (["show", "--split", "testing"], "split: unknown name 'testing'"),
    (["show", "--order", "both"], "order: got 'both', expected one of 'pq', 'qp'"),
    (["show", "--retry", "1"], "task.retry.rate: got 1.0, expected between 0 and 0.9"),
    (["show", "--set", "modulos=5"], "unknown name 'modulos'; did you mean 'modulus'?"),
    (["show", "--figure", "graph.jpg"], "--figure: got graph.jpg, expected a name that ends with one of .pdf, .png"),
    (["check"], "got nothing to check"),
    (["check", "a", "b", "c"], "got a and b and c to check"),
    (["check", "a", "--planted", "3"], "got a and --planted to check"),
    (["check", "--twin", "3", "--planted", "3"], "got --planted and --twin to check"),
    (["check", "-", "-"], "standard input: got it twice"),
    (["check", "nowhere"], "nowhere: cannot read: No such file"),
    (["check", "."], ".: cannot read: Is a directory"),
    (["check", "pipe"], "pipe: it is a pipe"),
    (["check", "junk"], "junk: got bytes that are no UTF-8 text"),
    (["check", "empty"], "empty: got no solution"),
    (["check", "texts", "empty"], "empty: got 0 lines, and more in texts"),
])  # fmt: skip
def test_each_mistake_is_one_line_and_no_work(
    physlm: Command, arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    Path("junk").write_bytes(b"\x00\xff\xfe\n")
    Path("empty").write_text("\n" if arguments == ["check", "empty"] else "")
    Path("texts").write_text("one\n")
    monkeypatch.setattr("physlm.tasks.igsm.kernel.problems", lambda *_, **__: pytest.fail("work"))
    code, out, err = physlm(*arguments)
    assert (code, out) == (2, "")
    assert message in err and err.startswith("error: ") and len(err.splitlines()) == 1


@pytest.mark.parametrize(("line", "message"), [
    ('{"problem": "How many', "which is no JSON; expected an object like"),
    ("[" * 100_000, "which is no JSON"),
    ("[1]", "got [1], expected an object"),
    ("null", "got None, expected an object"),
    ('{"problem": "a"}', "'solution' is missing"),
    ('{"problem": "a", "solution": 5}', "solution: got 5, expected a text"),
    ('{"problem": "a", "solution": "b", "answer": [2]}', "answer: got [2], expected a whole number"),
    ('{"problem": "a", "solution": "b", "answer": true}', "answer: got True, expected a whole number"),
    ('{"problem": "a", "solution": "b", "modulus": 1}', "modulus: got 1, expected 2 to 1000"),
    ('{"problem": "a", "solution": "b", "modulus": "23"}', "modulus: got '23', expected 2 to 1000"),
    ('{"problem": "a", "solution": "b", "retry": "yes"}', "retry: got 'yes', expected the rate"),
    ('{"problem": "a", "solution": "b", "answer": 1' + "0" * 5000 + "}", "which is no JSON"),
    ("x" * (1 << 20) + "y", "got more than 1,048,576 characters"),
])  # fmt: skip
def test_each_bad_line_is_one_line(
    physlm: Command, objects: Callable[..., list[dict[str, Any]]], line: str, message: str
) -> None:
    code, out, err = physlm("check", "-", stdin=lines(objects("--n", 1)) + line + "\n")
    assert (code, out) == (2, "")
    assert err.startswith("error: standard input line 2: ") and message in err and len(err) < 1000


@pytest.mark.parametrize("solution", [
    "", "Define", "Define x", "I do not know.", "Define A's B as x; so x = 5. " * 2000, "; = + " * 2500,
    "\x1b[31m\x00\ud800", "Define \x07's \u202e as x; so x = 1.",
])  # fmt: skip
def test_whatever_a_solution_is_it_has_a_verdict(
    physlm: Command, objects: Callable[..., list[dict[str, Any]]], solution: str
) -> None:
    code, out, err = physlm("check", "-", stdin=lines(objects("--n", 1), solution=solution))
    assert (code, err) == (1, "") and "1 solution: 0 right, 1 wrong" in out
    assert all(sign.isprintable() or sign == "\n" for sign in out) and len(out) < 1500
    code, out, _ = physlm("check", "-", stdin=lines(objects("--n", 1), problem=solution))
    assert code == 1 and out.startswith("1: not a problem: ")


def test_so_many_solutions_and_no_more(
    physlm: Command, objects: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from physlm.commands import igsm

    monkeypatch.setattr(igsm, "MOST_SOLUTIONS", 3)
    (one,) = objects("--n", 1)
    assert physlm("check", "-", stdin=lines([one] * 3))[0] == 0
    code, out, err = physlm("check", "-", stdin=lines([one] * 4))
    assert (code, out) == (2, "") and "standard input: got more than 3 solutions, expected at most as many" in err
