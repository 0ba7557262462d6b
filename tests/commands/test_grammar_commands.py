"""The grammar commands: what they print agrees with itself and with NLTK, and each mistake is one line."""

from __future__ import annotations

import json
import math
import sys
from functools import partial

import nltk
import pytest

from physlm.tasks.grammar.published import published

SMALL = "s -> a b | b\na -> '1' '2'\nb -> '2' | '1' '1'\n"


@pytest.fixture
def physlm(physlm):
    """``physlm grammar`` with these arguments."""
    return partial(physlm, "grammar")


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text(SMALL)
    return path


def test_show(physlm, small):
    code, out, _ = physlm("show", "cfg3f")
    assert code == 0 and out.startswith(published("cfg3f").text())
    assert "54 rules, equal probabilities" in out and "derivation entropy 268.7 bits" in out
    assert "length 64 to 729 tokens, mean 249.9" in out
    assert "4 derivations" in physlm("show", small)[1]


def test_samples_are_valid_and_repeat(physlm):
    code, out, _ = physlm("sample", "cfg3b", "--n", 3, "--seed", 4)
    assert code == 0 and len(out.splitlines()) == 3
    assert physlm("sample", "cfg3b", "--n", 2, "--seed", 4)[1].splitlines() == out.splitlines()[:2]
    assert physlm("sample", "cfg3b", "--n", 3, "--seed", 5)[1] != out
    assert physlm("check", "--grammar", "cfg3b", "--strings", "-", stdin=out)[1].split() == ["valid"] * 3


def test_trees_are_derivations(physlm):
    """In the words of NLTK: the productions of the tree are the grammar's, its leaves the string."""
    strings = physlm("sample", "cfg3h", "--n", 3)[1].splitlines()
    trees = physlm("sample", "cfg3h", "--n", 3, "--tree")[1].splitlines()
    rules = set(nltk.CFG.fromstring(published("cfg3h").text()).productions())
    for string, text in zip(strings, trees, strict=True):
        tree = nltk.Tree.fromstring(text)
        assert " ".join(tree.leaves()) == string and tree.label() == "22"
        assert set(tree.productions()) <= rules


def test_check_in_words_and_in_json(physlm, small, tmp_path):
    lines = ["1 2 2", "1 2 1 1", "1 2 1 2", "", "2", "2 2 2 2 2", " ".join("1" * 5000)]
    path = tmp_path / "strings.txt"
    path.write_text("\n".join(lines) + "\n")
    code, out, _ = physlm("check", "--grammar", small, "--strings", path)
    assert code == 0
    assert out.split() == ["valid", "valid", "invalid", "invalid", "valid", "invalid", "invalid"]
    code, out, _ = physlm("check", "--grammar", small, "--strings", path, "--json")
    assert code == 0
    bad = {"valid": False, "parses": 0}
    good = {"valid": True, "parses": 1, "edits": 0}
    assert json.loads(out) == [good, good, bad | {"edits": 1}, bad | {"edits": None}, good, bad | {"edits": None},
                               bad | {"edits": None}]
    assert json.loads(physlm("check", "--grammar", small, "--strings", "-", "--json")[1]) == []


def test_next(physlm, small):
    out = json.loads(physlm("next", "--grammar", small, "--prefix", "1", "--json")[1])
    # strings 122 and 1211 with 1/4 each, 2 with 1/4, 11 with 1/4
    assert out["possible"] and out["end"] == 0
    assert math.isclose(out["next"]["1"], 1 / 3) and math.isclose(out["next"]["2"], 2 / 3)
    code, out, _ = physlm("next", "--grammar", small, "--prefix", "1 2 2")
    assert code == 0 and [line.split()[-1] for line in out.splitlines()[2:]] == ["1", "0", "0"]
    code, out, _ = physlm("next", "--grammar", small, "--prefix", "2 1 1")
    assert code == 0 and out.startswith("impossible: no string of this grammar begins with these 3 tokens, only with "
                                        "the first 1\n")
    assert json.loads(physlm("next", "--grammar", small, "--prefix", " ".join("1" * 5000), "--json")[1]) == {
        "possible": False, "longest_possible": 2}


@pytest.mark.parametrize(("arguments", "message"), [
    (["show", "cfg3z"], "unknown name 'cfg3z'; did you mean"),
    (["show", "BAD"], "bad.cfg: grammar: s uses the unknown symbol a"),
    (["sample", "BAD"], "bad.cfg: grammar: s uses"),
    (["check", "--grammar", "cfg3b", "--strings", "nowhere.txt"], "nowhere.txt: cannot read: No such file"),
    (["check", "--grammar", "cfg3b", "--strings", "."], ".: cannot read: Is a directory"),
    (["check", "--grammar", "cfg3b", "--strings", "-"], "standard input line 2: token 2: got '4', expected one of 1 2"),
    (["check", "--grammar", "cfg3b", "--strings", "BYTES"], "bytes.txt: got bytes that are no UTF-8 text"),
    (["next", "--grammar", "cfg3b", "--prefix", "1 x"], "--prefix: token 2: got 'x', expected one of 1 2 3"),
])  # fmt: skip
def test_each_mistake_is_one_line(physlm, tmp_path, arguments, message):
    (tmp_path / "bad.cfg").write_text("s -> a")
    (tmp_path / "bytes.txt").write_bytes(b"1 2\n\xff\xfe\n")
    names = {"BAD": tmp_path / "bad.cfg", "BYTES": tmp_path / "bytes.txt"}
    code, out, err = physlm(*(names.get(a, a) for a in arguments), stdin="1 2\n1 4\n")
    assert code == 2 and out == ""
    assert message in err and err.startswith("error: ") and len(err.splitlines()) == 1


def test_showing_a_grammar_needs_no_torch(physlm, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert physlm("show", "cfg3b")[0] == 0


def test_a_string_too_hard_to_count_costs_no_other_verdict(physlm, tmp_path, monkeypatch):
    from physlm.tasks.grammar import counting

    monkeypatch.setattr(counting, "MAX_STEPS", 100.0)
    (tmp_path / "g").write_text("s -> a a a | a a | a\na -> b b b | b b | b\nb -> '1' '1' | '1'\n")
    (tmp_path / "s").write_text("1\n" + "1 " * 18 + "\n1 1\n" + "1 " * 30)
    code, output, _ = physlm("check", "--grammar", tmp_path / "g", "--strings", tmp_path / "s", "--json")
    rows = json.loads(output)
    assert code == 0 and [row["valid"] for row in rows] == [True, True, True, False]
    assert rows[1]["parses"] is None and "expected" in rows[1]["error"] and rows[0]["parses"] == 1
    assert all(row["parses"] is not None for row in (rows[0], rows[2], rows[3]))


def test_strings_and_files_of_any_length_are_refused_by_name(physlm, tmp_path, monkeypatch):
    from physlm.commands import grammar

    monkeypatch.setattr(grammar, "MOST_CHARACTERS", 50)
    monkeypatch.setattr(grammar, "MOST_STRINGS", 600)
    (tmp_path / "s").write_text("1 2 1\n" + "1 2 " * 13)
    code, out, err = physlm("check", "--grammar", "cfg3b", "--strings", tmp_path / "s")
    assert (code, out) == (2, "") and "line 2: got more than 50 characters, expected a shorter line" in err
    code, out, _ = physlm("check", "--grammar", "cfg3b", "--strings", "-", stdin="1 2 1\n" * 600)  # many small batches
    assert code == 0 and out.split() == ["invalid"] * 600
    code, out, err = physlm("check", "--grammar", "cfg3b", "--strings", "-", stdin="1 2 1\n" * 601)
    assert (code, out) == (2, "") and "standard input: got more than 600 strings" in err


def test_a_bad_token_of_any_length_is_shown_in_part(physlm):
    code, _, err = physlm("check", "--grammar", "cfg3b", "--strings", "-", stdin="1 2\n1 " + "x" * 10**6)
    assert code == 2 and len(err) < 200
    assert err.startswith("error: standard input line 2: token 2: got 'xxx") and "expected one of 1 2 3" in err
