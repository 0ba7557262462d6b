"""One hop and two: texts read sentence by sentence, who is asked, what guessing gives, refusals."""

from __future__ import annotations

import dataclasses
import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
import torch

from physlm.errors import UserError
from physlm.measures import answers
from physlm.measures.generation import Generated
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.playground.hops import ONE_HOP, TWO_HOP, Hops, HopsConfig
from physlm.tasks.rows import IGNORE
from physlm.training.config import RunSpec, TrainConfig

ONE = HopsConfig(1, 3, 40, 30, fillers=5, names=20, row_tokens=120)
TWO = HopsConfig(2, 2, 50, 40, fillers=5, names=20, row_tokens=160)
QUESTION = re.compile(r" <query> (p\d+) was born in the year of (\d{4})$")


def near(found: float, expected: float) -> bool:
    return abs(found - expected) < 5 * math.sqrt(expected)


def told(text: str) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Facts and links of a text, in its order; what is left is filler."""
    facts = re.findall(r"(p\d+) was born in the year of (\d{4}) \.", text)
    links = re.findall(r"(p\d+) was born in the same year as (p\d+) \.", text)
    rest = re.sub(r"p\d+ was born in the (year of \d{4}|same year as p\d+) \.", "", text)
    assert re.fullmatch(r"(<filler_\d+>| )*", rest)
    return facts, links


@pytest.mark.parametrize("config", [
    ONE, TWO, ONE_HOP, TWO_HOP, dataclasses.replace(TWO, filler="repeat"), HopsConfig(1, 1, 9, names=1, row_tokens=40),
    HopsConfig(2, 5, 95, names=10, row_tokens=120), HopsConfig(1, 60, 540, names=60, row_tokens=600),
], ids=lambda config: f"{config.title} in {config.row_tokens}")  # fmt: skip
def test_rows_are_whole_texts_end_to_end(config: HopsConfig) -> None:
    task = config.build()
    inputs, targets = task.rows(torch.arange(30))
    for row, scored in zip(inputs.tolist(), targets.tolist(), strict=True):
        words = [task.vocabulary.words[i] for i in row]
        begins = [place for place, word in enumerate(words) if word == "<bos>"]
        assert begins[0] == 0
        asked = [place for place, target in enumerate(scored) if target != IGNORE]
        ends = [place + 7 for place, word in enumerate(words) if word == "<query>" and place + 7 < len(words)]
        assert asked == ends, "the years after questions alone"
        for begin, end in pairwise(begins):
            text = " ".join(words[begin + 1 : end])
            found = QUESTION.search(" " + text)
            assert found is not None and words[end - 1] == task.vocabulary.words[scored[end - 2]]
            facts, links = told(text[: text.index("<query>")])
            assert len(facts) == len({*facts}) == config.people == len({year for _, year in facts})
            assert len(links) == config.people * (config.hops - 1)
            assert len({name for name, _ in facts + links}) == config.people * config.hops, "all different"
            assert {other for _, other in links} in ({name for name, _ in facts}, set()), "each is linked once"
            if links:
                assert text.index("same") > max(place for place in range(len(text)) if text[place:].startswith(
                    "year of") and place < text.index("<query>")), "facts come first"
            asked_name = found[1]
            assert dict(facts)[dict(links)[asked_name] if links else asked_name] == found[2]
            assert (config.shortest or config.window) <= end - begin - 10 <= config.window
        assert len(begins) > 1 or config.window + 11 >= config.row_tokens


@pytest.mark.parametrize("config", [ONE, TWO], ids=lambda config: config.title)
def test_its_own_samples_pass_the_verifier(config: HopsConfig) -> None:
    task = config.build()
    assert Counter(map(task.fault, (text.ids for text in task.texts(torch.arange(100_000), "train")))) == {"": 100_000}


OTHERWISE = "got something other than whole sentences and filler before the question"
FACTS = "<bos> p3 was born in the year of 1984 . <filler_1> p2 was born in the year of 1951 ."
LINKS = f"{FACTS} p5 was born in the same year as p2 . <filler_2> p6 was born in the same year as p3 ."


@pytest.mark.parametrize(("text", "fault"), [
    (f"{FACTS} <query> p3 was born in the year of 1984", ""),
    (f"{FACTS} <query> p2 was born in the year of 1951 <bos>", ""),
    (f"{LINKS} <query> p5 was born in the year of 1951", ""),
    (f"{FACTS} <query> p2 was born in the year of 1984", "got another year than that of the person"),
    (f"{LINKS} <query> p5 was born in the year of 1984", "got another year than that of the person"),
    (f"{FACTS} <query> p4 was born in the year of 1984", "got a question about somebody of whom nothing is told"),
    (f"{FACTS} p4 was born in the same year as p9 . <query> p4 was born in the year of 1984",
     "got a question about somebody of whom nothing is told"),
    (f"{FACTS} p4 was born in the year of 1984 . <query> p4 was born in the year of 1984",
     "got a person or a year twice"),
    (f"{FACTS} p3 was born in the year of 1960 . <query> p3 was born in the year of 1960",
     "got a person or a year twice"),
    (f"{LINKS} p3 was born in the same year as p2 . <query> p3 was born in the year of 1984",
     "got a person or a year twice"),
    *((f"{FACTS} {told} <query> p3 was born in the year of 1984", OTHERWISE) for told in (
        "p4 was born in the year of 1960", "p4 was born in the year of p7 .", "p4 was born in the year of <filler_3> .",
        "p4 in the was born year of 1960 .", "born of 1960 .", "1960 was born in the year of 1961 .",
        "p4 was born in the same year as 1984 .", "p4 was in the same born year as p2 .", "p4 of 1960 as p3 .",
        "p4 was born in the year of 1960 <filler_3> .", "p4", ".", "1960", "<query>", "<bos>")),
    ("<bos> of 1984 . <query> p3 was born in the year of 1984", OTHERWISE),
    (FACTS, "got no <bos>, or no question at the end"),
    (f"{FACTS[6:]} <query> p3 was born in the year of 1984", "got no <bos>, or no question at the end"),
])  # fmt: skip
def test_the_verifier_on_planted_cases(text: str, fault: str) -> None:
    task = TWO.build()
    assert task.fault(task.vocabulary.encode(text)) == fault


def test_a_text_of_one_hop_has_no_links() -> None:
    task = ONE.build()
    assert task.fault(task.vocabulary.encode(f"{FACTS} <query> p3 was born in the year of 1984")) == ""
    assert task.fault(task.vocabulary.encode(f"{LINKS} <query> p3 was born in the year of 1984")) == OTHERWISE


@pytest.mark.parametrize("config", [ONE, TWO], ids=lambda config: config.title)
def test_anyone_of_the_last_group_is_asked_or_its_first(config: HopsConfig) -> None:
    task = config.build()
    for first in (False, True):
        prompts, places = task.prompts(3000, first=first), Counter[int]()
        for ids, n in zip(prompts.ids_BP.tolist(), prompts.lengths_B.tolist(), strict=True):
            words = [task.vocabulary.words[i] for i in ids[:n]]
            text = " ".join(words[1 : words.index("<query>")])
            facts, links = told(text)
            places[[name for name, _ in links or facts].index(words[-7])] += 1
        if first:
            assert places == {0: 3000}
        else:
            assert len(places) == config.people and all(near(n, 3000 / config.people) for n in places.values())


def test_years_and_names_are_uniform() -> None:
    texts = HopsConfig(1, 2, 18, names=10, row_tokens=40).build().texts(torch.arange(12_000))
    years, names = Counter(text.ids[-1] for text in texts), Counter(text.ids[1] for text in texts)
    assert len(years) == 60 and all(near(n, 200) for n in years.values())
    assert len(names) == 10 and all(near(n, 1200) for n in names.values())


@pytest.mark.parametrize(("config", "chance"), [(ONE_HOP, 1 / 5), (TWO_HOP, 1 / 3)], ids=["1 hop", "2 hops"])
def test_chance_is_that_of_any_year_of_the_text(config: HopsConfig, chance: float) -> None:
    task: Hops = config.build()
    assert config.facts()["chance"] == pytest.approx(chance)
    prompts = task.prompts(6000)
    guesses = task.guesses(prompts)
    assert near(int(task.grade(prompts, guesses).answer_B.sum()), 6000 * chance)


def test_the_measure_answers_shows_the_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is always silent; beside it the commonest year and any year of the text."""
    spec = RunSpec(ONE, ModelConfig(layers=1, heads=1, width=8), TrainConfig(steps=1, precision="float32"))
    run = Trained(spec, torch.device("cpu"), lambda step: Decoder(spec.model, len(ONE.vocabulary()), (1,)))

    def silent(model: Decoder, prompts: torch.Tensor, new_tokens: int, **rest: Any) -> Generated:
        ids = torch.nn.functional.pad(prompts, (0, new_tokens))
        return Generated(ids, rest["lengths"] + 1, torch.ones(len(ids), dtype=torch.bool))

    monkeypatch.setattr(answers, "generate", silent)
    rows = {row.label: row for row in answers.measure(run)}
    assert set(rows) == {f"{name}/kind=1-hop/half=test" for name in ("answer", "answer_untrained", "majority", "guess")}
    assert rows["answer/kind=1-hop/half=test"].value == 0.0
    assert near(rows["guess/kind=1-hop/half=test"].value * 500, 500 / 3)
    assert 1 / 60 <= rows["majority/kind=1-hop/half=test"].value < 0.1


@pytest.mark.parametrize(("settings", "tokens"), [
    ({}, 50), ({"window": 400}, 400), ({"window": 400, "filled": 0.0}, 38), ({"window": 400, "filled": 0.5}, 238),
    ({"window": 400, "filled": 0.9}, 398), ({"window": 38}, 38),
])  # fmt: skip
def test_windows_are_filled_to_a_share_also_beyond_the_rows(settings: dict[str, Any], tokens: int) -> None:
    task = TWO.build()
    prompts = task.prompts(20, **settings)
    assert prompts.lengths_B.tolist() == [tokens + 9] * 20 and prompts.kinds == ("2-hop",)
    for ids, answer in zip(prompts.ids_BP.tolist(), prompts.answers_BQ.tolist(), strict=True):
        assert task.fault([*ids, *answer]) == ""


@pytest.mark.parametrize(("settings", "message"), [
    ({"hops": 3}, r"task\.hops: got 3, expected between 1 and 2"),
    ({"people": 28}, r"task\.people: got 28, expected between 1 and 27"),
    ({"people": 0}, r"task\.people: got 0, expected between 1 and 27"),
    ({"names": 4}, r"task\.people: got 5, expected between 1 and 4"),
    ({"window": 44}, r"task\.window: got 44, expected between 45 and 246"),
    ({"window": 247}, r"task\.window: got 247, expected between 45 and 246"),
    ({"shortest": 44}, r"task\.shortest: got 44, expected between 45 and 246"),
    ({"filler": "wikipedia"}, r"task\.filler: unknown name 'wikipedia'"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(ONE_HOP, **settings)


@pytest.mark.parametrize("config", [ONE, TWO], ids=lambda config: config.title)
def test_longer_and_filled_windows_are_those_that_measures_ask_for(config: HopsConfig) -> None:
    task = config.build()
    for times in (1, 3):
        prompts = task.prompts(5, window=config.longer(times)["window"])
        assert prompts.lengths_B.tolist() == [times * (config.window + config.around) - 1] * 5
    most = 1 - config.parts / config.window
    for share in (0.0, 0.1, most):
        (condition,) = config.filled(share).values()
        prompts = task.prompts(20, **condition)
        assert prompts.lengths_B.tolist() == [round(share * config.window) + config.parts + 9] * 20
        assert prompts.answers_BQ.equal(task.prompts(20).answers_BQ), "the same people are asked for"
    with pytest.raises(UserError, match=rf"hops: got filled {most + 0.1}, expected between 0 and {most:.4g}: "
                                        rf"{config.parts} of {config.window} tokens"):  # fmt: skip
        config.filled(most + 0.1)
    assert list(dataclasses.replace(config, filler="repeat").filled(0.0)) == ["repeat"]


def test_questions_that_cannot_be_are_refused() -> None:
    with pytest.raises(UserError, match=r"a window of 37 tokens, expected between 38, which are no filler, and"):
        TWO.build().prompts(3, window=37)
    with pytest.raises(UserError, match=r"filled -0\.1, expected between 0 and 1"):
        TWO.build().prompts(3, filled=-0.1)
    for window in (-5, (1 << 20) + 1):
        with pytest.raises(UserError, match=rf"a window of {window:,} tokens, expected between 0 and 1,048,576"):
            TWO.build().prompts(3, window=window, filled=0.5)
    with pytest.raises(UserError, match=r"filled nan, expected between 0 and 1"):
        TWO.build().prompts(3, filled=math.nan)
