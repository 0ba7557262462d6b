"""What recall of pairs shares, whatever a key and a value are made of: what of a row is learnt, and what is asked."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from physlm.tasks.config import TaskConfig
from physlm.tasks.prompts import grade_without_hints
from physlm.tasks.task import AnswerRows, OnDevice

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.rows import Rows


class PairsConfig(TaskConfig):
    """Settings of a task whose rows are pairs, of which the last is one that came before."""

    has_test_rows: ClassVar[bool] = True
    has_verifier: ClassVar[bool] = True

    if TYPE_CHECKING:  # a field of the members, in an order of their own

        @property
        def loss(self) -> str: ...

    def conditions(self) -> dict[tuple[str, str], dict[str, Any]]:
        """The last pair of a row."""
        return {("answer", "test"): {}}

    def longer(self, times: int) -> dict[str, int]:
        """More pairs of as many keys."""
        return {"window": times * self.row_tokens}


Config = TypeVar("Config", bound=PairsConfig)


class Pairs(OnDevice[Config]):
    """Such a task on one device: everything is computed from the numbers of rows."""

    grade = staticmethod(grade_without_hints)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets."""
        return self._rows(index_R, split, stream, self.config.loss == "all")

    def test_rows(self, n: int, split: str = "evaluation", *, window: int = 0) -> AnswerRows:
        """``n`` rows whose targets are the values of keys that came before.

        Args:
            window: tokens of a row; 0: as in training.
        """
        import torch

        row_R = torch.arange(n, device=self.device)
        rows = self._sized(window)._rows(row_R, split, "windows", False)
        return AnswerRows(*rows, torch.zeros_like(row_R), ("value",))

    def _sized(self, window: int) -> Self:
        if not window:
            return self
        return type(self)(replace(self.config, row_tokens=window), self.device)  # type: ignore[call-arg]

    def _rows(self, index_R: Tensor, split: str, stream: int | str, whole: bool) -> Rows:
        """Rows by number, whose targets are all tokens or the values of keys that came before."""
        raise NotImplementedError
