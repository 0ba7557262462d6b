"""Settings of iGSM, grade-school mathematics with exact solutions (arXiv 2407.20311 and 2408.16293, Parts 2.1, 2.2).

    The number of each Maple Academy's Physics Lab equals 5 more than each Physics Lab's Beach Tote.  ...
    How many Physics Lab does Maple Academy have?
    Define Physics Lab's Beach Tote as k; so k = 7. Define Maple Academy's Physics Lab as c; so c = 5 + k = 5 + 7 = 12.

Free of torch and numba.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.errors import UserError
from physlm.tasks.config import TaskConfig, check_between, check_split

if TYPE_CHECKING:
    from physlm.tasks.igsm.task import Igsm
    from physlm.tasks.vocabulary import Vocabulary

LETTERS = 52  # a-z and A-Z: every operation of a solution takes a letter of its own
MOST_NOISE = 1 << 16  # tokens
MOST_EDGES = 36  # with at most 24 totals they are bits of one word
BINS = 23  # of the templates' hashes
TRAIN_BINS = 17  # the first of them; as in arXiv 2407.20311 (the released code has 16)
SPLIT_FROM = 5  # op, from which on there are enough templates to hold some out: 2 at op = 1, 469 at op = 4


@dataclass(frozen=True)
class Retry:
    """Wrong starts before the sentences of a solution: "Define A's B as BACK." (arXiv 2408.16293).

    Attributes:
        rate: the probability of one (more) wrong start before a sentence; rate / (1 - rate) are expected.
        names: which parameter of the dependency graph a wrong start names, uniformly.  ``wrong``: of those that are
            not defined yet and cannot be computed next; ``weak``: of those of later sentences (the paper's; the
            released default also allows that of this sentence); ``miss``: of all that are not defined yet, the right
            one included.  Where there is none, there is no wrong start.
        mask: which tokens of a wrong start are no targets.  ``name``: the parameter's; ``start``: from "Define" up to
            "as" too.  The released code has both; the paper masks the parameter's tokens and says no more.
    """

    rate: float = 0.0
    names: Literal["wrong", "weak", "miss"] = "wrong"
    mask: Literal["none", "name", "start"] = "none"

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 0.9:  # also a NaN
            raise UserError(f"task.retry.rate: got {self.rate}, expected between 0 and 0.9")


@dataclass(frozen=True)
class Noise:
    """Sentences of a problem that provably say nothing about its answer; ``noise`` has the proofs.

    Attributes:
        sentences: ``graph``: about parameters of other structure graphs, under names that the problem does not have.
            ``style``: orders about style.  ``facts``: true facts about the problem's parameters that the solution does
            not need.  ``all``: one order, facts in half of the room that is left, other graphs in the rest.
        share: noise has at most this share of ``row_tokens`` tokens, and at most what the problem leaves of them, so
            that a problem that fits a row still does.
        tokens: noise has at most so many tokens instead, however long the problem becomes.
        amount: ``full``: as much as there is room for; ``uniform``: in each problem a uniform part of that room.
        rate: the share of problems that have noise.
    """

    sentences: Literal["none", "graph", "style", "facts", "all"] = "none"
    share: float = 0.5
    tokens: int | None = None
    amount: Literal["full", "uniform"] = "full"
    rate: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 0.9:
            raise UserError(f"task.noise.share: got {self.share}, expected between 0 and 0.9")
        if self.tokens is not None and not 0 <= self.tokens <= MOST_NOISE:
            raise UserError(f"task.noise.tokens: got {self.tokens}, expected between 0 and {MOST_NOISE}")
        if not 0 <= self.rate <= 1:
            raise UserError(f"task.noise.rate: got {self.rate}, expected between 0 and 1")


@dataclass(frozen=True)
class Chain:
    """A shorter solution: the one that is described by leaving out tokens (``chains``); the answer after it stays.

    Attributes:
        drop: ``define``: the words "Define" and "as".  ``names``: names of items and categories that the solution
            has written before.  ``sums``: everything between a parameter's letter and its value.  ``all``: all these.
        at_random: as many tokens are left out, but uniformly drawn ones.
    """

    drop: Literal["none", "define", "names", "sums", "all"] = "none"
    at_random: bool = False


@dataclass(frozen=True)
class IgsmConfig(TaskConfig):
    """Problems of at most ``max_op`` operations about at most ``max_ip`` described parameters.

    Attributes:
        max_op: the most operations of a training problem.
        max_ip: the most instance parameters, which are the edges of the structure graph and the sentences of a text.
        op: every problem has exactly this many operations, which may be more than ``max_op``; None: op is drawn.
        op_mix: how op is drawn.  ``min2``: the smaller of two uniform draws from 1 .. ``max_op``, as published.
        method: ``direct``: op is drawn first and the graph is made for it, s = op.  ``released``: op is drawn first,
            then s is drawn again at every attempt until a graph has op operations, as the released code does it; where
            ``op`` is given both are the same.
        layers: a structure graph has 2 .. ``layers`` layers.
        width: a layer begins with 2 .. ``width`` items and has at most that many.
        order: ``pq``: the question comes after the problem; ``qp``: before it.
        dependency_order: of a sentence.  ``shuffled``; or as ``released``: the dependency that makes an earlier
            parameter necessary comes first, which tells it to a reader, and makes fewer templates.
        letter_order: of a solution's letters: ``random``, or ``alphabetical``, for small models: of random ones each is
            nearly as likely as any, so that a model takes long to learn not to take one twice.
        reask: when all is drawn, another parameter of the dependency graph is asked for.
        modulus: of all arithmetic.
        templates: ``split``: training problems have templates whose hash is below 17 modulo 23, those of other splits
            the others.  ``all``: any template everywhere.  ``long``: as ``split`` from op = 5 on, and any below, which
            there is the only fair test: all that ``split`` leaves to tests of op = 1 is "so x = 0" of an empty total.
        categorisations, groups, group_items: how many of the four categorisations, of a layer's five groups of names,
            and of a group's 20 items, are used.
        retry: wrong starts.
        noise: sentences in the problem that say nothing about the answer.
        noise_words: whether the vocabulary has the phrases of orders and facts, which noise needs for all but graphs.
        chain: what is left out of solutions.
        row_tokens: T; a longer problem is left out.
    """

    kind: ClassVar[str] = "igsm"
    made_on_host: ClassVar[bool] = True
    shared_fields: ClassVar[tuple[str, ...]] = ("modulus", "categorisations", "groups", "group_items", "noise_words")
    # everything that changes neither the vocabulary nor how many tokens a row has
    member_fields: ClassVar[tuple[str, ...]] = (
        "seed", "max_op", "max_ip", "op", "op_mix", "method", "layers", "width", "order", "dependency_order",
        "letter_order", "reask", "templates", "retry", "noise", "chain",
    )  # fmt: skip
    max_op: int = 15
    max_ip: int = 20
    op: int | None = None
    op_mix: Literal["min2", "uniform"] = "min2"
    method: Literal["direct", "released"] = "direct"
    layers: int = 4
    width: int = 4
    order: Literal["pq", "qp"] = "pq"
    dependency_order: Literal["shuffled", "released"] = "shuffled"
    letter_order: Literal["random", "alphabetical"] = "random"
    reask: bool = False
    modulus: int = 23
    templates: Literal["split", "all", "long"] = "split"
    categorisations: int = 4
    groups: int = 5
    group_items: int = 20
    retry: Retry = Retry()
    noise: Noise = Noise()
    noise_words: bool = False
    chain: Chain = Chain()
    row_tokens: int = 768
    seed: int = 0

    def __post_init__(self) -> None:
        check_between(self, "layers", 2, 4)
        check_between(self, "width", 2, 4)
        least = (self.layers - 1) * self.width  # edges that so many layers of so many items need
        if not least <= self.max_ip <= MOST_EDGES:
            raise UserError(f"task.max_ip: got {self.max_ip}, expected between {least} and {MOST_EDGES} with "
                            f"task.layers={self.layers} and task.width={self.width}; fewer layers or items need fewer")
        for name in ("max_op", "op"):
            value = getattr(self, name)
            if value is not None and not 1 <= value <= self.most_op:
                why = ("the solution has only so many letters" if self.most_op == LETTERS else
                       f"{self.edges} instance parameters hold no more")
                raise UserError(f"task.{name}: got {value}, expected between 1 and {self.most_op}; {why}")
        check_between(self, "modulus", 2, 1000)
        check_between(self, "categorisations", 1, 4)
        check_between(self, "groups", 1, 5)
        check_between(self, "group_items", 4, 20)  # as many as a layer may have, at least
        check_between(self, "row_tokens", 32, 1 << 16)
        if self.noise.sentences in ("style", "facts", "all") and not self.noise_words:
            raise UserError(f"task.noise.sentences: got {self.noise.sentences!r} without its words in the vocabulary, "
                            "expected task.noise_words=true with it, or 'graph'")
        if self.chain.drop != "none" and self.retry.rate > 0:
            raise UserError(f"task.chain.drop: got {self.chain.drop!r} with task.retry.rate={self.retry.rate}, "
                            "expected one of the two")

    @property
    def edges(self) -> int:
        """The most instance parameters that a problem can have."""
        return min(self.max_ip, (self.layers - 1) * self.width**2)

    @property
    def most_op(self) -> int:
        """The largest op that this many instance parameters hold, at most as many as there are letters.

        Position i (from 0) of the solution's order may have min(i + 1, 4) dependencies, so that instance parameters
        alone hold 3 ip - 5 operations.  Totals may add some, too rarely to wait for.
        """
        return min(LETTERS, max(self.edges, 3 * self.edges - 5))

    @property
    def title(self) -> str:
        """For readers: ``iGSM op<=15 ip<=20``."""
        op = f"op<={self.max_op}" if self.op is None else f"op={self.op}"
        parts = (op, f"ip<={self.max_ip}", self.order * (self.order != "pq"), "reask" * self.reask,
                 f"mod {self.modulus}" * (self.modulus != 23), f"retry {self.retry.rate:g}" * (self.retry.rate > 0),
                 self.noise_title, self.chain_title)
        return " ".join(("iGSM", *filter(None, parts)))

    @property
    def noise_tokens(self) -> int:
        """The most tokens of noise that a problem can have."""
        noise = self.noise
        if noise.sentences == "none":
            return 0
        return int(noise.share * self.row_tokens) if noise.tokens is None else noise.tokens

    @property
    def noise_title(self) -> str:
        """For readers: ``noise graph 0.5 of 768``; empty without noise."""
        noise = self.noise
        amount = f"{noise.share:g} of {self.row_tokens}" if noise.tokens is None else f"{noise.tokens}"
        rate = f"at {noise.rate:g}" * (noise.rate < 1)
        words = ("noise", noise.sentences, "up to" * (noise.amount == "uniform"), amount, rate)
        return " ".join(filter(None, words)) * (noise.sentences != "none")

    @property
    def chain_title(self) -> str:
        """For readers: ``without sums``; empty for the whole solution."""
        chain = self.chain
        return f"without {chain.drop}{' at random' * chain.at_random}" * (chain.drop != "none")

    @property
    def slug(self) -> str:
        """For names of files: ``igsm-op15-ip20``."""
        return self.title.lower().replace("<=", "").replace("=", "-exactly-").replace(" ", "-")

    def vocabulary(self) -> Vocabulary:
        """Specials, phrases, letters, numbers and the names in use, one token each."""
        from physlm.tasks.igsm.pieces import pieces

        return pieces(self).vocabulary

    def build(self) -> Igsm:
        """The task on the CPU."""
        from physlm.tasks.igsm.task import Igsm

        return Igsm(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Problems like those of training, of templates that it held out."""
        return {("answer", "test"): {}}

    def filled(self, share: float) -> dict[str, dict[str, Any]]:
        """Other graphs, and all kinds of noise, as far as a problem and its solution leave room."""
        kinds: tuple[Literal["graph", "all"], ...] = ("graph", "all") if self.noise_words else ("graph",)
        return {kind: {"noise": Noise(kind, share=share) if share else Noise()} for kind in kinds}

    def bins(self, split: str, op: int = LETTERS) -> range:
        """The bins of the templates that a split's problems of so many operations may have."""
        check_split(split)
        if self.templates == "all" or (self.templates == "long" and op < SPLIT_FROM):
            return range(BINS)
        return range(TRAIN_BINS) if split == "train" else range(TRAIN_BINS, BINS)

    def exactly(self, op: int) -> IgsmConfig:
        """The same problems at one op, for evaluation."""
        return replace(self, op=op)


def _families() -> Iterator[tuple[str, IgsmConfig]]:
    yield "med", IgsmConfig()
    yield "hard", IgsmConfig(max_op=21, max_ip=28, row_tokens=1024)
    for op in (4, 6, 8, 10):
        yield f"small{op}", IgsmConfig(max_op=op, max_ip=12, templates="long" if op > 4 else "all", row_tokens=384)
    yield "tiny", IgsmConfig(max_op=4, max_ip=4, layers=2, width=2, templates="all", modulus=5, categorisations=1,
                             groups=1, row_tokens=128)  # fmt: skip


FAMILIES: Mapping[str, IgsmConfig] = MappingProxyType(dict(_families()))
"""``med`` and ``hard`` as published; ``small4`` .. ``small10`` by their op; ``tiny`` for a demonstration on a CPU.

Up to op = 4 there are too few templates to keep some back, so ``small4`` and ``tiny`` are tested on fresh problems.
"""
