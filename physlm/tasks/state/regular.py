"""Regular languages learnt in context (RegBench, arXiv 2401.12973): strings of one unknown automaton after another.

    <bos> c a c c | c b b a | c a c          0 -c-> 2, 2 -a-> 1, 2 -b-> 3, 1 -c-> 0, 3 -b-> 2, ..; "|" leads back to 0

A row has an automaton of its own.  It has ``fewest_states`` to ``states`` states and an alphabet of 4 to all
``letters``, both uniform; each state has 1 to ``edges`` letters that lead to as many different other states.  A string
begins in state 0, has 1 to ``longest`` letters, uniform, and takes any edge of a state as likely as the others; all
states may end it.  Strings fill the row.  Letters are learnt, "|" is not.  Asked is for a next letter: an answer is
right if the automaton allows it.  The measure ``regular`` reads every letter of test rows, and has the distance to the
true next letters too.

The defaults are published: 5000 automata in training (row i has number i modulo ``automata``; 0: a new one for each
row), others for validation and evaluation, each with strings of a row.  Deviations: 10 to 19 strings there, as many as
the row has room for here, in which each epoch draws new ones; there automata are minimised and trimmed, which no string
shows: states that no edge reaches are never met, and states that allow the same strings allow the same next letters,
each as likely, so that merging them changes no probability; there all differ, here one in a hundred of those of a test
says one or two letters in turn, as one of training does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from physlm.tasks.config import SPLITS, TaskConfig, check_between, check_split
from physlm.tasks.prompts import FOREIGN, Grades, Prompts, cut, grade_without_hints, without_end
from physlm.tasks.task import OnDevice, Text, question
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from physlm.tasks.rows import Rows

BOS, SEPARATOR, FIRST_LETTER = 0, 1, 2
FEWEST_LETTERS = 4
SHARE_BITS = 21  # of a draw for each of three tokens
MOST_TOKENS, MOST_STATES, MOST_LETTERS = 1 << 20, 256, 256


class Automata(NamedTuple):
    """An automaton a row, of S states with up to E edges each; edges beyond ``edges_RS`` are not there.

    Attributes:
        edges_RS: how many edges each state has.
        letters_RSE, states_RSE: token of each edge, and where it leads.
    """

    edges_RS: Tensor
    letters_RSE: Tensor
    states_RSE: Tensor


@dataclass(frozen=True)
class RegularConfig(TaskConfig):
    """Automata of ``fewest_states`` to ``states`` states over some of ``letters`` letters.

    Attributes:
        edges: of a state, at most.
        longest: letters of a string, at most.
        automata: how many training has; 0: a new one for each row.
    """

    kind: ClassVar[str] = "regular"
    shared_fields: ClassVar[tuple[str, ...]] = ("letters",)
    states: int = 12
    fewest_states: int = 4
    letters: int = 18
    edges: int = 3
    longest: int = 49
    automata: int = 5000
    row_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "row_tokens", 4, MOST_TOKENS)
        check_between(self, "states", 2, MOST_STATES)
        check_between(self, "fewest_states", 2, self.states)
        check_between(self, "letters", FEWEST_LETTERS, MOST_LETTERS)
        check_between(self, "edges", 1, min(FEWEST_LETTERS, self.fewest_states - 1))  # other letters and states
        check_between(self, "longest", 1, MOST_TOKENS)
        check_between(self, "automata", 0, 1 << 30)

    @property
    def items(self) -> int | None:
        """The automata of training."""
        return self.automata or None

    @property
    def title(self) -> str:
        """For readers: ``regular 4-12 states, 5,000 automata``."""
        count = f"{self.automata:,}" if self.automata else "new"
        return f"{self.kind} {self.fewest_states}-{self.states} states, {count} automata"

    def vocabulary(self) -> Vocabulary:
        """<bos>, the separator, the letters."""
        return Vocabulary(("<bos>", "|", *(f"a{i + 1}" for i in range(self.letters))))

    def build(self) -> Regular:
        """The task on the CPU."""
        return Regular(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Automata that training has not."""
        return {("answer", "test"): {}}


class Regular(OnDevice[RegularConfig]):
    """The task on one device: everything is computed from the numbers of rows."""

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are letters."""
        from physlm.tasks.rows import marked_rows

        ids_RW, _ = self._written(index_R, self.automata(index_R, split, stream), split, stream)
        return marked_rows(ids_RW, ids_RW >= FIRST_LETTER)

    def truth(self, n: int, split: str = "evaluation") -> tuple[Rows, Tensor]:
        """``n`` rows and the true probability of each next token wherever a letter follows, (R, T, V) float32; zero
        elsewhere."""
        import torch

        from physlm.tasks.rows import IGNORE, marked_rows

        row_R = torch.arange(n, device=self.device)
        automata = self.automata(row_R, split, 0)
        ids_RW, slot_TR = self._written(row_R, automata, split, "windows")
        state_RT = slot_TR.T // (_slots(self.config.edges) + 1) % self.config.states
        rows = marked_rows(ids_RW, ids_RW >= FIRST_LETTER)
        next_RSV = _next_letters(automata, len(self.vocabulary))
        truth_RTV = next_RSV.gather(1, state_RT[..., None].expand(-1, -1, next_RSV.shape[2]))
        return rows, truth_RTV * (rows.targets_RT != IGNORE)[..., None]

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is row i up to its last letter."""
        texts, kinds = [], {BOS: "bos", SEPARATOR: "separator"}
        ids_RW, _ = self._written(number_R, self.automata(number_R, split, 0), split, 0)
        for number, row in zip(number_R.tolist(), ids_RW.tolist(), strict=True):
            ids = row[:-1] if row[-1] == SEPARATOR else row
            labels = [*(kinds.get(token, "letter") for token in ids[:-1]), "answer"]
            about = {"instance": number, "automaton": self._number(number, split)}
            texts.append(question(about, ids, labels, len(ids) - 1, self.vocabulary))
        return texts

    def prompts(self, n: int, split: str = "evaluation") -> Prompts:
        """``n`` rows, each up to one of its letters in the second half, any as likely, which is what is asked for.

        ``item_B`` tells the automaton: row and place of the split, from which ``grade`` has all that it allows.
        """
        import torch
        import torch.nn.functional as F

        from physlm import rng

        check_split(split)
        row_R = torch.arange(n, device=self.device)
        ids_RW, _ = self._written(row_R, self.automata(row_R, split, 0), split, "prompts")
        late_W = torch.arange(ids_RW.shape[1], device=self.device) >= ids_RW.shape[1] // 2
        asked_RW = (ids_RW >= FIRST_LETTER) & late_W
        share_R1 = rng.uniform(rng.key("regular asked", self.config.seed, split), row_R)[:, None]
        number_RW = asked_RW.cumsum(1)
        which_R1 = 1 + (share_R1 * number_RW[:, -1:]).long()
        at_R1 = (asked_RW & (number_RW == which_R1)).long().argmax(1, keepdim=True)
        ids_RW = F.pad(ids_RW, (0, 1)).scatter_(1, at_R1 + 1, BOS)  # it ends the answer
        return cut(ids_RW, at_R1[:, 0], at_R1[:, 0] + 2, ("letter",), 1,
                   item_B=row_R * len(SPLITS) + SPLITS.index(split))  # fmt: skip

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """An answer is right if the automaton allows it there, and exact if it is the letter that was drawn."""
        import torch

        from physlm.tasks.prompts import tokens_from

        row_B, split_B = prompts.item_B // len(SPLITS), prompts.item_B % len(SPLITS)
        allowed_B = torch.zeros_like(row_B, dtype=torch.bool)
        said_B = tokens_from(ids_BW, prompts.lengths_B, torch.zeros_like(row_B[:1]))[:, 0]
        for place, split in enumerate(SPLITS):
            at = (split_B == place).nonzero()[:, 0]
            if len(at):
                automata, some = self.automata(row_B[at], split, 0), prompts.some(at)
                state_B, _ = _read(automata, some.ids_BP, some.lengths_B)
                edge_BE = torch.arange(self.config.edges, device=ids_BW.device) < _of(automata.edges_RS, state_B)
                allowed_B[at] = (edge_BE & (_of(automata.letters_RSE, state_B) == said_B[at, None])).any(1)
        exact_B, hint_B, _ = grade_without_hints(prompts, ids_BW)
        return Grades(exact_B, hint_B, allowed_B)

    def fault(self, ids: Sequence[int], number: int, split: str = "evaluation", table: Any = None) -> str:
        """The first thing that is wrong with a text of row ``number``, read edge by edge; nothing if it is right.

        Args:
            table: the parts of the row's automaton, as lists; by default they are looked up.
        """
        text = without_end(ids)
        if not self.vocabulary.has(text):
            return FOREIGN
        if text[:1] != [BOS] or BOS in text[1:] or text[-1] < FIRST_LETTER:
            return "got no <bos> and strings of letters"
        if any(one <= SEPARATOR and other == SEPARATOR for one, other in pairwise(text)):
            return "got an empty string"
        edges, letters, states = table or self._table(number, split)
        state, since = 0, 0
        for token in text[1:]:
            leads = dict(zip(letters[state][: edges[state]], states[state], strict=False))
            since = 0 if token == SEPARATOR else since + 1
            if since > self.config.longest:
                return "got too long a string"
            if since and token not in leads:
                return "got a letter that the automaton does not allow"
            state = leads[token] if since else 0
        return ""

    def automata(self, index_R: Tensor, split: str, stream: int) -> Automata:
        """The automaton of each row; those of a finite set are the same for every stream."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import distinct, few_distinct, own_key

        check_split(split)
        config = self.config
        finite = bool(split == "train" and config.automata)
        number_R = index_R % config.automata if finite else index_R
        key = rng.key("regular automaton", config.seed, split, -1 if finite or split != "train" else stream)
        S, E = config.states, config.edges
        at_SE = torch.arange(S * E, device=index_R.device).view(S, E)
        more_R, uses_R = (rng.below(count, rng.key(name, key), number_R) for name, count in (
            ("states", S - config.fewest_states + 1), ("letters", config.letters - FEWEST_LETTERS + 1)))
        states_R11 = config.fewest_states + more_R[:, None, None]
        edges_RS = 1 + rng.below(E, own_key(rng.key("edges", key), number_R), at_SE[:, 0])
        uses_R11 = FEWEST_LETTERS + uses_R[:, None, None]
        order_RL = distinct(config.letters, config.letters, own_key(rng.key("alphabet", key), number_R))
        which_RSE, other_RSE = (
            few_distinct(rng.uniform(own_key(rng.key(name, key), number_R)[..., None], at_SE), below_R11)
            for name, below_R11 in (("letter", uses_R11), ("state", states_R11 - 1)))  # fmt: skip
        letters_RSE = FIRST_LETTER + order_RL.gather(1, which_RSE.flatten(1)).view_as(which_RSE)
        itself_S1 = torch.arange(S, device=index_R.device)[:, None]
        return Automata(edges_RS, letters_RSE, other_RSE + (other_RSE >= itself_S1).long())

    def _table(self, number: int, split: str) -> list[Any]:
        import torch

        return [x[0].tolist() for x in self.automata(torch.tensor([number], device=self.device), split, 0)]

    def _number(self, number: int, split: str) -> int:
        """Of the automaton of a row, among those of its split."""
        return number % self.config.automata if split == "train" and self.config.automata else number

    def _written(self, index_R: Tensor, automata: Automata, split: str, stream: int | str) -> tuple[Tensor, Tensor]:
        """Strings after another, (R, W), and the state after each token but the last, as ``_walk`` has it, (T, R)."""
        import torch

        from physlm import rng
        from physlm.tasks.playground.drawing import own_key

        config, T = self.config, self.config.row_tokens
        key = rng.key("regular", config.seed, split, stream)
        # of strings, which are of a letter and a separator at least: the host need not ask whether they fill the rows
        count = -(-T // 2)
        lengths_RI = 1 + rng.below(config.longest, own_key(rng.key("length", key), index_R),
                                   torch.arange(count, device=index_R.device))  # fmt: skip
        ends_RT = torch.zeros(len(index_R), T + 1, dtype=torch.bool, device=index_R.device)
        # those beyond the row into one more column, which is cut off
        ends_RT.scatter_(1, ((lengths_RI + 1).cumsum(1) - 1).clamp_max(T), True)
        drawn_RD = rng.bits(own_key(rng.key("edge", key), index_R), torch.arange(-(-T // 3), device=index_R.device))
        share_R3D = torch.stack([(drawn_RD >> SHARE_BITS * i) & ((1 << SHARE_BITS) - 1) for i in range(3)], 1)
        share_TR = share_R3D.permute(2, 1, 0).flatten(0, 1)[:T]
        return _walk(automata, share_TR, ends_RT.T[:T])


def _walk(automata: Automata, share_TR: Tensor, ends_TR: Tensor) -> tuple[Tensor, Tensor]:
    """From state 0, back to which separators lead: one edge a step, by its share; all rows at once.

    A state has U slots, which a slot's number chooses and its edges share, and one for the separator.

    Args:
        share_TR: below 2 ** SHARE_BITS.
        ends_TR: where separators stand.

    Returns:
        Tokens (R, T + 1), and the first slots of the states before each but the first, (T, R): those of state s of
        row r begin at (r S + s) (U + 1).
    """
    import torch

    R, S, E = automata.letters_RSE.shape
    T, U, device = len(share_TR), _slots(E), share_TR.device
    edge_RSU = torch.arange(U, device=device) * automata.edges_RS[..., None] // U
    start_R11 = torch.arange(0, R * S * (U + 1), S * (U + 1), device=device)[:, None, None]  # places of first slots
    letters, leads = (
        torch.cat((table_RSE.gather(2, edge_RSU), last_R11.expand(R, S, 1)), 2).flatten()
        for table_RSE, last_R11 in ((automata.letters_RSE, torch.full_like(start_R11, SEPARATOR)),
                                    (start_R11 + (U + 1) * automata.states_RSE, start_R11)))  # fmt: skip
    slot_TR = torch.where(ends_TR, U, share_TR * U >> SHARE_BITS)
    ids_WR, at_WR = (torch.empty(T + 1, R, dtype=torch.long, device=device) for _ in range(2))
    ids_WR[0], at_WR[0], slot_R = BOS, start_R11[:, 0, 0], torch.empty_like(slot_TR[0])
    for t in range(T):
        torch.add(at_WR[t], slot_TR[t], out=slot_R)
        torch.index_select(letters, 0, slot_R, out=ids_WR[t + 1])
        torch.index_select(leads, 0, slot_R, out=at_WR[t + 1])
    return ids_WR.T.contiguous(), at_WR[:T]


def _slots(edges: int) -> int:
    """How many slots 1, 2, .. or ``edges`` edges can share evenly."""
    return math.lcm(*range(1, edges + 1))


def _read(automata: Automata, ids_BP: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """The state after the first ``lengths`` tokens of each text, (B,), and whether all of them were allowed."""
    import torch

    state_B = torch.zeros_like(lengths_B)
    right_B = torch.ones_like(lengths_B, dtype=torch.bool)
    at_E = torch.arange(automata.letters_RSE.shape[2], device=ids_BP.device)
    for t in range(1, ids_BP.shape[1]):
        token_B, inside_B = ids_BP[:, t], t < lengths_B
        fits_BE = (_of(automata.letters_RSE, state_B) == token_B[:, None]) & (at_E < _of(automata.edges_RS, state_B))
        next_B = (_of(automata.states_RSE, state_B) * fits_BE).sum(1).masked_fill(token_B == SEPARATOR, 0)
        right_B &= ~inside_B | fits_BE.any(1) | (token_B == SEPARATOR)
        state_B = torch.where(inside_B, next_B, state_B)
    return state_B, right_B


def _of(table_RS: Tensor, state_R: Tensor) -> Tensor:
    """What a table has of the state of each row, (R, 1) or (R, E)."""
    import torch

    return table_RS[torch.arange(len(state_R), device=state_R.device), state_R].view(len(state_R), -1)


def _next_letters(automata: Automata, words: int) -> Tensor:
    """The probability of each next token in each state, (R, S, V)."""
    import torch

    E = automata.letters_RSE.shape[2]
    there_RSE = torch.arange(E, device=automata.edges_RS.device) < automata.edges_RS[..., None]
    each_RSE = there_RSE / automata.edges_RS[..., None]
    zeros = torch.zeros(*automata.edges_RS.shape, words, device=there_RSE.device)
    return zeros.scatter_add_(2, automata.letters_RSE, each_RSE)
