"""How well a model tells the next letters of an automaton that only its context shows (RegBench, arXiv 2401.12973).

    allowed     half=test          share of letters before which the likeliest token is one that the automaton allows
                                   (published as DFA accuracy)
    distance    half=test          total variation to the true next letters, 1/2 sum |p - q|, mean over letters
    *_untrained half=test          control: random weights
    *_uniform   half=test          control: each letter of the vocabulary as likely, whatever came before
    *_ngram     half=test n=2      control: what followed the last n - 1 tokens in the row so far; where nothing did,
                                   what followed fewer of them, at last every letter as likely

Read are rows of automata that training has not, with all tokens given; every letter counts, that after "|" too.  Tokens
that are no letters are left out of a distribution, and of the likeliest, for the controls alone: a model may say them.
n is the number of rows, and intervals are over them.

Shape letters: R rows of T positions, V tokens.
"""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.finite import likeliest
from physlm.measures.intervals import Ratio, share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.places import Place
from physlm.tasks.rows import IGNORE, Rows
from physlm.tasks.state.regular import FIRST_LETTER, RegularConfig
from physlm.training.config import RunSpec

ROWS = {"cuda": 256, "cpu": 24}
GRAMS = (1, 2, 3, 4)  # n
TOKENS = {"cuda": 1 << 17, "cpu": 1 << 14}  # that are read at once


class Told(NamedTuple):
    """Of each row: letters whose likeliest is allowed (or the chance of that), the sum of distances, letters; (R,)."""

    allowed_R: Tensor
    distance_R: Tensor
    letters_R: Tensor

    def rows(self, control: str = "", **more: Place) -> list[Row]:
        """Both quantities; ``more`` of where they were measured."""
        allowed, distance, letters = (x.double().cpu().numpy() for x in self)
        where = {"half": "test", **more}
        ratio = Ratio()
        ratio.add(distance, letters)
        return [share(allowed, letters).row(f"allowed{control}", len(letters), where=where),
                ratio.estimate().row(f"distance{control}", len(letters), where=where)]  # fmt: skip


def check(spec: RunSpec) -> None:
    """Refuse a run on anything else than automata.

    Raises:
        UserError: its task is another, or its model is an encoder.
    """
    if not isinstance(spec.task, RegularConfig):
        raise UserError(f"measure regular: got a run on {spec.task.title}, expected one on {RegularConfig.kind}, whose "
                        "automata say what may come next")
    if not spec.model.causal:
        raise UserError("measure regular: got model.causal = false, expected a decoder, which reads what comes before")


def measure(run: Trained) -> list[Row]:
    """Everything above, of one run.

    Raises:
        UserError: as ``check``.
    """
    check(run.spec)
    task = cast(RegularConfig, run.spec.task).build().to(run.device)
    rows, truth_RTV = task.truth(ROWS[run.device.type])
    found = read(run.ready(run.model), rows, truth_RTV).rows()
    found += read(run.ready(run.untrained), rows, truth_RTV).rows("_untrained")
    found += uniform(rows, truth_RTV).rows("_uniform")
    for n in GRAMS:
        found += told(ngram(rows, n, truth_RTV.shape[2]), rows, truth_RTV).rows("_ngram", n=n)
    return found


@torch.no_grad()
def read(model: Decoder, rows: Rows, truth_RTV: Tensor) -> Told:
    """What a model of one member tells.

    Raises:
        NotFiniteError: logits are not finite.
    """
    table_dV = model.output_table[0, : model.vocabulary].float().mT
    parts = []
    batch = max(1, TOKENS[rows.inputs_RT.device.type] // rows.inputs_RT.shape[1])
    for inputs_RT, targets_RT, some_RTV in zip(*(x.split(batch) for x in (*rows, truth_RTV)), strict=True):
        hidden_MRTd, _ = model.hidden(inputs_RT[None])
        logits_RTV = hidden_MRTd[0].float() @ table_dV
        likeliest(logits_RTV, "logits of letters")  # refuses what is not finite
        parts.append(told(logits_RTV.softmax(-1), Rows(inputs_RT, targets_RT), some_RTV))
    return Told(*(torch.cat(part) for part in zip(*parts, strict=True)))


def told(model_RTV: Tensor, rows: Rows, truth_RTV: Tensor) -> Told:
    """How near probabilities come to the true ones, wherever a letter follows."""
    asked_RT = rows.targets_RT != IGNORE
    allowed_RT = truth_RTV.gather(2, model_RTV.argmax(-1, keepdim=True))[..., 0] > 0
    distance_RT = (model_RTV.double() - truth_RTV.double()).abs().sum(-1) / 2
    return Told((allowed_RT & asked_RT).sum(1), (distance_RT * asked_RT).sum(1), asked_RT.sum(1))


def uniform(rows: Rows, truth_RTV: Tensor) -> Told:
    """The same of letters drawn uniformly: the chance that one is allowed."""
    letters = truth_RTV.shape[2] - FIRST_LETTER
    allowed_RT = (truth_RTV > 0).sum(-1) / letters
    even_V = torch.full_like(truth_RTV[0, 0], 1 / letters)
    even_V[:FIRST_LETTER] = 0
    found = told(even_V.expand_as(truth_RTV), rows, truth_RTV)
    return found._replace(allowed_R=allowed_RT.sum(1))


def ngram(rows: Rows, n: int, words: int) -> Tensor:
    """Shares of the letters that followed the last n - 1 tokens so far, (R, T, V); of fewer, where none did."""
    R, T = rows.inputs_RT.shape
    found_RTV = np.zeros((R, T, words), np.float32)
    for r, (row, targets) in enumerate(zip(rows.inputs_RT.tolist(), rows.targets_RT.tolist(), strict=True)):
        counts: defaultdict[tuple[int, ...], np.ndarray[tuple[int], np.dtype[np.float32]]] = defaultdict(
            lambda: np.zeros(words, np.float32))
        for t, target in enumerate(targets):
            contexts = [tuple(row[t + 1 - size : t + 1]) for size in range(min(n - 1, t + 1), -1, -1)]
            seen = next((context for context in contexts if context in counts), None)
            if seen is None:
                found_RTV[r, t, FIRST_LETTER:] = 1 / (words - FIRST_LETTER)
            else:
                found_RTV[r, t] = counts[seen] / counts[seen].sum()
            if target != IGNORE:
                for context in contexts:
                    counts[context][target] += 1
    return torch.from_numpy(found_RTV).to(rows.inputs_RT.device)
