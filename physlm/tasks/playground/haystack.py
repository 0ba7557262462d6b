"""Filler, and things at random places in it: what needles and facts lie among.  Importing this does not import torch.

Filler is words that mean nothing, ``<filler_1>`` .. : each of them at random (``words``), or one phrase of them all
over and over (``repeat``).  The filler of a text is cut at random places, uniform and independent, and one part (a
pair, a sentence, an edge of a graph) is put in at each.

``WindowConfig`` and ``WindowTask`` are what needles and hops have in common: texts of a window and a question about it,
one after another in a row, whose answer is their last token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_between
from physlm.tasks.prompts import grade_without_hints
from physlm.tasks.task import OnDevice

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.prompts import Prompts
    from physlm.tasks.rows import Rows

FILLERS = ("words", "repeat")
MOST_TOKENS, MOST_WORDS = 1 << 20, 1 << 20


class WindowConfig(TaskConfig):
    """What settings say of windows of parts and filler.

    Attributes:
        around: tokens of a text beside its window.
        window, shortest: of training a window has ``shortest`` (0: always ``window``) to ``window`` tokens, uniform.
        filler: ``words`` or ``repeat``; ``fillers`` is the number of its words.
    """

    around: ClassVar[int]
    has_verifier: ClassVar[bool] = True
    guesses_from_text: ClassVar[bool] = True

    if TYPE_CHECKING:  # fields of the members, in an order of their own

        @property
        def window(self) -> int: ...

        @property
        def shortest(self) -> int: ...

        @property
        def filler(self) -> str: ...

        @property
        def fillers(self) -> int: ...

    @property
    def windows(self) -> tuple[int, int]:
        """The shortest and the longest of training."""
        return self.shortest or self.window, self.window

    @property
    def window_shown(self) -> str:
        """For titles: ``252``, ``16-252``."""
        return "-".join(map(str, dict.fromkeys(self.windows)))

    @property
    def parts(self) -> int:
        """Tokens of a window that are no filler, where it has as few of them as training shows."""
        raise NotImplementedError

    def check_window(self, least: int) -> None:
        """Raises UserError for windows below ``least`` tokens or above a row, and for filler that there is not."""
        check_between(self, "window", least, self.row_tokens - self.around)  # the first text is whole
        if self.shortest:
            check_between(self, "shortest", least, self.window)
        check_between(self, "fillers", 1, MOST_WORDS)
        check_filler(self.filler)

    def asked_window(self, window: int, filled: float | None, parts: int) -> int:
        """The tokens of a window that is asked for, of which ``parts`` are no filler.

        Args:
            window: 0: the longest of training.
            filled: the share of ``window`` that is filler, the parts coming on top; None: ``window`` has both.

        Raises:
            UserError: no room for the parts, or a share that is none.
        """
        window = window or self.window
        if filled is not None and not 0 <= filled <= 1:  # also a NaN
            raise UserError(f"{self.kind}: got filled {filled}, expected between 0 and 1")
        if not parts * (filled is None) <= window <= MOST_TOKENS:
            least = f"{parts}, which are no filler," if filled is None else "0"
            raise UserError(f"{self.kind}: got a window of {counted(window, 'token')}, expected between {least} and "
                            f"{MOST_TOKENS:,}")
        return window if filled is None else round(filled * window) + parts

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """A window as long as the longest of training."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """A larger window of as many parts: a text of ``times`` as many tokens."""
        return {"window": times * (self.window + self.around) - self.around}

    def filled(self, share: float) -> dict[str, dict[str, Any]]:
        """The filler of training.

        Raises:
            UserError: the window has no room for so much and its parts.
        """
        most = 1 - self.parts / self.window
        if not 0 <= share <= most + 1e-9:
            raise UserError(f"{self.kind}: got filled {share}, expected between 0 and {most:.4g}: {self.parts} of "
                            f"{self.window} tokens are no filler")
        return {self.filler: {"filled": share}}


class Laid(NamedTuple):
    """Texts after another in each row.

    Attributes:
        text_RI: a number of each, that no other text has.
        window_RI: tokens of its window.
        begin_RI, end_RI: its first position, and the one after its last.
    """

    text_RI: Tensor
    window_RI: Tensor
    begin_RI: Tensor
    end_RI: Tensor


def laid(index_R: Tensor, width: int, windows: tuple[int, int], around: int, key: int) -> Laid:
    """Texts that fill rows of ``width`` tokens, or more."""
    from physlm import rng
    from physlm.tasks.playground.drawing import text_numbers

    shortest, longest = windows
    text_RI = text_numbers(index_R, width // (shortest + around) + 1)
    window_RI = shortest + rng.below(longest - shortest + 1, rng.key("window", key), text_RI)
    end_RI = (window_RI + around).cumsum(1)
    begin_RI = end_RI - window_RI - around
    found = Laid(text_RI, window_RI, begin_RI, end_RI)
    if shortest == longest:
        return found
    most = int((begin_RI < width).sum(1).max())  # those that no row has room for would only cost time
    return Laid(*(x[:, :most].contiguous() for x in found))


Config = TypeVar("Config", bound=WindowConfig)


class WindowTask(OnDevice[Config]):
    """What tasks do alike whose text is a window and a question."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets; targets are the answers, the last tokens of texts."""
        from physlm.tasks.rows import IGNORE, Rows

        T = self.config.row_tokens
        ids_RW, end_RI = self._written(index_R, T + 1, self.config.windows, split, stream)
        targets_RW = ids_RW.new_full(ids_RW.shape, IGNORE)
        at_RI = (end_RI - 2).clamp_max(T)  # of the token before an answer; beyond the row, into a column that is cut
        targets_RW.scatter_(1, at_RI, ids_RW.gather(1, (at_RI + 1).clamp_max(T)))
        return Rows(ids_RW[:, :-1], targets_RW[:, :-1])

    def _written(self, index_R: Tensor, width: int, windows: tuple[int, int], split: str, stream: int | str
                 ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Texts with windows of this range after another in each row, cut to (R, W), and where each one ends, (R, I).

        Texts that begin behind the row may be missing."""
        raise NotImplementedError


def filler_words(count: int) -> tuple[str, ...]:
    """Names of the words of filler."""
    return tuple(f"<filler_{i}>" for i in range(1, count + 1))


def check_filler(filler: str) -> None:
    """``UserError`` for a kind of filler that there is not."""
    if filler not in FILLERS:
        raise UserError(unknown_key("task.filler", filler, FILLERS))


def filler(kind: str, words: int, key: int, number_R: Tensor, width: int) -> Tensor:
    """Numbers of filler words below ``words``, (R, width); the phrase begins at the first position."""
    import torch

    from physlm import rng
    from physlm.tasks.playground.drawing import own_key

    if kind == "repeat":
        return (torch.arange(width, device=number_R.device) % words).expand(len(number_R), width).contiguous()
    return rng.below(words, own_key(rng.key("filler", key), number_R), torch.arange(width, device=number_R.device))


def begins(share_SU: Tensor, filler_S: Tensor, size_SU: Tensor) -> Tensor:
    """Where parts begin, (S, U): part u stands after floor(share (filler + 1)) tokens of filler and the parts before.

    Args:
        share_SU: in (0, 1) and in the order of the parts.
        filler_S: tokens of filler.
        size_SU: tokens of each part.
    """
    before_SU = (share_SU * (filler_S[..., None] + 1)).long()
    return before_SU + size_SU.cumsum(-1) - size_SU


def guessed(prompts: Prompts, first: int, after: int, key: int) -> Tensor:
    """Prompts with one of their tokens in first .. after - 1 behind them, each place as likely; (B, P + 1)."""
    import torch
    import torch.nn.functional as F

    from physlm import rng

    ids_BP, lengths_B1 = prompts.ids_BP, prompts.lengths_B[:, None]
    inside_BP = torch.arange(ids_BP.shape[1], device=ids_BP.device) < lengths_B1
    fits_BP = (ids_BP >= first) & (ids_BP < after) & inside_BP
    number_BP = fits_BP.cumsum(1)
    which_B1 = (rng.uniform(key, torch.arange(len(ids_BP), device=ids_BP.device))[:, None] * number_BP[:, -1:]).long()
    at_B1 = (fits_BP & (number_BP == 1 + which_B1)).long().argmax(1, keepdim=True)
    return F.pad(ids_BP, (0, 1)).scatter_(1, lengths_B1, ids_BP.gather(1, at_B1))
