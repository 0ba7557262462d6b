"""What is read from outside: plain files alone, lines of bounded length, and errors that show a little of anything."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from physlm.errors import UserError, listed, shown
from physlm.inputs import bounded_lines, plain_file


def test_a_plain_file_is_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"text")
    (tmp_path / "link").symlink_to("there")
    for name in ("there", "link"):
        with plain_file(tmp_path / name, "expected text") as file:
            assert file.read() == b"text"


def test_pipes_devices_folders_and_impossible_names_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: opened as a plain file it would be waited for
    cases = {
        str(tmp_path / "pipe"): "it is a pipe, expected text", "/dev/zero": "it is a device, expected text",
        str(tmp_path): "Is a directory; expected text", str(tmp_path / "gone"): "No such file or directory",
        str(tmp_path / ("x" * 300)): "File name too long", "x" * 5000: "File name too long",
        "a\0b": "a name of a file holds no NUL", "a\ud800b": "not all of it can be in a name of a file",
    }  # fmt: skip
    for name, message in cases.items():
        with pytest.raises(UserError, match=message), plain_file(name, "expected text"):
            pass


def test_lines_are_as_python_reads_them_up_to_a_length() -> None:
    text = "ab\n\ncde\nf"
    assert list(bounded_lines(io.StringIO(text), "here", 4)) == list(io.StringIO(text))
    assert list(bounded_lines(io.BytesIO(text.encode()), "here", 4)) == list(io.BytesIO(text.encode()))
    with pytest.raises(UserError, match="here line 3: got more than 3 characters"):
        list(bounded_lines(io.StringIO(text), "here", 3))


def test_no_more_is_read_of_a_line_than_it_may_have() -> None:
    endless = io.StringIO("x" * 1_000_000)
    with pytest.raises(UserError, match="line 1"):
        list(bounded_lines(endless, "here", 100))
    assert endless.tell() == 101


def nested(depth: int) -> list[Any]:
    """Lists in lists."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", ["x" * 10**6, 10**4999, -(10**5000), nested(100_000), list(range(10**6)),
                                   {str(i): nested(99) for i in range(1000)}, [["y" * 1000] * 1000] * 1000],
                         ids=type)
def test_errors_show_little_of_much(value: Any) -> None:
    assert len(shown(value)) < 12_000


@given(st.one_of(st.text(max_size=5), st.integers(-(10**40), 10**40), st.floats(), st.booleans(), st.none()))
def test_errors_show_all_of_little(value: Any) -> None:
    assert eval(shown(value), {"nan": float("nan"), "inf": float("inf")}) == value or value != value


def test_many_names_are_counted() -> None:
    assert listed(["1", "2", "3"]) == "1 2 3"
    assert listed(f"w{i}" for i in range(30_000)).endswith(" w39 .. (30,000 in all)")
    assert len(listed(["x" * 10**6])) < 100


def test_numbers_of_thousands_of_digits_are_named_by_their_length() -> None:
    assert shown(10**4999) == shown(-(10**4999)) == "a number of about 4,999 digits"
    assert shown(10**40) == str(10**40)
