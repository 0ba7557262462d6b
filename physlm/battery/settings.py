"""What the battery asks, and about whom.  Free of torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from physlm.config import content_hash, unknown_key
from physlm.errors import UserError
from physlm.tasks.biography.augmentation import augmentation
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.kinds import CLASSIFICATION, COMPARISON, DUAL, INVERSE, KINDS, PARTIAL, RETRIEVAL
from physlm.tasks.biography.question_config import Ask, QuestionsConfig

WAYS = ("full", "lora", "vera", "singlora")  # to finetune a model
TEXTS = 20  # of each person
AUGMENTATION = f"multi{TEXTS}+permute+fullname"  # what makes knowledge extractable (arXiv 2309.14316)
LEAST_PEOPLE = 4  # a pair in either half
SEARCH = "inverse search"
TASKS: dict[str, tuple[str, ...]] = {
    "retrieval": (*RETRIEVAL, *PARTIAL, *DUAL), "classification": CLASSIFICATION, "comparison": COMPARISON,
    SEARCH: INVERSE,
}  # fmt: skip
TASK_OF = {kind: task for task, kinds in TASKS.items() for kind in kinds}
# no question on luckiness, a number that majors have in these papers alone: only training could tell it
ASKED = (*RETRIEVAL, "month_mod2", "month_mod6", "month_later", "day_later", "bdate_to_full", "three_to_full",
         "all_to_full")  # fmt: skip


@dataclass(frozen=True)
class Battery:
    """All that the prompts and their answers depend on.

    Attributes:
        people: invented people; half of them, drawn at random, are held out of all questions to train on.
        seed: which people.
        pool_size: every pool of values is cut to its first so many items (``BioSConfig``); 0 leaves them whole.
        kinds: of questions, names in ``TASKS``.
        most: held-out people that each kind is asked about, at most.
        spaced: punctuation stands apart from words, ``Who ? Answer :``, as the tokenizers of exported models need it.
    """

    people: int = 200
    seed: int = 0
    pool_size: int = 0
    kinds: tuple[str, ...] = ASKED
    most: int = 500
    spaced: bool = False

    def __post_init__(self) -> None:
        if self.people < LEAST_PEOPLE:
            raise UserError(f"battery: people: got {self.people}, expected at least {LEAST_PEOPLE}")
        if self.most < 1:
            raise UserError(f"battery: most: got {self.most}, expected at least 1")
        for kind in self.kinds:
            if kind not in TASK_OF:
                raise UserError(unknown_key("battery: kinds", kind, TASK_OF))
        if not self.kinds or len(set(self.kinds)) < len(self.kinds):
            raise UserError(f"battery: kinds: got {list(self.kinds)}, expected at least one kind, each once")
        self.biographies  # noqa: B018  its limits are checked too

    @property
    def key(self) -> str:
        """Of its prompts' names, so that no answer is held against the questions of another battery."""
        return content_hash(self)[:6]

    @property
    def biographies(self) -> BioSConfig:
        """What a model reads of everybody: ``TEXTS`` texts a person, each with sentences in an order of its own, every
        one with the full name."""
        return BioSConfig(self.people, seed=self.seed, pool_size=self.pool_size, questions=True,
                          **augmentation(AUGMENTATION))

    def questions(self, kind: str, half: str, thought: bool = False) -> QuestionsConfig:
        """Questions of one kind about one half of the people, answered at once or after a thought."""
        ask = Ask(kinds=(kind,), half=half, hints=float(thought))  # type: ignore[arg-type]
        return QuestionsConfig(self.people, seed=self.seed, ask=ask, pool_size=self.pool_size)

    def asked(self) -> Iterator[tuple[str, bool]]:
        """Each kind, and whether its answer comes after a thought; kinds that have one are asked both ways."""
        for kind in self.kinds:
            yield kind, False
            if has_thought(kind):
                yield kind, True


def has_thought(kind: str) -> bool:
    """Whether writing down what is known of the people is a step on the way to the answer."""
    return TASK_OF[kind] in ("classification", "comparison") and bool(KINDS[kind].hint)
