"""What the settings of every task say about it: one family, told apart by ``kind`` in the JSON.  Free of torch.

    @dataclass(frozen=True)
    class DiceConfig(TaskConfig):
        kind: ClassVar[str] = "dice"
        row_tokens: int = 64
        seed: int = 0

        def vocabulary(self) -> Vocabulary:
            return Vocabulary(("<bos>", *"123456"))

        def build(self) -> Dice:
            return Dice(self)              # physlm.tasks.task says what it can do

A task of the package is one file and one line of ``table``.  An experiment file may define another beside its claim.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from physlm.config import Family, unknown_key
from physlm.errors import UserError

if TYPE_CHECKING:
    from physlm.tasks.task import Task
    from physlm.tasks.vocabulary import Vocabulary

SPLITS = ("train", "validation", "evaluation")  # of every task: what one has, no other has


@dataclass(frozen=True)
class TaskConfig(Family):
    """The settings of one task; a subclass adds them as fields.

    Attributes:
        row_tokens: T, the length of a training row in tokens; each subclass has it.
        items: how many different things there are to see again, such as people; None where all is fresh.
        entries_per_row: how many of them one training row shows.
        member_fields: settings in which the members of one population may differ.
        shared_fields: settings that a run and those that it begins with have in common: an override of one of them is
            an override of all.
        file_fields: settings that name a file to be read.  Settings from elsewhere may name no others than those of the
            runs that were asked for (``physlm.lab.stored``).
        made_on_host: CPU cores make the rows (the task is a ``HostTask``), ahead of the device that trains on them.
        has_test_rows: its answers can be graded as they are read, with the measure ``forced`` (a ``ReadTask``).
        guesses_from_text: the task can say what one would answer who only knows what kind of word is asked for (it is a
            ``GuessedTask``), which is a control.
        has_verifier: the task reads a text and says whether it is right, whoever wrote it (it is a ``VerifiedTask``).
        hides_answers: an encoder learns it from rows whose scored tokens are all hidden, instead of a random part.
        tags: its targets are tags of positions, which no row shows, in place of the tokens that follow.
        title: for readers, such as ``bioS N=10,000``; by default the kind.
        slug: for names of files, such as ``bioS-10000``; by default the title.
    """

    table: ClassVar[Mapping[str, str]] = {
        "bioS": "physlm.tasks.biography.config:BioSConfig",
        "bioD": "physlm.tasks.biography.config:BioDConfig",
        "bioR": "physlm.tasks.biography.config:BioRConfig",
        "bioJunk": "physlm.tasks.biography.junk_config:JunkConfig",
        "bioQA": "physlm.tasks.biography.question_config:QuestionsConfig",
        "bioMixed": "physlm.tasks.biography.question_config:MixedConfig",
        "grammar": "physlm.tasks.grammar.config:GrammarConfig",
        "igsm": "physlm.tasks.igsm.config:IgsmConfig",
        "depo": "physlm.tasks.playground.depo:DepoConfig",
        "brevo": "physlm.tasks.playground.brevo:BrevoConfig",
        "mano": "physlm.tasks.playground.mano:ManoConfig",
        "mixture": "physlm.tasks.mixture:MixtureConfig",
        "copy": "physlm.tasks.playground.copying:CopyConfig",
        "mqar": "physlm.tasks.playground.mqar:MqarConfig",
        "needle": "physlm.tasks.playground.needle:NeedleConfig",
        "hops": "physlm.tasks.playground.hops:HopsConfig",
        "cycles": "physlm.tasks.playground.cycles:CyclesConfig",
        "flipflop": "physlm.tasks.state.flip_flop:FlipFlopConfig",
        "words": "physlm.tasks.state.words:WordsConfig",
        "regular": "physlm.tasks.state.regular:RegularConfig",
        "recall": "physlm.tasks.memory.recall:RecallConfig",
        "fuzzy": "physlm.tasks.memory.fuzzy:FuzzyConfig",
        "compression": "physlm.tasks.memory.compression:CompressionConfig",
        "selective": "physlm.tasks.memory.selective:SelectiveConfig",
        "memorise": "physlm.tasks.memory.memorise:MemoriseConfig",
    }
    member_fields: ClassVar[tuple[str, ...]] = ("seed",)
    shared_fields: ClassVar[tuple[str, ...]] = ()
    file_fields: ClassVar[tuple[str, ...]] = ()
    made_on_host: ClassVar[bool] = False
    has_test_rows: ClassVar[bool] = False
    guesses_from_text: ClassVar[bool] = False
    has_verifier: ClassVar[bool] = False
    tags: ClassVar[bool] = False

    if TYPE_CHECKING:  # a property that is there at run time would be taken for the default of a field of this name

        @property
        def row_tokens(self) -> int: ...

        @property
        def items(self) -> int | None: ...

        @property
        def entries_per_row(self) -> int: ...

        @property
        def hides_answers(self) -> bool: ...

        @property
        def title(self) -> str: ...

        @property
        def slug(self) -> str: ...

    else:
        items = None
        entries_per_row = 1
        hides_answers = False
        title = property(lambda self: self.kind)
        slug = property(lambda self: re.sub(r"[^\w.+=-]+", "-", self.title))

    def vocabulary(self) -> Vocabulary:
        """The closed vocabulary, without building the task."""
        raise NotImplementedError(f"{type(self).__name__} has no vocabulary")

    def build(self) -> Task:
        """The task on the CPU; ``.to(device)`` moves it.  Only here its module is imported."""
        raise NotImplementedError(f"{type(self).__name__} builds no task")

    def facts(self) -> dict[str, Any]:
        """What tables say of the task beside its settings, so that laws may group by it: one column an entry."""
        return {"items": self.items}

    def check_start(self, start: TaskConfig) -> None:
        """Refuse to go on from a model of ``start``, another task of the same vocabulary.

        Raises:
            UserError: what this task needs the model to know was not learnt there.
        """

    def conditions(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """How a model that learnt the task is asked: name and half of what is measured -> settings of ``prompts``.

        ``("answer", "test")`` is always among them, but for tasks without questions, which have no conditions.

        Raises:
            UserError: with these settings nothing is left to ask.
        """
        return {}

    def longer(self, times: int) -> Mapping[str, Any]:
        """How questions are asked that are ``times`` as long as those of training: settings of ``prompts``, such as the
        nodes of a graph; nothing where there are no longer ones."""
        return {}

    def filled(self, share: float) -> Mapping[str, Mapping[str, Any]]:
        """How questions are asked in a window as long as in training of which ``share`` says nothing about the answer:
        by kind of filler, settings of ``prompts``; nothing where there is no filler."""
        return {}


def check_split(split: str) -> None:
    """``UserError`` for a name that is none of ``SPLITS``."""
    if split not in SPLITS:
        raise UserError(unknown_key("split", split, SPLITS))


def check_positive(config: object, *names: str) -> None:
    """``UserError`` for a setting below 1."""
    for name in names:
        check_between(config, name, 1, None)


def check_between(config: object, name: str, least: float, most: float | None) -> None:
    """``UserError`` for a setting outside of a range, whose end may be open; 0.2 is not above 1 - 0.8, which a float
    rounds below it."""
    value, most = getattr(config, name), round(most, 12) if isinstance(most, float) else most
    if not (value >= least and (most is None or value <= most)):  # also a NaN
        wanted = f"at least {least}" if most is None else f"between {least} and {most:,}"
        raise UserError(f"task.{name}: got {value}, expected {wanted}")
