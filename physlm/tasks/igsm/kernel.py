"""The generator as one compiled program: token ids, lengths and records of problems, and rows packed with problems.

    batch = problems(FAMILIES["med"], np.arange(1000))            # of the training split
    ids_RW, lost_RW = rows(FAMILIES["med"], np.arange(64), threads=2)

Problem i is a pure function of (seed, split, stream, i), whatever else is made beside it, and the same as the plain
twin's (``plain``), bit for bit.  Row r is problems 65,536 r, 65,536 r + 1, ... of the same stream, one after another
without those longer than a row, cut at the row's end.

Shape letters: N problems, R rows, W tokens.
"""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from physlm.errors import UserError
from physlm.tasks.compiled import Call, over_slices, part
from physlm.tasks.compiled_draws import below, keyed
from physlm.tasks.igsm.compiled.building import entry
from physlm.tasks.igsm.compiled.draws import bin_of
from physlm.tasks.igsm.compiled.layout import WORK, scratch, settings
from physlm.tasks.igsm.compiled.necessary import arrange, choose, depend, reachable
from physlm.tasks.igsm.compiled.noise import draw_noise
from physlm.tasks.igsm.compiled.structure import draw_parameters, draw_structure
from physlm.tasks.igsm.compiled.unneeded import ask_again, complete, compute, on_graph, operations, template_hash
from physlm.tasks.igsm.compiled.writing import draw_texts, write
from physlm.tasks.igsm.config import BINS, LETTERS, MOST_EDGES, IgsmConfig
from physlm.tasks.igsm.draws import MOST_DRAWS, TRIES, stream_key
from physlm.tasks.igsm.plain import no_problem
from physlm.tasks.igsm.record import MOST_PARAMETERS, MOST_TOTALS, RECORD

ROW_PROBLEMS = 1 << 16  # numbers of problems that a row has for itself
USUAL_WIDTH = 1024


class Batch(NamedTuple):
    """Problems by number.

    Attributes:
        records_N: of ``record.RECORD``, which ``Problem`` reads.
        ids_NW: uint16, ``<bos> <problem> P <solution> S <answer> v``, then zeros.
        lengths_N: tokens of each.
        lost_NW: uint8, 1 for tokens that are no targets; W = 0 where the settings mask none.
    """

    records_N: npt.NDArray[Any]
    ids_NW: npt.NDArray[np.uint16]
    lengths_N: npt.NDArray[np.int64]
    lost_NW: npt.NDArray[np.uint8]


def problems(config: IgsmConfig, index_N: npt.ArrayLike, split: str = "train", stream: int | str = 0,
             threads: int = 1) -> Batch:  # fmt: skip
    """The problems of these numbers, on that many threads.

    Raises:
        UserError: there is no such problem (``plain.generate``).
    """
    index_N = _numbers(index_N, 1 << 62)
    c, key = settings(config, split), np.uint64(stream_key(config, split, stream))
    width, count = USUAL_WIDTH, len(index_N)
    while True:
        records_N, lengths_N = np.zeros(count, RECORD), np.zeros(count, np.int64)
        ids_NW = np.zeros((count, width), np.uint16)
        lost_NW = np.zeros((count, width if config.retry.mask != "none" else 0), np.uint8)

        def make(start: int, end: int, ids: Any = ids_NW, lost: Any = lost_NW, lengths: Any = lengths_N,
                 records: Any = records_N) -> None:  # fmt: skip
            some = slice(start, end)
            _problems(c, key, index_N[some], records[some], ids[some], lengths[some], lost[some],
                      scratch(config))

        over_slices(make, count, threads)
        _check(config, split, records_N["draws"])
        longest = int(lengths_N.max(initial=0))
        if longest <= width:
            return Batch(records_N, ids_NW[:, :longest], lengths_N, lost_NW[:, :longest])
        width = longest


def rows(config: IgsmConfig, index_R: npt.ArrayLike, split: str = "train", stream: int | str = 0,
         threads: int = 1) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint8]]:  # fmt: skip
    """Rows of ``row_tokens`` + 1 token ids, (R, T + 1), and which of them are no targets, (R, T + 1) or (R, 0).

    Raises:
        UserError: there are no such problems, or hardly any is as short as a row.
    """
    index_R = _numbers(index_R, 1 << 46)
    c, key = settings(config, split), np.uint64(stream_key(config, split, stream))
    ids_RW = np.zeros((len(index_R), config.row_tokens + 1), np.uint16)
    lost_RW = np.zeros((len(index_R), config.row_tokens + 1 if config.retry.mask != "none" else 0), np.uint8)
    draws_R = np.zeros(len(index_R), np.int64)

    def make(start: int, end: int) -> None:
        some = slice(start, end)
        _rows(c, key, index_R[some], ids_RW[some], lost_RW[some], draws_R[some], scratch(config))

    over_slices(make, len(index_R), threads)
    _check(config, split, draws_R)
    if (draws_R == 0).any():
        raise UserError(f"task.row_tokens: got {config.row_tokens}, and hardly any problem of {config.title} is as "
                        "short; expected more")
    return ids_RW, lost_RW


def _numbers(index_N: npt.ArrayLike, most: int) -> npt.NDArray[np.int64]:
    numbers = np.ascontiguousarray(index_N, dtype=np.int64)
    assert numbers.ndim == 1 and ((numbers >= 0) & (numbers < most)).all(), "numbers of problems or rows"
    return numbers


def _check(config: IgsmConfig, split: str, draws_N: npt.NDArray[Any]) -> None:
    if (draws_N < 0).any():
        raise no_problem(config, config.op, split)


@part
def _draw_op(c: Any, w: Any) -> Any:
    if c.uniform:
        return 1 + below(w, c.max_op)
    return 1 + min(below(w, c.max_op), below(w, c.max_op))


@part
def _structured(w: Any, r: Any, c: Any) -> Any:
    """Draw structure graphs until the necessary part of one has an order; False after ``TRIES``."""
    for _ in range(TRIES):
        r.draws += 1
        draw_structure(w, r)
        if arrange(c, w, r, choose(w, r)):
            return True
    return False


@part
def _fits(c: Any, w: Any, r: Any, op: Any) -> Any:
    """Whether the template, of so many operations, is one of the split's."""
    r.template = template_hash(w, r)
    r.bin = bin_of(r.template, BINS)
    return op < c.split_from or c.first_bin <= r.bin < c.end_bin


@part
def _attempt(c: Any, w: Any, r: Any, op: Any) -> Any:
    """One draw of parameters; False where it comes to nothing."""
    s = op
    if c.released and c.op == 0:
        s = _draw_op(c, w)
        while s < op:
            s = _draw_op(c, w)
    draw_parameters(c, w, s)
    if not _structured(w, r, c) or reachable(w, r, s) != op:
        return False
    depend(c, w, r, op)
    if not _fits(c, w, r, op) and not c.reask:
        return False
    complete(c, w, r)
    w.graph = on_graph(w, r)
    r.op = op
    if c.reask:
        ask_again(w, r, w.graph)
        r.op = operations(w, r)
        if not _fits(c, w, r, r.op) or r.op > LETTERS:
            return False
    return True


@part
def _problem(c: Any, w: Any, r: Any, key: Any, index: Any) -> Any:
    """Fill the record of one problem; False where there is none."""
    w.state = r.stream = keyed(key, index)
    r.draws = 0
    op = c.op if c.op > 0 else _draw_op(c, w)
    while not _attempt(c, w, r, op):
        if r.draws >= MOST_DRAWS:
            r.draws = -1
            return False
    compute(c, w, r)
    draw_texts(c, w, r)
    for parameter in range(MOST_PARAMETERS):
        r.graph[parameter] = w.graph >> parameter & 1
    _clear(w, r)
    return True


@part
def _clear(w: Any, r: Any) -> None:
    """Zeros behind what the record has, in place of what earlier attempts left there."""
    for edge in range(r.ip, MOST_EDGES):
        r.form[edge] = r.constant[edge] = r.difference[edge] = r.count[edge] = 0
        for at in range(4):
            r.dependencies[edge, at] = 0
        for at in range(3):
            r.edge[edge, at] = 0
    for place in range(r.totals, MOST_TOTALS):
        for at in range(3):
            r.total[place, at] = 0
    for place in range(w.whole, MOST_PARAMETERS):
        r.order[place] = 0


@part
def _write(c: Any, w: Any, r: Any, s: Any, ids: Any, lost: Any) -> Any:
    """The tokens of a problem; how many they are.  Noise has what room the rest leaves, so that is written first."""
    if s is None:
        return write(c, w, r, s, ids, lost)
    w.noise = length = 0
    for again in range(1 + (c.noise_kind > 0)):
        if again > 0:
            draw_noise(c, w, r, s, length)
        length = write(c, w, r, s, ids, lost)
    return length


def _make_problems(stamp: int) -> Call:
    def fill(c: Any, key: Any, index_N: Any, records_N: Any, ids_NW: Any, lengths_N: Any, lost_NW: Any,
             s: Any) -> None:  # fmt: skip
        work = np.zeros(1 + 0 * stamp, WORK)
        for n in range(len(index_N)):
            if _problem(c, work[0], records_N[n], key, index_N[n]):
                lengths_N[n] = _write(c, work[0], records_N[n], s, ids_NW[n], lost_NW[n])

    return fill


def _make_rows(stamp: int) -> Call:
    def fill(c: Any, key: Any, index_R: Any, ids_RW: Any, lost_RW: Any, draws_R: Any, s: Any) -> None:
        work, record = np.zeros(1 + 0 * stamp, WORK), np.zeros(1, RECORD)
        width = ids_RW.shape[1]
        for row in range(len(index_R)):
            at = 0
            for number in range(ROW_PROBLEMS):
                if not _problem(c, work[0], record[0], key, index_R[row] * ROW_PROBLEMS + number):
                    draws_R[row] = -1
                    break
                length = _write(c, work[0], record[0], s, ids_RW[row, at:], lost_RW[row, at:])
                if length < width:
                    at += length
                if at >= width:
                    draws_R[row] = 1 + number
                    break

    return fill


_problems, _rows = entry(_make_problems), entry(_make_rows)


def problems_per_second(config: IgsmConfig, seconds: float = 1.0, split: str = "train",
                        threads: int = 1) -> tuple[float, float]:  # fmt: skip
    """Problems and tokens a second of processor time, with token ids out, for benchmarks.

    Args:
        seconds: of processor time to measure at least; compilation comes before.
    """
    batch, made, tokens, spent = 4096, 0, 0, 0.0
    problems(config, np.arange(16), split)
    while spent < seconds:
        begun = time.process_time()
        tokens += int(problems(config, np.arange(made, made + batch), split, "bench", threads).lengths_N.sum())
        spent += time.process_time() - begun
        made += batch
    return made / spent, tokens / spent
