"""What bench grammar measures is what it says it measures."""

import numpy as np
import pytest

from physlm.lab.bench_grammar import GRAMMARS, bench_grammar, half_corrupted
from physlm.tasks.grammar.parser import Parser
from physlm.tasks.grammar.published import published


def test_strings_are_half_valid_and_half_changed_in_one_token() -> None:
    grammar = published("cfg3f")
    (tokens_BW, lengths_B), parser = half_corrupted(grammar, 40), Parser(grammar)
    valid_B = parser.valid(tokens_BW, lengths_B)
    assert valid_B[::2].all() and (~valid_B[1::2]).any()
    for tokens, length, valid in zip(tokens_BW, lengths_B, valid_B, strict=True):
        assert parser.edits(tokens[:length]) == 1 - valid
        assert (tokens[length:] == -1).all() and (np.isin(tokens[:length], range(3))).all()
    assert (half_corrupted(grammar, 40, key=1)[0][:, :20] != tokens_BW[:, :20]).any()


def test_the_table_has_a_line_for_every_grammar(monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("physlm.lab.bench_grammar._time", lambda call, seconds: bool(call() is None) + 0.5)
    monkeypatch.setattr("physlm.lab.bench_grammar.BATCH", 10)
    monkeypatch.setattr("physlm.lab.bench_grammar._SAMPLED", {"cpu": 4, "cuda": 4})
    bench_grammar(quick=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == list(GRAMMARS)
    assert float(lines[2].split()[1]) == 20  # ten strings in the half second of the fake clock
