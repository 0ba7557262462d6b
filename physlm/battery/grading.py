"""How many questions were answered right, with 95 % intervals and controls.  Free of torch.

    share       right answers among all questions of a kind (``wording.NORMALISED``); one without an answer is wrong
    constant    control: the best answer that is the same to all questions of the kind
    oracle      control: the answers looked up in the truth (``oracle.Oracle``); 1, or prompts or graders are wrong

The share of a task is the mean over its kinds, whose intervals (Wilson's) are added up, for they are about the same
people.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from physlm import interval
from physlm.battery.questions import Prompt
from physlm.battery.settings import TASKS
from physlm.battery.wording import given_answer, normalised
from physlm.errors import UserError
from physlm.interval import Interval
from physlm.measures.intervals import share


@dataclass(frozen=True)
class Score:
    """What was answered to the questions of one task, or of one kind of it.

    Attributes:
        way: "" for answers at once, "thought first", or "index".
        share: of right answers.
        constant, oracle: the controls.
        unanswered: questions without any answer.
    """

    task: str
    kind: str
    way: str
    share: Interval
    constant: float
    oracle: float
    unanswered: int = 0


AT_ONCE, THOUGHT, INDEX = "", "thought first", "index"


def right(prompt: Prompt, answer: str) -> bool:
    """Whether an answer is one of the right ones."""
    return normalised(given_answer(answer)) in set(map(normalised, prompt.answers))


def scores(prompts: Sequence[Prompt], answers: Mapping[str, str], oracle: Mapping[str, str],
           way: str | None = None) -> list[Score]:
    """By kind, in the order of the prompts.

    Args:
        answers, oracle: prompt id -> what was written.
        way: what answered, if it is not a model by itself.

    Raises:
        UserError: an answer to a question that was not asked.
    """
    known = {prompt.id for prompt in prompts}
    if strange := [name for name in answers if name not in known]:
        raise UserError(f"answers: got an answer to {strange[0]!r}{_more(strange)}, which is no question of this "
                        "battery; expected the ids of its prompts")
    groups: dict[tuple[str, str, bool], list[Prompt]] = {}
    for prompt in prompts:
        groups.setdefault((prompt.task, prompt.kind, prompt.thought), []).append(prompt)
    found = []
    for (task, kind, thought), asked in groups.items():
        hits = np.array([prompt.id in answers and right(prompt, answers[prompt.id]) for prompt in asked], float)
        one = share(hits, np.ones(len(asked)))
        found.append(Score(
            task, kind, way or (THOUGHT if thought else AT_ONCE),
            Interval(float(one.value), float(one.lo), float(one.hi), len(asked)), constant(asked),
            sum(right(prompt, oracle[prompt.id]) for prompt in asked) / len(asked),
            sum(not answers.get(prompt.id, "").strip() for prompt in asked)))  # fmt: skip
    return found


def constant(asked: Sequence[Prompt]) -> float:
    """The share that the best constant answer gets."""
    counts = Counter(one for prompt in asked for one in set(map(normalised, prompt.answers)))
    return max(counts.values()) / len(asked)


def by_task(found: Iterable[Score]) -> list[Score]:
    """The means over the kinds of each task and way, in the order of the tasks."""
    groups: dict[tuple[str, str], list[Score]] = {}
    for one in found:
        groups.setdefault((one.task, one.way), []).append(one)
    order = list(TASKS)
    return [Score(task, "", way, interval.mean_of([one.share for one in parts]),
                  sum(one.constant for one in parts) / len(parts), sum(one.oracle for one in parts) / len(parts),
                  sum(one.unanswered for one in parts))
            for (task, way), parts in sorted(groups.items(), key=lambda item: order.index(item[0][0]))]


def dependence(found: Iterable[Score]) -> dict[str, Interval]:
    """By task, the share with a thought written first minus that without, over the kinds that were asked both ways."""
    means = {(one.task, one.way): one.share for one in by_task(found)}
    return {task: interval.difference(means[task, THOUGHT], means[task, AT_ONCE], independent=False)
            for task in TASKS if (task, THOUGHT) in means and (task, AT_ONCE) in means}


def _more(strange: Sequence[str]) -> str:
    return f" and {len(strange) - 1} more" if len(strange) > 1 else ""
