"""Settings of the grammar task; free of torch, so that experiments can be listed without it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_between, check_positive
from physlm.tasks.grammar.grammar import Grammar, parse_grammar
from physlm.tasks.grammar.published import PUBLISHED, published
from physlm.tasks.vocabulary import EOS, Vocabulary

MOST_BAG_ENTRIES = 1 << 24  # of the table that says which words are in which bag

if TYPE_CHECKING:
    from physlm.tasks.grammar.task import GrammarTask


@dataclass(frozen=True)
class GrammarConfig(TaskConfig):
    """Strings of a layered grammar one after another, ``<eos>`` between them (arXiv 2305.13673).

    Attributes:
        grammar: a published name, or the text form itself (``physlm.tasks.grammar.grammar``).
        row_tokens: length T of a training row, in tokens.
        seed: which strings are drawn, and which words are in overlapping bags.
        bag_tokens: |V| observable words of an implicit grammar, where each terminal t is shown as a random word of its
            bag; 0 shows the terminals themselves.
        bags: ``disjoint`` puts word i into the bag of terminal i mod |T|; ``overlap`` draws 3 |V| / (2 |T|) words for
            each bag, with replacement.
        bag_weights: ``uniform``, or ``ramp``: the n words of a bag have weights 1, 2, .., n.
        noise: what happens to perturbed training strings: ``token`` draws each token anew, uniformly among all
            terminals; ``nonterminal`` draws each symbol of the last level above the terminals anew, uniformly among
            that level; ``permute`` replaces it by the next one of that level, in a circle.  Only in split ``train``.
        noise_rate: probability that a token, or symbol, of a perturbed string is replaced.
        noise_fraction: share of the training strings that are perturbed.
    """

    kind: ClassVar[str] = "grammar"
    # as long as they have equally many tokens
    member_fields: ClassVar[tuple[str, ...]] = (
        "seed", "grammar", "bags", "bag_weights", "noise", "noise_rate", "noise_fraction",
    )  # fmt: skip
    grammar: str = "cfg3b"
    row_tokens: int = 512
    seed: int = 0
    bag_tokens: int = 0
    bags: Literal["disjoint", "overlap"] = "disjoint"
    bag_weights: Literal["uniform", "ramp"] = "uniform"
    noise: Literal["none", "token", "nonterminal", "permute"] = "none"
    noise_rate: float = 0.15
    noise_fraction: float = 0.0

    def __post_init__(self) -> None:
        terminals = len(_grammar(self.grammar).terminals)
        if EOS in _grammar(self.grammar).terminals:
            raise UserError(f"task.grammar: got the terminal {EOS}, expected another name: it separates strings")
        check_positive(self, "row_tokens")
        if self.bag_tokens and self.bag_tokens < terminals:
            raise UserError(f"task.bag_tokens: got {self.bag_tokens}, expected 0 (no bags) or at least {terminals}, "
                            "one word for each terminal")
        if self.bag_tokens * terminals > MOST_BAG_ENTRIES:
            raise UserError(f"task.bag_tokens: got {self.bag_tokens} with {counted(terminals, 'terminal')}, expected "
                            f"at most {MOST_BAG_ENTRIES} for one times the other")
        check_between(self, "noise_rate", 0.0, 1.0)
        check_between(self, "noise_fraction", 0.0, 1.0)
        if self.noise == "none" and self.noise_fraction > 0:
            raise UserError(f"task.noise_fraction: got {self.noise_fraction} with task.noise=none, expected 0.0 or "
                            "noise=token, nonterminal or permute")

    @property
    def rules(self) -> Grammar:
        """The grammar itself; its terminals are not what is seen where there are bags."""
        return _grammar(self.grammar)

    @property
    def title(self) -> str:
        """For readers: ``cfg3b``, ``grammar 1a2b3c``, with bags and noise where there are any."""
        name = self.grammar if self.grammar in PUBLISHED else f"grammar {_digest(self.grammar)}"
        return ", ".join([name, *self._extras()])

    @property
    def slug(self) -> str:
        """For names of files: ``cfg3b``, ``grammar1a2b3c-bags90-token10``."""
        name = self.grammar if self.grammar in PUBLISHED else f"grammar{_digest(self.grammar)}"
        return "-".join([name, *(extra.replace(" ", "").replace("%", "") for extra in self._extras())])

    def facts(self) -> dict[str, Any]:
        """Also the sizes of the grammar: its levels, the terminals among them, and its terminals."""
        return {**super().facts(), "levels": len(self.rules.levels), "terminals": len(self.rules.terminals)}

    def vocabulary(self) -> Vocabulary:
        """``<eos>``, then what is seen: the terminals, or the words w1 .. w|V| of the bags."""
        words = [f"w{i + 1}" for i in range(self.bag_tokens)] or self.rules.terminals
        return Vocabulary([EOS, *words])

    def build(self) -> GrammarTask:
        """The task on the CPU."""
        from physlm.tasks.grammar.task import GrammarTask

        return GrammarTask(self)

    def _extras(self) -> list[str]:
        extras = []
        if self.bag_tokens:
            extras.append(f"bags {self.bag_tokens}" + (f" {self.bags}" if self.bags == "overlap" else "")
                          + (f" {self.bag_weights}" if self.bag_weights == "ramp" else ""))
        if self.noise_fraction:
            extras.append(f"{self.noise} noise {100 * self.noise_fraction:g} %")
        return extras


@cache
def _grammar(source: str) -> Grammar:
    try:
        if source in PUBLISHED:
            return published(source)
        if "->" in source:
            return parse_grammar(source)
    except UserError as error:
        raise UserError(f"task.grammar: {error}") from None
    raise UserError(f"{unknown_key('task.grammar', source, PUBLISHED)}, or a grammar's text form: that of a file is "
                    'task.grammar="$(cat FILE)"')


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:6]
