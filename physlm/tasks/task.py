"""What every task offers: rows to train on, texts to read; questions and grades, where it is asked any.

Importing this module does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, Self, TypeVar

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from physlm.tasks.biography.config import BiographyConfig
    from physlm.tasks.biography.junk_config import JunkConfig
    from physlm.tasks.config import TaskConfig
    from physlm.tasks.information import InformationTerms
    from physlm.tasks.prompts import Grades, Prompts
    from physlm.tasks.rows import Entries, Rows
    from physlm.tasks.vocabulary import Vocabulary


class Text(NamedTuple):
    """One labelled text.

    Attributes:
        about: what it is about, such as person and draw, in the order to be shown.
        ids: token ids.
        labels: the role of each token.
        more: what is exported besides, such as ``prompt`` and ``answer``.
        lines: what is shown to readers in place of the plain text.
    """

    about: dict[str, Any]
    ids: list[int]
    labels: list[str]
    more: dict[str, Any] = {}  # noqa: RUF012  a named tuple's default is never written to
    lines: tuple[str, ...] = ()


def question(about: dict[str, Any], ids: list[int], labels: list[str], asked: int, vocabulary: Vocabulary) -> Text:
    """A text whose first ``asked`` tokens are a prompt, and whose others the answer."""
    parts = {"prompt": vocabulary.decode(ids[:asked]), "answer": vocabulary.decode(ids[asked:])}
    return Text(about, ids, labels, dict(parts), tuple(f"{name}  {part}" for name, part in parts.items()))


class Task(Protocol):
    """A pure function from (config, split, stream, index) to training rows, on one device."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Words and ids; that of ``config.vocabulary()``."""

    @property
    def config(self) -> TaskConfig:
        """The settings that define this task."""

    def to(self, device: torch.device | str) -> Task:
        """The same task on another device."""

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, ``config.row_tokens`` inputs and targets each."""

    def texts(self, number_E: Tensor, split: str = "evaluation") -> list[Text]:
        """Labelled texts by number."""


Config = TypeVar("Config", bound="TaskConfig")


class OnDevice(Generic[Config]):
    """What tasks have alike whose only state is their settings."""

    def __init__(self, config: Config, device: torch.device | str = "cpu"):
        self.config, self.vocabulary, self.device = config, config.vocabulary(), device

    def to(self, device: torch.device | str) -> Self:
        """The same task on another device."""
        return type(self)(self.config, device)


class HostTask(Task, Protocol):
    """A task whose rows are made by a compiled kernel on CPU cores, whatever its device; its settings have
    ``made_on_host = True``."""

    def host_rows(
        self, index_R: npt.NDArray[np.int64], split: str = "train", stream: int = 0
    ) -> npt.NDArray[np.integer[Any]]:
        """What ``rows`` unpacks (``physlm.tasks.rows.unpacked``): T + 1 tokens a row, (R, T + 1).

        It is called in a thread beside training.  There it does not touch a device, and as much of it as can be runs
        without the interpreter's lock.

        Returns:
            Token ids, and ``~id`` for a token that is no target; a narrow type, such as int16, saves time and memory.
        """


class AskedTask(Task, Protocol):
    """A task that asks questions."""

    def to(self, device: torch.device | str) -> AskedTask:
        """The same task on another device."""

    def prompts(self, n: int, split: str = "evaluation", **condition: Any) -> Prompts:
        """At most ``n`` questions of each kind, fewer being a part of more.

        Args:
            condition: which questions, as in the values of ``config.conditions()``.
        """

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """Compare what was generated, prompt included as in ``Generated.ids``, with the answers."""


class AnswerRows(NamedTuple):
    """Rows to be read with all tokens given, whose targets are answers, and nothing else.

    Attributes:
        inputs_RT, targets_RT: as in ``Rows``.
        kind_R: the place of each row's kind in ``kinds``.
        kinds: names of the kinds; of each there are as many rows.
    """

    inputs_RT: Tensor
    targets_RT: Tensor
    kind_R: Tensor
    kinds: tuple[str, ...]


class ReadTask(Task, Protocol):
    """A task whose answers are also graded as they are read; its settings have ``has_test_rows = True``."""

    def to(self, device: torch.device | str) -> ReadTask:
        """The same task on another device."""

    def test_rows(self, n: int, split: str = "evaluation", **condition: Any) -> AnswerRows:
        """``n`` rows of each kind."""


class GuessedTask(AskedTask, Protocol):
    """A task whose questions can be answered at random with some word of the prompt; its settings have
    ``guesses_from_text = True``."""

    def guesses(self, prompts: Prompts) -> Tensor:
        """What was generated, as ``grade`` takes it, if any fitting word of the prompt were the answer, (B, W)."""


class VerifiedTask(AskedTask, Protocol):
    """A task with a verifier that knows nothing of how texts are made; its settings have ``has_verifier = True``."""

    def fault(self, ids: Sequence[int]) -> str:
        """The first thing that is wrong with a text, answer included, as ``Text.ids`` has it, with the token 0 that
        ends it or without; nothing if it is right."""


class BiographyTask(Task, Protocol):
    """A task about N people, whose texts are labelled.

    Attributes:
        roles: name of each role code in ``Entries.roles_RW``; code 0 is padding, 1 plain text.
        name_role, value_roles, first_chunk_roles: the codes that the capacity measure sums over.
        entry_width: the longest possible entry, with both separators.
    """

    @property
    def roles(self) -> tuple[str, ...]: ...

    @property
    def name_role(self) -> int: ...

    @property
    def value_roles(self) -> tuple[int, ...]: ...

    @property
    def first_chunk_roles(self) -> tuple[int, ...]: ...

    @property
    def entry_width(self) -> int: ...

    @property
    def config(self) -> BiographyConfig | JunkConfig:
        """The settings that define this task."""

    @property
    def information_terms(self) -> InformationTerms:
        """The dataset's size in the terms of the capacity formula."""

    def to(self, device: torch.device | str) -> BiographyTask:
        """The same task on another device."""

    def entries(self, person_E: Tensor, draw_E: Tensor, split: str = "evaluation", stream: int = 0) -> Entries:
        """Labelled texts of given people."""
