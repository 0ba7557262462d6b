"""Settings of the question tasks; free of torch, so that experiments can be listed without it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.biography.config import BioSConfig, BioSText, PeopleConfig
from physlm.tasks.biography.kinds import KINDS, RETRIEVAL
from physlm.tasks.biography.texts import checked_sha256
from physlm.tasks.config import TaskConfig, check_positive

if TYPE_CHECKING:
    from physlm.tasks.biography.mixed import Mixed
    from physlm.tasks.biography.questions import Questions
    from physlm.tasks.vocabulary import Vocabulary

OTHER_HALF = {"train": "test", "test": "train"}
OTHER_GROUP = {"celebrities": "others", "others": "celebrities"}


@dataclass(frozen=True)
class Ask:
    """What is asked, about whom, and how.

    Attributes:
        kinds: names of ``physlm.tasks.biography.kinds.KINDS``; each person is asked each of them.
        half: a random half of the people is ``train``, the other ``test``, whatever else is set; ``all`` is both.
        group: only ``celebrities``, only the ``others``, or ``all``; the halves are halves of the group.
        most: ask about so many people of the half at most; 0 is all of them.  Fewer are a part of more.
        hints: share of questions that ask for a hint (``Hint :`` in place of ``Answer :``), which the answer then
            follows; kinds without a hint are always asked for their answer.
        forms: wordings of each kind, the published one first; at most those that its kind has for training.
        held_out: the wordings that training never uses, in place of those.
        loss: what is scored in training: the ``answer`` (with its hint and the <eos> after it), or ``all`` tokens.
    """

    kinds: tuple[str, ...] = RETRIEVAL
    half: Literal["train", "test", "all"] = "train"
    group: Literal["all", "celebrities", "others"] = "all"
    most: int = 0
    hints: float = 0.0
    forms: int = 1
    held_out: bool = False
    loss: Literal["answer", "all"] = "answer"

    def __post_init__(self) -> None:
        for name in self.kinds:
            if name not in KINDS:
                raise UserError(unknown_key("task.ask.kinds", name, KINDS))
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"task.ask.kinds: got {list(self.kinds)}, expected at least one kind, each once")
        if self.most < 0:
            raise UserError(f"task.ask.most: got {self.most}, expected at least 0")
        if not 0.0 <= self.hints <= 1.0:
            raise UserError(f"task.ask.hints: got {self.hints}, expected between 0.0 and 1.0")
        if self.hints and not any(KINDS[name].hint for name in self.kinds):
            raise UserError(f"task.ask.hints: got {self.hints}, but {', '.join(self.kinds)} have no hint; expected 0.0 "
                            f"or one of {', '.join(name for name, kind in KINDS.items() if kind.hint)}")
        limit = min(KINDS[name].trained_forms for name in self.kinds)
        if not 1 <= self.forms <= limit:
            raise UserError(f"task.ask.forms: got {self.forms}, expected between 1 and {limit}, the wordings that all "
                            f"of {', '.join(self.kinds)} have for training")
        if self.held_out and (self.forms > 1 or any(len(KINDS[name].forms) == 1 for name in self.kinds)):
            raise UserError("task.ask.held_out: got true; expected task.ask.forms=1 and kinds with several wordings: "
                            f"{', '.join(name for name, kind in KINDS.items() if len(kind.forms) > 1)}")

    @property
    def title(self) -> str:
        """For readers: ``month_mod2 train half 2500 hints 50 %``."""
        sets = "retrieval" if self.kinds == RETRIEVAL else " ".join(self.kinds)
        if len(self.kinds) > 3 and self.kinds != RETRIEVAL:
            sets = f"{self.kinds[0]} and {len(self.kinds) - 1} more"
        extras = [sets, "" if self.half == "all" else f"{self.half} half", "" if self.group == "all" else self.group,
                  str(self.most or ""), f"hints {100 * self.hints:g} %" if self.hints else "",
                  f"{self.forms} forms" if self.forms > 1 else "", "held-out form" if self.held_out else ""]
        return " ".join(filter(None, extras))

    @property
    def slug(self) -> str:
        """For names of files."""
        return "-".join(self.title.replace(" half", "").replace(" %", "").split())


@dataclass(frozen=True)
class QuestionsConfig(PeopleConfig):
    """Questions, and answers, about the people of ``BioSConfig(people, seed=seed, questions=True)``, or of a bioR.

    ``train.exposures`` counts questions by person of the dataset, asked or not; questions are numbered by
    person and kind, and training goes through all of them, in another order each time.

    Attributes:
        people, celebrities, seed, pool_size: those of the biographies.
        file, sha256: those of ``BioRConfig``, for a run that begins with one on bioR: its words are in the vocabulary.
        rewritten: that of ``BioSConfig``, for a run that begins with one on rewrites.
        entries_per_row: questions packed into one training row.
        row_tokens: length T of a training row, in tokens; questions that do not fit into it are cut or left out.
        ask: what is asked.
    """

    kind: ClassVar[str] = "bioQA"
    member_fields: ClassVar[tuple[str, ...]] = ("seed", "celebrities", "ask")
    file_fields: ClassVar[tuple[str, ...]] = ("file",)
    people: int = 10_000
    celebrities: int = 0
    seed: int = 0
    entries_per_row: int = 40
    row_tokens: int = 512
    ask: Ask = Ask()
    pool_size: int = 0
    file: str = ""
    sha256: str = ""
    rewritten: bool = False

    def __post_init__(self) -> None:
        check_positive(self, "people", "entries_per_row", "row_tokens")
        if self.file and self.rewritten:
            raise UserError(f"task.rewritten: got true with task.file={self.file!r}; expected one of the two, since a "
                            "run reads texts of a language model or of the grammar")
        object.__setattr__(self, "sha256", checked_sha256(self.file, self.sha256))
        # it has the same limits
        BioSConfig(self.people, texts=1, celebrities=self.celebrities, pool_size=self.pool_size)
        if self.ask.group != "all" and not self.celebrities:
            raise UserError(f"task.ask.group: got {self.ask.group!r} with task.celebrities=0, expected 'all'")
        pairs = any("{other." in KINDS[name].forms[0] for name in self.ask.kinds)
        least = max(1 + pairs, self.ask.most)
        if self.asked < least:
            half = "" if self.ask.half == "all" else f" in the {self.ask.half} half"
            who = {"all": "person", "celebrities": "celebrity", "others": "other person"}[self.ask.group]
            raise UserError(f"task.ask: got {counted(self.asked, who)}{half}, expected at least {least}")

    @property
    def groups(self) -> tuple[range, ...]:
        """The people of the group by number; each range is split into halves of its own."""
        both = {"celebrities": range(self.celebrities), "others": range(self.celebrities, self.people)}
        return tuple(filter(len, both.values() if self.ask.group == "all" else (both[self.ask.group],)))

    def half_of(self, count: int) -> slice:
        """Which part of so many people is asked about."""
        half = count // 2
        return {"train": slice(0, half), "test": slice(half, count), "all": slice(0, count)}[self.ask.half]

    @property
    def asked(self) -> int:
        """How many people are asked about."""
        available = sum(len(group[self.half_of(len(group))]) for group in self.groups)
        return min(available, self.ask.most or available)

    @property
    def title(self) -> str:
        """For readers: ``bioQA retrieval train half N=10,000``."""
        return f"{self.kind} {self.ask.title} N={self.people:,}"

    @property
    def slug(self) -> str:
        """For names of files."""
        return f"{self.kind}-{self.people}-{self.ask.slug}"

    @property
    def hides_answers(self) -> bool:
        """Where answers alone are scored an encoder fills them in (GBERT of arXiv 2309.14316)."""
        return self.ask.loss == "answer"

    def facts(self) -> dict[str, Any]:
        """Also how many people are asked about."""
        return {**super().facts(), "asked": self.asked}

    def vocabulary(self) -> Vocabulary:
        """That of the biographies which the questions are about."""
        from physlm.tasks.biography.words import questions_vocabulary

        return questions_vocabulary(self)

    def build(self) -> Questions:
        """The task on the CPU."""
        from physlm.tasks.biography.questions import Questions

        return Questions(self)

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Held-out people first of all; ``physlm.measures.answers`` names the conditions.

        Raises:
            UserError: nobody is left to be asked about.
        """
        ask = self.ask
        if ask.half not in OTHER_HALF:
            raise UserError(f"task.ask.half: got {ask.half!r}, which holds nobody out to be asked about; expected one "
                            f"of {', '.join(map(repr, OTHER_HALF))}")
        held_out: dict[str, Any] = {"half": OTHER_HALF[ask.half], "most": 0}
        found = {("answer", "test"): {**held_out, "hints": 0.0}, ("answer", "train"): {"hints": 0.0}}
        if ask.hints:
            hinted = {**held_out, "kinds": tuple(kind for kind in ask.kinds if KINDS[kind].hint), "hints": 1.0}
            found |= {("answer_hinted", "test"): hinted, ("answer_told", "test"): {**hinted, "told": True}}
        reworded = tuple(kind for kind in ask.kinds if len(KINDS[kind].forms) > 1)
        if reworded:
            found["answer_reworded", "test"] = {**held_out, "hints": 0.0, "kinds": reworded, "forms": 1,
                                                "held_out": not ask.held_out}  # fmt: skip
        if ask.group != "all":
            # none of them was asked about, in either half
            found["answer_others", "test"] = {"group": OTHER_GROUP[ask.group], "half": "all", "most": 0, "hints": 0.0}
        return found

    def check_start(self, start: TaskConfig) -> None:
        """The model must have read about the people whom the questions are about."""
        for name in self.shared_fields:
            ours = getattr(self, name)
            if (theirs := getattr(start, name, ours)) != ours:
                raise UserError(f"start.task.{name}: got {theirs} where questions are asked about the people of "
                                f"task.{name}={ours}; expected the same people, since no others are known")


@dataclass(frozen=True)
class MixedConfig(BioSText):
    """Biographies and questions together: each training row is all biographies or all questions (arXiv 2309.14316).

    ``train.exposures`` counts as if every row held biographies: a biography is read (1 - share) times as often.

    Attributes:
        share: QA_r, the share of rows that hold questions, in steps of 1/1000; spread evenly.
        questions_per_row: questions packed into one row of questions.
        ask: what is asked.
    """

    kind: ClassVar[str] = "bioMixed"
    member_fields: ClassVar[tuple[str, ...]] = (*BioSText.member_fields, "share", "ask")
    share: float = 0.8
    questions_per_row: int = 40
    ask: Ask = Ask()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.0 < self.share < 1.0 or abs(round(1000 * self.share) - 1000 * self.share) > 1e-6:
            raise UserError(f"task.share: got {self.share}, expected a multiple of 0.001 between 0.0 and 1.0")
        check_positive(self, "questions_per_row")
        self.questions  # noqa: B018  its limits are checked too

    @property
    def biographies(self) -> BioSConfig:
        """The task of the rows of biographies."""
        names = (field.name for field in dataclasses.fields(BioSText))
        return BioSConfig(**{name: getattr(self, name) for name in names}, questions=True)

    @property
    def questions(self) -> QuestionsConfig:
        """The task of the rows of questions."""
        return QuestionsConfig(self.people, self.celebrities, self.seed, self.questions_per_row, self.row_tokens,
                               self.ask, self.pool_size, rewritten=self.rewritten)

    @property
    def title(self) -> str:
        """For readers: ``bioMixed multi5+permute N=10,000, 80 % retrieval train half``."""
        return f"{super().title}, {100 * self.share:g} % {self.ask.title}"

    @property
    def slug(self) -> str:
        """For names of files."""
        return f"{super().slug}-qa{self.share:g}-{self.ask.slug}"

    def facts(self) -> dict[str, Any]:
        """Also how many people are asked about."""
        return {**super().facts(), "asked": self.questions.asked}

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Those of its questions."""
        return self.questions.conditions()

    def vocabulary(self) -> Vocabulary:
        """That of the biographies and their questions."""
        return self.questions.vocabulary()

    def build(self) -> Mixed:
        """The task on the CPU."""
        from physlm.tasks.biography.mixed import Mixed

        return Mixed(self)
