"""Implicit grammars: each terminal is shown as a random word of its bag (arXiv 2305.13673, Result 10).

    terminals   1    2    2    1   3         disjoint bags of |V| = 6 words:  1: w1 w4   2: w2 w5   3: w3 w6
    words       w4   w2   w5   w1  w6

Shape letters: V words, S terminals, C alias columns.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from physlm import rng
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.grammar.grammar import Grammar, Rule
from physlm.tasks.grammar.pieces import Choices, alias_tables


class Bags(NamedTuple):
    """``member_VS``: is word v in the bag of terminal s; ``emission_SV``: probability of word v given terminal s."""

    member_VS: Tensor
    emission_SV: Tensor


def make_bags(config: GrammarConfig) -> Bags:
    """The bags of an implicit grammar, float64 on the CPU; overlapping ones are drawn from ``config.seed``.

    Weights 1 .. n ("ramp") follow the order in which a bag's words were drawn, or their numbers if disjoint.
    """
    words, terminals = config.bag_tokens, len(config.rules.terminals)
    assert words, "a grammar without bags"
    weight_SV = torch.zeros(terminals, words, dtype=torch.float64)
    for terminal in range(terminals):
        if config.bags == "disjoint":
            drawn = torch.arange(terminal, words, terminals)
        else:
            size = max(1, 3 * words // (2 * terminals))
            drawn = rng.below(words, rng.key("grammar bags", config.seed, terminal), torch.arange(size))
        ramp = torch.arange(1.0, len(drawn) + 1, dtype=torch.float64)
        weights = ramp if config.bag_weights == "ramp" else torch.ones_like(ramp)
        weight_SV[terminal].index_add_(0, drawn, weights)
    return Bags((weight_SV > 0).T.contiguous(), weight_SV / weight_SV.sum(1, keepdim=True))


def emission_choices(bags: Bags) -> Choices:
    """Alias tables over all words for each terminal."""
    return alias_tables(bags.emission_SV.tolist())


def observed_grammar(grammar: Grammar, bags: Bags) -> Grammar:
    """The grammar of what is seen: one level more, where terminal s becomes word v with its emission probability.

    Its terminals are the words that some bag holds, named w1, w2, ..; overlapping bags may leave some words out.
    """
    used = bags.member_VS.any(1).nonzero().flatten().tolist()
    rules = tuple(Rule(terminal, (place,), float(bags.emission_SV[terminal, word]))
                  for terminal in range(len(grammar.terminals)) for place, word in enumerate(used)
                  if bags.member_VS[word, terminal])
    names = tuple(f"w{word + 1}" for word in used)
    above = (*grammar.levels[:-1], tuple(f"bag_{name}" for name in grammar.terminals))
    return Grammar((*above, names), (*grammar.rules, rules))
