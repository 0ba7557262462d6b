"""Folders of data are read by pyarrow and by the library datasets as they were written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from extras import of_extra

from physlm.tasks.config import SPLITS

KINDS = ("bioqa", "biomixed", "grammar", "mano")  # with and without questions, with levels
Physlm = Callable[..., tuple[Any, str, str]]


def exported(physlm: Physlm, kind: str, to: str, folder: Path) -> Path:
    code, out, err = physlm("data", "export", kind, "--n", 30, "--to", to, "--out", folder)
    assert code == 0 and not out and "30 texts of each split" in err, err
    return folder


def records(physlm: Physlm, kind: str, split: str) -> list[dict[str, Any]]:
    """As the command for one file has them."""
    _, out, _ = physlm("data", "export", kind, "--n", 30, "--split", split)
    return [json.loads(line) for line in out.splitlines()]


def filled(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With nothing in the place of what a row does not have, as columns have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return [{name: row.get(name) for name in names} for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_holds_what_the_lines_hold(kind: str, physlm: Physlm, tmp_path: Path) -> None:
    parquet = of_extra("pyarrow.parquet", "parquet")
    folder = exported(physlm, kind, "parquet", tmp_path / "out")
    for split in SPLITS:
        assert parquet.read_table(folder / f"{split}.parquet").to_pylist() == filled(records(physlm, kind, split))


@pytest.mark.parametrize("kind", KINDS)
def test_the_library_datasets_loads_every_kind_of_folder(
    kind: str, physlm: Physlm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = of_extra("datasets", "datasets")
    of_extra("pyarrow", "parquet")
    folders = {to: exported(physlm, kind, to, tmp_path / to) for to in ("jsonl", "parquet", "hf")}
    found = {to: datasets.load_dataset(str(folders[to]), cache_dir=str(tmp_path / "cache"))
             for to in ("jsonl", "parquet")}  # fmt: skip
    found["hf"] = datasets.load_from_disk(str(folders["hf"]))
    for split in SPLITS:
        expected = filled(records(physlm, kind, split))
        for data in found.values():
            assert set(data) == set(SPLITS) and data[split].to_list() == expected
