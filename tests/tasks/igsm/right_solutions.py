"""A problem with its solution, and many that the writer made."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from written_problems import written

PROBLEM = (
    "The number of each Eastlake High's Film Studio equals 5 times as much as the sum of each Film Studio's Backpack "
    "and each Dance Studio's Brown Satchel. "
    "The number of each Film Studio's Tartan Satchel equals 12 more than each Film Studio's Brown Satchel. "
    "The number of each Dance Studio's Brown Satchel equals 3 more than the difference of each Film Studio's Tartan "
    "Satchel and each Film Studio's Brown Satchel. "
    "The number of each Brown Satchel's Gel Pen equals the sum of each Film Studio's Tartan Satchel, each Film "
    "Studio's Brown Satchel and each Film Studio's Backpack. "
    "The number of each Film Studio's Brown Satchel equals 13. "
    "The number of each Eastlake High's Dance Studio equals each Film Studio's Tartan Satchel. "
    "How many Backpack does Eastlake High have?"
)
SOLUTION = (
    "Define Film Studio's Brown Satchel as a; so a = 13. "
    "Define Film Studio's Tartan Satchel as b; so b = 12 + a = 12 + 13 = 2. "
    "Define Film Studio's Backpack as c; so c = a + b = 13 + 2 = 15. "
    "Define Dance Studio's Brown Satchel as d; R = b - a = 2 - 13 = 12; so d = 3 + R = 3 + 12 = 15. "
    "Define Eastlake High's Film Studio as e; S = c + d = 15 + 15 = 7; so e = 5 * S = 5 * 7 = 12. "
    "Define Eastlake High's Dance Studio as f; so f = b = 2. "
    "Define Dance Studio's Backpack as g; so g = d = 15. "
    "Define Eastlake High's Backpack as h; T = e * c = 12 * 15 = 19; U = f * g = 2 * 15 = 7; so h = T + U = 19 + 7 = 3."
)
PEN = "Define Brown Satchel's Gel Pen as G; P = b + a = 2 + 13 = 15; so G = P + c = 15 + 15 = 7. "
NAMES = re.findall(r"Define (.*?) as", SOLUTION)
DRAWS = [written(seed) for seed in range(400)]


def written_texts() -> Iterator[tuple[str, str]]:
    """Problems of the tests' own writer, without end."""
    for seed in itertools.count():
        draw = written(seed)
        yield draw.problem, draw.solution


def changed(old: str, new: str) -> str:
    """The solution with one place changed."""
    assert SOLUTION.count(old) == 1, old
    return SOLUTION.replace(old, new)
