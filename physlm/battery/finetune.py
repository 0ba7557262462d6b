"""A causal model of transformers reads the biographies and learns the questions, by the library's own ``Trainer``.

    pass      every biography once, one of its texts, and so many questions that a share ``questions`` of all
              tokens is theirs, half of it of retrieval, which all others rest on; another order in every pass
    row       whole texts one after another, up to ``row_tokens``, never cut; what is left is padding
    loss      of a biography all tokens, of a question those of the answer, the thought before it included

Biographies are of everybody, questions about half of the people (arXiv 2309.14316, mixed training).  All weights are
trained, or updates of all linear maps: LoRA and VeRA by peft, SingLoRA by ``physlm.battery.singlora``.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils.data import IterableDataset

from physlm import rng
from physlm.battery.causal import EXTRA, Causal
from physlm.battery.questions import biographies, examples
from physlm.battery.settings import TASKS, TEXTS, WAYS, Battery
from physlm.battery.singlora import SingLoRA, attach, merge, raise_ramp
from physlm.errors import UserError, counted
from physlm.extras import needed
from physlm.hf.folders import without_bars

# where none is given; that of LoRA is published (arXiv 2309.14402), those of its relatives are ours
RATES = {"full": 5e-5, "lora": 3e-4, "vera": 3e-3, "singlora": 3e-4}
LOW_RANK = {"lora": "low-rank updates", "vera": "scaled random updates (VeRA)",
            "singlora": "symmetric updates (SingLoRA)"}
DRAWS = 4  # other people in pairs
IGNORE = -100


@dataclass(frozen=True)
class Finetuning:
    """How a model is trained.

    Attributes:
        how: ``full`` trains all weights, ``lora`` low-rank updates, ``vera`` vectors that scale random ones, and
            ``singlora`` those of a single matrix.
        passes: times that every person is read.
        questions: share of tokens that are of questions.
        batch_rows, row_tokens: of a step.
        learning_rate: falls by a cosine after 3 % of the steps; 0 is that of ``RATES``.
        lora_rank: of the updates.
    """

    how: str = "full"
    passes: int = 100
    questions: float = 0.5
    batch_rows: int = 16
    row_tokens: int = 256
    learning_rate: float = 0.0
    weight_decay: float = 0.01
    lora_rank: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.how not in WAYS:
            raise UserError(f"finetune: got {self.how!r}, expected {', '.join(WAYS[:-1])} or {WAYS[-1]}")
        for name, least in (("passes", 1), ("batch_rows", 1), ("row_tokens", 2), ("lora_rank", 1)):
            if getattr(self, name) < least:
                raise UserError(f"finetune: {name}: got {getattr(self, name)}, expected at least {least}")
        if not 0.0 <= self.questions < 1.0:
            raise UserError(f"finetune: questions: got {self.questions}, expected a share from 0 to below 1")
        if not 0.0 <= self.learning_rate < math.inf or not 0.0 <= self.weight_decay < math.inf:
            raise UserError(f"finetune: got learning_rate {self.learning_rate} and weight_decay {self.weight_decay}, "
                            "expected numbers from 0")

    @property
    def rate(self) -> float:
        """The learning rate that is used."""
        return self.learning_rate or RATES[self.how]


class Piece(NamedTuple):
    """One text: its tokens, and how many of them are read without being learnt."""

    ids: list[int]
    given: int


class Rows(IterableDataset[dict[str, torch.Tensor]]):
    """Training rows without end, pass after pass; the same for the same settings.

    Attributes:
        in_pass: rows of the first pass.
    """

    def __init__(self, causal: Causal, battery: Battery, settings: Finetuning):
        self._row, self._pad, self._seed = settings.row_tokens, causal.end, settings.seed
        self._people = battery.people
        self._read = [_piece(causal, "", text) for text in biographies(battery)]
        asked: dict[bool, list[Piece]] = {}
        for one in examples(battery, DRAWS):
            asked.setdefault(one.kind in TASKS["retrieval"], []).append(_piece(causal, one.prompt, one.completion))
        self._asked = list(asked.values())
        tokens = sum(len(piece.ids) for piece in self._read) / TEXTS
        wanted = tokens * settings.questions / (1.0 - settings.questions) / len(asked)
        self._counts = [round(wanted * len(some) / sum(len(piece.ids) for piece in some)) for some in self._asked]
        longest = max(len(piece.ids) for some in (self._read, *self._asked) for piece in some)
        if longest > self._row:
            raise UserError(f"finetune: row_tokens: got {self._row}, expected at least {longest}, the longest text in "
                            "the tokens of this model")
        self.in_pass = sum(1 for _ in self._packed(self._pass(0)))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        number = 0
        while True:
            for pieces in self._packed(self._pass(number)):
                yield self._tensors(pieces)
            number += 1

    def _pass(self, number: int) -> list[Piece]:
        """The texts of one pass in its order."""
        key, people = rng.key("battery", self._seed), self._people
        text = rng.below(TEXTS, rng.key("battery text", self._seed), torch.arange(people) + number * people)
        found = [self._read[draw * people + person] for person, draw in enumerate(text.tolist())]
        for group, (asked, count) in enumerate(zip(self._asked, self._counts, strict=True)):
            places = torch.arange(count) + number * count
            order = rng.permute(places % len(asked), len(asked), rng.key("battery question", self._seed, group),
                                places // len(asked))
            found += [asked[place] for place in order.tolist()]
        shuffled = rng.permute(torch.arange(len(found)), len(found), key, torch.tensor([number]))
        return [found[place] for place in shuffled.tolist()]

    def _packed(self, pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
        """Whole texts in rows."""
        row: list[Piece] = []
        used = 0
        for piece in pieces:
            if used + len(piece.ids) > self._row:
                yield row
                row, used = [], 0
            row.append(piece)
            used += len(piece.ids)
        if row:
            yield row

    def _tensors(self, pieces: Sequence[Piece]) -> dict[str, torch.Tensor]:
        ids = [token for piece in pieces for token in piece.ids]
        labels = [token for piece in pieces for token in ([IGNORE] * piece.given + piece.ids[piece.given :])]
        more = self._row - len(ids)
        return {"input_ids": torch.tensor(ids + [self._pad] * more), "labels": torch.tensor(labels + [IGNORE] * more),
                "attention_mask": torch.tensor([1] * len(ids) + [0] * more)}


def train(causal: Causal, battery: Battery, settings: Finetuning, progress: bool = False) -> tuple[Causal, str]:
    """The trained model, low-rank updates merged into its weights, and how it was trained, in words.

    Raises:
        UserError: a library is missing, or rows are shorter than a text or longer than the model reads.
    """
    transformers = needed("transformers", EXTRA)
    needed("accelerate", EXTRA)
    limit = causal.positions
    if limit is not None and settings.row_tokens > limit:
        raise UserError(f"finetune: row_tokens: got {settings.row_tokens}, expected at most {limit}, which is what "
                        "this model reads")
    rows = Rows(causal, battery, settings)
    steps = math.ceil(rows.in_pass * settings.passes / settings.batch_rows)
    transformers.set_seed(settings.seed)  # also of the first weights of the updates
    model = causal.model
    updates: list[SingLoRA] = []
    if settings.how == "singlora":
        updates = attach(model, settings.lora_rank, 2 * settings.lora_rank)
    elif settings.how != "full":
        model = _low_rank(model, settings)
    device = causal.model.device.type
    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=settings.batch_rows,
            learning_rate=settings.rate, lr_scheduler_type="cosine", warmup_steps=math.ceil(0.03 * steps),
            weight_decay=settings.weight_decay, seed=settings.seed, use_cpu=device == "cpu", bf16=device == "cuda",
            save_strategy="no", logging_strategy="no", report_to="none", disable_tqdm=not progress,
            dataloader_pin_memory=False, remove_unused_columns=False)
        trainer = transformers.Trainer(model=model, args=_on_one_gpu(arguments), train_dataset=rows)
        trainer.add_callback(_raising(updates, steps))
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)  # there is a bar, on terminals
        trainer.train()
    numbers = sum(p.numel() for p in model.parameters() if p.requires_grad)
    trained = model.merge_and_unload() if settings.how in ("lora", "vera") else merge(model)
    what = f"{LOW_RANK[settings.how]}, rank {settings.lora_rank}" if settings.how in LOW_RANK else "all weights"
    how = (f"{what}, {numbers:,} parameters trained, "
           f"{counted(settings.passes, 'pass')} ({counted(steps, 'step')} of {settings.batch_rows} x "
           f"{settings.row_tokens} tokens, "
           f"{100 * settings.questions:g} % of questions), learning rate {settings.rate:g}")
    return Causal(trained, causal.tokenizer, causal.source), how


def save(causal: Causal, folder: Path) -> None:
    """Write model and tokenizer as ``from_pretrained`` reads them."""
    with without_bars():
        causal.model.save_pretrained(folder)
        causal.tokenizer.save_pretrained(folder)


def _on_one_gpu(arguments: Any) -> Any:
    """Arguments of ``Trainer`` under which a step has ``batch_rows`` rows on every machine.

    Where it sees n GPUs it would put the model into ``nn.DataParallel``, and n times as many rows into a step.
    """
    _ = arguments.n_gpu  # counts them, once
    arguments._n_gpu = 1
    return arguments


def _raising(updates: list[SingLoRA], steps: int) -> Any:
    """Raises u of these updates after every step."""
    transformers = needed("transformers", EXTRA)

    class Raising(transformers.TrainerCallback):  # type: ignore[name-defined]
        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            raise_ramp(updates, state.global_step, steps)

    return Raising()


def _low_rank(model: Any, settings: Finetuning) -> Any:
    rank = settings.lora_rank
    peft, utilities = needed("peft", EXTRA), needed("transformers.pytorch_utils", EXTRA)
    transposed = any(isinstance(part, utilities.Conv1D) for part in model.modules())  # as GPT-2 has its linear maps
    shared = dict(r=rank, target_modules="all-linear", fan_in_fan_out=transposed, task_type="CAUSAL_LM")
    if settings.how == "vera":
        return peft.get_peft_model(model, peft.VeraConfig(projection_prng_key=settings.seed, **shared))
    return peft.get_peft_model(model, peft.LoraConfig(lora_alpha=2 * rank, **shared))


def _piece(causal: Causal, prompt: str, text: str) -> Piece:
    """A text with the tokens around it; of a question, the prompt is given."""
    whole = causal.ids(f"{prompt} {text}" if prompt else text)
    shared = 0
    for one, other in zip(causal.ids(prompt) if prompt else [], whole, strict=False):
        if one != other:
            break
        shared += 1
    return Piece([causal.first, *whole, causal.end], 1 + shared)
