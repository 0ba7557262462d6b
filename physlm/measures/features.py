"""Activations from elsewhere for ``physlm.measures.probes``: of any causal model of transformers, or in own arrays.

    features = hf_features(AutoModelForCausalLM.from_pretrained("gpt2"), layers=(0, 6, 12))
    scores = probe(features, batches, targets, ProbeConfig(mask="diagonal"))

    scores = probe(*from_arrays(activations, labels), ProbeConfig(mask="diagonal"))

Neither needs transformers to be installed: the model is an object that was loaded elsewhere.

Shape letters: M members, K taps, S sentences, B of them in a batch, W positions, d width, Y questions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from physlm import rng
from physlm.errors import UserError, counted
from physlm.measures.probes import IGNORE, Batches, Features, Labelled, Target

HELD_OUT = 0.2  # of the sentences of own arrays: what probes are judged on
ROWS = 64  # sentences in a batch of own arrays


def hf_features(model: Any, layers: Sequence[int] = (-1,)) -> Features:
    """Hidden states of a frozen model of transformers, as one member with a tap for each of ``layers``.

    Texts that are shorter than the others are padded on the right, where a causal model does not look; ``keys_MBW`` of
    ``Labelled`` says which positions a probe may read.

    Args:
        model: whatever returns ``hidden_states`` for ``model(input_ids=..., output_hidden_states=True)``.  It is put
            into ``eval()``.
        layers: 0 is the embedding, i what leaves block i, which counts from 1; -1 the last, after the final norm where
            the architecture has it so.

    Raises:
        UserError: no layers, or one that the model does not have; when it is asked, too: ids of several members.
    """
    if isinstance(layers, int) or not layers:
        raise UserError(f"hf_features: layers: got {layers!r}, expected a list of one or more numbers")
    blocks = int(model.config.get_text_config().num_hidden_layers)
    for layer in layers:
        if not -blocks - 1 <= layer <= blocks:
            raise UserError(f"hf_features: layers: got {layer}, expected -{blocks + 1} to {blocks} for {blocks} blocks "
                            "(0 is the embedding)")
    model.eval()

    @torch.no_grad()
    def features(ids_MBW: Tensor) -> Tensor:
        if len(ids_MBW) != 1:
            raise UserError(f"hf_features: got ids of {len(ids_MBW)} members, expected one: all read the same texts")
        states = model(input_ids=ids_MBW[0].to(model.device), output_hidden_states=True, use_cache=False).hidden_states
        return torch.stack([states[layer].float() for layer in layers])[None]

    return features


def from_arrays(
    activations: ArrayLike | Tensor, labels: ArrayLike | Tensor | Mapping[str, ArrayLike | Tensor], seed: int = 0,
    held_out: float = HELD_OUT,
) -> tuple[Features, Batches, list[Target]]:
    """Own activations and the answers to own questions, as the first three arguments of ``probe``.

    A share of the sentences is held out, and no probe is trained on them.  All are read in random order, those of
    training again and again; of those held out ``ProbeConfig.evaluation_batches`` times 64 at most are judged.

    Args:
        activations: (S, d): one activation a sentence; (S, W, d): one a position; (S, K, W, d): at K taps.
        labels: whole numbers from 0, (S,) or (S, W) to go with them, -1 where nothing is asked; or several questions by
            name.
        seed: of the split and the order.

    Raises:
        UserError: shapes that do not go together, labels that are no whole numbers from -1, or activations that are not
            finite.
    """
    x_SKWd = _activations(activations)
    sentences, _, width, _ = x_SKWd.shape
    named = labels if isinstance(labels, Mapping) else {"label": labels}
    columns = [_labels(name, values, sentences, width) for name, values in named.items()]
    if not columns:
        raise UserError("from_arrays: got no labels, expected at least one question")
    labels_SWY = torch.stack(columns, -1)
    targets = [Target(name, int(column.max()) + 1) for name, column in zip(named, columns, strict=True)]
    order_S = rng.uniform(rng.key("own arrays", seed), torch.arange(sentences)).argsort()
    judged = round(sentences * held_out)
    if not 0 < judged < sentences:
        raise UserError(f"from_arrays: held_out: got {held_out} of {counted(sentences, 'sentence')}, expected a share "
                        "that leaves some to train on and some to judge by")
    halves = {"evaluation": order_S[:judged], "train": order_S[judged:]}
    # a position of a sentence is known by its number, which is what probes hand on as the text
    ids_SW = torch.arange(sentences * width).view(sentences, width)
    flat_KNd = x_SKWd.transpose(0, 1).flatten(1, 2)

    def features(ids_MBW: Tensor) -> Tensor:
        return flat_KNd[:, ids_MBW[0]][None]

    def batches(split: str, number: int) -> Labelled:
        half = halves[split]
        place_B = torch.arange(number * ROWS, (number + 1) * ROWS)
        some = half[place_B % len(half)]
        labels_BWY = labels_SWY[some]
        if split == "evaluation":  # each of them once
            labels_BWY = labels_BWY.masked_fill((place_B >= len(half))[:, None, None], IGNORE)
        return Labelled(ids_SW[some][None], labels_BWY[None], torch.ones(1, len(some), width, dtype=torch.bool))

    return features, batches, targets


def _activations(given: ArrayLike | Tensor) -> Tensor:
    """(S, K, W, d) float32."""
    x = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.asarray(given))
    if x.dim() not in (2, 3, 4) or 0 in x.shape or not x.is_floating_point():
        raise UserError(f"from_arrays: activations: got {x.dtype} of the shape {tuple(x.shape)}, expected numbers with "
                        "a point of (sentences, width), (sentences, positions, width) or (sentences, taps, positions, "
                        "width)")
    if not bool(x.isfinite().all()):
        raise UserError("from_arrays: activations: got numbers that are not finite")
    x = x.float()
    return x[:, None, None] if x.dim() == 2 else x[:, None] if x.dim() == 3 else x


def _labels(name: str, given: ArrayLike | Tensor, sentences: int, width: int) -> Tensor:
    """(S, W) int64."""
    y = given.detach().cpu() if isinstance(given, Tensor) else torch.from_numpy(np.asarray(given))
    if y.dim() == 1 and width == 1:
        y = y[:, None]
    if y.shape != (sentences, width) or y.is_floating_point() or y.is_complex():
        raise UserError(f"from_arrays: labels {name!r}: got {y.dtype} of the shape {tuple(y.shape)}, expected whole "
                        f"numbers of {(sentences, width)}" + (f" or ({sentences},)" if width == 1 else ""))
    y = y.long()
    if int(y.min()) < IGNORE or int(y.max()) < 0:
        raise UserError(f"from_arrays: labels {name!r}: got {int(y.min())} to {int(y.max())}, expected 0 and above, or "
                        f"{IGNORE} where nothing is asked")
    return y
