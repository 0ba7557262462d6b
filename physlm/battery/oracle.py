"""Every question answered from the truth, by looking up: what a perfect reader of the biographies would say.

The oracle reads the text of a prompt alone, and the facts as text, not the tables that prompts are made from.  So it is
a control of prompts and graders: it is right everywhere, or one of them is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from physlm.battery.index import Index
from physlm.battery.questions import everybody
from physlm.battery.settings import SEARCH, TASK_OF, Battery
from physlm.battery.wording import ANSWER, Question, understood
from physlm.errors import UserError
from physlm.tasks.biography.pools import ATTRIBUTES, cut_pools


class Oracle:
    """It knows the facts of everybody in a battery."""

    def __init__(self, battery: Battery):
        from physlm.tasks.biography.strings import luckiness

        facts, pools = everybody(battery.people, battery.seed, battery.pool_size), cut_pools(battery.pool_size)
        self._facts, self._of = facts, {one["name"]: one for one in facts}
        self._months = pools.months
        self._luck = dict(zip(pools.majors, luckiness(len(pools.majors)).tolist(), strict=True))

    def __call__(self, prompts: Iterable[str]) -> list[str]:
        """The answers; a prompt that is none of ours is a UserError."""
        with truth(self._facts) as index:
            return [self._answer(prompt, index) for prompt in prompts]

    def _answer(self, prompt: str, index: Index) -> str:
        question = understood(prompt)
        if question is None:
            raise UserError(f"oracle: got the prompt {prompt!r}, expected a question of the battery")
        if TASK_OF[question.kind] == SEARCH:
            return index.answer(prompt) or ""
        thought, answer = self._told(question)
        return answer if prompt.rstrip().replace(" :", ":").endswith(ANSWER) else f"{thought}. {ANSWER} {answer}"

    def _told(self, question: Question) -> tuple[str, str]:
        """Thought and answer."""
        kind, facts = question.kind, self._of[question.values["name"]]
        day = {"birth_day": 0, "birth_year": 1}
        if kind in day:
            return "", facts["birth_date"].split(maxsplit=1)[1].split(", ")[day[kind]]
        if kind in ATTRIBUTES or "+" in kind:
            return "", "; ".join(facts[field] for field in kind.split("+"))
        what, _, how = kind.partition("_")
        word, number = self._part(what, question.values["name"])
        if not how.startswith("mod"):
            other_word, other = self._part(what, question.values["other.name"])
            later = "Yes" if number > other else "No"
            return f"{word}; {other_word}", later if how == "later" else str(number - other)
        rest = number % int(how.removeprefix("mod"))
        if kind == "month_mod2":
            return word, "No" if rest else "Yes"
        return word, str(number if kind == "month_mod12" else rest)

    def _part(self, what: str, name: str) -> tuple[str, int]:
        """What is compared or classified, as it is written and as a number: ``("October", 10)``."""
        month, day = self._of[name]["birth_date"].split(",")[0].split()
        major = self._of[name]["major"]
        parts: dict[str, Callable[[], tuple[str, int]]] = {
            "month": lambda: (month, self._months.index(month) + 1), "day": lambda: (day, int(day)),
            "luck": lambda: (major, self._luck[major])}
        return parts[what]()


def truth(facts: Iterable[dict[str, str]]) -> Index:
    """The index of what is true of everybody: what nobody's index can be better than.  To be closed."""
    index = Index()
    for one in facts:
        for field in ATTRIBUTES:
            index.tell(one["name"], field, one[field])
    return index
