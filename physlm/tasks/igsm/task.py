"""The task iGSM: packed rows of problems with their solutions, prompts, and grades by the exact checker.

    <bos> <problem> The number of each ... ? <solution> Define ... = 12. <answer> 12 <bos> <problem> ...

Rows are made by the compiled generator on all cores of the host; every token is a target but for those of wrong starts
that the settings mask.  A prompt ends after ``<solution>``.  What should follow is a hint, the solution, and then the
answer; a solution is right if the checker says so, in whatever order and with whatever letters.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from physlm.machine import cpu_cores
from physlm.tasks.igsm.chains import check_chain
from physlm.tasks.igsm.checker import Verdict, standard_reader
from physlm.tasks.igsm.pieces import ANSWER, BOS, HOW_MANY, ID, PROBLEM, QUESTION_MARK, SOLUTION
from physlm.tasks.prompts import Grades, Prompts, cut
from physlm.tasks.rows import Rows, unpacked
from physlm.tasks.task import Text

if TYPE_CHECKING:
    from torch import Tensor

    from physlm.tasks.igsm.config import IgsmConfig


class Igsm:
    """The task on one device; problems are made on the host."""

    def __init__(self, config: IgsmConfig, device: torch.device | str = "cpu"):
        self.config, self.vocabulary, self.device = config, config.vocabulary(), device
        self.reader = standard_reader(config.modulus)

    def to(self, device: torch.device | str) -> Igsm:
        """The same task on another device."""
        return Igsm(self.config, device)

    def rows(self, index_R: Tensor, split: str = "train", stream: int = 0) -> Rows:
        """Training rows by number, (R, T) inputs and targets."""
        return unpacked(torch.from_numpy(self.host_rows(index_R.cpu().numpy(), split, stream)).to(self.device))

    def host_rows(self, index_R: npt.NDArray[np.int64], split: str = "train", stream: int = 0) -> npt.NDArray[np.int16]:
        """The same before they are unpacked, (R, T + 1); ``HostTask``."""
        from physlm.tasks.igsm import kernel

        ids_RW, lost_RW = kernel.rows(self.config, index_R, split, stream, threads=cpu_cores())
        packed_RW = ids_RW.view(np.int16)  # the vocabulary has some thousand tokens
        return np.invert(packed_RW, out=packed_RW, where=lost_RW > 0) if lost_RW.shape[1] else packed_RW

    def texts(self, number_R: Tensor, split: str = "evaluation") -> list[Text]:
        """Problem i of a split with its solution."""
        from physlm.tasks.igsm import kernel

        batch = kernel.problems(self.config, number_R.cpu().numpy(), split, threads=cpu_cores())
        texts = []
        for number, row, length, record in zip(
                number_R.tolist(), batch.ids_NW, batch.lengths_N, batch.records_N, strict=True):
            ids = row[:length].tolist()
            asked = ids.index(ID[SOLUTION]) + 1
            parts = {"prompt": self.vocabulary.decode(ids[:asked]), "answer": self.vocabulary.decode(ids[asked:])}
            about = {"problem": number, "op": int(record["op"]), "ip": int(record["ip"])}
            texts.append(Text(about, ids, labels(ids), dict(parts), tuple(f"{n}  {part}" for n, part in parts.items())))
        return texts

    def prompts(self, n: int, split: str = "evaluation", **changes: Any) -> Prompts:
        """Problems 0 .. n - 1 of a split, up to ``<solution>``.

        Args:
            changes: of the settings, such as ``op`` or ``reask``; those of the vocabulary cannot be among them.
        """
        from physlm.tasks.igsm import kernel

        config = replace(self.config, **changes)
        assert len(config.vocabulary()) == len(self.vocabulary), "a condition may not change the vocabulary"
        batch = kernel.problems(config, np.arange(n), split, "prompts", threads=cpu_cores())
        ids_BW = torch.from_numpy(np.pad(batch.ids_NW, ((0, 0), (0, 1)))).to(self.device).long()
        prompt_B, before_answer_B = ((ids_BW == ID[token]).int().argmax(1) + 1 for token in (SOLUTION, ANSWER))
        ends_B = torch.from_numpy(batch.lengths_N).to(self.device) + 1  # <bos> after the answer
        return cut(ids_BW, prompt_B, ends_B, (config.title,), 1, hint_lengths_B=before_answer_B - prompt_B)

    def grade(self, prompts: Prompts, ids_BW: Tensor) -> Grades:
        """Whether what was generated is right: all of it, with the end; the solution; the number after it."""
        verdicts = list(self.verdicts(prompts, ids_BW))
        answer_B = torch.tensor([-1 if verdict.answer is None else verdict.answer for verdict in verdicts])
        answers_BQ = prompts.told().answers_BQ[:, 0].cpu() - self.vocabulary.id("0")
        right_B = torch.tensor([verdict.right for verdict in verdicts], dtype=torch.bool)
        found_B = answer_B == answers_BQ
        device = ids_BW.device
        return Grades((right_B & found_B).to(device), right_B.to(device), found_B.to(device))

    def verdicts(self, prompts: Prompts, ids_BW: Tensor) -> Iterator[Verdict]:
        """What the checker says of each generated solution, whose problem it reads from the prompt."""
        retries = self.config.retry.rate > 0
        for ids, length in zip(ids_BW.tolist(), prompts.lengths_B.tolist(), strict=True):
            problem = self.vocabulary.decode(ids[2 : length - 1])
            written = ids[length:]
            written = written[: written.index(ID[BOS])] if ID[BOS] in written else written
            yield check_chain(problem, self.vocabulary.decode(written), self.config.chain, reader=self.reader,
                              retries=retries, answer=True)


def labels(ids: list[int]) -> list[str]:
    """The role of each token of a problem with its solution: marker, problem, question, solution or answer."""
    found, part = [], "marker"
    for token in ids:
        if token in _BEGINS:
            found.append("marker")
            part = _BEGINS[token]
        else:
            part = "question" if token == ID[HOW_MANY] else part
            found.append(part)
            part = "problem" if token == ID[QUESTION_MARK] else part
    return found


_BEGINS = {ID[BOS]: "marker", ID[PROBLEM]: "problem", ID[SOLUTION]: "solution", ID[ANSWER]: "answer"}
