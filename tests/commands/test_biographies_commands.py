"""From requests over a language model's answers to texts to train on: what is written, accepted, and refused."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from storyteller import stories, story, write

from physlm.tasks.biography.facts import FIELDS, Facts
from physlm.tasks.biography.requests import MANNERS


@pytest.fixture(autouse=True)
def folder(monkeypatch, tmp_path):
    """A folder of its own for each test."""
    monkeypatch.chdir(tmp_path)


def test_requests_tell_the_facts_and_are_always_the_same(physlm):
    code, out, err = physlm("biographies", "ask", "--people", 20, "--texts", 3)
    assert (code, err) == (0, "")
    lines, facts = [json.loads(line) for line in out.splitlines()], Facts(20)
    assert [(line["person"], line["number"]) for line in lines] == [(p, n) for p in range(20) for n in range(3)]
    for line in lines:
        assert line["values"] == dict(zip(FIELDS, facts.of(line["person"]), strict=True))
        assert all(f": {value}\n" in line["prompt"] for value in line["values"].values())
        assert "about 50 words" in line["prompt"] and MANNERS[line["number"]] in line["prompt"]
    orders = {tuple(sorted(FIELDS, key=lambda name: line["prompt"].index(f": {line['values'][name]}\n")))
              for line in lines}  # fmt: skip
    assert len(orders) > 40 and {order[0] for order in orders} == {"name"}
    assert physlm("biographies", "ask", "--people", 20, "--texts", 3)[1] == out
    assert physlm("biographies", "ask", "--people", 9, "--texts", 3)[1].splitlines() == out.splitlines()[:27]
    assert physlm("biographies", "ask", "--people", 20, "--texts", 3, "--seed", 1)[1] != out
    code, _, err = physlm("biographies", "ask", "--people", 20, "--texts", 3, "--out", "new/prompts.jsonl")
    assert Path("new/prompts.jsonl").read_text() == out and err == "60 requests in new/prompts.jsonl\n"


def test_rewrites_of_the_grammar_are_measured(physlm, monkeypatch):
    code, out, _ = physlm("biographies", "rewrites", "--texts", 130, "--seed", 2, "--json")
    found = json.loads(out)
    assert (code, found["texts"], found["people"], found["right"], found["wrong"]) == (0, 130, 4, 130, [])
    assert found["rewrites"]["distinct"] == 4 and found["rewrites"]["forms"] > found["bios"]["forms"]
    code, out, _ = physlm("biographies", "rewrites", "--texts", 130, "--seed", 2)
    assert not code and "130 of 130 texts read right (100.000 %), 4 people" in out
    assert f"{found['entropy_bits']:.2f} bits of form a text" in out and f"{found['rewrites']['forms']:,}" in out
    # the control: a reader who has never heard of births reads some wrong, and the command fails
    monkeypatch.setattr("physlm.tasks.biography.extractor.OF_BIRTH", frozenset())
    code, out, _ = physlm("biographies", "rewrites", "--texts", 130, "--pool-size", 5)
    assert code == 1 and "read wrong: person 0: " in out


def test_from_requests_to_rows(physlm):
    """Of 60 answers those that leave something out are rejected, and the others are what the task reads."""
    settings = ("--people", 20, "--seed", 3, "--pool-size", 5)
    draw, answers, left_out = random.Random(0), [], {}
    _, asked, _ = physlm("biographies", "ask", *settings, "--texts", 3)
    for place, line in enumerate(map(json.loads, asked.splitlines())):
        told = list(FIELDS)
        if place % 3 and draw.random() < 0.5:
            left_out[place] = told.pop(draw.randrange(len(told)))
        answers.append({"person": line["person"], "text": story(list(line["values"].values()), draw, told)})
    Path("answers.jsonl").write_text("\n".join(map(json.dumps, answers)))
    command = ("biographies", "check", "--texts", "answers.jsonl", "--out", "good.jsonl", *settings)
    code, out, _ = physlm(*command, "--json")
    found = json.loads(out)
    assert not code and len(left_out) > 10
    assert {key: found[key] for key in ("texts", "accepted", "rejected", "people", "people_with_text")} == {
        "texts": 60, "accepted": 60 - len(left_out), "rejected": len(left_out), "people": 20, "people_with_text": 20}
    # where both cities are one it is the second that is missing, whichever was left out: still one fact a text
    assert sum(found["missing"].values()) == len(left_out) and found["people_without"] == []
    good = [answer for place, answer in enumerate(answers) if place not in left_out]
    assert [json.loads(line) for line in Path("good.jsonl").read_text().splitlines()] == good
    _, out, _ = physlm(*command)
    assert out.startswith(f"60 texts: {len(good)} accepted, {len(left_out)} rejected\n")
    assert "20 of 20 people with an accepted text" in out and "without" not in out
    same = ("people=20", "seed=3", "pool_size=5", "file=good.jsonl")
    read = [part for setting in same for part in ("--set", setting)]
    code, out, _ = physlm("data", "export", "bior", "--n", 40, *read)
    lines = [json.loads(line) for line in out.splitlines()]
    assert not code and [line["person"] for line in lines] == [*range(20)] * 2
    assert all(set(line["labels"]) == {"text", *FIELDS} for line in lines)
    code, out, _ = physlm("data", "sample", "bior", "--n", 1, *read)
    assert not code and out == f"person 0: {lines[0]['text']}\n\n"
    code, _, err = physlm("data", "sample", "bior", *read, "--seed", 4)
    assert code == 2 and "does not have the name" in err and "--seed 4 --pool-size 5" in err


def test_people_without_a_text_are_named(physlm):
    write(Path("t.jsonl"), [mine if person % 2 else [] for person, mine in enumerate(stories(30, [1]))])
    command = ("biographies", "check", "--texts", "t.jsonl", "--people", 30)
    _, out, _ = physlm(*command)
    assert out.splitlines() == ["15 texts: 15 accepted, 0 rejected", "15 of 30 people with an accepted text",
                                "without: 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, ..."]  # fmt: skip
    assert json.loads(physlm(*command, "--json")[1])["people_without"] == [*range(0, 30, 2)]
    _, out, _ = physlm(*command, "--seed", 1)
    assert out.splitlines()[1].split() == ["not", "told", "texts"] and "name" in out and "0 of 30 people" in out


@pytest.mark.parametrize(("line", "message"), [
    (b"Once upon a time", "got Once upon a time, which is no JSON"),
    (b'{"person": 0, "text": "', "which is no JSON"),
    (b"[" * 100_000, "which is no JSON"),
    (b"[1]", "got [1], expected an object"),
    (b'{"person": 0}', "'text' is missing"),
    (b'{"text": "a"}', "'person' is missing"),
    (b'{"person": "0", "text": "a"}', "person: got '0', expected a whole number"),
    (b'{"person": true, "text": "a"}', "person: got True, expected a whole number"),
    (b'{"person": 0, "text": 1}', "text: got 1, expected a text in quotes"),
    (b'{"person": 3, "text": "a"}', "person: got 3, expected 0 to 2, as there are 3 people"),
    (b'{"person": -1, "text": "a"}', "person: got -1, expected 0 to 2"),
    (b'{"person": 0, "text": "\\ud800"}', "expected text that UTF-8 can write"),
    (b'{"person": 0, "text": "\xff"}', "got bytes that are no UTF-8 text"),
])  # fmt: skip
def test_a_bad_line_is_named_and_nothing_is_written(physlm, line, message):
    Path("t.jsonl").write_bytes(b'\xef\xbb\xbf{"person": 0, "text": "a", "model": "ours"}\r\n\n' + line + b"\n")
    code, out, err = physlm("biographies", "check", "--texts", "t.jsonl", "--people", 3, "--out", "good.jsonl")
    assert (code, out) == (2, "") and len(err.strip().splitlines()) == 1
    assert err.startswith("error: t.jsonl line 3: ") and message in err
    assert not Path("good.jsonl").exists()


@pytest.mark.parametrize(("arguments", "message"), [
    (("check", "--texts", "none.jsonl", "--people", 3), "none.jsonl: cannot read: No such file"),
    (("check", "--texts", ".", "--people", 3), ".: cannot read: Is a directory"),
    (("check", "--texts", "none.jsonl", "--people", 0), "task.people: got 0, expected at least 1"),
    (("ask", "--people", 1001, "--pool-size", 1), "task.people: got 1,001, expected at most 1,000"),
])  # fmt: skip
def test_a_mistake_is_one_line(physlm, arguments, message):
    code, out, err = physlm("biographies", *arguments)
    assert (code, out) == (2, "") and message in err and len(err.strip().splitlines()) == 1


def test_the_task_needs_a_file(physlm):
    code, _, err = physlm("data", "sample", "bior", "--set", "people=3")
    assert code == 2 and "task.file: got '', expected a file of JSON lines such as physlm biographies check" in err


def test_a_line_of_any_length_is_refused_by_name(physlm):
    good = json.dumps({"person": 0, "text": "x" * 1000})
    Path("long.jsonl").write_text(f"{good}\n{good[:-2]}{'x' * (1 << 20)}\n")
    code, out, err = physlm("biographies", "check", "--texts", "long.jsonl", "--people", 3)
    assert (code, out) == (2, "") and "long.jsonl line 2: got more than 1,048,576 characters" in err


def test_people_whose_facts_fill_the_memory_are_refused(physlm):
    code, _, err = physlm("biographies", "ask", "--people", 160_000_000)
    assert code == 2 and "task.people: got 160,000,000, expected at most 16,777,216" in err
