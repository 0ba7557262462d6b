"""Which biographies a model read and how it learnt to answer, under the names that Parts 3.1 and 3.2 use for them.

    augmentation    fresh, single, multi5+permute     the biographies: a finetuned run's are those it began with;
                    multi40+rewritten                 a grammar's texts in place of templates
                    bioR multi5, bioR all             of a language model, so many or all of each person's texts
    way             mixed, finetuned, lora, encoder   how it learnt to answer; ``pretrained`` if it never did
                    vera, singlora                    the same by relatives of LoRA
    people          2500                              how many people it was asked about in training
    hints           plain, hints                      whether some of these questions asked for a hint
    forms           1 form, 20 forms                  wordings of each question
    group           all, celebrities, others          the people asked about

They are read from the columns of a results table alone, as files hold them; a test holds ``augmentation`` and
``people`` against the tasks' own ``BioSConfig.augmentation`` and ``QuestionsConfig.asked``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from physlm.config import unknown_key
from physlm.errors import UserError
from physlm.laws.columns import require, truth

SETTINGS = ("augmentation", "way", "people", "hints", "forms", "group")
BIOGRAPHIES, WRITTEN, QUESTIONS, MIXED = "bioS", "bioR", "bioQA", "bioMixed"


def with_settings(table: pd.DataFrame, by: Sequence[str] = ()) -> pd.DataFrame:
    """The table with the columns ``SETTINGS`` and ``setting``, which joins the texts of ``by`` with ``/``.

    So ``by = ("way", "augmentation")`` names ``mixed/single`` and ``by = ("hints", "people")`` names
    ``plain/people=2500``, always with all their parts, so that a name is the same whatever else was run.  ``by`` may
    also hold settings under their own names: ``task.share`` gives ``share=0.8``.

    Raises:
        UserError: a column is missing, a name of ``by`` is unknown, or a run is not about biographies.
    """
    require(table, ("run", "task.kind", "task.people"))
    for name in by:
        if name not in SETTINGS and ("." not in name or name not in table.columns):
            raise UserError(unknown_key("by", name, SETTINGS))
    derived = {str(run["run"]): _derived(run, by) for run in table.drop_duplicates("run").to_dict("records")}
    return table.assign(**{name: [derived[run][name] for run in table["run"]] for name in (*SETTINGS, "setting")})


def kind_title(kind: str) -> str:
    """A kind of question for readers: ``month_mod2`` as ``month mod 2``."""
    return re.sub(r"mod(\d)", r"mod \1", kind.replace("_", " ").replace("+", " + "))


def _derived(run: dict[Any, Any], by: Sequence[str]) -> dict[str, Any]:
    """The new columns of one run, from its settings."""
    kind = _setting(run, "task.kind", "")
    if kind not in (BIOGRAPHIES, WRITTEN, QUESTIONS, MIXED):
        raise UserError(f"results table: got task.kind {kind!r} of run {run['run']!r}, expected {BIOGRAPHIES}, "
                        f"{WRITTEN}, {QUESTIONS} or {MIXED}")
    forms = int(_setting(run, "task.ask.forms", 1))
    found = {
        "augmentation": _augmentation(run), "way": _way(run, kind),
        "people": 0 if kind in (BIOGRAPHIES, WRITTEN) else _people_asked(run),
        "hints": "hints" if _setting(run, "task.ask.hints", 0.0) > 0 else "plain",
        "forms": f"{forms} form{'s' if forms > 1 else ''}", "group": _setting(run, "task.ask.group", "all"),
    }
    texts = {**found, "people": f"people={found['people']}"}
    return {**found, "setting": "/".join(texts[name] if name in texts else _own_name(run, name) for name in by)}


def _way(run: dict[Any, Any], kind: str) -> str:
    if not _true(run, "model.causal", True):
        return "encoder"
    low_rank = _setting(run, "train.lora_rank", 0) or _setting(run, "train.lora_embedding_rank", 0)
    if kind in (BIOGRAPHIES, WRITTEN):
        return "pretrained"
    return "mixed" if kind == MIXED else str(_setting(run, "train.lora_kind", "lora")) if low_rank else "finetuned"


def _people_asked(run: dict[Any, Any]) -> int:
    """How many people training asked about: those of the halves of its groups, at most ``task.ask.most``."""
    people, celebrities = int(_setting(run, "task.people", 0)), int(_setting(run, "task.celebrities", 0))
    sizes = {"celebrities": celebrities, "others": people - celebrities}
    group, half = _setting(run, "task.ask.group", "all"), _setting(run, "task.ask.half", "train")
    counts = sizes.values() if group == "all" else (sizes[group],)
    available = sum({"train": count // 2, "test": count - count // 2, "all": count}[half] for count in counts)
    return min(available, int(_setting(run, "task.ask.most", 0)) or available)


def _augmentation(run: dict[Any, Any]) -> str:
    """The published name of the biographies' augmentation (arXiv 2309.14316); ``none`` if no run read biographies."""
    prefix = ""
    while _setting(run, f"{prefix}task.kind", "") == QUESTIONS:
        prefix += "start."
    kind = _setting(run, f"{prefix}task.kind", "")
    if not kind:
        return "none"
    prefix += "task."
    fullname = ["fullname"] if _true(run, f"{prefix}fullname", False) else []
    if kind == WRITTEN:
        texts = int(_setting(run, f"{prefix}texts", 0))
        return "+".join([f"{WRITTEN} {'all' if not texts else _copies(texts)}", *fullname])
    texts, permute, reverse = (int(_setting(run, prefix + name, 0)) for name in ("texts", "permute", "reverse"))
    couple = _true(run, f"{prefix}couples", False)
    if not _true(run, f"{prefix}fresh", True):
        texts, permute = 1, 1
    parts = ["fresh" if not texts else _copies(texts)]
    if _true(run, f"{prefix}rewritten", False):
        parts.append("rewritten")
    elif permute:
        parts.append(("couple" if couple else "permute") + ("" if texts > 1 and permute == 1 else str(permute)))
    elif couple:
        parts.append("couple")
    return "+".join([*parts, *fullname, *([f"reverse{reverse}"] if reverse else [])])


def _copies(texts: int) -> str:
    return "single" if texts == 1 else f"multi{texts}"


def _own_name(run: dict[Any, Any], name: str) -> str:
    """``task.share`` as ``share=0.8``; whole numbers look alike whether or not they were read as such."""
    value = _setting(run, name, "none")
    if isinstance(value, float):
        value = int(value) if value.is_integer() else f"{value:g}"
    return f"{name.rpartition('.')[2]}={value}"


def _setting(run: dict[Any, Any], name: str, default: Any) -> Any:
    """A cell, or ``default`` where the run has none: in a table of different runs that is NaN or an empty text."""
    value = run.get(name)
    return default if value is None or value == "" or (isinstance(value, float) and math.isnan(value)) else value


def _true(run: dict[Any, Any], name: str, default: bool) -> bool:
    return truth(_setting(run, name, default))
