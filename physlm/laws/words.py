"""Models, tasks and scores in words, for readers of tables: what ``model.mixer``, ``model.local`` and so on say.

    rope                        RoPE
    nope_alibi                  ALiBi
    gated_deltanet_levels9      Gated DeltaNet, 9 levels
    gla,nope                    GLA and no positions

A label is a part's kind and the settings that are not at their defaults, with ``_`` between them; what has no words
here, such as a part of a user's own, stays as it is.
"""

from __future__ import annotations

import itertools
import re

KINDS = {
    "rope": "RoPE", "nope": "no positions", "fox": "FoX", "path": "PaTH", "linear": "linear attention", "gla": "GLA",
    "mamba2": "Mamba2", "deltanet": "DeltaNet", "gated_deltanet": "Gated DeltaNet", "mla": "MLA", "nsa": "NSA",
    "simplicial": "2-simplicial", "relative": "relative positions", "position_only": "positions alone",
    "uniform": "uniform attention",
    "canon": "Canon", "plain": "plain MLP", "gated": "gated MLP", "moe": "experts",
    "layernorm": "layer norm", "rmsnorm": "RMS norm", "dyt": "DyT",
    "hyper": "hyper-connections", "mhc": "mHC", "ngram": "n-gram memory",
}  # fmt: skip
SETTINGS = {
    "protrue": "Pro", "forgettrue": "forgetting", "negativetrue": "to -1", "convfalse": "no convolution",
    "convtrue": "convolution", "silufalse": "no SiLU", "qkhead": "QK-norm", "qkfull": "QK-norm over all heads",
    "qkunit": "QK-norm, no gains", "alibi": "ALiBi", "hardalibi": "H-ALiBi", "t5": "T5", "sink": "sink",
    "logn": "times ln n", "gatescalar": "one decay a head", "gatehead": "gated heads", "gateelement": "gated output",
}  # fmt: skip
NUMBERED = {
    "steps": "{} updates a token", "levels": "{} levels", "size": "N = {}", "window": "window of {}",
    "chunk": "chunks of {}", "group": "{} heads share", "latent": "latent {} d", "rotated": "rotated {}",
    "ratio": "{} d", "experts": "{} experts", "keys": "keys {} d", "values": "values {} d",
    "base": "base {}", "heads": "{} of the heads", "sites": "at {}",
}  # fmt: skip
_NUMBER = re.compile(r"([a-z_]+?)([0-9.]+(?:e[+-]?\d+)?)")
NONE = {"model.local": "no Canon", "model.mlp": "no MLP"}
# of a column, what else tells models of one mixer apart
COLUMNS = {
    "model.heads": "{} heads", "model.init_std": "first weights {}", "model.loops": "{} passes",
    "model.prelude": "first {} once", "model.coda": "last {} once",
}  # fmt: skip

TASKS = {"mqar": "MQAR", "bioS": "Capo", "bioD": "Capo", "mano": "Mano", "depo": "Depo", "brevo": "Brevo"}
QUANTITIES = {
    "answer": "questions answered", "answered": "questions answered", "forced": "tokens of answers right",
    "accuracy": "valid strings", "bits_per_param": "bits a parameter",
}  # fmt: skip


def pattern_words(label: str) -> str:
    """A pattern of parts; those that follow each other and are alike are counted: ``3 x GLA and no positions``."""
    runs = [(words, len(list(same))) for words, same in itertools.groupby(map(part_words, label.split(",")))]
    return " and ".join(words if count == 1 else f"{count} x {words}" for words, count in runs)


def part_words(label: str) -> str:
    """One part and its settings."""
    kind = max((one for one in KINDS if label == one or label.startswith(f"{one}_")), key=len, default="")
    first, _, rest = label.partition("_") if not kind else (kind, "", label[len(kind) + 1 :])
    told = [_setting(one) for one in _settings(rest)]
    if not kind:
        known = _numbered(first, {"rope": "RoPE of {} of a head", "canon": "Canon at {}"}, "")
        return ", ".join([known, *told]) if known else label
    if kind == "nope" and {"ALiBi", "H-ALiBi", "T5"} & {*told}:  # these are positions
        return ", ".join(told)
    return ", ".join([KINDS[kind], *told])


def column_words(column: str, value: str) -> str:
    """What a column says of a model whose mixer does not tell it from others."""
    if column in COLUMNS:
        return COLUMNS[column].format(value)
    if column == "model.tied":
        return "tied" if value == "True" else "untied"
    return NONE[column] if value == "none" and column in NONE else pattern_words(value)


def _settings(text: str) -> list[str]:
    """Settings with their values, of which a name may have several words: ``bias_rate0.001``."""
    found, begun = [], ""
    for part in filter(None, text.split("_")):
        begun += part
        if part in SETTINGS or re.search(r"(\d|true|false)$", part):
            found.append(begun)
            begun = ""
        else:
            begun += "_"
    return [*found, *filter(None, [begun.rstrip("_")])]


def _setting(text: str) -> str:
    found = _NUMBER.fullmatch(text)
    plain = f"{found[1].replace('_', ' ')} {found[2]}" if found else text
    return SETTINGS.get(text) or _numbered(text, NUMBERED, plain)


def _numbered(text: str, words: dict[str, str], missing: str) -> str:
    found = _NUMBER.fullmatch(text) or re.fullmatch(r"(canon)([A-D]+)", text)
    return words[found[1]].format(found[2]) if found and found[1] in words else missing
