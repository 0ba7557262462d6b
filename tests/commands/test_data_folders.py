"""physlm data export --to: a folder with every split, the vocabulary and a card."""

from __future__ import annotations

import importlib
import json
from typing import Any

import pytest

from physlm.config import from_dict
from physlm.errors import UserError
from physlm.extras import needed
from physlm.tasks.config import SPLITS, TaskConfig

EXPORT = ("data", "export", "bioqa", "--set", "people=10", "--n", 20)


def test_the_folder_holds_the_task(physlm, tmp_path):
    code, out, err = physlm(*EXPORT, "--to", "jsonl", "--out", tmp_path / "made")
    assert code == 0 and not out and "20 texts of each split" in err
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted(
        [*(f"{split}.jsonl" for split in SPLITS), "vocabulary.json", "task.json", "README.md"])  # fmt: skip
    words = json.loads((tmp_path / "made" / "vocabulary.json").read_text())
    settings = json.loads((tmp_path / "made" / "task.json").read_text())
    config: Any = from_dict(TaskConfig.of_kind(settings["kind"]), settings)
    assert tuple(words) == config.vocabulary().words and config.people == 10
    for split in SPLITS:
        lines = (tmp_path / "made" / f"{split}.jsonl").read_text()
        assert lines == physlm(*EXPORT, "--split", split)[1]
    card = (tmp_path / "made" / "README.md").read_text()
    columns = json.loads(lines.splitlines()[0])
    assert all(f"| `{name}` |" in card for name in columns) and {"prompt", "answer", "labels"} < set(columns)
    assert all(f"  - split: {split}\n    path: {split}.jsonl\n" in card for split in SPLITS) and "people=10" in card


@pytest.mark.parametrize(("task", "words"), [
    (("bioqa", "--set", "people=10"), "20 of 20 texts of validation, 20 of 20 texts of evaluation"),
    (("bios", "--set", "people=10"), ""),
])
def test_texts_that_stand_in_train_are_counted(physlm, tmp_path, task, words):
    code, _, err = physlm("data", "export", *task, "--n", 20, "--to", "jsonl", "--out", tmp_path / "made")
    assert code == 0 and (f"note: {words} stand in train, too" in err if words else "note" not in err)
    lines = {split: (tmp_path / "made" / f"{split}.jsonl").read_text().splitlines() for split in SPLITS}
    texts = {split: {json.loads(line)["text"] for line in lines[split]} for split in SPLITS}
    assert bool(texts["train"] & texts["evaluation"]) == bool(words)
    assert f"Texts that stand in train, too: {words or 'none'}.\n" in (tmp_path / "made" / "README.md").read_text()


def test_mistakes_are_one_line_and_leave_nothing(physlm, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("x")
    for options, words in (
        (("--to", "json", "--out", tmp_path / "x"), "unknown name 'json'; did you mean 'jsonl'"),
        (("--to", "jsonl"), "got no --out"),
        (("--to", "jsonl", "--out", tmp_path / "x", "--vocabulary", "y"), "got --vocabulary"),
        (("--to", "jsonl", "--out", tmp_path / "x", "--split", "train"), "got --split"),
        (("--to", "jsonl", "--out", tmp_path / "full"), "something is there already"),
        (("--to", "jsonl", "--out", tmp_path / "x", "--set", "ask.half=both"), "'train', 'test'"),
    ):  # fmt: skip
        code, out, err = physlm(*EXPORT, *options)
        assert (code, out) == (2, "") and words in err and len(err.strip().splitlines()) == 1, options
    assert [path.name for path in tmp_path.rglob("*")] == ["full", "mine"]


@pytest.mark.parametrize(("to", "library", "extra"), [("parquet", "pyarrow", "parquet"),
                                                      ("hf", "datasets", "datasets")])  # fmt: skip
def test_a_missing_library_is_named_with_its_install_line(physlm, tmp_path, monkeypatch, to, library, extra):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("physlm.extras.import_module", missing)
    code, _, err = physlm(*EXPORT, "--to", to, "--out", tmp_path / "made")
    assert code == 2 and err == (f"error: {library} is not installed, which this needs; expected pip install "
                                 f"'physlm[{extra}]'\n") and not any(tmp_path.iterdir())  # fmt: skip


def test_a_library_that_lacks_another_keeps_its_own_error(tmp_path, monkeypatch):
    (tmp_path / "halfthere.py").write_text("import nowhere_to_be_found")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        needed("halfthere", "x")
    with pytest.raises(UserError, match=r"expected pip install 'physlm\[x\]'"):
        needed("not_there_at_all.inside", "x")
    assert needed("json", "x") is json
