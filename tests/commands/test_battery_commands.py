"""physlm battery: prompts out and answers in, for models of any kind, without an extra."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from physlm.battery.files import HARNESS, read_settings
from physlm.battery.oracle import Oracle
from physlm.battery.questions import prompts
from physlm.battery.settings import Battery

SETTINGS = ("--people", 20, "--pool-size", 4, "--kind", "major", "--kind", "month_mod2", "--kind", "all_to_full")


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def folder(physlm, tmp_path):
    code, out, err = physlm("battery", "prompts", *SETTINGS, "--out", tmp_path / "people")
    assert code == 0 and not err and "40 prompts" in out, err
    return tmp_path / "people"


def answers(folder, path, keep=lambda one: True):
    battery = read_settings(folder)
    asked = [one for one in prompts(battery) if keep(one)]
    path.write_text("".join(json.dumps({"id": one.id, "answer": f" {answer}.", "model": "x"}) + "\n" for one, answer in
                            zip(asked, Oracle(battery)([one.prompt for one in asked]), strict=True)))
    return path


def test_prompts_withhold_their_answers_unless_they_are_asked_for(folder, physlm, tmp_path):
    found = lines(folder / "prompts.jsonl")
    assert set(found[0]) == {"id", "task", "kind", "thought", "prompt", "instruction"}
    assert read_settings(folder) == Battery(20, pool_size=4, kinds=("major", "month_mod2", "all_to_full"))
    assert len(lines(folder / "biographies.jsonl")) == 20 * 20
    assert all(one["completion"].startswith(" ") for one in lines(folder / "finetune.jsonl"))
    code, _, err = physlm("battery", "prompts", *SETTINGS, "--answers", "--out", tmp_path / "told")
    told = lines(tmp_path / "told" / "prompts.jsonl")
    assert code == 0 and [{**one, "answers": other["answers"]} for one, other in zip(found, told, strict=True)] == told
    code, _, err = physlm("battery", "prompts", *SETTINGS, "--out", folder)
    assert code == 2 and "something is there already" in err


def test_answers_of_anybody_are_graded_with_controls(folder, physlm, tmp_path):
    first = answers(folder, tmp_path / "a.jsonl", lambda one: one.kind == "major")
    second = answers(folder, tmp_path / "b.jsonl", lambda one: one.thought)
    (tmp_path / "card.md").symlink_to(tmp_path / "real.md")
    code, out, err = physlm("battery", "grade", first, second, "--of", folder, "--out", tmp_path / "card.md")
    assert code == 0 and not err and (tmp_path / "card.md").is_symlink()
    table = {(line[:14].strip(), line[16:29].strip()): line.split()[-6:] for line in out.splitlines()[4:8]}
    shares = {key: float(cells[0]) for key, cells in table.items()}
    assert shares == {("retrieval", "at once"): 1, ("classification", "at once"): 0,
                      ("classification", "thought first"): 1, ("inverse search", "at once"): 0}  # fmt: skip
    assert all(cells[-1] == "1" and cells[1:3] != cells[2:4] for cells in table.values())
    assert "classification: +1.00 by a thought" in out and "without an answer: 20 questions" in out
    assert (tmp_path / "card.md").read_text().startswith("# The battery on ")


@pytest.mark.parametrize(("line", "message"), [
    ("{", "line 2: got '{', which is no JSON"), ('{"id": 1, "answer": "x"}', 'line 2: got {'),
    ('{"id": "x"}', 'expected JSON lines like {"id"'), ('{"id": "a", "answer": 3}', "answer: got 3, expected a text"),
    ('{"id": "a", "answer": null}', "line 2: got a second answer to 'a'"), ("[]", "line 2: got []"),
])  # fmt: skip
def test_a_bad_line_of_answers_is_named(folder, physlm, tmp_path, line, message):
    (tmp_path / "a.jsonl").write_text('{"id": "a", "answer": "x"}\n' + line + "\n")
    code, out, err = physlm("battery", "grade", tmp_path / "a.jsonl", "--of", folder)
    assert code == 2 and not out and message in err and "a.jsonl line 2" in err


def test_what_is_no_battery_or_not_its_answers_is_refused(folder, physlm, tmp_path):
    given = answers(folder, tmp_path / "a.jsonl")
    code, _, err = physlm("battery", "grade", given, "--of", tmp_path)
    assert code == 2 and "expected a folder of physlm battery prompts" in err
    physlm("battery", "prompts", *SETTINGS, "--seed", 1, "--out", tmp_path / "others")
    code, _, err = physlm("battery", "grade", given, "--of", tmp_path / "others")
    assert code == 2 and "which is no question of this battery" in err
    code, _, err = physlm("battery", "prompts", "--kind", "majr", "--out", tmp_path / "x")
    assert code == 2 and "'majr'" in err and "major" in err


def test_tasks_for_the_harness_hold_the_same_questions(folder):
    """Every task names a file that is there, its fields are columns of it, and its first right answer is one."""
    asked = {one.id: one for one in prompts(read_settings(folder))}
    group = (folder / HARNESS / "physlm_battery.yaml").read_text()
    named = [line.removeprefix("  - ") for line in group.splitlines() if line.startswith("  - ")]
    assert len(named) == 4
    found = []
    for name in named:
        text = (folder / HARNESS / f"{name}.yaml").read_text()
        (data,) = [json.loads(line.split(": ", 1)[1]) for line in text.splitlines() if line.startswith("    test: ")]
        rows = lines(Path(data))
        assert Path(data) == (folder / HARNESS / f"{name}.jsonl").absolute() and f"task: {name}\n" in text
        assert all(f"{{{{{field}}}}}" in text and field in rows[0] for field in ("prompt", "answer"))
        assert all(row["answer"] == asked[row["id"]].answers[0] for row in rows)
        assert name.endswith("_thought") == rows[0]["thought"]
        found += [row["id"] for row in rows]
    assert sorted(found) == sorted(asked)


def test_run_says_how_to_install_what_it_needs(physlm, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    for start in (("battery", "run"), ("battery",)):
        code, _, err = physlm(*start, "--model", tmp_path, "--device", "cpu")
        assert code == 2 and "pip install 'physlm[battery]'" in err
    code, _, err = physlm("battery", "--model", tmp_path, "--finetune", "some", "--device", "cpu")
    assert code == 2 and "got 'some', expected full, lora, vera or singlora" in err
