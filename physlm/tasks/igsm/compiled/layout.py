"""The settings of a family as the compiled generator takes them, and its working memory."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple, get_args, get_type_hints

import numpy as np

from physlm.tasks.draws import as_share
from physlm.tasks.igsm.config import LETTERS, SPLIT_FROM, Chain, IgsmConfig, Noise
from physlm.tasks.igsm.draws import FAVOURS, favours, size_shares
from physlm.tasks.igsm.pieces import FIRST_NUMBER, LAYERS, pieces
from physlm.tasks.igsm.record import MOST_TOTALS, RECORD

WRONG, WEAK, MISS = range(3)
NO_MASK, NAME_MASK, START_MASK = range(3)
GROUPS = 5
GRAPH, STYLE, FACTS, ALL = range(1, 5)  # kinds of noise; 0: none
UNIFORM = 1  # amount of noise
NO_DEFINE, NO_NAMES, NO_SUMS = range(1, 4)  # what a chain leaves out; 0: nothing; 4: all
MOST_SOLUTION = 20 * LETTERS  # tokens: 13 of an operation, each with a letter of its own, and 7 of its sentence

SETTINGS = np.dtype([
    ("max_op", "i8"), ("max_ip", "i8"), ("op", "i8"),  # op 0: it is drawn
    ("uniform", "i8"), ("released", "i8"), ("shuffled", "i8"), ("question_first", "i8"), ("reask", "i8"),
    ("alphabetical", "i8"),
    ("modulus", "i8"), ("categorisations", "i8"), ("groups", "i8"),
    ("first_bin", "i8"), ("end_bin", "i8"), ("split_from", "i8"),  # below that op any bin
    ("retry_rate", "i8"), ("retry_kind", "i8"), ("retry_mask", "i8"),
    ("noise_kind", "i8"), ("noise_most", "i8"), ("noise_fits", "i8"), ("noise_amount", "i8"), ("noise_rate", "i8"),
    ("row_tokens", "i8"), ("first_noise", "i8"), ("chain", "i8"), ("chain_at_random", "i8"),
    ("layer_shares", "i8", (LETTERS + 1, 2)), ("width_shares", "i8", (LETTERS + 1, 2)),
    ("favours", "i8", (FAVOURS, 2)),
    ("first_number", "i8"), ("first_category", "i8"),
    ("first_items", "i8", (4, LAYERS, GROUPS)), ("group_sizes", "i8", (4, LAYERS, GROUPS)),
])  # fmt: skip

WORK = np.dtype([
    ("state", "u8"),                           # of the stream of random bits
    ("n", "i8"), ("m", "i8"), ("layers", "i8"), ("least_width", "i8"), ("most_width", "i8"),
    ("edges", "i8"), ("more", "i8"),           # what a structure graph is drawn with
    ("owned", "i8", (4, 4)),                   # the edges of each item
    ("number", "i8", (4, 4, 4)),               # of a total, by layer, owner and deeper layer
    ("terms", "i8", MOST_TOTALS),              # how many a total has
    ("term", "i8", (MOST_TOTALS, 4, 2)),       # edge, and the child's total or -1
    ("level", "i8", 4),                        # the totals of each
    ("needs", "i8", 64), ("closure", "i8", 64), ("cost", "i8", 64),
    ("place", "i8", 64),                       # of each parameter in the order
    ("feeds", "i8", 64),                       # for each edge the parameter that it has to depend on, or -1
    ("extra", "i8", 64),                       # operations, by place
    ("drawn", "i8", 4),                        # dependencies, before they are put in order
    ("direct", "i8", 64),                      # what each parameter is computed from at once
    ("graph", "i8"),                           # the parameters of the dependency graph
    ("whole", "i8"),                           # parameters in the order so far
    ("letter", "i8", 64),                      # of each parameter
    ("at", "i8"),                              # tokens written
    ("lost", "i8"),                            # 1: the next one is no target
    ("used", "i8"),                            # letters used
    ("own", "i8"), ("operations", "i8"), ("done", "i8"),   # of a sentence: its letter, how many operations, those done
    ("term_token", "i8"), ("term_value", "i8"),            # the result of the last operation
    ("noise", "i8"),                           # sentences of noise
    ("taken", "i8", (4, LAYERS, GROUPS)),      # the items whose names graphs have
])  # fmt: skip


class Scratch(NamedTuple):
    """Memory for what is not written at once.

    Attributes:
        ids, at: tokens of noise, and where each of its sentences begins and ends.
        work, record: of other graphs, one each.
        lost: nothing; for what is no row.
        solution, gone: a whole solution, and which of its tokens are left out.
    """

    ids: Any
    at: Any
    work: Any
    record: Any
    lost: Any
    solution: Any
    gone: Any


def settings(config: IgsmConfig, split: str) -> Any:
    """The settings of the problems of one split, one item of ``SETTINGS``."""
    return _settings(config, split)[0]


@functools.lru_cache(maxsize=64)
def _settings(config: IgsmConfig, split: str) -> Any:
    table, bins = pieces(config), config.bins(split)
    made = np.zeros(1, SETTINGS)
    c = made[0]
    c["max_op"], c["max_ip"], c["op"] = config.max_op, config.max_ip, config.op or 0
    c["uniform"], c["released"] = config.op_mix == "uniform", config.method == "released"
    c["shuffled"], c["question_first"] = config.dependency_order == "shuffled", config.order == "qp"
    c["reask"], c["modulus"] = config.reask, config.modulus
    c["alphabetical"] = config.letter_order == "alphabetical"
    c["categorisations"], c["groups"] = table.categorisations, table.groups
    c["first_bin"], c["end_bin"] = bins.start, bins.stop
    c["split_from"] = SPLIT_FROM if config.templates == "long" else 0
    c["retry_rate"] = as_share(config.retry.rate)
    c["retry_kind"] = ("wrong", "weak", "miss").index(config.retry.names)
    c["retry_mask"] = ("none", "name", "start").index(config.retry.mask)
    noise = config.noise
    c["noise_kind"], c["noise_most"] = _place(Noise, "sentences", noise.sentences), config.noise_tokens
    c["noise_fits"], c["noise_amount"] = noise.tokens is None, _place(Noise, "amount", noise.amount)
    c["noise_rate"], c["row_tokens"], c["first_noise"] = as_share(noise.rate), config.row_tokens, table.first_noise
    c["chain"], c["chain_at_random"] = _place(Chain, "drop", config.chain.drop), config.chain.at_random
    c["layer_shares"] = size_shares(config.max_ip, config.layers)
    c["width_shares"] = size_shares(config.max_ip, config.width)
    c["favours"] = favours()
    c["first_number"], c["first_category"] = FIRST_NUMBER, table.first_category
    c["first_items"][: table.categorisations, :, : table.groups] = table.first_items
    c["group_sizes"][: table.categorisations, :, : table.groups] = table.group_sizes
    return made


def _place(settings_of: type, name: str, value: str) -> int:
    """Of a value among those that a setting may have."""
    return get_args(get_type_hints(settings_of)[name]).index(value)


def scratch(config: IgsmConfig) -> Scratch | None:
    """Memory for one thread; None where the settings need none, which has machine code of its own, as fast as ever."""
    if config.noise.sentences == "none" and config.chain.drop == "none":
        return None
    most = config.noise_tokens
    return Scratch(np.zeros(most, np.uint16), np.zeros((most // 2 + 1, 2), np.int64), np.zeros(1, WORK),
                   np.zeros(1, RECORD), np.zeros(0, np.uint8), np.zeros(MOST_SOLUTION, np.uint16),
                   np.zeros(MOST_SOLUTION, np.uint8))  # fmt: skip
