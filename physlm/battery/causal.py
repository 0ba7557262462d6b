"""A causal model of transformers with its own tokenizer: what it writes after prompts, and the bits of values it holds.

A text is read as ``first token, text, end of text`` in training and asked for as ``first token, prompt``: the first
token is the tokenizer's beginning of text, or its end of text where it has no other.

Shape letters: B texts, W positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from physlm.battery.files import MOST_TOKENS
from physlm.battery.settings import Battery
from physlm.battery.wording import readable
from physlm.errors import UserError
from physlm.extras import needed
from physlm.hf.folders import check_safetensors, without_bars
from physlm.interval import Interval
from physlm.measures.finite import check_finite
from physlm.measures.intervals import difference_mean
from physlm.tasks.biography.people import value_counts

EXTRA = "battery"
TOGETHER = {"cuda": 256, "cpu": 64}  # texts at once


@dataclass(frozen=True)
class Causal:
    """The model, its tokenizer, and where it came from."""

    model: Any
    tokenizer: Any
    source: str

    @property
    def first(self) -> int:
        """The token before every text."""
        begin = self.tokenizer.bos_token_id
        return int(self.end if begin is None else begin)

    @property
    def end(self) -> int:
        """The token after every text."""
        return int(self.tokenizer.eos_token_id)

    @property
    def parameters(self) -> int:
        """All of them, tied ones once."""
        return sum(weight.numel() for weight in self.model.parameters())

    @property
    def positions(self) -> int | None:
        """How many tokens it can read, if there is an end to it."""
        limit = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return None if limit is None else int(limit)

    def ids(self, text: str) -> list[int]:
        """The tokens of a text, without any that begin or end it.

        Raises:
            UserError: the tokenizer has no tokens for it.
        """
        try:
            found: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        except Exception as error:  # the library tokenizers raises nothing more special
            raise UserError(f"{self.source}: its tokenizer cannot read {text!r}: {error}; expected one that reads any "
                            "English text, or the words of this battery") from error
        return found

    @torch.no_grad()
    def write(self, prompts: Sequence[str], most: int = MOST_TOKENS, progress: bool = False) -> list[str]:
        """What it writes greedily after each prompt, up to its end of text or ``most`` tokens."""
        device, written = self.model.device, [""] * len(prompts)
        ids = [[self.first, *self.ids(prompt)] for prompt in prompts]
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        size = TOGETHER["cuda" if device.type == "cuda" else "cpu"]
        self.model.eval()
        with tqdm(total=len(ids), desc="answering", leave=False, disable=None if progress else True) as bar:
            for some in (order[start : start + size] for start in range(0, len(order), size)):
                width = max(len(ids[place]) for place in some)
                rows = [[self.end] * (width - len(ids[place])) + ids[place] for place in some]
                seen = [[0] * (width - len(ids[place])) + [1] * len(ids[place]) for place in some]
                made = self.model.generate(
                    input_ids=torch.tensor(rows, device=device), attention_mask=torch.tensor(seen, device=device),
                    max_new_tokens=most, do_sample=False, num_beams=1, eos_token_id=self.end, pad_token_id=self.end)
                for place, row in zip(some, made[:, width:].tolist(), strict=True):
                    kept = row[: row.index(self.end)] if self.end in row else row
                    written[place] = self.tokenizer.decode(kept, skip_special_tokens=True)
                bar.update(len(some))
        return written


def load(source: str, device: torch.device, trust_remote_code: bool = False) -> Causal:
    """A model by the name of its folder, or by its name on the Hugging Face hub, in float32.

    Weights are safetensors alone.

    Raises:
        UserError: transformers is missing or cannot load it, its weights are pickled, or the tokenizer has no end of
            text.
    """
    transformers = needed("transformers", EXTRA)
    local = Path(source).is_dir()
    if not local and (Path(source).is_absolute() or source.startswith((".", "~")) or source.count("/") > 1):
        raise UserError(f"--model: got {source!r}, where no folder is; expected a folder that a causal model and its "
                        "tokenizer were saved into, or a name on the hub")
    if local:
        check_safetensors(Path(source))
        # what transformers says of such a folder is about tokenizers
        if not any((Path(source) / name).exists() for name in ("config.json", "adapter_config.json")):
            raise UserError(f"--model: {source}: found no config.json there; expected a folder that a causal model and "
                            "its tokenizer were saved into")
    try:
        with without_bars():
            tokenizer = transformers.AutoTokenizer.from_pretrained(source, local_files_only=local,
                                                                   trust_remote_code=trust_remote_code)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                source, local_files_only=local, trust_remote_code=trust_remote_code, dtype="float32",
                use_safetensors=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UserError(f"--model: transformers cannot load {source!r}: {error}; expected a folder that a causal model "
                        "and its tokenizer were saved into, or the name of one on the hub, with safetensors") from error
    if tokenizer.eos_token_id is None:
        raise UserError(f"{source}: its tokenizer has no end of text, expected one with an eos_token")
    return Causal(model.to(device), tokenizer, source)


def value_bits(causal: Causal, battery: Battery, progress: bool = False) -> tuple[Interval, float]:
    """Bits of all values in the model's own tokens, with a 95 % interval over people, and how many there are.

        sum over people and attributes of  log2 |pool| + log2 p(tokens of the value | the text before it)

    The text is the first of the person's; the attributes are the five that are drawn freely.  Signed: a model that
    knows nothing and writes other words has less than 0.  Source: arXiv 2404.05405, the value part of the bits there,
    with the tokens of any tokenizer.

    Raises:
        UserError: the tokenizer does not say where its tokens stand in a text.
        NotFiniteError: a probability is not a number above 0.
    """
    if not causal.tokenizer.is_fast:
        raise UserError(f"{causal.source}: its tokenizer does not say where tokens stand in a text; expected a fast "
                        "tokenizer")
    pools = {name: math.log2(size) for name, size in value_counts(battery.pool_size).items()}
    spans = _value_spans(battery, tuple(pools))
    nats = _nats(causal, [text for text, _ in spans], [places for _, places in spans], progress)
    check_finite(nats, "nats of a value")
    most = sum(pools.values())
    bits = most - nats.sum(-1) / math.log(2.0)
    value, lo, hi = (float(one) * battery.people for one in difference_mean(bits))
    return Interval(value, lo, hi, battery.people), most * battery.people


def _value_spans(battery: Battery, attributes: tuple[str, ...]) -> list[tuple[str, list[tuple[int, int]]]]:
    """The first text of everybody, and where its values begin and end, in characters, in the order of attributes."""
    task = battery.biographies.build()
    words, found = task.vocabulary.words, []

    def written(ids: Sequence[int]) -> str:
        text = " ".join(words[token] for token in ids if token)
        return text if battery.spaced else readable(text)

    for text in task.texts(torch.arange(battery.people)):
        places = []
        for attribute in attributes:
            begin = text.labels.index(attribute)
            end = begin + text.labels.count(attribute)
            places.append((len(written(text.ids[:begin])), len(written(text.ids[:end]))))
        found.append((written(text.ids), places))
    return found


@torch.no_grad()
def _nats(causal: Causal, texts: Sequence[str], places: Sequence[Sequence[tuple[int, int]]],
          progress: bool) -> np.ndarray[Any, np.dtype[np.float64]]:
    """-log p of the tokens at these places of each text, (texts, places)."""
    nats = np.zeros((len(texts), len(places[0])))
    device = causal.model.device
    size = TOGETHER["cuda" if device.type == "cuda" else "cpu"]
    causal.model.eval()
    starts = range(0, len(texts), size)
    for start in tqdm(starts, desc="reading values", leave=False, disable=None if progress else True):
        read = [causal.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
                for text in texts[start : start + size]]
        rows = [[causal.first, *one.input_ids] for one in read]
        width = max(map(len, rows))
        ids_BW = torch.tensor([row + [causal.end] * (width - len(row)) for row in rows], device=device)
        seen_BW = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
        token_BW = _token_nats(causal.model(input_ids=ids_BW, attention_mask=seen_BW).logits, ids_BW).cpu().numpy()
        for row, one in enumerate(read):
            for column, (begin, end) in enumerate(places[start + row]):
                inside = [place for place, (left, right) in enumerate(one.offset_mapping)
                          if left < end and right > begin]
                nats[start + row, column] = token_BW[row, inside].sum()
    return nats


def _token_nats(logits_BWV: Tensor, ids_BW: Tensor) -> Tensor:
    """-log p of every token but the first, (B, W - 1), in float64."""
    log_BWV = logits_BWV[:, :-1].double().log_softmax(-1)
    return -log_BWV.gather(-1, ids_BW[:, 1:, None])[..., 0]
