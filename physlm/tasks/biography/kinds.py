"""Every kind of question about the people of bioS: its wordings, its answer, its hint.  Free of torch.

A text is words separated by blanks; ``{birth_city}`` stands for a value of the person asked about and
``{other.birth_city}`` for one of a second person, ``{month_minus}`` for what both together give:

    What is the birth date of {name} ?                       {birth_date}
    Was {name} born in a later month than {other.name} ?     {month_later}      hint  {month} ; {other.month}

The first wording of a kind is the published one (arXiv 2309.14316, appendix A; 2309.14402, sections 3 to 5), put into
separate words; the others are our own, and the last ``HELD_OUT`` of them are never trained on.

A held-out wording must test what a model knows, not a random embedding: every word of it stands in the biographies or
in the published wordings of the kinds that are asked together (all retrieval, all inverse), so it was trained however
few wordings were; from each of the others of its kind it differs in two words or more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from physlm.tasks.biography.pools import ATTRIBUTES

HELD_OUT = 2
LARGEST = 99  # numbers in answers are between -LARGEST and LARGEST


class Kind(NamedTuple):
    """One kind of question; ``forms`` are its wordings and ``hint``, if there is one, the middle step."""

    forms: tuple[str, ...]
    answer: str
    hint: str = ""

    @property
    def trained_forms(self) -> int:
        """Wordings that may be trained on."""
        return max(1, len(self.forms) - HELD_OUT)


_PARAPHRASES = {
    "birth_date": (
        "What is the birth date of {name} ?", "When was {name} born ?", "On which date was {name} born ?",
        "What is the date of birth of {name} ?", "What is the date {name} was born on ?",
        "Which date is the birth date of {name} ?",
    ),
    "birth_city": (
        "What is the birth city of {name} ?", "Where was {name} born ?", "In which city was {name} born ?",
        "What is the birthplace of {name} ?", "Which city is the birthplace of {name} ?",
        "What city was {name} born in ?",
    ),
    "university": (
        "Which university did {name} study ?", "Where did {name} study ?", "What is the university of {name} ?",
        "Which university did {name} attend ?", "Which university was {name} a student at ?",
        "What university did {name} graduate from ?",
    ),
    "major": (
        "What major did {name} study ?", "What is the major of {name} ?", "Which field did {name} study ?",
        "What did {name} major in ?", "Which major did {name} graduate in ?", "What was the degree of {name} in ?",
    ),
    "employer": (
        "Which company did {name} work for ?", "What is the company of {name} ?", "Which company employed {name} ?",
        "Who employed {name} ?", "What company was {name} employed by ?", "Which company was {name} an employee of ?",
    ),
    "employer_city": (
        "Where did {name} work ?", "In which city did {name} work ?", "Which city did {name} work in ?",
        "What is the work city of {name} ?", "What city was {name} employed in ?",
        "Where is the workplace of {name} ?",
    ),
}  # fmt: skip
_DUAL = {
    ("birth_city", "employer"): "Where was {name} born and which company did this person work for ?",
    ("employer", "birth_city"): "Which company did {name} work for and where was this person born ?",
    ("university", "major"): "Which university and what major did {name} study ?",
    ("major", "university"): "What major and which university did {name} study ?",
    ("employer_city", "employer"): "Where and which company did {name} work for ?",
    ("employer", "employer_city"): "Which company and where did {name} work for ?",
}
_CLASSIFY = {
    "month_mod2": ("Was {name} born in an even month ?", "month"),
    "month_mod6": ("What is the birth month of {name} mod 6 ?", "month"),
    "month_mod12": ("What is the birth month of {name} in numerics ?", "month"),
    "luck_mod5": ("What is the luckiness of the major of {name} mod 5 ?", "major"),
    "luck_mod20": ("What is the luckiness of the major of {name} mod 20 ?", "major"),
    "luck_mod100": ("What is the luckiness of the major of {name} mod 100 ?", "major"),
}
_COMPARE = {
    "month_later": ("Was {name} born in a month in a year later than {other.name} ?", "month"),
    "month_minus": ("What is the birth month of {name} minus the birth month of {other.name} ?", "month"),
    "day_later": ("Was {name} born on a day in a month later than {other.name} ?", "day"),
    "day_minus": ("What is the birth day of {name} minus the birth day of {other.name} ?", "day"),
    "luck_later": ("Did {name} major in a field luckier than {other.name} ?", "major"),
    "luck_minus": ("How luckier is the major of {name} compared with the major of {other.name} ?", "major"),
}
_INVERSE = {
    "bdate": "born on {birth_date}",
    "birth": "born on {birth_date} in {birth_city}",
    "three": "who studied {major} at {university} and worked for {employer}",
    "four": "who studied {major} at {university} , was born in {birth_city} , and worked for {employer}",
    "all": "who studied {major} at {university} , was born on {birth_date} in {birth_city} , and worked for "
           "{employer} at {employer_city}",
}  # fmt: skip
_OPENINGS = ("Give me", "Tell me", "What is", "Name", "State", "Write", "Find", "Say", "Do you know", "Can you recall")
# how long the two lists are decides that there are 20 forms to train on
_WHO = ("the person", "somebody")
_INVERSE_HELD_OUT = (
    "Give me by {part} name the person {clause} ?", "Give me the {part} name the person {clause} had ?",
)  # fmt: skip
# facts about universities and employers, and the same asked through a person
_FACTS = {
    "university_founded": ("In which year was {university} founded ?", "university_year"),
    "employer_founded": ("In which year was {employer} founded ?", "employer_year"),
    "employer_based": ("In which city is {employer} based ?", "employer_city"),
}
# two_hop_city is a control: biographies tell where a person's employer is based, so that one hop is enough
_TWO_HOP = {
    "two_hop_university": ("In which year was the university of {name} founded ?", "university_year", "university"),
    "two_hop_employer": ("In which year was the company of {name} founded ?", "employer_year", "employer"),
    "two_hop_city": ("In which city is the company of {name} based ?", "employer_city", "employer"),
}

RETRIEVAL = ATTRIBUTES
PARTIAL = ("birth_day", "birth_year")
DUAL = tuple("+".join(pair) for pair in _DUAL)
CLASSIFICATION = tuple(_CLASSIFY)
COMPARISON = tuple(_COMPARE)
INVERSE = tuple(f"{told}_to_{part}" for told in _INVERSE for part in ("first", "full"))
FACTS = tuple(_FACTS)
TWO_HOP = tuple(_TWO_HOP)


def _kinds() -> Iterator[tuple[str, Kind]]:
    for attribute in RETRIEVAL:
        yield attribute, Kind(_PARAPHRASES[attribute], f"{{{attribute}}}")
    for name, part in zip(PARTIAL, ("day", "year"), strict=True):
        yield name, Kind((f"What is the birth {part} of {{name}} ?",), f"{{{part}}}", "{birth_date}")
    for (first, second), form in _DUAL.items():
        yield f"{first}+{second}", Kind((form,), f"{{{first}}} ; {{{second}}}")
    for name, (form, field) in _CLASSIFY.items():
        yield name, Kind((form,), f"{{{name}}}", f"{{{field}}}")
    for name, (form, field) in _COMPARE.items():
        yield name, Kind((form,), f"{{{name}}}", f"{{{field}}} ; {{other.{field}}}")
    for told, clause in _INVERSE.items():
        for part, field in (("first", "first_name"), ("full", "name")):
            forms = [f"{opening} the {part} name of {who} {clause} ?" for who in _WHO for opening in _OPENINGS]
            # no format(): the clause holds fields in braces of its own
            forms += [form.replace("{part}", part).replace("{clause}", clause) for form in _INVERSE_HELD_OUT]
            yield f"{told}_to_{part}", Kind(tuple(forms), f"{{{field}}}")
    for name, (form, field) in _FACTS.items():
        yield name, Kind((form,), f"{{{field}}}")
    for name, (form, field, middle) in _TWO_HOP.items():
        yield name, Kind((form,), f"{{{field}}}", f"{{{middle}}}")


KINDS: dict[str, Kind] = dict(_kinds())


def question_words() -> Iterator[str]:
    """Every word that a question, a hint or an answer needs besides those of bioS and its values."""
    yield from ("Answer", ":", "Hint", ";", ".", "Yes", "No")
    for kind in KINDS.values():
        for form in kind.forms:
            yield from (word for word in form.split() if not word.startswith("{"))
    yield from map(str, range(-LARGEST, LARGEST + 1))
