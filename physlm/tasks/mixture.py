"""A mixture of tasks: each training row is a row of one of them, and all of them are asked, each its own questions.

    row 0   <bos> 3 7 | 7 5 | ... <query_2> 3 <ans> 5 ...      of the first task
    row 1   <bos> <len_2> + 5 * 3 4 <ans_2> 17 ...             of the second

Which one is drawn for each row, with a probability in proportion to its share.  The vocabulary is that of all tasks
together: a word that several of them have is one token, and the token 0 of each is the token 0 of all.  Kinds of
questions are called after the task and their kind in it, ``mano_length10``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, cast

from physlm.config import unknown_key
from physlm.errors import UserError, counted
from physlm.tasks.config import TaskConfig, check_positive, check_split
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.task import Text
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch
    from torch import Tensor

    from physlm.tasks.prompts import Grades, Prompts
    from physlm.tasks.rows import Rows
    from physlm.tasks.task import AskedTask, GuessedTask, HostTask, Task


@dataclass(frozen=True)
class MixtureConfig(TaskConfig):
    """Rows of several tasks.

    Attributes:
        tasks: any, each in rows of ``row_tokens`` tokens, whatever its own setting says.
        shares: of the rows, one a task, in any unit; none: as many of each.
    """

    kind: ClassVar[str] = "mixture"
    tasks: tuple[TaskConfig, ...] = (ManoConfig(length=3), ManoConfig(length=6))
    shares: tuple[float, ...] = ()
    row_tokens: int = 512
    seed: int = 0

    def __post_init__(self) -> None:
        check_positive(self, "row_tokens")
        if len(self.tasks) < 2:
            raise UserError(f"task.tasks: got {len(self.tasks)}, expected at least two")
        if any(isinstance(task, MixtureConfig) for task in self.tasks):
            raise UserError("task.tasks: got a mixture, expected tasks that are none: name its tasks instead")
        if self.shares and len(self.shares) != len(self.tasks):
            raise UserError(f"task.shares: got {len(self.shares)} for {counted(len(self.tasks), 'task')}, expected "
                            "one each or none")
        if not all(share > 0 for share in self.shares):  # also a NaN
            raise UserError(f"task.shares: got {self.shares}, expected numbers above 0")
        self.members  # noqa: B018  each refuses rows that are too short for it

    @property
    def members(self) -> dict[str, TaskConfig]:
        """The tasks by name: the kind, and a number behind it where several are of one kind."""
        counts, found = Counter(task.kind for task in self.tasks), Counter[str]()
        named = {}
        for task in self.tasks:
            found[task.kind] += 1
            name = task.kind if counts[task.kind] == 1 else f"{task.kind}{found[task.kind]}"
            named[name] = replace(task, row_tokens=self.row_tokens)  # type: ignore[call-arg]  # every task has it
        return named

    @property
    def made_on_host(self) -> bool:  # type: ignore[override]
        """Whether the rows of all tasks are made there."""
        return all(task.made_on_host for task in self.tasks)

    @property
    def hides_answers(self) -> bool:
        """Whether those of all tasks are hidden from an encoder."""
        return all(task.hides_answers for task in self.tasks)

    @property
    def guesses_from_text(self) -> bool:  # type: ignore[override]
        """Whether all tasks that are asked any questions can guess."""
        return all(task.guesses_from_text for task in self.tasks if task.conditions())

    @property
    def title(self) -> str:
        """For readers: ``mano + needle in 512``."""
        return f"{' + '.join(task.kind for task in self.tasks)} in {self.row_tokens}"

    def vocabulary(self) -> Vocabulary:
        """The words of all tasks in their order, each once."""
        first, *others = (task.vocabulary().words for task in self.tasks)
        return Vocabulary((*first, *(word for words in others for word in words[1:])))

    def build(self) -> Mixture:
        """The task on the CPU."""
        return Mixture(self)

    def conditions(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Held-out questions of all tasks that are asked any."""
        asked = any(task.conditions() for task in self.tasks)
        return {HELD_OUT: {}} if asked else {}


HELD_OUT = ("answer", "test")


class Mixture:
    """The task on one device."""

    def __init__(self, config: MixtureConfig, device: torch.device | str = "cpu", built: tuple[Task, ...] = ()):
        import torch

        self.config, self.vocabulary, self.device = config, config.vocabulary(), device
        self.names = tuple(config.members)
        self.tasks: tuple[Task, ...] = tuple(
            task.to(device) for task in built or (task.build() for task in config.members.values()))
        # ids of each task -> ours; ours -> those of each task, -1 where it has no such word
        self._ours, self._theirs = [], []
        for task in self.tasks:
            words = [self.vocabulary.words[0], *task.vocabulary.words[1:]]
            ours_V = torch.tensor(self.vocabulary.encode(words), device=device)
            theirs_V = torch.full((len(self.vocabulary),), -1, device=device)
            theirs_V[ours_V] = torch.arange(len(words), device=device)
            self._ours.append(ours_V)
            self._theirs.append(theirs_V)

    def to(self, device: torch.device | str) -> Mixture:
        """The same task on another device."""
        return Mixture(self.config, device, self.tasks)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets: those of this number of the task that is drawn."""
        import torch

        from physlm.tasks.rows import IGNORE, Rows

        which_R = torch.from_numpy(self._drawn(index_R.cpu().numpy(), split, stream)).to(index_R.device)
        inputs_RT = torch.zeros(len(index_R), self.config.row_tokens, dtype=torch.long, device=index_R.device)
        targets_RT = torch.full_like(inputs_RT, IGNORE)
        for k, task in enumerate(self.tasks):
            at = (which_R == k).nonzero()[:, 0]
            if len(at):
                rows, ours_V = task.rows(index_R[at], split, stream), self._ours[k]
                inputs_RT[at] = ours_V[rows.inputs_RT]
                targets_RT[at] = torch.where(rows.targets_RT == IGNORE, IGNORE, ours_V[rows.targets_RT.clamp_min(0)])
        return Rows(inputs_RT, targets_RT)

    def host_rows(
        self, index_R: npt.NDArray[np.int64], split: str = "train", stream: int = 0
    ) -> npt.NDArray[np.integer[Any]]:
        """The same before they are unpacked, (R, T + 1), where all tasks make theirs so; ``HostTask``."""
        import numpy as np

        which_R = self._drawn(index_R, split, stream)
        packed_RW = np.zeros((len(index_R), self.config.row_tokens + 1), np.int32)
        for k, task in enumerate(self.tasks):
            (at,) = (which_R == k).nonzero()
            if len(at):
                theirs_RW = cast("HostTask", task).host_rows(index_R[at], split, stream).astype(np.int32)
                lost_RW = theirs_RW < 0
                ours_RW = self._ours_host(k)[np.where(lost_RW, ~theirs_RW, theirs_RW)]
                packed_RW[at] = np.where(lost_RW, ~ours_RW, ours_RW)
        return packed_RW

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Text i is that of number i of one task, each in turn."""
        texts = []
        for number in number_R.tolist():
            k = number % len(self.tasks)
            (text,) = self.tasks[k].texts(number_R.new_tensor([number]), split)
            texts.append(text._replace(about={"task": self.names[k], **text.about},
                                       ids=self._ours[k][number_R.new_tensor(text.ids)].tolist()))
        return texts

    def prompts(self, n: int, split: str = "evaluation", *, task: str = "", **condition: Any) -> Prompts:
        """At most ``n`` questions of each kind: of all tasks, or of one of them under a condition of its own.

        Args:
            task: its name.
            condition: settings of its ``prompts``; without any, those of its condition ("answer", "test").

        Raises:
            UserError: there is no task of this name; a condition without a task.
        """
        from physlm.tasks.prompts import joined

        members = self.config.members
        asked = [name for name in self.names if members[name].conditions()]
        if (task or condition) and task not in self.names:
            raise UserError(unknown_key("mixture: task", task, self.names))
        return joined([self._told(self.names.index(name), n, split,
                                  condition or members[name].conditions().get(HELD_OUT, {}))
                       for name in ([task] if task else asked)])

    def guesses(self, prompts: Prompts) -> Tensor:
        """Prompts with what the task of each would guess behind, (B, W); of a task that cannot, with nothing."""
        import torch.nn.functional as F

        found_BW = F.pad(prompts.ids_BP, (0, prompts.answers_BQ.shape[1]))
        for k, at, theirs in self._of_tasks(prompts):
            if self.tasks[k].config.guesses_from_text:
                theirs_BW = cast("GuessedTask", self.tasks[k]).guesses(theirs)
                found_BW = F.pad(found_BW, (0, max(0, theirs_BW.shape[1] - found_BW.shape[1])))
                found_BW[at] = F.pad(self._ours[k][theirs_BW], (0, found_BW.shape[1] - theirs_BW.shape[1]))
        return found_BW

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """Each answer is graded by the task whose question it is to; a word that this task does not have is wrong: to
        the task it is the id -1."""
        import torch

        from physlm.tasks.prompts import Grades

        grades = Grades(*(torch.zeros(len(ids_BW), dtype=torch.bool, device=ids_BW.device) for _ in Grades._fields))
        for k, at, theirs in self._of_tasks(prompts):
            task, theirs_V = cast("AskedTask", self.tasks[k]), self._theirs[k]
            known_BW = (ids_BW[at] >= 0) & (ids_BW[at] < len(theirs_V))
            theirs_BW = theirs_V[ids_BW[at].clamp(0, len(theirs_V) - 1)].where(known_BW, -1)
            for ours_B, found_B in zip(grades, task.grade(theirs, theirs_BW), strict=True):
                ours_B[at] = found_B
        return grades

    def _of_tasks(self, prompts: Prompts) -> Iterator[tuple[int, Tensor, Prompts]]:
        """The place of each task that is asked any of these, which ones, and these in its words."""
        import torch

        for k, name in enumerate(self.names):
            kinds = [i for i, kind in enumerate(prompts.kinds) if kind.startswith(f"{name}_")]
            at = torch.isin(prompts.kind_B, torch.tensor(kinds, device=prompts.kind_B.device)).nonzero()[:, 0]
            if len(at):
                theirs_V = self._theirs[k]
                yield k, at, prompts.some(at)._replace(
                    ids_BP=theirs_V[prompts.ids_BP[at]], answers_BQ=theirs_V[prompts.answers_BQ[at]],
                    kinds=tuple(kind.removeprefix(f"{name}_") for kind in prompts.kinds))  # fmt: skip

    def _told(self, k: int, n: int, split: str, condition: Mapping[str, Any]) -> Prompts:
        """Questions of one task in our words."""
        asked = cast("AskedTask", self.tasks[k]).prompts(n, split, **condition)
        ours_V = self._ours[k]
        return asked._replace(ids_BP=ours_V[asked.ids_BP], answers_BQ=ours_V[asked.answers_BQ],
                              kinds=tuple(f"{self.names[k]}_{kind}" for kind in asked.kinds))

    def _ours_host(self, k: int) -> npt.NDArray[np.int64]:
        found: npt.NDArray[np.int64] = self._ours[k].cpu().numpy()
        return found

    def _drawn(self, index_R: npt.NDArray[np.int64], split: str, stream: int) -> npt.NDArray[np.int64]:
        """The place of the task of each row."""
        import numpy as np

        from physlm import rng

        check_split(split)
        shares = np.array(self.config.shares or (1.0,) * len(self.tasks))
        drawn_R = rng.host_uniform(rng.key("mixture", self.config.seed, split, stream), index_R)
        return (np.cumsum(shares / shares.sum())[:-1] <= drawn_R[:, None]).sum(1)
