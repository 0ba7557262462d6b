"""The published grammars by name, and how a grammar is found by name, text or file.  Free of torch.

cfg3b, cfg3i, cfg3h, cfg3g, cfg3f have 7 levels and come from arXiv 2305.13673 (Part 1); cfg3j and cfg3k have 8 and come
from arXiv 2512.17351 (Part 4.1).  Every level but the root's has three symbols, the terminals are 1, 2, 3, and every
symbol takes its rules with equal probability.
"""

from __future__ import annotations

import os
from functools import cache

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.inputs import plain_file
from physlm.tasks.grammar.grammar import Grammar, parse_grammar

MAX_FILE_BYTES = 16 << 20

# One rule set a symbol, separated by semicolons; symbols are the numbers of the papers.
_RULES = {
    "cfg3b": """22->21 20|20 19; 19->16 17 18|17 18 16; 20->17 16 18|16 17; 21->18 16|16 18 17; 16->15 13|13 15 14;
        17->14 13 15|15 13 14; 18->15 14 13|14 13; 13->11 12|12 11; 14->11 10 12|10 11 12; 15->12 11 10|11 12 10;
        10->7 9 8|9 8 7; 11->8 7 9|7 8 9; 12->8 9 7|9 7 8; 7->3 1|1 2 3; 8->3 2|3 1 2; 9->3 2 1|2 1""",
    "cfg3i": """22->19 19 20|21 20 19; 19->18 16 18|16 16; 20->17 16 17|18 18; 21->16 16 18|18 17; 16->13 13|14 14;
        17->15 15|15 14; 18->14 15 13|14 15; 13->12 11|10 12 11; 14->10 10 10|10 10; 15->11 11 10|11 10 12;
        10->8 7 7|9 9; 11->7 7 7|7 7 8; 12->7 9 9|8 7; 7->3 1 2|2 3 1; 8->1 1|2 2; 9->1 1 3|1 2""",
    "cfg3h": """22->20 20 21|19 21; 19->16 17|18 17; 20->18 16|17 16; 21->17 17 18|17 18 17; 16->14 13|15 13;
        17->13 14|15 13 15; 18->15 13 13|15 14 14|14 15 15; 13->12 11|11 10; 14->10 12 12|10 10|12 12 10;
        15->10 12|11 11 10; 10->8 7 9|9 7|8 8; 11->8 7 7|7 7|7 9 9; 12->7 9|8 7|9 8; 7->2 3 2|1 2 3|1 3 1;
        8->1 2|3 3 1|1 3; 9->2 1 3|1 3 3""",
    "cfg3g": """22->19 20|20 20 19|20 19 21; 19->17 17 16|18 17 16|18 16 17; 20->16 17|18 18|16 17 17;
        21->16 16|16 16 18|18 16; 16->14 13 13|13 14|13 13; 17->14 13 14|14 15 13|15 14; 18->15 13|15 15|14 13 15;
        13->10 12|11 11 11|11 11; 14->11 12|10 11 10|10 10; 15->10 11|12 10 10|12 11; 10->8 8 8|7 7 7|7 7;
        11->8 8 9|9 7|8 9 7; 12->7 9|7 8|9 9 9; 7->2 3 1|1 1|2 2; 8->1 3 2|1 3|3 3 1; 9->2 3 3|2 3|2 1""",
    "cfg3f": """22->20 21|20 19 21|21 19 19|20 20; 19->18 16 18|17 18|18 18; 20->16 16|16 17|17 16 18;
        21->18 17|17 16|16 17 18|16 18; 16->15 15|13 15 13|14 13|14 14; 17->15 14 13|14 15|15 14;
        18->14 15 13|15 13 13|13 15; 13->11 12|12 11 12|10 12 11; 14->10 12|12 10 12|12 11|10 12 12;
        15->10 11 11|11 11 10|10 10|12 12 11; 10->8 9 9|9 7 9|7 9 9; 11->8 8|9 7|9 7 7; 12->7 9 7|9 8|8 8 9;
        7->2 2 1|3 2 2|3 1 2|3 2; 8->3 1 1|1 2|3 3 1; 9->1 2 1|3 3|1 1""",
    "cfg3j": """25->22 22|23 22|24 23 24; 22->19 20|19 19 21|20 19 19; 23->21 19 20|21 20|19 20 20;
        24->19 19|20 21 19|19 21 21; 19->17 17 16|16 18 18|16 17; 20->17 17 17|18 18|18 17 18;
        21->18 16|16 17 17|16 18 16; 16->14 15|13 15|15 15; 17->14 14|15 15 15|15 14; 18->14 13 15|13 13 14|13 14;
        13->10 12|12 10|11 11; 14->10 11|12 11 10|10 11 11; 15->11 12 12|10 10|11 12; 10->7 7 9|8 7|9 8;
        11->7 8 8|9 9|8 8; 12->7 7 8|8 7 7|9 8 8; 7->1 2|2 2|3 3 2; 8->3 1|2 3|1 1 2; 9->3 2 1|1 3|3 2""",
    "cfg3k": """25->22 23|24 24|24 23; 22->21 19|21 20 20|21 21|19 21; 23->20 21 20|20 21 21|20 20|19 20;
        24->21 20|20 21|19 19 21; 19->17 18 16|18 16|18 16 18|18 18 17; 20->17 17 17|16 18|17 17 16|18 17 16;
        21->18 17|16 18 16|17 16 16|17 18 18; 16->15 14|14 15|15 14 15|14 13 13; 17->14 15 14|15 13 13|15 15;
        18->14 14|15 13|13 14 14; 13->10 12 12|11 11 12|12 12; 14->10 11|10 11 11|11 10 10|11 11;
        15->12 11|10 10|11 12; 10->7 7|8 8|9 9 7|7 9 7; 11->8 7 9|7 7 7|7 8 7; 12->7 8|8 8 7|9 7 9|8 9;
        7->3 3|1 3 1|2 1; 8->2 3|1 1 2|3 1|1 2 2; 9->1 3 3|2 2|1 1 1|3 2 3""",
}
_TERMINALS = {"1", "2", "3"}

PUBLISHED = tuple(_RULES)


@cache
def published(name: str) -> Grammar:
    """The grammar of that name.

    Raises:
        UserError: a name that is not in ``PUBLISHED``.
    """
    if name not in _RULES:
        raise UserError(unknown_key("grammar", name, PUBLISHED))
    lines = []
    for line in _RULES[name].split(";"):
        parent, sides = line.split("->")
        words = sides.replace("|", " | ").split()
        lines.append(f"{parent} -> " + " ".join(f"'{word}'" if word in _TERMINALS else word for word in words))
    return parse_grammar("\n".join(lines))


def find_grammar(source: str) -> Grammar:
    """A published name, else the text form itself (it holds ``->``), else a file with the text form.

    Raises:
        UserError: none of the three, or a text that is no grammar; for a file the message begins with its name.
    """
    if source in PUBLISHED:
        return published(source)
    if "->" in source:
        return parse_grammar(source)
    if not source or not os.path.lexists(source):  # False, too, for names that no file can have
        raise UserError(f"{unknown_key('grammar', source, PUBLISHED)}, or a file, and there is none of this name")
    with plain_file(source, "expected a file with a grammar's text form") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{source}: got bytes that are no UTF-8 text, expected a grammar's text form") from None
    if len(content) > MAX_FILE_BYTES:
        raise UserError(f"{source}: got more than {MAX_FILE_BYTES >> 20} MiB, expected a grammar's text form")
    try:
        return parse_grammar(text)
    except UserError as error:
        raise UserError(f"{source}: {error}") from None
