"""The measure ``regret``: solutions sentence by sentence, asked about by a probe, and written again.

Cost.  A probe reads a solution and all questions about its sentences in one row.  A round of tries reads the texts so
far anew and writes on to their end, two calls of ``generate`` for the solutions of all detectors and ops together, so
that ten rounds cost at most 21 generations, and much less, as few solutions are tried again.

Shape letters: B solutions, T positions, Q sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from physlm import rng
from physlm.measures.generation import generate
from physlm.measures.igsm.asking import Asked, query_tokens
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.regret import DETECTORS, Regret
from physlm.measures.igsm.settings import SETTINGS, family_of
from physlm.measures.igsm.training import train_probe
from physlm.measures.intervals import count_mean, difference_mean, share
from physlm.measures.knowledge_probes import beside
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.places import Place
from physlm.tasks.igsm.checker import Verdict, check
from physlm.tasks.igsm.config import Retry
from physlm.tasks.igsm.pieces import ANSWER, AS, BOS, DEFINE, ID, OWNS, STOP
from physlm.tasks.igsm.reading import Graph
from physlm.tasks.igsm.task import Igsm

PROBLEMS = {"cuda": 1000, "cpu": 16}  # of each op
TOGETHER = {"cuda": 64, "cpu": 8}  # solutions that a probe reads at once
SENTENCE = 160  # tokens, at most: a total of four products has 104
ENDS_EARLY = "query not reached"  # no sentence is wrong


class Sentence(NamedTuple):
    """Where a sentence of a solution begins, and the tokens of owner and owned that it names, if it names anything."""

    start: int
    named: tuple[int, int] | None


@dataclass
class Attempt:
    """A solution that is being written.

    Attributes:
        op, number: of the problem.
        prompt, written: token ids; the solution without its end.
        kept: sentences that are not called wrong any more.
        retries: how often it went back.
    """

    op: int
    number: int
    prompt: list[int]
    problem: Graph
    written: list[int]
    kept: int = 0
    retries: int = 0

    def sentences(self) -> list[Sentence]:
        """All of them, the last one with or without its full stop, as the checker counts them."""
        body = self.written[: self.written.index(ID[ANSWER])] if ID[ANSWER] in self.written else self.written
        ends = [place + 1 for place, token in enumerate(body) if token == ID[STOP]]
        starts = [0, *ends] if not ends or ends[-1] < len(body) else [0, *ends[:-1]]
        return [Sentence(start, _named(body[start : start + 5])) for start in starts if start < len(body)]


First = Callable[[Sequence[Attempt], int], list[int | None]]  # the first sentence that is called wrong, in a round


def rows(config: Regret, run: Trained, ops: Sequence[int]) -> list[Row]:
    """Everything that ``regret`` promises, of one run."""
    family, device = family_of(run.spec), run.device
    trained = run.ready(run.model)
    setting = replace(SETTINGS[device.type], population="existing")
    probe = train_probe(beside(trained, run.ready(run.untrained)), family, "can_next", setting, (), run.progress)
    task = replace(family, retry=Retry()).build().to(device)
    plain, room = problems(task, ops, PROBLEMS[device.type], config.room)
    write(trained, plain, room, 0.0, ID[BOS], run.progress)
    found = called(plain, [verdict(task, one) for one in plain], *(calls(probe, m, plain) for m in (0, 1)))
    solved = {"none": plain, **{name: [replace(one, written=list(one.written)) for one in plain] for name in DETECTORS}}
    for firsts in (detectors(task, probe), {"random": by_chance(solved["probe"])}):  # the second when the first is done
        everyone = [(one, first) for name, first in firsts.items() for one in solved[name]]
        retry(trained, everyone, room, config.most, config.temperature, run.progress)
    return [*found, *outcomes(task, solved)]


def problems(task: Igsm, ops: Sequence[int], count: int, room: float) -> tuple[list[Attempt], int]:
    """Held-out problems of each op, nothing written yet, and the room for the longest solution."""
    found, longest = [], 0
    for op in ops:
        prompts = task.prompts(count, op=op)
        longest = max(longest, int(prompts.answer_lengths_B.max()))
        for number, (ids, length) in enumerate(zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True)):
            problem = task.reader.read(task.vocabulary.decode(ids[2 : length - 1]))
            found.append(Attempt(op, number, ids[:length], problem, []))
    return found, math.ceil(room * longest)


def write(model: Decoder, attempts: Sequence[Attempt], room: int, temperature: float, end: int, progress: bool = False,
          key: int = 0) -> None:  # fmt: skip
    """Go on with each solution until ``end``, which is kept if it is a full stop; all that follows <bos> is cut."""
    texts = [one.prompt + one.written for one in attempts]
    lengths = torch.tensor([len(text) for text in texts])
    ids_BP = torch.zeros(len(texts), int(lengths.max()), dtype=torch.long)
    for row, text in zip(ids_BP, texts, strict=True):
        row[: len(text)] = torch.tensor(text)
    made = generate(model, ids_BP.to(model.embedding.weight.device), room, lengths=lengths, temperature=temperature,
                    key=key, end=end, progress=progress)
    for one, ids, length, ended in zip(attempts, made.ids.tolist(), made.lengths.tolist(), made.ended.tolist(),
                                       strict=True):
        new = ids[len(one.prompt) + len(one.written) : length]
        closed = ID[BOS] in new
        one.written += new[: new.index(ID[BOS])] if closed else new
        if ended and not closed and end != ID[BOS]:
            one.written.append(end)


def calls(probe: VariableProbe, member: int, attempts: Sequence[Attempt]) -> list[list[bool]]:
    """Whether a probe calls the parameter of each sentence not computable; of one that names nothing it does not."""
    device = probe.maps.device
    found: list[list[bool]] = []
    for begin in range(0, len(attempts), TOGETHER[device.type]):
        some = attempts[begin : begin + TOGETHER[device.type]]
        sentences = [one.sentences() for one in some]
        shape = len(some), max(1, *map(len, sentences))
        named_BQ2, last_BQ = np.zeros((*shape, 2), np.int64), np.zeros(shape, np.int64)
        for b, (one, parts) in enumerate(zip(some, sentences, strict=True)):
            for q, part in enumerate(parts):
                named_BQ2[b, q], last_BQ[b, q] = part.named or (0, 0), len(one.prompt) + part.start - 1
        ids_BT = np.zeros((len(some), int(last_BQ.max()) + 1), np.int64)
        for b, one in enumerate(some):
            text = (one.prompt + one.written)[: ids_BT.shape[1]]
            ids_BT[b, : len(text)] = text
        tokens = query_tokens(named_BQ2, None, probe.vocabulary)
        asked = Asked(*(torch.from_numpy(array).to(device) for array in (ids_BT, last_BQ, tokens)))
        wrong_BQ = probe.answers(asked)[0][member] == 0
        found += [[part.named is not None and bool(wrong) for part, wrong in zip(parts, row, strict=False)]
                  for parts, row in zip(sentences, wrong_BQ.tolist(), strict=True)]
    return found


def detectors(task: Igsm, probe: VariableProbe) -> dict[str, First]:
    """Those of ``DETECTORS`` that look at what is written."""

    def by_probe(attempts: Sequence[Attempt], turn: int) -> list[int | None]:
        return [_first(wrong, one.kept) for one, wrong in zip(attempts, calls(probe, 0, attempts), strict=True)]

    def by_checker(attempts: Sequence[Attempt], turn: int) -> list[int | None]:
        verdicts = [verdict(task, one) for one in attempts]
        return [None if one.right or not one.sentence else one.sentence - 1 for one in verdicts]

    return {"probe": by_probe, "perfect": by_checker}


def by_chance(others: Sequence[Attempt]) -> First:
    """Any sentence that is not kept yet, in each problem as often as the solution of it in ``others`` went back.

    ``others`` have to be finished before this is asked.
    """

    def first(attempts: Sequence[Attempt], turn: int) -> list[int | None]:
        often = {(one.op, one.number): one.retries for one in others}
        found: list[int | None] = []
        for one in attempts:
            left = len(one.sentences()) - one.kept
            drawn = rng.uniform(rng.key("random retries", one.op, turn), torch.tensor([one.number])).item()
            goes = one.retries < often[one.op, one.number] and left > 0
            found.append(one.kept + int(drawn * left) if goes else None)
        return found

    return first


def retry(model: Decoder, attempts: Sequence[tuple[Attempt, First]], room: int, most: int, temperature: float,
          progress: bool = False) -> None:  # fmt: skip
    """Write each solution again from the first sentence that its detector calls wrong, ``most`` times."""
    for turn in range(most):
        groups: dict[First, list[Attempt]] = {}
        for one, first in attempts:
            groups.setdefault(first, []).append(one)
        live = []
        for first, some in groups.items():
            for one, place in zip(some, first(some, turn), strict=True):
                if place is not None:
                    one.written, one.kept = one.written[: one.sentences()[place].start], place
                    one.retries += 1
                    live.append((one, first))
        if not live:
            return
        again = [one for one, _ in live]
        write(model, again, SENTENCE, temperature, ID[STOP], progress, key=rng.key("retries", turn))
        unfinished = [one for one in again if one.written and one.written[-1] == ID[STOP]]
        if unfinished:
            write(model, unfinished, room, 0.0, ID[BOS], progress)
        attempts = live


def verdict(task: Igsm, one: Attempt) -> Verdict:
    """What the checker says of the solution with its answer."""
    return check(one.problem, task.vocabulary.decode(one.written), reader=task.reader, answer=True)


def called(attempts: Sequence[Attempt], verdicts: Sequence[Verdict], trained: list[list[bool]],
           untrained: list[list[bool]]) -> list[Row]:  # fmt: skip
    """What the probes say of right sentences and of the first wrong ones."""
    found = []
    for op in dict.fromkeys(one.op for one in attempts):
        here = [b for b, one in enumerate(attempts) if one.op == op]
        for suffix, said in (("", trained), ("_untrained", untrained)):
            right, wrong = [], []
            for b in here:
                whole = not verdicts[b].sentence or verdicts[b].kind == ENDS_EARLY
                first = len(said[b]) if whole else verdicts[b].sentence - 1
                right.append((first - sum(said[b][:first]), first))
                if first < len(said[b]) and attempts[b].sentences()[first].named is not None:
                    wrong.append((verdicts[b].kind, said[b][first]))
            hits_S, counts_S = np.array(right, float).T
            if counts_S.any():
                found.append(share(hits_S, counts_S).row(f"called_right{suffix}", int((counts_S > 0).sum()),
                                                         where={"op": op}))
            for name in ("any", "not computable yet"):
                some = np.array([hit for kind, hit in wrong if name in ("any", kind)], float)
                if len(some):
                    where: dict[str, Place] = {"op": op, "error": name.replace(" ", "_")}
                    found.append(share(some, np.ones(len(some))).row(f"called_wrong{suffix}", len(some), where=where))
    return found


def outcomes(task: Igsm, solved: dict[str, list[Attempt]]) -> list[Row]:
    """What each detector brings, beside none."""
    right = {name: np.array([verdict(task, one).right for one in some], float) for name, some in solved.items()}
    op_B = np.array([one.op for one in solved["none"]])
    found = []
    for op in np.unique(op_B).tolist():
        here_B = op_B == op
        count = int(here_B.sum())
        for name, some in solved.items():
            where: dict[str, Place] = {"op": op, "detector": name}
            found.append(share(right[name][here_B], np.ones(count)).row("solved", count, where=where))
            if name != "none":
                gains_B = (right[name] - right["none"])[here_B]
                found.append(difference_mean(gains_B).row("gain", count, where=where))
                retries_B = np.array([one.retries for one in some])[here_B]
                found.append(count_mean(retries_B).row("retries", count, unit="1/solution", where=where))
    return found


def _named(head: list[int]) -> tuple[int, int] | None:
    if len(head) == 5 and (head[0], head[2], head[4]) == (ID[DEFINE], ID[OWNS], ID[AS]):
        return head[1], head[3]
    return None


def _first(wrong: Sequence[bool], kept: int) -> int | None:
    return next((place for place, one in enumerate(wrong) if one and place >= kept), None)
