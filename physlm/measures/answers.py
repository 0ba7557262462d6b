"""Which share of questions a model answers word for word, about people it was asked about in training and others.

    answer/kind=birth_city/half=test     questions about held-out people, by ``Answer :``; half=train: about those asked
    answer_hinted, hint                  the same held-out people by ``Hint :``: the answer right, the hint right
    answer_told                          the same after the true hint: what is left is the step from hint to answer
    answer_reworded                      wordings that were never trained on
    answer_others                        people outside of ``task.ask.group``
    answer_untrained, answer_start       controls, of the first of these people: random weights; the run that this one
                                         begins with
    majority                             control: the best constant answer to the same questions

The answer is written greedily (the published one by a beam of 4), and counts if all its words, the full stop and <eos>
are right.  Sources: arXiv 2309.14316; 2309.14402, sections 3 to 5.

An encoder writes nothing: the whole answer with ``. <eos>`` is masked, as in its training, which reveals the length,
and all of it is filled in at once (GBERT of 2309.14316).

Shape letters: B questions, P positions of prompts, W positions of prompts and answers; R rows of K texts, T positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from physlm.errors import UserError
from physlm.measures.finite import likeliest
from physlm.measures.generation import generate
from physlm.measures.intervals import share
from physlm.measures.rows import Row
from physlm.measures.trained import Trained
from physlm.models.decoder import Decoder
from physlm.tasks.biography.kinds import FACTS, KINDS
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.biography.questions import Grades, Prompts, Questions
from physlm.tasks.catalogue import build
from physlm.tasks.rows import Pieces, render
from physlm.tasks.task import BiographyTask
from physlm.training.config import RunSpec

PEOPLE = {"cuda": 2500, "cpu": 500}  # asked each kind of question, at most
CONTROL_PEOPLE = 500  # the first of them, for models that have learned no answers
FILL_TOKENS = {"cuda": 1 << 18, "cpu": 1 << 13}  # that an encoder reads at once
# all but cuDNN's, which plans anew for every length and number of rows, and there are hundreds
FILL_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
OTHER_HALF = {"train": "test", "test": "train"}
OTHER_GROUP = {"celebrities": "others", "others": "celebrities"}


class Sheet(NamedTuple):
    """A task and some of its questions: of every kind as many, about the same people."""

    task: Questions
    prompts: Prompts

    def rows(self, name: str, half: str, right_B: Tensor, place: str = "") -> list[Row]:
        """The share of right answers to each kind, with Wilson's interval; ``place`` ends the quantity's name.

        n counts people; of ``FACTS``, which many people share, the facts: one question asked again is no more evidence.
        """
        rows = []
        for k, kind in enumerate(self.task.config.ask.kinds):
            at_B = self.prompts.kind_B == k
            hits = right_B[at_B].double().cpu()
            which = torch.arange(len(hits))  # of the different questions
            if kind in FACTS:
                which = self.prompts.ids_BP[at_B].cpu().unique(dim=0, return_inverse=True)[1]
            counts = which.bincount()
            found = share(which.bincount(hits).numpy(), counts.double().numpy())
            rows.append(found.row(f"{name}/kind={kind}/half={half}{place}", len(counts)))
        return rows

    def commonest(self) -> Tensor:
        """Whether the answer is the most frequent one to its kind of question, (B,): that is, to these questions."""
        common_B = torch.zeros_like(self.prompts.kind_B, dtype=torch.bool)
        for k in range(len(self.task.config.ask.kinds)):
            at_B = self.prompts.kind_B == k
            _, which, counts = self.prompts.answers_BQ[at_B].unique(dim=0, return_inverse=True, return_counts=True)
            common_B[at_B] = which == counts.argmax()
        return common_B


def check(spec: RunSpec) -> None:
    """Refuse a run that nobody is left to be asked by.

    Raises:
        UserError: the run learns no questions, or was asked about everybody.
    """
    half = _questions(spec).ask.half
    if half not in OTHER_HALF:
        raise UserError(f"task.ask.half: got {half!r}, which holds nobody out to be asked about; expected one of "
                        f"{', '.join(map(repr, OTHER_HALF))}")


def measure(run: Trained) -> list[Row]:
    """Everything above, of one run on questions or on biographies and questions."""
    model, sheets = run.ready(run.model), _sheets(run)
    rows: list[Row] = []
    graded = grade(model, sheets.values(), run.progress)
    for ((name, half), sheet), grades in zip(sheets.items(), graded, strict=True):
        rows += sheet.rows(name, half, grades.answer_B)
        if name == "answer_hinted":
            rows += sheet.rows("hint", half, grades.hint_B)
    test = sheets["answer", "test"]
    rows += test.rows("majority", "test", test.commonest())
    controls = {"answer_untrained": run.untrained}
    if run.load_start is not None:
        controls["answer_start"] = run.load_start()
    few = held_out_questions(run, min(PEOPLE[run.device.type], CONTROL_PEOPLE))
    for name, control in controls.items():
        (grades,) = grade(run.ready(control), [few], run.progress)
        rows += few.rows(name, "test", grades.answer_B)
    return rows


def held_out_questions(run: Trained, people: int, **ask: Any) -> Sheet:
    """Questions by ``Answer :`` about at most ``people`` people of the half that the run was not asked about.

    Args:
        ask: settings of ``task.ask`` to change besides.

    Raises:
        UserError: as ``check``.
    """
    check(run.spec)
    half = _questions(run.spec).ask.half
    return _sheet(run, people, half=OTHER_HALF[half], most=0, **{"hints": 0.0, **ask})


def grade(model: Decoder, sheets: Iterable[Sheet], progress: bool = False) -> list[Grades]:
    """What a model of one member answers to the questions of each sheet, graded; all sheets in one pass."""
    sheets = list(sheets)
    if model.config.causal:
        written = _written(model, sheets, progress)
    else:
        written = [_filled(model, sheet) for sheet in sheets]
    return [sheet.task.grade(sheet.prompts, ids_BW) for sheet, ids_BW in zip(sheets, written, strict=True)]


@torch.no_grad()
def fill(model: Decoder, task: Questions | BiographyTask, ids_BW: Tensor, lengths_B: Tensor) -> Tensor:
    """Texts with the likeliest token of an encoder at every place that shows the mask token, each place by itself.

    An encoder sees what stands around a text, so it reads texts as in its training: as many after another as fit into
    a row, with one separator between two.

    Args:
        task: what the texts are of, for the length of a row.
        ids_BW: texts that begin with <eos> and end with it, seen or masked; only ``lengths_B`` tokens of each are read.
    """
    (count, width), device = ids_BW.shape, ids_BW.device
    each = max(1, min(task.config.entries_per_row, (task.config.row_tokens - 1) // (task.entry_width - 1)))
    rows = -(-count // each)
    # neighbours come into different rows, for they may be about one person, and one may tell what the other asks
    which_RK = torch.arange(rows * each, device=device).view(each, rows).T
    length_RK = F.pad(lengths_B - 1, (0, rows * each - count))[which_RK]
    start_RK = which_RK * width + 1
    # the <eos> before a text is the end of the one before it; the first of a row stands alone
    start_RP, length_RP = F.pad(start_RK, (1, 0)), F.pad(length_RK, (1, 0), value=1)
    pieces = Pieces(start_RP, length_RP, torch.ones_like(start_RP))
    read_RT, _, used_R = render(ids_BW.flatten(), pieces, int(length_RP.sum(-1).max()))
    table_dV = model.embedding.weight[0, : model.vocabulary].float().mT
    for length in used_R.unique().tolist():  # rows of one length together, so that no padding is seen
        for some in (used_R == length).nonzero()[:, 0].split(max(1, FILL_TOKENS[device.type] // length)):
            text = read_RT[some, :length]
            with sdpa_kernel(FILL_ATTENTION):
                hidden_MBTd, _ = model.hidden(text[None])
            masked = text == model.vocabulary
            text[masked] = likeliest(hidden_MBTd[0, masked].float() @ table_dV, "logits of masked words")
            read_RT[some, :length] = text
    at_W = torch.arange(width, device=device)
    place_RKW = (length_RK.cumsum(-1) - length_RK)[..., None] + at_W
    read_RKT = read_RT[:, None].expand(-1, each, -1)
    read_RKW = read_RKT.gather(-1, place_RKW.clamp_max(read_RT.shape[1] - 1))
    read_BW = read_RKW.transpose(0, 1).flatten(0, 1)[:count]
    return torch.where((at_W > 0) & (at_W < lengths_B[:, None]), read_BW, ids_BW)


def _questions(spec: RunSpec) -> QuestionsConfig:
    task = spec.task
    config = task.questions if isinstance(task, MixedConfig) else task
    if not isinstance(config, QuestionsConfig):
        raise UserError(f"measure answers: got a run on {task.title}, expected one on bioQA or bioMixed, which learns "
                        "questions")
    return config


def _sheet(run: Trained, people: int, **ask: Any) -> Sheet:
    """All kinds of questions about the first people, who are in a random order, with settings of ``task.ask`` changed.

    Fewer people are a part of more.
    """
    config = _questions(run.spec)
    task = build(replace(config, ask=replace(config.ask, **ask))).to(run.device)
    count = min(people, task.config.asked) * len(task.config.ask.kinds)
    return Sheet(task, task.prompts(torch.arange(count, device=run.device)))


def _sheets(run: Trained) -> dict[tuple[str, str], Sheet]:
    """What the trained model is asked, by the name and the half of its rows."""
    ask, people = _questions(run.spec).ask, PEOPLE[run.device.type]
    hinted = tuple(kind for kind in ask.kinds if KINDS[kind].hint)
    reworded = tuple(kind for kind in ask.kinds if len(KINDS[kind].forms) > 1)
    sheets = {("answer", "test"): held_out_questions(run, people), ("answer", "train"): _sheet(run, people, hints=0.0)}
    if ask.hints:
        asked = held_out_questions(run, people, kinds=hinted, hints=1.0)
        sheets["answer_hinted", "test"] = asked
        sheets["answer_told", "test"] = asked._replace(prompts=asked.prompts.told())
    if reworded:
        wording = {"kinds": reworded, "forms": 1, "held_out": not ask.held_out}
        sheets["answer_reworded", "test"] = held_out_questions(run, people, **wording)
    if ask.group != "all":
        # none of them was asked about, in either half
        outside = OTHER_GROUP[ask.group]
        sheets["answer_others", "test"] = _sheet(run, people, group=outside, half="all", most=0, hints=0.0)
    return sheets


def _written(model: Decoder, sheets: Sequence[Sheet], progress: bool) -> list[Tensor]:
    """Prompts and what the model writes after them, (B, W) for each sheet."""
    prompts = [sheet.prompts for sheet in sheets]
    columns = max(p.ids_BP.shape[1] for p in prompts)
    ids_BP = torch.cat([F.pad(p.ids_BP, (0, columns - p.ids_BP.shape[1])) for p in prompts])
    # room for the longest hint, right or wrong, and the longest answer after it
    room = max(int(p.hint_lengths_B.max() + (p.answer_lengths_B - p.hint_lengths_B).max()) for p in prompts)
    lengths_B = torch.cat([p.lengths_B for p in prompts])
    made = generate(model, ids_BP, room, lengths=lengths_B, temperature=0.0, progress=progress)
    return list(made.ids.split([len(p.lengths_B) for p in prompts]))


def _filled(model: Decoder, sheet: Sheet) -> Tensor:
    """Prompts and what an encoder puts in the place of all that should follow, (B, W)."""
    prompts = sheet.prompts
    whole_B = prompts.lengths_B + prompts.answer_lengths_B
    at_W = torch.arange(int(whole_B.max()), device=whole_B.device)
    ids_BW = F.pad(prompts.ids_BP, (0, len(at_W) - prompts.ids_BP.shape[1]))
    hidden_BW = (at_W >= prompts.lengths_B[:, None]) & (at_W < whole_B[:, None])
    return fill(model, sheet.task, ids_BW.masked_fill(hidden_BW, model.vocabulary), whole_B)
