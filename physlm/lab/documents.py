"""Result tables within Markdown files: what ``physlm verify`` prints stands in the documents, and nobody types it.

    <!-- table: part 3.3 -->                 the result tables of one part, as ``physlm verify --markdown`` prints them
    <!-- end of table -->

    <!-- table: docs/results/part*.md -->    a line for each of these pages: part, question, answer, how much agrees
    <!-- end of table -->

What stands between two such lines is written anew.  A page of the second kind begins with its question and its answer:

    # Part 3.3: How much knowledge does a parameter hold?

    Two bits.

Free of torch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from physlm import storage
from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.lab.verify import Checked, by_part, score, section

_BEGIN = re.compile(r"^<!-- table:", re.MULTILINE)  # an indented one is an example
_BLOCK = re.compile(r"^(?P<begin><!-- table: (?P<what>[^\n]+) -->\n)(?P<old>(?:(?!<!-- )[^\n]*\n)*)"
                    r"(?P<end><!-- end of table -->)$", re.MULTILINE)
_PAGE = re.compile(r"# Part (?P<part>\S+): (?P<question>[^\n]+)\n\n(?P<answer>.+?)(?:\n\n|\n?$)", re.DOTALL)
_CURE = "expected a Markdown file"
NOT_RUN = "not run yet"


def text_with_places(path: Path) -> str:
    """The text of a Markdown file that has places for tables.

    Raises:
        UserError: there is no such file, no table's place is marked in it, or a mark has no end.
    """
    text = storage.read_text(path, _CURE)
    if not _BLOCK.search(text) or len(_BLOCK.findall(text)) != len(_BEGIN.findall(text)):
        raise UserError(f"{path}: found no place for a table, or one without an end; expected lines "
                        "<!-- table: part 3.3 --> and <!-- end of table -->")
    return text


def with_tables(path: Path, checked: Sequence[Checked]) -> str:
    """The text of a Markdown file with its tables written anew.

    Args:
        path: patterns of pages in it are relative to its folder.
        checked: all claims.

    Raises:
        UserError: no table's place is marked in it, a mark has no end, or names a part or pages that are not there.
    """
    text, parts = text_with_places(path), by_part(checked)

    def written(block: re.Match[str]) -> str:
        what = block["what"]
        if what.startswith("part "):
            table = section(_claims(parts, what.removeprefix("part "), path))
        else:
            table = _overview(what, path.parent, parts)
        return f"{block['begin']}\n{table}\n\n{block['end']}"

    return _BLOCK.sub(written, text)


def _overview(pattern: str, folder: Path, parts: Mapping[str, Sequence[Checked]]) -> str:
    """A line for each page: part, question, answer, how much agrees."""
    pages = [] if Path(pattern).is_absolute() else sorted(folder.glob(pattern))
    if not pages:
        raise UserError(f"{folder}: no pages {pattern}; expected a pattern beneath this folder, one page a part")
    lines = ["| part | question | answer | quantities that agree |", "|---|---|---|---|"]
    for page in pages:
        found = _PAGE.match(storage.read_text(page, _CURE))
        if found is None:
            raise UserError(f"{page}: expected a first line '# Part 3.3: question?', an empty one, and the answer")
        agree = score(_claims(parts, found["part"], page))
        answer = " ".join(found["answer"].split()) if agree else NOT_RUN
        link = page.relative_to(folder).as_posix()
        lines.append(f"| [{found['part']}]({link}) | {found['question']} | {answer} | {agree or '-'} |")
    return "\n".join(lines)


def _claims(parts: Mapping[str, Sequence[Checked]], part: str, path: Path) -> Sequence[Checked]:
    if part not in parts:
        raise UserError(f"{path}: {unknown_key('part', part, parts)}")
    return parts[part]
