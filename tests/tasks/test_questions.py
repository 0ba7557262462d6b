"""Questions and answers: against the biographies themselves, halves apart, only answers scored."""

import math
from typing import Any

import pytest
import torch
from question_texts import PEOPLE, asked, decoded, questions

from physlm.errors import UserError
from physlm.tasks.biography.config import BioSConfig
from physlm.tasks.biography.kinds import (
    CLASSIFICATION,
    COMPARISON,
    DUAL,
    FACTS,
    INVERSE,
    KINDS,
    PARTIAL,
    RETRIEVAL,
    TWO_HOP,
)
from physlm.tasks.biography.pools import load_pools
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.tasks.biography.questions import Questions, leaks
from physlm.tasks.biography.strings import luckiness
from physlm.tasks.rows import IGNORE


def biographies(people: int = PEOPLE, pool_size: int = 0) -> dict[str, dict[str, str]]:
    """Everybody's values by full name, as their biography tells them."""
    task = BioSConfig(people, pool_size=pool_size).build()
    entries = task.entries(torch.arange(people), torch.zeros(people, dtype=torch.long))
    found: dict[str, dict[str, str]] = {}
    for ids, roles in zip(entries.ids_RW.tolist(), entries.roles_RW.tolist(), strict=True):
        told: dict[str, list[str]] = {}
        for i, role in zip(ids, roles, strict=True):
            told.setdefault(task.roles[role], []).append(task.vocabulary.words[i])
        found[" ".join(told["name"])] = {role: " ".join(words) for role, words in told.items()}
    return found


def month(person: dict[str, str]) -> int:
    return 1 + load_pools().months.index(person["birth_date"].split()[0])


def day(person: dict[str, str]) -> int:
    return int(person["birth_date"].split()[1])


def luck(person: dict[str, str], majors: int = 100) -> int:
    return int(luckiness(majors)[load_pools().majors.index(person["major"])])


def names_in(text: str, people: dict[str, dict[str, str]]) -> list[dict[str, str]]:
    """Who is named, in the order of the text."""
    return [people[name] for name in sorted((n for n in people if n in text), key=text.index)]


def expected(kind: str, one: dict[str, str], two: dict[str, str], majors: int = 100) -> tuple[str, str]:
    """Hint and answer, computed from what biographies say; ``majors``: how many there are."""
    if kind in RETRIEVAL:
        return "", one[kind]
    if kind in PARTIAL:
        return one["birth_date"], one["birth_date"].split()[1 if kind == "birth_day" else 3]
    if kind in DUAL:
        return "", " ; ".join(one[attribute] for attribute in kind.split("+"))
    what, how = kind.split("_")
    number = {"month": month, "day": day, "luck": lambda person: luck(person, majors)}[what]

    def hint(person: dict[str, str]) -> str:
        date = person["birth_date"].split()
        return {"month": date[0], "day": date[1], "luck": person["major"]}[what]

    if kind in CLASSIFICATION:
        m = int(how[3:])
        answer = str(number(one) % m) if kind not in ("month_mod2", "month_mod12") else str(number(one))
        return hint(one), ("No", "Yes")[number(one) % 2 == 0] if kind == "month_mod2" else answer
    difference = number(one) - number(two)
    return f"{hint(one)} ; {hint(two)}", str(difference) if how == "minus" else "Yes" if difference > 0 else "No"


@pytest.mark.parametrize(("hints", "pool_size"), [(0.0, 0), (1.0, 0), (1.0, 5)])
def test_answers_and_hints_are_what_the_biographies_say(hints: float, pool_size: int) -> None:
    people = biographies(pool_size=pool_size)
    kinds = (*RETRIEVAL, *PARTIAL, *DUAL, *CLASSIFICATION, *COMPARISON)
    task = questions(kinds=kinds, half="all", hints=hints, pool_size=pool_size)
    seen = set()
    for kind, prompt, follows in asked(task):
        one, two = (*names_in(prompt, people), {})[:2]
        assert (kind in COMPARISON) == bool(two)
        hint, answer = expected(kind, one, two, pool_size or 100)
        if hint and hints:
            assert prompt.endswith(" ? Hint :") and follows == f"{hint} . Answer : {answer} . <eos>"
        else:
            assert prompt.endswith(" ? Answer :") and follows == f"{answer} . <eos>"
        assert (prompt.startswith("<eos> ") and kind not in RETRIEVAL) or one["name"] in prompt
        seen.add((kind, one["name"]))
    assert len(seen) == task.count == PEOPLE * len(kinds)


def test_published_wordings() -> None:
    """As printed in 2309.14316, in separate words."""
    task = questions(half="all")
    name = decoded(task, *task.numbered(torch.tensor([0]))[:2])[0].removeprefix("<eos> What is the birth date of ")
    name = name.removesuffix(" ? Answer :")
    assert [prompt for _, prompt, _ in asked(task)[:6]] == [f"<eos> {text} ? Answer :" for text in (
        f"What is the birth date of {name}", f"What is the birth city of {name}", f"Which university did {name} study",
        f"What major did {name} study", f"Which company did {name} work for", f"Where did {name} work")]


def test_inverse_questions_tell_values_and_ask_for_names() -> None:
    people = biographies()
    told = {"bdate": ("birth_date",), "birth": ("birth_date", "birth_city"),
            "three": ("major", "university", "employer"), "four": ("major", "university", "birth_city", "employer"),
            "all": tuple(RETRIEVAL)}
    for forms in (1, 20):
        for kind, prompt, follows in asked(questions(kinds=INVERSE, half="all", forms=forms)):
            given, part = kind.split("_to_")
            candidates = [p for p in people.values() if all(p[attribute] in prompt for attribute in told[given])]
            names = [p["name"] if part == "full" else p["name"].split()[0] for p in candidates]
            assert follows.removesuffix(" . <eos>") in names and f" the {part} name " in prompt
            assert not any(name in prompt for name in people)
    assert len(KINDS["all_to_full"].forms) == 22 and len(set(KINDS["all_to_full"].forms)) == 22


def test_two_hops_are_the_person_and_the_fact() -> None:
    people = biographies()
    plain = questions(kinds=(*FACTS, *TWO_HOP), half="all")
    facts = {prompt: follows for kind, prompt, follows in asked(plain) if kind in FACTS}
    assert len({follows for prompt, follows in facts.items() if "university" in prompt.lower()}) > 5
    for kind, prompt, follows in asked(questions(kinds=TWO_HOP, half="all", hints=1.0)):
        (one,) = names_in(prompt, people)
        middle = one["university" if kind == "two_hop_university" else "employer"]
        ending = "based" if kind == "two_hop_city" else "founded"
        verb = "In which city is" if kind == "two_hop_city" else "In which year was"
        answer = facts[f"<eos> {verb} {middle} {ending} ? Answer :"]
        assert follows == f"{middle} . Answer : {answer}" and middle not in prompt
        if kind == "two_hop_city":
            assert answer == f"{one['employer_city']} . <eos>"
    other = QuestionsConfig(PEOPLE, seed=1, ask=Ask(kinds=FACTS, half="all")).build()
    assert {p: f for _, p, f in asked(other)}.items() & facts.items() != facts.items()


def test_one_vocabulary_for_biographies_and_questions() -> None:
    plain, shared = BioSConfig(9), BioSConfig(9, questions=True)
    words = shared.vocabulary().words
    for config in (QuestionsConfig(9), MixedConfig(9), QuestionsConfig(9, ask=Ask(kinds=INVERSE))):
        assert config.vocabulary().words == words == config.build().vocabulary.words
    assert shared.build().vocabulary.words == words
    assert words[: len(plain.vocabulary())] == plain.vocabulary().words != words
    index = torch.arange(4)
    assert plain.build().rows(index).inputs_RT.equal(shared.build().rows(index).inputs_RT)


def people_of(task: Questions) -> list[int]:
    return list(map(int, task.tables.asked_A))


def test_halves_share_nobody() -> None:
    for celebrities in (0, 25):
        def group(celebrities: int = celebrities, seed: int = 0, **ask: Any) -> list[int]:
            return people_of(QuestionsConfig(101, celebrities, seed, ask=Ask(**ask)).build())

        train, test, everybody = group(half="train"), group(half="test"), group(half="all")
        assert not set(train) & set(test) and sorted(train + test) == sorted(everybody) == list(range(101))
        assert 0 <= len(test) - len(train) <= 2
        assert group(half="train", most=7) == train[:7] and group(half="train", most=20) == train[:20]
        assert set(train) != set(group(half="train", seed=1))  # a random half, of the seed's choice
        assert train == group(half="train", kinds=("major",), hints=0.0)
        if celebrities:
            assert sorted(group(half="all", group="celebrities")) == list(range(25))
            assert sorted(group(half="all", group="others")) == list(range(25, 101))
            assert set(group(half="train", group="others")) < set(train)


def test_two_people_are_two_and_of_one_half() -> None:
    people = biographies()
    for half in ("train", "test"):
        task = questions(kinds=("month_minus",), half=half)
        allowed = set(people_of(task))
        numbers = {name: i for i, name in enumerate(people)}
        seen: dict[str, set[str]] = {}
        for draw in range(30):
            for _, prompt, _ in asked(task, draw):
                one, two = names_in(prompt, people)
                assert {numbers[one["name"]], numbers[two["name"]]} <= allowed and one != two
                seen.setdefault(one["name"], set()).add(two["name"])
        assert len(seen) == len(allowed) and all(len(others) > 10 for others in seen.values())


def test_only_answers_are_scored() -> None:
    """What follows a request, with the <eos> after it; the control scores every token of the text."""
    kinds = ("birth_city", "month_mod2", "month_minus")
    for loss in ("answer", "all"):
        task = questions(kinds=kinds, hints=0.5, loss=loss, rows=(8, 70))
        rows = task.rows(torch.arange(50))
        scored = 0
        for ids, targets in zip(rows.inputs_RT.tolist(), rows.targets_RT.tolist(), strict=True):
            wanted, state = [], False
            words = [task.vocabulary.words[i] for i in ids]
            for before, word in zip(["", *words[:-1]], words, strict=True):
                if word == ":" and before in ("Answer", "Hint"):
                    state = True
                if word == "<eos>":
                    state = False
                wanted.append(state)
            got = [t != IGNORE for t in targets]
            assert got == (wanted if loss == "answer" else [True] * 70)
            assert all(t in (IGNORE, i) for t, i in zip(targets, ids[1:], strict=False))
            scored += sum(got)
        assert 50 * 10 < scored < 50 * 50 or loss == "all"


def test_a_pass_asks_every_question_once() -> None:
    task = questions(people=9, kinds=("birth_year", "major"), half="all", rows=(1, 40))
    texts = [tuple(row) for row in task.rows(torch.arange(2 * task.count), "train", 3).inputs_RT.tolist()]
    first, second = texts[: task.count], texts[task.count :]
    assert sorted(first) == sorted(second) and first != second and len(set(first)) == task.count == 18
    one_by_one = [task.rows(torch.tensor([i]), "train", 3).inputs_RT[0].tolist() for i in range(5)]
    assert [list(text) for text in texts[:5]] == one_by_one
    assert set(texts) == {tuple(row) for row in task.rows(torch.arange(18), "train", 4).inputs_RT.tolist()}


def test_hints_are_asked_for_as_often_as_said() -> None:
    from scipy import stats

    task = questions(people=3000, kinds=("month_mod2", "major"), half="all", hints=0.3)
    hinted = task.numbered(torch.arange(task.count)).hint_lengths_B.view(-1, 2) > 0
    assert not hinted[:, 1].any()  # a major has no middle step
    assert stats.binomtest(int(hinted[:, 0].sum()), 3000, 0.3).pvalue > 1e-4


def test_held_out_wordings_are_never_trained_on() -> None:
    def wordings(**ask: Any) -> dict[str, set[str]]:
        people = biographies()
        found: dict[str, set[str]] = {}
        task = questions(half="all", **ask)
        for draw in range(6):
            for kind, prompt, _ in asked(task, draw):
                (one,) = names_in(prompt, people)
                found.setdefault(kind, set()).add(prompt.replace(one["name"], "X"))
        return found

    published, trained, held_out = wordings(), wordings(forms=4), wordings(held_out=True)
    for kind in RETRIEVAL:
        assert len(published[kind]) == 1 and published[kind] < trained[kind]
        assert len(trained[kind]) == 4 and len(held_out[kind]) == 2 and not trained[kind] & held_out[kind]
    assert len(set().union(*trained.values(), *held_out.values())) == 6 * 6  # no wording serves two kinds


def test_no_wording_serves_two_kinds_and_every_field_is_known() -> None:
    forms = [form for kind in KINDS.values() for form in kind.forms]
    assert len(set(forms)) == len(forms)
    assert all(form.endswith(" ?") and "  " not in form for form in forms)
    assert set(KINDS) == {*RETRIEVAL, *PARTIAL, *DUAL, *CLASSIFICATION, *COMPARISON, *INVERSE, *FACTS, *TWO_HOP}


def test_a_planted_leak_is_found() -> None:
    train, test = (questions(half=half, kinds=("major", "month_later", "all_to_full")) for half in ("train", "test"))
    rows = train.rows(torch.arange(40)).inputs_RT
    assert leaks(rows, test) == 0 < leaks(rows, train)
    planted = rows.clone()
    (text,) = decoded(test, *test.numbered(torch.tensor([0]))[:2])
    ids = torch.tensor(test.vocabulary.encode(text))
    planted[7, :] = 0
    planted[7, 3 : 3 + len(ids)] = ids
    assert leaks(planted, test) == 1
    planted[9, :], planted[9, 40 : 40 + len(ids)] = 0, ids
    assert leaks(planted, test) == 2
    # a first name alone says little, so the whole question is looked for
    train, test = (questions(half=half, kinds=("bdate_to_first",)) for half in ("train", "test"))
    assert leaks(train.rows(torch.arange(40)).inputs_RT, test) == 0
    assert leaks(test.rows(torch.arange(5), "train").inputs_RT, test) == 5 * 4
    about_all = BioSConfig(PEOPLE, entries_per_row=2, row_tokens=140, questions=True).build().rows(torch.arange(30))
    assert leaks(about_all.inputs_RT, test) == 0  # biographies are no questions


@pytest.mark.parametrize("share", [0.5, 0.8, 0.333])
def test_mixed_rows_are_all_biographies_or_all_questions(share: float) -> None:
    config = MixedConfig(40, entries_per_row=2, row_tokens=100, texts=5, permute=1, share=share, questions_per_row=6,
                         ask=Ask(half="train"))
    task, index = config.build(), torch.arange(300)
    rows = task.rows(index, "train", 2)
    bio, ask = config.biographies.build(), config.questions.build()
    scored = (rows.targets_RT == IGNORE).any(-1) & (rows.inputs_RT == task.vocabulary.id("?")).any(-1)
    assert [int(scored[:n].sum()) for n in (1, 7, 300)] == [math.floor(n * round(1000 * share) / 1000)
                                                           for n in (1, 7, 300)]
    told, questions_ = bio.rows(torch.arange(300), "train", 2), ask.rows(torch.arange(300), "train", 2)
    assert rows.inputs_RT[scored].equal(questions_.inputs_RT[: int(scored.sum())])
    assert rows.targets_RT[scored].equal(questions_.targets_RT[: int(scored.sum())])
    assert rows.inputs_RT[~scored].equal(told.inputs_RT[: 300 - int(scored.sum())])
    assert rows.targets_RT[~scored].equal(told.targets_RT[: 300 - int(scored.sum())])
    part = task.rows(index[100:130], "train", 2)
    assert part.inputs_RT.equal(rows.inputs_RT[100:130])
    assert leaks(rows.inputs_RT, QuestionsConfig(40, ask=Ask(half="test")).build()) == 0


@pytest.mark.parametrize(("make", "message"), [
    (lambda: Ask(kinds=("birth_dat",)), "task.ask.kinds: unknown name 'birth_dat'; did you mean 'birth_date'"),
    (lambda: Ask(kinds=()), "expected at least one kind"),
    (lambda: Ask(kinds=("major", "major")), "each once"),
    (lambda: Ask(hints=1.5), "task.ask.hints: got 1.5"),
    (lambda: Ask(hints=0.5), "have no hint"),
    (lambda: Ask(forms=5), "task.ask.forms: got 5, expected between 1 and 4"),
    (lambda: Ask(kinds=INVERSE, forms=21), "expected between 1 and 20"),
    (lambda: Ask(kinds=("month_mod2",), held_out=True), "task.ask.held_out"),
    (lambda: Ask(most=-1), "task.ask.most: got -1"),
    (lambda: QuestionsConfig(100, ask=Ask(most=51)), "got 50 people in the train half, expected at least 51"),
    (lambda: QuestionsConfig(1), "got 0 people in the train half, expected at least 1"),
    (lambda: QuestionsConfig(3, ask=Ask(kinds=COMPARISON)), "got 1 person in the train half, expected at least 2"),
    (lambda: QuestionsConfig(9, ask=Ask(group="celebrities")), "task.ask.group: got 'celebrities'"),
    (lambda: QuestionsConfig(0), "task.people: got 0"),
    (lambda: MixedConfig(9, share=1.0), "task.share: got 1.0"),
    (lambda: MixedConfig(9, share=0.12345), "a multiple of 0.001"),
    (lambda: MixedConfig(1), "got 0 people in the train half"),
    (lambda: MixedConfig(9, permute=1), "task.permute"),
])  # fmt: skip
def test_bad_settings_are_named(make: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        make()
