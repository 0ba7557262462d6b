"""How well a model knows its grammar, judged by what it writes (arXiv 2305.13673, section 3).

    accuracy        a string counts if all of it parses: begun from <eos> alone (cut 0), or from the first 50 tokens of
                    a fresh string (cut 50), drawn at temperature 1
    kl              KL(truth || model) of the next token, nats, mean over all positions of fresh strings, exact
    entropy         bits a string: of the model itself, of what it wrote under the grammar, of the grammar
    distinct        different yields among the subtrees of a level, written and true: no diversity is lost
    accuracy_untrained, kl_untrained    the controls: the same model before its first step

A string that does not end within the training window counts as invalid.  Shape letters: B strings, W positions.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from physlm import rng
from physlm.machine import cpu_cores
from physlm.measures.finite import check_finite
from physlm.measures.generation import generate
from physlm.measures.intervals import Ratio, Z, share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained, grammar_of
from physlm.models.decoder import Decoder
from physlm.places import Place
from physlm.tasks.grammar.chart import Span
from physlm.tasks.grammar.grammar import Grammar
from physlm.tasks.grammar.likelihood import Likelihood, kl
from physlm.tasks.grammar.parser import Parser
from physlm.tasks.grammar.statistics import derivation_entropy
from physlm.tasks.grammar.task import GrammarTask
from physlm.training.config import RunSpec

LONG_CUT = 50
# strings written for each cell, along the way and at the end; fresh strings read for KL
STRINGS = {"cuda": (500, 2000), "cpu": (200, 500)}
READ = {"cuda": 200, "cpu": 100}
LN2 = math.log(2.0)
Ints = NDArray[np.int64]


class Written(NamedTuple):
    """Strings as terminal numbers; which of them ended, and which are valid (an unended one is not)."""

    strings: list[Ints]
    ended_B: NDArray[np.bool_]
    valid_B: NDArray[np.bool_]


def check(spec: RunSpec) -> None:
    """Refuse a run on anything but strings of a grammar.

    Raises:
        UserError: see above.
    """
    grammar_of(spec, "completion")


def measure(run: Trained) -> list[Row]:
    """Accuracy, KL, entropies and diversity of one run, along its training and at its end."""
    judge = Judge(run)
    few, many = STRINGS[run.device.type]
    rows: list[Row] = []
    for step in run.spec.snapshot_steps:
        model = run.ready(run.load(step))
        for cut in judge.cuts:
            rows.append(judge.accuracy("accuracy", judge.write(model, few, cut), cut=cut, step=step))
        rows.append(judge.kl("kl", model, step=step))
    model, untrained = run.ready(run.model), run.ready(run.untrained)
    written = {cut: judge.write(model, many, cut) for cut in judge.cuts}
    rows += [judge.accuracy("accuracy", written[cut], cut=cut) for cut in judge.cuts]
    rows.append(judge.accuracy("accuracy_untrained", judge.write(untrained, few, 0), cut=0))
    rows += [judge.kl("kl", model), judge.kl("kl_untrained", untrained)]
    return [*rows, *judge.entropies(model, written[0]), *judge.diversity(written[0])]


class Judge:
    """Writes with models of one run and judges what they write.

    Attributes:
        cuts: tokens of a fresh string that are given: 0, and 50; where a string may be no longer, half of the shortest.
        task: the run's task on its device, without noise: only split "train" has any.
    """

    def __init__(self, run: Trained):
        self._run = run
        self.task: GrammarTask = grammar_of(run.spec, "completion").build().to(run.device)
        self.grammar = self.task.observed
        self.parser, self.likelihood = Parser(self.grammar), Likelihood(self.grammar)
        shortest, longest = self.parser.length_range
        self.cuts = (0, LONG_CUT if shortest > LONG_CUT else shortest // 2)
        self._room = min(longest + 1, run.spec.task.row_tokens - 1)
        self._threads = cpu_cores()
        # vocabulary id -> terminal number of the observed grammar, whose words may be fewer; -1 for <eos>
        number = {name: i for i, name in enumerate(self.grammar.terminals)}
        self._terminal_V = np.array([number.get(word, -1) for word in self.task.vocabulary.words])
        self._id_T = np.array([self.task.vocabulary.id(name) for name in self.grammar.terminals])

    def prompts(self, count: int, cut: int, first: int = 0) -> Tensor:
        """``<eos>`` and the first ``cut`` tokens of fresh strings, (B, 1 + cut)."""
        index_B = torch.arange(first, first + count, device=self._run.device)
        return self.task.sentences(index_B, labels=False).ids_BW[:, : 1 + cut]

    def write(
        self, model: Decoder, count: int, cut: int, temperature: float = 1.0, prompts_BP: Tensor | None = None,
        judged: Tensor | None = None,
    ) -> Written:
        """``count`` strings continued after their first ``cut`` tokens, the prompt included.

        Args:
            prompts_BP: what the model is given, by default ``prompts(count, cut)``.
            judged: the prompts to put in front of what it wrote when it is judged, if they are others.
        """
        prompts = self.prompts(count, cut) if prompts_BP is None else prompts_BP
        made = generate(model, prompts, self._room - cut, temperature=temperature, key=rng.key("completion", cut),
                        progress=self._run.progress)
        ids_BW, lengths_B = made.ids.clone(), made.lengths.cpu().numpy()
        if judged is not None:
            ids_BW[:, : judged.shape[1]] = judged
        strings = [self._terminal_V[ids[1:length]] for ids, length in zip(ids_BW.cpu().numpy(), lengths_B, strict=True)]
        ended_B = made.ended.cpu().numpy()
        return Written(strings, ended_B, self.parser.valid(strings, threads=self._threads) & ended_B)

    def accuracy(self, quantity: str, written: Written, **where: Place) -> Row:
        """The share of valid strings, with Wilson's interval."""
        valid_B = written.valid_B
        return share(valid_B.astype(float), np.ones(len(valid_B))).row(quantity, len(valid_B), where=where)

    @torch.no_grad()
    def kl(self, quantity: str, model: Decoder, **where: Place) -> Row:
        """KL(truth || model), nats a token, with the position after the last token; clustered by string."""
        ratio = Ratio()
        for ids_BW, terminals_BW, lengths_B in self._fresh(READ[self._run.device.type]):
            truth = self.likelihood.next_tokens(terminals_BW, lengths_B, threads=self._threads)
            logits = model(ids_BW[None, :, : truth.shape[1]]).logits[0].float()
            q_BWV = logits[..., : len(self._terminal_V)].log_softmax(-1).double().exp().cpu().numpy()
            # columns of the truth: the end, then the observed terminals
            nats_BW = kl(truth, q_BWV[..., [0, *self._id_T]])
            here = ~np.isnan(truth).any(-1)  # of the truth: what the model does not know is no padding
            ratio.add(np.where(here, nats_BW, 0.0).sum(1), here.sum(1).astype(float))
        return ratio.estimate().row(quantity, ratio.sentences, unit="nats/token", where=where)

    def _fresh(self, count: int, batch: int = 50) -> Iterator[tuple[Tensor, Ints, Ints]]:
        """Ids, observed terminals and lengths (without <eos>) of fresh strings."""
        for start in range(0, count, batch):
            index_B = torch.arange(start, min(start + batch, count), device=self._run.device)
            sentences = self.task.sentences(index_B, labels=False)
            ids_BW, lengths_B = sentences.ids_BW, (sentences.lengths_B - 2).cpu().numpy()
            # what does not fit into a training window is cut off
            lengths_B = lengths_B.clip(max=self._run.spec.task.row_tokens - 1)
            ids_BW = ids_BW[:, : 2 + int(lengths_B.max())]
            yield ids_BW, self._terminal_V[ids_BW.cpu().numpy()][:, 1:-1], lengths_B

    def entropies(self, model: Decoder, written: Written) -> list[Row]:
        """Bits a string: the model's own, of its valid strings under the grammar, and the grammar's.

        The model's are means of -log2 probabilities over all it wrote, exact for each string.  The grammar's entropy is
        that of a derivation, which is known, minus what a string leaves open of its derivation:

            H(string) = H(derivation) - E[log2 P(string) - log2 P(derivation)],

        a mean over fresh strings that varies far less than log2 P(string) itself.
        """
        valid = [string for string, is_valid in zip(written.strings, written.valid_B, strict=True) if is_valid]
        bound = derivation_entropy(self.grammar)
        lengths, open_bits = self._fresh_trees(len(written.strings))
        truth = _mean("entropy_truth", [bound - bits for bits in open_bits], "bits/string")
        rows = [Row("entropy_derivation", bound, "bits/string", 1, bound, bound), truth,
                _mean("entropy_model", self._own_bits(model, written), "bits/string"),
                _mean("length_truth", lengths, "tokens"),
                _mean("length_generated", [len(s) for s in written.strings], "tokens")]
        if valid:
            bits = [-self.likelihood.log_probability(s) / LN2 for s in valid]
            rows.append(_mean("entropy_generated", bits, "bits/string"))
        return rows

    def _fresh_trees(self, count: int, batch: int = 250) -> tuple[list[int], list[float]]:
        """Of fresh strings the lengths, and log2 P(string) - log2 P(its derivation)."""
        task, lengths, open_bits = self.task, [], []
        emission = None if task.bags is None else np.log2(np.maximum(task.bags.emission_SV.cpu().numpy(), 1e-300))
        for start in range(0, count, batch):
            found = task.sentences(torch.arange(start, min(start + batch, count), device=self._run.device))
            ids_BW = found.ids_BW.cpu().numpy()
            ancestors, ends = (x.cpu().numpy() for x in (found.ancestors_LBW, found.boundaries_LBW))
            for b, length in enumerate((found.lengths_B - 2).tolist()):
                inside = slice(1, 1 + length)
                bits = derivation_log2(task.grammar, ancestors[:, b, inside], ends[:, b, inside])
                if emission is not None:
                    bits += float(emission[ancestors[-1, b, inside].astype(int), ids_BW[b, inside] - 1].sum())
                lengths.append(length)
                string = self._terminal_V[ids_BW[b, inside]]
                open_bits.append(self.likelihood.log_probability(string) / LN2 - bits)
        return lengths, open_bits

    @torch.no_grad()
    def _own_bits(self, model: Decoder, written: Written, batch: int = 100) -> list[float]:
        """-log2 of the model's own probability of what it wrote: each string and, where it came, its end."""
        bits: list[float] = []
        for start in range(0, len(written.strings), batch):
            part, ended = written.strings[start : start + batch], written.ended_B[start : start + batch]
            width = max(map(len, part)) + 2
            ids = np.zeros((len(part), width), np.int64)
            for row, string in zip(ids, part, strict=True):
                row[1 : 1 + len(string)] = self._id_T[string]
            ids_BW = torch.from_numpy(ids).to(self._run.device)
            logits = model(ids_BW[None, :, :-1]).logits[0, ..., : len(self._terminal_V)].float()
            nats = -logits.log_softmax(-1).gather(-1, ids_BW[:, 1:, None])[..., 0].double()
            drawn_B = torch.tensor([len(s) + int(e) for s, e in zip(part, ended, strict=True)], device=nats.device)
            scored = torch.arange(width - 1, device=nats.device) < drawn_B[:, None]
            bits += (torch.where(scored, nats, 0.0).sum(1) / LN2).tolist()
        return bits

    def diversity(self, written: Written) -> list[Row]:
        """Different yields among equally many subtrees of each level, in valid strings written and in fresh ones."""
        valid = [string for string, is_valid in zip(written.strings, written.valid_B, strict=True) if is_valid]
        fresh = [terminals[:length] for _, batch, lengths in self._fresh(len(valid))
                 for terminals, length in zip(batch, lengths, strict=True)]
        ours, true = (self._yields(strings) for strings in (valid, fresh))
        rows = []
        for level in range(1, self.grammar.depth):
            count = min(len(ours[level]), len(true[level]))
            for name, found in (("distinct", ours), ("distinct_truth", true)):
                if count:
                    number = len(set(found[level][:count]))
                    rows.append(Row(name, number, "yields", count, number, number, {"level": level + 1}))
        return rows

    def _yields(self, strings: list[Ints]) -> list[list[bytes]]:
        """Symbol and terminals of every subtree of one parse of each string, by level."""
        found: list[list[bytes]] = [[] for _ in range(self.grammar.depth)]
        for string in strings:
            chart, spans = self.parser.chart(string), [Span(0, 0, len(string))]
            for level, yields in enumerate(found):
                yields += [bytes([span.symbol]) + string[span.start : span.end].tobytes() for span in spans]
                spans = [part for span in spans for part in chart.first_parse(self.grammar, level, *span)]
        return found


def derivation_log2(grammar: Grammar, ancestors_LW: Ints, boundaries_LW: NDArray[np.bool_]) -> float:
    """log2 of the probability of one derivation, from the labels of its tokens at all levels, the root's first."""
    total = 0.0
    for level, rules in enumerate(grammar.rules):
        log2_p = {(rule.parent, rule.children): math.log2(rule.probability) for rule in rules}
        children: list[int] = []
        for place in np.flatnonzero(boundaries_LW[level + 1]):
            children.append(int(ancestors_LW[level + 1, place]))
            if boundaries_LW[level, place]:
                total += log2_p[int(ancestors_LW[level, place]), tuple(children)]
                children = []
    return total


def _mean(name: str, values: list[float] | list[int], unit: str) -> Row:
    """A mean over independent strings, with its normal interval."""
    x = np.array(values, float)
    check_finite(x, name)
    half = Z * x.std(ddof=1) / math.sqrt(len(x)) if len(x) > 1 else 0.0
    return Row(name, float(x.mean()), unit, len(x), float(x.mean() - half), float(x.mean() + half))
