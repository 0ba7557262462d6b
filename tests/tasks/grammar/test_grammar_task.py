"""The grammar task: rows are windows of the strings that sentences shows; bags and noise do what they say.

Shape letters as in ``physlm.tasks.grammar.task``.
"""

import dataclasses
import math

import pytest
import torch
from scipy import stats

from physlm.errors import UserError
from physlm.tasks.config import SPLITS
from physlm.tasks.grammar.bags import make_bags
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.grammar import parse_grammar
from physlm.tasks.grammar.published import PUBLISHED, published
from physlm.tasks.grammar.statistics import length_statistics
from physlm.tasks.grammar.task import CHAPTER_ROWS, GrammarTask

SMALL = "s -> a b | b a b\na -> c d | d\nb -> c c | d c\nc -> '1' | '2' '1'\nd -> '2' | '3' '1' '1'\n"
BASE = GrammarConfig(SMALL, row_tokens=20)


@pytest.mark.parametrize("config", [
    BASE, GrammarConfig("cfg3b", row_tokens=64), dataclasses.replace(BASE, bag_tokens=7),
    dataclasses.replace(BASE, noise="token", noise_fraction=0.5, bag_tokens=6, bags="overlap"),
    dataclasses.replace(BASE, noise="nonterminal", noise_fraction=0.5),
], ids=["small", "cfg3b", "bags", "token noise and bags", "nonterminal noise"])  # fmt: skip
def test_rows_are_consecutive_windows_of_the_sentences_in_a_circle(config):
    """Rebuild chapter 3 from single sentences: its rows are T tokens apart, from one random place on."""
    task = GrammarTask(config)
    index = torch.arange(3 * CHAPTER_ROWS, 4 * CHAPTER_ROWS)
    rows = task.rows(index, "train", stream=5)
    assert rows.inputs_RT.shape == rows.targets_RT.shape == (CHAPTER_ROWS, config.row_tokens)
    assert torch.equal(rows.inputs_RT[:, 1:], rows.targets_RT[:, :-1])
    assert torch.equal(rows.inputs_RT[1:, 0], rows.targets_RT[:-1, -1])  # each row goes on where the last one ended
    n = task._chapter
    strings = task.sentences(torch.arange(3 * n, 4 * n), "train", stream=5)
    text = [token for ids, length in zip(strings.ids_BW.tolist(), strings.lengths_B.tolist(), strict=True)
            for token in ids[1:length]]
    window = [*rows.inputs_RT.flatten().tolist(), int(rows.targets_RT[-1, -1])]
    assert len(window) <= len(text)
    circle = " ".join(map(str, [*text, *text]))
    assert f" {' '.join(map(str, window))} " in f" {circle} "


def test_a_row_depends_on_its_number_alone():
    task = GrammarTask(BASE)
    index = torch.arange(100)
    whole = task.rows(index)
    some = torch.tensor([70, 3, 70, 99])
    assert torch.equal(task.rows(some).inputs_RT, whole.inputs_RT[some])
    assert torch.equal(task.rows(some).targets_RT, whole.targets_RT[some])


def test_rows_begin_anywhere():
    """The share of <eos> at every position is one in (mean length + 1)."""
    task = GrammarTask(BASE)
    rows = task.rows(torch.arange(20_000)).inputs_RT
    share = 1 / (length_statistics(parse_grammar(SMALL)).mean + 1)
    # rows of a chapter are tied together, so compare every 32nd: independent chapters
    p = [stats.binomtest(int((rows[::32, place] == 0).sum()), len(rows[::32]), share).pvalue for place in range(20)]
    assert stats.kstest(p, "uniform").pvalue > 1e-3


def test_splits_streams_and_seeds_are_different_strings():
    """No two of 1200 strings of cfg3f, of about 2**268, begin the same in two splits, streams or seeds."""
    sets = []
    for seed in (0, 1):
        task = GrammarTask(GrammarConfig("cfg3f", seed=seed))
        for split in SPLITS:
            for stream in (0, 1):
                ids = task.sentences(torch.arange(100), split, stream, labels=False).ids_BW
                sets.append({tuple(row[:60]) for row in ids.tolist()})
    assert len(set().union(*sets)) == sum(map(len, sets)) == 1200
    with pytest.raises(UserError, match="split: unknown name 'test'"):
        task.rows(torch.arange(1), "test")


@pytest.mark.parametrize("name", PUBLISHED)
def test_sentences_are_strings_between_separators(name):
    task = GrammarTask(GrammarConfig(name))
    s = task.sentences(torch.arange(8))
    width = int(s.lengths_B.max())
    assert s.ids_BW.shape == s.roles_BW.shape == s.token_BW.shape == s.terminals_BW.shape == (8, width)
    assert s.ancestors_LBW.shape == s.subtrees_LBW.shape == s.boundaries_LBW.shape == (task.grammar.depth + 1, 8, width)
    sample = task.sampler.draw(torch.arange(8), task._key("evaluation", 0))
    for row, length in enumerate(s.lengths_B.tolist()):
        inside = slice(1, length - 1)
        assert s.roles_BW[row].tolist() == [1, *[2] * (length - 2), 1, *[0] * (width - length)]
        assert torch.equal(s.ids_BW[row, inside] - 1, sample.tokens_BW[row, : length - 2])
        for label, drawn in zip(s[5:], sample[2:], strict=True):
            assert torch.equal(label[:, row, inside], drawn[:, row, : length - 2])
    outside = ~s.token_BW
    assert torch.equal(s.token_BW, s.roles_BW == 2)
    assert (s.ids_BW[outside] == 0).all() and (s.terminals_BW[outside] == -1).all()
    assert (s.ancestors_LBW[:, outside] == -1).all() and not s.boundaries_LBW[:, outside].any()
    assert torch.equal(task.to_terminals(s.ids_BW), s.terminals_BW)
    wide = task.sentences(torch.arange(8), width=task.entry_width)
    assert wide.ids_BW.shape == (8, task.entry_width) and torch.equal(wide.ids_BW[:, :width], s.ids_BW)
    assert task.sentences(torch.arange(8), labels=False).ancestors_LBW.shape == (0, 8, width)


def test_every_setting_changes_the_rows():
    noisy = dataclasses.replace(BASE, noise="token", noise_fraction=0.5, bag_tokens=9, bags="overlap")
    changes = dict(grammar="cfg3b", seed=1, bag_tokens=12, bags="disjoint", bag_weights="ramp", noise="permute",
                   noise_rate=0.5, noise_fraction=1.0, row_tokens=21)
    assert set(changes) == {field.name for field in dataclasses.fields(GrammarConfig)}
    before = noisy.build().rows(torch.arange(64)).inputs_RT
    for name, value in changes.items():
        after = dataclasses.replace(noisy, **{name: value}).build().rows(torch.arange(64)).inputs_RT  # type: ignore[arg-type]
        assert not torch.equal(after, before), name


@pytest.mark.parametrize("weights", ["uniform", "ramp"])
@pytest.mark.parametrize("bags", ["disjoint", "overlap"])
def test_words_come_from_the_bags_with_their_probabilities(bags, weights):
    config = dataclasses.replace(BASE, bag_tokens=11, bags=bags, bag_weights=weights, seed=2)
    task = GrammarTask(config)
    assert task.bags is not None
    member, emission = task.bags
    assert torch.allclose(emission.sum(1), torch.ones(3, dtype=torch.float64))
    assert torch.equal(member.T, emission > 0)
    if bags == "disjoint":
        assert member.nonzero().tolist() == [[word, word % 3] for word in range(11)]
        n = [4, 4, 3]
        ratio = [1.0 if weights == "uniform" else float(k) for k in n]
        assert [float(e[e > 0][-1] / e[e > 0][0]) for e in emission] == pytest.approx(ratio)
    else:
        assert all(1 <= int(row.sum()) <= 3 * 11 // 6 for row in member.T)
    s = task.sentences(torch.arange(2000))
    terminals, words = s.terminals_BW[s.token_BW], s.ids_BW[s.token_BW] - 1
    for terminal in range(3):
        count = torch.bincount(words[terminals == terminal], minlength=11).double()
        possible = member[:, terminal]
        assert not count[~possible].any()
        expected = emission[terminal, possible] * count.sum()
        assert stats.chisquare(count[possible], expected, sum_check=False).pvalue > 1e-3
    if bags == "disjoint":
        assert torch.equal(task.to_terminals(s.ids_BW), s.terminals_BW)
    else:
        with pytest.raises(UserError, match="expected disjoint bags"):
            task.to_terminals(s.ids_BW)


def test_the_observed_grammar_is_the_grammar_of_the_words():
    config = dataclasses.replace(BASE, bag_tokens=8, bags="overlap", bag_weights="ramp")
    task = GrammarTask(config)
    observed = task.observed
    assert observed.depth == task.grammar.depth + 1 and set(observed.terminals) <= set(task.vocabulary.words)
    bags = make_bags(config)
    for terminal in range(3):
        for rule in observed.rules_of(observed.depth - 1, terminal):
            word = int(observed.terminals[rule.children[0]][1:]) - 1
            assert rule.probability == pytest.approx(float(bags.emission_SV[terminal, word]))
    s = task.sentences(torch.arange(50))
    seen = {task.vocabulary.words[i] for i in s.ids_BW[s.token_BW].tolist()}
    assert seen <= set(observed.terminals)
    assert GrammarTask(BASE).observed == parse_grammar(SMALL)


def clean_and_noisy(kind, strings):
    """The same training strings without noise and with 30 % noise in 40 % of them."""
    config = GrammarConfig("cfg3b", noise=kind, noise_rate=0.3, noise_fraction=0.4)
    return (GrammarTask(c).sentences(torch.arange(strings), "train")
            for c in (dataclasses.replace(config, noise_rate=0.0), config))


def test_token_noise_replaces_tokens_at_its_rate():
    clean, noisy = clean_and_noisy("token", 500)
    differs = (clean.ids_BW != noisy.ids_BW) & clean.token_BW
    hit = differs.any(1)
    assert stats.binomtest(int(hit.sum()), 500, 0.4).pvalue > 1e-3
    # a third of the new tokens are the old ones
    tokens = int(clean.token_BW[hit].sum())
    assert stats.binomtest(int(differs.sum()), tokens, 0.3 * 2 / 3).pvalue > 1e-3
    assert not differs[~clean.token_BW].any()


@pytest.mark.parametrize(("kind", "share"), [("nonterminal", 0.3 * 2 / 3), ("permute", 0.3)])
def test_nonterminal_noise_replaces_symbols_above_the_terminals(kind, share):
    clean, noisy = clean_and_noisy(kind, 200)
    level, hits, symbols, perturbed = clean.ancestors_LBW.shape[0] - 2, 0, 0, 0
    for row in range(200):
        before, after = (s.ancestors_LBW[level, row][s.boundaries_LBW[level, row]].tolist() for s in (clean, noisy))
        assert len(before) == len(after)
        changed = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert kind != "permute" or all(b == (a + 1) % 3 for a, b in changed)
        if changed:
            perturbed, hits, symbols = perturbed + 1, hits + len(changed), symbols + len(before)
        else:
            assert torch.equal(clean.ids_BW[row, : int(clean.lengths_B[row])],
                               noisy.ids_BW[row, : int(noisy.lengths_B[row])])
    assert stats.binomtest(perturbed, 200, 0.4).pvalue > 1e-3
    assert stats.binomtest(hits, symbols, share).pvalue > 1e-3
    # what follows a replaced symbol is one of its own rules
    rules = {(r.parent, r.children) for r in published("cfg3b").rules[-1]}
    ends = noisy.boundaries_LBW[level, 0].nonzero().flatten().tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        children = tuple(noisy.terminals_BW[0, start + 1 : end + 1].tolist())
        assert (int(noisy.ancestors_LBW[level, 0, end]), children) in rules


@pytest.mark.parametrize("kind", ["token", "nonterminal", "permute"])
def test_noise_only_touches_training(kind):
    noisy = GrammarTask(dataclasses.replace(BASE, noise=kind, noise_rate=1.0, noise_fraction=1.0))
    index = torch.arange(64)
    for split in SPLITS:
        same = torch.equal(noisy.rows(index, split).inputs_RT, GrammarTask(BASE).rows(index, split).inputs_RT)
        assert same == (split != "train")


@pytest.mark.parametrize("kind", ["nonterminal", "permute"])
def test_noise_may_make_strings_longer_than_any_clean_one(kind):
    text = "s -> a b\na -> '1'\nb -> '2' '2' '2' | '2'\n"
    task = GrammarConfig(text, row_tokens=16, noise=kind, noise_rate=0.5, noise_fraction=1.0).build()
    found = task.sentences(torch.arange(200), "train")
    assert int(found.lengths_B.max()) - 2 > length_statistics(task.grammar).max
    assert found.token_BW.sum(1).equal(found.lengths_B - 2)


def test_corrupt_draws_words_anew():
    task = GrammarTask(dataclasses.replace(BASE, bag_tokens=9))
    s = task.sentences(torch.arange(1000))
    index = torch.arange(1000)
    changed = task.corrupt(s.ids_BW, 0.15, 4, index)
    assert torch.equal(changed == 0, s.ids_BW == 0)
    assert stats.binomtest(int((changed != s.ids_BW).sum()), int(s.token_BW.sum()), 0.15 * 8 / 9).pvalue > 1e-3
    assert torch.equal(task.corrupt(s.ids_BW[5:9], 0.15, 4, index[5:9]), changed[5:9])
    assert torch.equal(task.corrupt(s.ids_BW, 0.0, 4, index), s.ids_BW)


def test_vocabularies():
    assert BASE.vocabulary().words == ("<eos>", "1", "2", "3")
    words = dataclasses.replace(BASE, bag_tokens=4).vocabulary().words
    assert words == ("<eos>", "w1", "w2", "w3", "w4")
    assert BASE.build().vocabulary.words == BASE.vocabulary().words


def test_names_for_readers_and_files():
    noisy = GrammarConfig("cfg3f", bag_tokens=90, bags="overlap", noise="token", noise_fraction=0.1)
    assert (GrammarConfig().title, GrammarConfig().slug) == ("cfg3b", "cfg3b")
    assert noisy.title == "cfg3f, bags 90 overlap, token noise 10 %"
    assert noisy.slug == "cfg3f-bags90overlap-tokennoise10"
    assert BASE.title.split() == ["grammar", BASE.slug.removeprefix("grammar")] and len(BASE.slug) == 13
    assert GrammarConfig().items is None and GrammarConfig().entries_per_row == 1


@pytest.mark.parametrize(("settings", "message"), [
    (dict(grammar="cfg3z"), "task.grammar: unknown name 'cfg3z'; did you mean"),
    (dict(grammar="s -> a"), "task.grammar: grammar: s uses the unknown symbol a"),
    (dict(grammar="s -> '<eos>'"), "got the terminal <eos>"),
    (dict(row_tokens=0), "task.row_tokens: got 0"),
    (dict(bag_tokens=2), "task.bag_tokens: got 2, expected 0 (no bags) or at least 3"),
    (dict(bag_tokens=-1), "task.bag_tokens: got -1"),
    (dict(noise="token", noise_rate=1.5), "task.noise_rate: got 1.5"),
    (dict(noise="token", noise_fraction=math.nan), "task.noise_fraction: got nan"),
    (dict(noise_fraction=0.5), "task.noise_fraction: got 0.5 with task.noise=none"),
])  # fmt: skip
def test_a_bad_setting_is_named(settings, message):
    with pytest.raises(UserError) as error:
        GrammarConfig(**settings)
    assert message in str(error.value)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("noise", ["none", "token", "permute"])
def test_the_same_rows_on_the_gpu(noise):
    task = dataclasses.replace(BASE, noise=noise, noise_fraction=0.0 if noise == "none" else 0.5, bag_tokens=9).build()
    index = torch.arange(200)
    for mine, theirs in zip(task.rows(index), task.to("cuda").rows(index.cuda()), strict=True):
        assert torch.equal(mine, theirs.cpu())
