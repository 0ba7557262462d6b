"""Which share of questions a model answers exactly, under each condition that its task offers, and controls.

    answer  kind=birth_city half=test    questions that training held out, or fresh ones; half=train: those it showed
    answer_untrained, answer_start       controls, of the first of these: random weights; the run that this one begins
                                         with
    answer  kind half step               the first of these questions along training, where snapshots were kept
    majority                             control: the best constant answer to the same questions
    guess                                control, of tasks with ``guesses_from_text``: any fitting word of the prompt

Any task with ``conditions`` is asked; their names are the others.  Questions about people (bioQA, bioMixed), where
half=test are people whom nobody asked about in training:

    answer                               by ``Answer :``
    answer_hinted, hint                  the same held-out people by ``Hint :``: the answer right, the hint right
    answer_told                          the same after the true hint: what is left is the step from hint to answer
    answer_reworded                      wordings that were never trained on
    answer_others                        people outside of ``task.ask.group``

The answer is written greedily (the published one by a beam of 4), and counts if all its tokens are right, of questions
about people the full stop and <eos> too.  Sources: arXiv 2309.14316; 2309.14402, sections 3 to 5.

An encoder writes nothing: the whole answer with ``. <eos>`` is masked, as in its training, which reveals the length,
and all of it is filled in at once (GBERT of 2309.14316).

Shape letters: B questions, P positions of prompts, W positions of prompts and answers; R rows of K texts, T positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

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
from physlm.places import Place
from physlm.tasks.config import TaskConfig
from physlm.tasks.prompts import Grades, Prompts
from physlm.tasks.rows import Pieces, render
from physlm.tasks.task import AskedTask, GuessedTask
from physlm.training.config import RunSpec

QUESTIONS = {"cuda": 2500, "cpu": 500}  # of each kind, at most
CONTROL_QUESTIONS = 500  # the first of them, for models that have learned no answers
FILL_TOKENS = {"cuda": 1 << 18, "cpu": 1 << 13}  # that an encoder reads at once
# all but cuDNN's, which plans anew for every length and number of rows, and there are hundreds
FILL_ATTENTION = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
HELD_OUT = ("answer", "test")  # the condition of the controls


class Sheet(NamedTuple):
    """A task and some of its questions, of every kind as many."""

    task: AskedTask
    prompts: Prompts

    def rows(self, quantity: str, half: str, right_B: Tensor, **more: Place) -> list[Row]:
        """The share of right answers to each kind, with Wilson's interval; ``more`` of where they were measured.

        n counts different questions: one question asked again is no more evidence.
        """
        rows = []
        for k, kind in enumerate(self.prompts.kinds):
            at_B = self.prompts.kind_B == k
            hits = right_B[at_B].double().cpu()
            which = self.prompts.same_B[at_B].cpu().unique(return_inverse=True)[1]
            counts = which.bincount()
            found = share(which.bincount(hits).numpy(), counts.double().numpy())
            rows.append(found.row(quantity, len(counts), where={"kind": kind, "half": half, **more}))
        return rows

    def commonest(self) -> Tensor:
        """Whether the answer is the most frequent one to its kind of question, (B,): that is, to these questions.

        Hints before it are no part of it.
        """
        answers_BQ = self.prompts.told().answers_BQ
        common_B = torch.zeros_like(self.prompts.kind_B, dtype=torch.bool)
        for k in range(len(self.prompts.kinds)):
            at_B = self.prompts.kind_B == k
            _, which, counts = answers_BQ[at_B].unique(dim=0, return_inverse=True, return_counts=True)
            common_B[at_B] = which == counts.argmax()
        return common_B


    def guessed(self) -> Tensor:
        """Whether any fitting word of the prompt would be right, of a task with ``guesses_from_text``; (B,)."""
        guesses_BW = cast(GuessedTask, self.task).guesses(self.prompts)
        return self.task.grade(self.prompts, guesses_BW).answer_B


def check(spec: RunSpec) -> None:
    """Refuse a run that nothing can be asked.

    Raises:
        UserError: its task asks no questions, or holds none out.
    """
    if not spec.task.conditions():
        asked = [kind for kind in TaskConfig.kinds()
                 if TaskConfig.of_kind(kind).conditions is not TaskConfig.conditions]
        raise UserError(f"measure answers: got a run on {spec.task.title}, expected one on {' or '.join(asked)}, which "
                        "asks questions")


def measure(run: Trained) -> list[Row]:
    """Everything above, of one run on a task that asks questions."""
    model, sheets = run.ready(run.model), sheets_of(run)
    rows: list[Row] = []
    graded = grade(model, sheets.values(), run.progress)
    for ((name, half), sheet), grades in zip(sheets.items(), graded, strict=True):
        rows += sheet.rows(name, half, grades.answer_B)
        if sheet.prompts.hint_lengths_B.any():
            rows += sheet.rows("hint", half, grades.hint_B)
    test = sheets[HELD_OUT]
    rows += test.rows("majority", "test", test.commonest())
    if run.spec.task.guesses_from_text:
        rows += test.rows("guess", "test", test.guessed())
    controls = {"answer_untrained": run.untrained}
    if run.load_start is not None:
        controls["answer_start"] = run.load_start()
    few = held_out_questions(run, min(QUESTIONS[run.device.type], CONTROL_QUESTIONS))
    for step in run.spec.snapshot_steps:
        (grades,) = grade(run.ready(run.load(step)), [few], run.progress)
        rows += few.rows(*HELD_OUT, grades.answer_B, step=step)
    for name, control in controls.items():
        (grades,) = grade(run.ready(control), [few], run.progress)
        rows += few.rows(name, "test", grades.answer_B)
    return rows


def sheets_of(run: Trained) -> dict[tuple[str, str], Sheet]:
    """What the trained model is asked, by the name and the half of its rows."""
    task, count = _asked(run), QUESTIONS[run.device.type]
    return {key: Sheet(task, task.prompts(count, **condition)) for key, condition in run.spec.task.conditions().items()}


def held_out_questions(run: Trained, count: int, **changes: Any) -> Sheet:
    """At most ``count`` questions of each kind that training held out.

    Args:
        changes: of the condition that they are asked under.

    Raises:
        UserError: as ``check``.
    """
    task = _asked(run)
    return Sheet(task, task.prompts(count, **{**run.spec.task.conditions()[HELD_OUT], **changes}))


def grade(model: Decoder, sheets: Iterable[Sheet], progress: bool = False) -> list[Grades]:
    """What a model of one member answers to the questions of each sheet, graded; all sheets in one pass."""
    sheets = list(sheets)
    if model.config.causal:
        written = _written(model, sheets, progress)
    else:
        written = [_filled(model, sheet.prompts) for sheet in sheets]
    return [sheet.task.grade(sheet.prompts, ids_BW) for sheet, ids_BW in zip(sheets, written, strict=True)]


@torch.no_grad()
def fill(model: Decoder, ids_BW: Tensor, lengths_B: Tensor, together: int) -> Tensor:
    """Texts with the likeliest token of an encoder at every place that shows the mask token, each place by itself.

    An encoder sees what stands around a text, so it reads texts as in its training: several after another in a row,
    with one separator between two.

    Args:
        ids_BW: texts that begin with token 0 and end with it, seen or masked; only ``lengths_B`` tokens of each are
            read.
        together: texts in a row (``physlm.tasks.prompts.texts_in_row``).
    """
    (count, width), device = ids_BW.shape, ids_BW.device
    each, rows = together, -(-count // together)
    # neighbours come into different rows, for they may be about one person, and one may tell what the other asks
    which_RK = torch.arange(rows * each, device=device).view(each, rows).T
    length_RK = F.pad(lengths_B - 1, (0, rows * each - count))[which_RK]
    start_RK = which_RK * width + 1
    # the <eos> before a text is the end of the one before it; the first of a row stands alone
    start_RP, length_RP = F.pad(start_RK, (1, 0)), F.pad(length_RK, (1, 0), value=1)
    pieces = Pieces(start_RP, length_RP, torch.ones_like(start_RP))
    read_RT, _, used_R = render(ids_BW.flatten(), pieces, int(length_RP.sum(-1).max()))
    table_dV = model.output_table[0, : model.vocabulary].float().mT
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


def _asked(run: Trained) -> AskedTask:
    check(run.spec)
    # a config with conditions builds a task that is asked
    return cast(AskedTask, run.spec.task.build()).to(run.device)


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


def _filled(model: Decoder, prompts: Prompts) -> Tensor:
    """Prompts and what an encoder puts in the place of all that should follow, (B, W)."""
    whole_B = prompts.lengths_B + prompts.answer_lengths_B
    at_W = torch.arange(int(whole_B.max()), device=whole_B.device)
    ids_BW = F.pad(prompts.ids_BP, (0, len(at_W) - prompts.ids_BP.shape[1]))
    hidden_BW = (at_W >= prompts.lengths_B[:, None]) & (at_W < whole_B[:, None])
    return fill(model, ids_BW.masked_fill(hidden_BW, model.vocabulary), whole_B, prompts.together)
