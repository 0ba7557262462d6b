"""Grammars and their text form: it round-trips, NLTK reads the same grammar, and each mistake is named."""

import math
import time

import nltk
import pytest

from physlm.errors import UserError
from physlm.tasks.grammar.grammar import Grammar, Rule, parse_grammar
from physlm.tasks.grammar.parser import Parser
from physlm.tasks.grammar.published import MAX_FILE_BYTES, PUBLISHED, find_grammar, published
from physlm.tasks.grammar.random_grammar import random_grammar
from physlm.tasks.grammar.statistics import derivation_entropy, length_statistics, log10_derivations

SMALL = "s -> a b | b\na -> '1' '2'\nb -> '2' | '1' '1'\n"
GRAMMARS = {name: published(name) for name in PUBLISHED} | {
    "small": parse_grammar(SMALL),
    "uneven": parse_grammar("S -> A_1 B [0.25] | B [0.75]\nA_1 -> 'the' [0.1] | 'a' [0.9]\nB -> 'x' 'y' 'x' [1.0]"),
    "random": random_grammar((1, 4, 9, 12, 5), 3, rules=(1, 4), lengths=(1, 3), weighted=True),
}


@pytest.mark.parametrize("name", GRAMMARS)
def test_the_text_form_round_trips(name):
    assert parse_grammar(GRAMMARS[name].text()) == GRAMMARS[name]


@pytest.mark.parametrize("name", GRAMMARS)
def test_nltk_reads_the_same_grammar(name):
    grammar = GRAMMARS[name]
    reader = nltk.CFG if grammar.uniform else nltk.PCFG
    theirs = reader.fromstring(grammar.text())
    assert str(theirs.start()) == grammar.levels[0][0]
    ours = {(grammar.levels[level][rule.parent], tuple(grammar.levels[level + 1][c] for c in rule.children)):
            rule.probability for level, rules in enumerate(grammar.rules) for rule in rules}
    read = {(str(p.lhs()), tuple(map(str, p.rhs()))): p for p in theirs.productions()}
    assert set(ours) == set(read)
    assert all(isinstance(side, str) == (str(side) in grammar.terminals) for p in read.values() for side in p.rhs())
    if not grammar.uniform:
        assert all(read[side].prob() == pytest.approx(p) for side, p in ours.items())


def test_nltk_parses_what_the_small_grammar_derives():
    """The docstring's example: its strings are 122, 1211, 2 and 11."""
    parser = nltk.ChartParser(nltk.CFG.fromstring(SMALL))
    words = [list(f"{number:b}".replace("1", "2").replace("0", "1"))[1:] for number in range(2, 64)]
    assert {"".join(w) for w in words if any(parser.parse(w))} == {"122", "1211", "2", "11"}


def test_equal_rules_of_a_symbol_are_one():
    grammar = parse_grammar("s -> a | a | b\na -> '1'\nb -> '2'")
    assert [rule.probability for rule in grammar.rules[0]] == pytest.approx([2 / 3, 1 / 3])
    assert not grammar.uniform


def test_names_and_numbers():
    grammar = parse_grammar("# a comment\n\n s -> a a # another\n a -> '10' | \"9\" | 'x'")
    assert grammar.terminals == ("9", "10", "x") and grammar.depth == 2
    assert grammar.decode(grammar.encode(["x", "9", "10"])) == ["x", "9", "10"]
    with pytest.raises(UserError, match="token 2: got '1', expected one of 9 10 x"):
        grammar.encode(["9", "1"])


@pytest.mark.parametrize(("text", "message"), [
    ("", "no rules"),
    ("# only a comment", "no rules"),
    ("s -> a", "s uses the unknown symbol a"),
    ("s -> a\na -> s", "no root"),
    ("s -> a\na -> b\nb -> a", "a is on level 2 and on level 4"),
    ("s -> a\na -> '1' | a", "a is on level 2 and on level 3"),
    ("s ->", "s has an empty rule"),
    ("s -> '1' |", "s has an empty rule"),
    ("s -> '1' '1' '1' '1'", "got a rule of 4 symbols, expected 1 to 3"),
    ("s -> a '1'\na -> '1'", "level 2 holds the terminal '1' and the symbol a"),
    ("s -> a | b\na -> '1'\nb -> c\nc -> '2'", "level 3 holds the terminal '1' and the symbol c"),
    ("s -> '1'\nt -> '2'", "t is not reached from the root s"),
    ("s -> 'a b'", "expected one word without blanks"),
    ("s = '1'", "grammar line 1: cannot read"),
    ("s -> '1' -> '2'", "expected | or the end"),
    ("s -> '1' [0.5] | '2'", "got no probability"),
    ("s -> '1' [0.5] | '2' [0.4]", "sum to 0.9, expected 1"),
    ("s -> '1' [0] | '2' [1]", "got the probability '0'"),
    ("s -> '1' [x]", "got the probability 'x'"),
    ("s -> s2\ns2 -> '1' | s", "no root"),
    ("s -> '1' 's'\n's' -> '2'", "grammar line 2: got"),
    ("s -> s1\ns1 -> 's1'", "'s1' is a terminal and a symbol with rules"),
    ("%begin s\ns -> '1'", "grammar line 1: got '%begin s', expected  %start symbol"),
    ("%start\ns -> '1'", "grammar line 1: got '%start'"),
    ("%start t\ns -> '1'", "%start names t, expected a symbol with rules"),
    ("s -> '1' \\", "expected a line after it"),
    ("a -> '1'\ns -> a", "no root: the first symbol, a, is used by s"),
])  # fmt: skip
def test_a_mistake_in_the_text_is_named(text, message):
    with pytest.raises(UserError) as error:
        parse_grammar(text)
    assert message in str(error.value)


@pytest.mark.parametrize(("levels", "rules", "message"), [
    ((("s",),), (), "at least 2 levels"),
    ((("s", "t"), ("1",)), ((Rule(0, (0,), 1.0), Rule(1, (0,), 1.0)),), "2 root symbols"),
    ((("s",), ("1", "1")), ((Rule(0, (0, 1), 1.0),),), "expected different ones"),
    ((("s",), ("s",)), ((Rule(0, (0,), 1.0),),), "two symbols s on different levels"),
    ((("s",), ("1",)), ((Rule(0, (1,), 1.0),),), "points to a symbol that is not there"),
    ((("s",), ("1",)), ((Rule(0, (), 1.0),),), "got a rule of 0 symbols"),
    ((("s",), ("1",)), ((),), "symbol s has no rule"),
    ((("s",), ("1", "2")), ((Rule(0, (0,), 1.0),),), "symbol 2 is never used"),
    ((("s",), ("1",)), ((Rule(0, (0,), -1.0),),), "expected more than 0"),
])  # fmt: skip
def test_a_mistake_in_the_tables_is_named(levels, rules, message):
    with pytest.raises(UserError) as error:
        Grammar(levels, rules)
    assert message in str(error.value)


def test_grammars_are_found_by_name_text_and_file(tmp_path):
    path = tmp_path / "small.cfg"
    path.write_text(SMALL)
    assert find_grammar("cfg3b") == published("cfg3b")
    assert find_grammar(SMALL) == find_grammar(str(path)) == GRAMMARS["small"]


@pytest.mark.parametrize(("content", "message"), [
    (b"s -> a", "s uses the unknown symbol a"),
    (b"\xff\xfe\x00", "no UTF-8 text"),
    (b"#" * (MAX_FILE_BYTES + 1), "more than 16 MiB"),
])
def test_a_bad_file_is_named(tmp_path, content, message):
    path = tmp_path / "bad.cfg"
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        find_grammar(str(path))
    assert str(error.value).startswith(f"{path}: ") and message in str(error.value)


def test_an_unknown_name_and_a_folder(tmp_path):
    with pytest.raises(UserError, match="did you mean 'cfg3"):
        find_grammar("cfg3z")
    with pytest.raises(UserError, match="cannot read: Is a directory"):
        find_grammar(str(tmp_path))
    with pytest.raises(UserError, match="unknown name 'cfg8'"):
        published("cfg8")


def test_a_start_and_continued_lines_are_read_as_nltk_reads_them():
    text = "%start s\na -> '1' | \\\n  '2' '1'\n# a comment\ns -> a \\\n a\n"
    assert parse_grammar(text) == parse_grammar("s -> a a\na -> '1' | '2' '1'")
    theirs = nltk.CFG.fromstring(text)
    assert str(theirs.start()) == "s" and len(theirs.productions()) == 3


def test_quotes_comments_and_small_probabilities_survive():
    text = """s -> "it's" [0.9999999999] | '#' '1' [1e-10]   # '#' is a terminal, this is a comment\n"""
    grammar = parse_grammar(text)
    assert grammar.terminals == ("1", "#", "it's") and parse_grammar(grammar.text()) == grammar
    assert [p.prob() for p in nltk.PCFG.fromstring(grammar.text()).productions()] == [0.9999999999, 1e-10]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "g.txt").write_bytes(b"\xef\xbb\xbfs -> '1'\n")
    assert find_grammar(str(tmp_path / "g.txt")) == parse_grammar("s -> '1'")
    with pytest.raises(UserError, match="grammar: unknown name ''"):
        find_grammar("")


def test_towers_are_refused():
    def tower(levels):
        return "".join(f"a{i} -> a{i + 1} a{i + 1}\n" for i in range(levels - 2)) + f"a{levels - 2} -> 'x'\n"

    assert parse_grammar(tower(32)).depth == 31
    with pytest.raises(UserError, match="got 33 levels, expected at most 32"):
        parse_grammar(tower(33))


@pytest.mark.parametrize("sides", [3, 6, 7, 60])
def test_probabilities_as_nltk_prints_them_are_read(sides):
    """It writes six digits; what it wrote sums to almost 1, and what is read sums to 1 again."""
    text = " | ".join(f"'{i}' [{1 / sides!r}]" for i in range(sides))
    printed = "".join(f"{rule}\n" for rule in nltk.PCFG.fromstring(f"s -> a [1.0]\na -> {text}").productions())
    assert "[1.0]" in printed and ("0.333333]" in printed) == (sides == 3)
    grammar = parse_grammar(printed)
    assert grammar.uniform and grammar == parse_grammar(f"s -> a\na -> {text}".replace("s -> a", "s -> a [1.0]"))


def test_uneven_probabilities_of_six_digits_keep_their_ratios():
    rules = parse_grammar("s -> 'a' [0.333333] | 'b' [0.166667] | 'c' [0.499998]").rules[0]
    assert sum(rule.probability for rule in rules) == pytest.approx(1, abs=1e-15)
    assert rules[0].probability / rules[1].probability == pytest.approx(0.333333 / 0.166667, rel=1e-12)


@pytest.mark.parametrize(("text", "message"), [
    ("s -> 'a' [0.33333] | 'b' [0.33333] | 'c' [0.33333]", "s: got probabilities that sum to 0.99999, expected 1"),
    ("s -> 'a' [0.5] | 'b' [0.2]", "s: got probabilities that sum to 0.7, expected 1"),
])  # fmt: skip
def test_probabilities_that_do_not_sum_to_one_are_named(text, message):
    with pytest.raises(UserError, match=message):
        parse_grammar(text)


def test_a_symbol_with_many_alternatives_takes_time_in_proportion():
    """In seconds; looking through all rules for each rule would take minutes."""
    n = 12_000
    wide = parse_grammar("s -> " + " | ".join(f"a{i}" for i in range(n)) + "\n"
                         + "".join(f"a{i} -> '{i}'\n" for i in range(n)))  # fmt: skip
    begun = time.process_time()
    assert wide.uniform and wide.encode(["7", "9"]) == [7, 9] and parse_grammar(wide.text()) == wide
    assert length_statistics(wide).max == 1 and log10_derivations(wide) == pytest.approx(math.log10(n))
    assert derivation_entropy(wide) == pytest.approx(math.log2(n))
    assert Parser(wide).valid([[3], [3, 4]]).tolist() == [True, False]
    assert time.process_time() - begun < 60
    with pytest.raises(UserError, match=r"token 1: got 'x', expected one of 0 1 2 .* 39 \.\. \(12,000 in all\)"):
        wide.encode(["x"])
    pairs = parse_grammar("s -> " + " | ".join(f"'{i}' '{i}'" for i in range(n)))
    with pytest.raises(UserError, match="12,001 different beginnings over 12,000 symbols, expected at most"):
        Parser(pairs)


def test_a_line_that_goes_on_for_long_is_read_once():
    n = 100_000
    text = "s -> \\\n" + "".join(f"'{i}' | \\\n" for i in range(n)) + "'end'"
    begun = time.process_time()
    assert len(parse_grammar(text).terminals) == n + 1
    assert time.process_time() - begun < 60


def test_names_of_thousands_of_digits_are_names():
    name = "9" * 5000
    assert parse_grammar(f"s -> '{name}' | '10' | '9'").terminals == ("9", "10", name)
