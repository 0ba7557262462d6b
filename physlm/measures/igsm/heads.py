"""The variable probe: a linear map of the last hidden state behind a question, and a small change of the embedding.

    x = E[ids] + A[ids] B;   logits = W h + c,   h = the frozen model's last hidden state at END

Trained are A (V x r) and B (r x d), the rows of START, MID and END, W and c; the model is frozen.  Each query is read
behind its text up to a place, as if it stood there alone; a text and all queries about it are one row, in which each
query sees its text up to its place, and itself.  Source: arXiv 2407.20311, section 4 (V-probing).

Shape letters: M members, B problems, T positions of texts, Q queries, K tokens of a query, L = T + Q K, C classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from physlm import rng
from physlm.measures.finite import likeliest
from physlm.measures.igsm.asking import MARKS, Asked
from physlm.measures.knowledge_heads import EmbeddingUpdate
from physlm.models.decoder import Decoder

ALIGN = 16  # of L, for attention kernels on GPUs


class VariableProbe(nn.Module):
    """The probe of one question, for every member of a model.

    Args:
        model: frozen, with the tokens of the task as its vocabulary; ``Decoder.has_among``.
        rank: r; 0 leaves the change of the embedding out, but for the rows of START, MID and END.
    """

    log_prior: Tensor

    def __init__(self, model: Decoder, classes: int, rank: int, seed: int):
        super().__init__()
        self.model = [model]  # in a list, so that it is no part of what is trained
        device, width, members = model.embedding.weight.device, model.config.width, model.members
        rows = model.embedding.weight[:, : model.vocabulary].float()
        drawn = rng.normal(rng.key("marks of probes", seed), MARKS * width).view(MARKS, width).float().to(device)
        self.marks = nn.Parameter(drawn * rows.std((1, 2))[:, None, None])
        self.update = EmbeddingUpdate(members, model.vocabulary, width, rank, seed).to(device)
        self.maps = nn.Parameter(torch.zeros(members, width, classes, device=device))
        self.bias = nn.Parameter(torch.zeros(members, 1, classes, device=device))
        self.register_buffer("log_prior", torch.zeros(classes, device=device))

    def forward(self, asked: Asked) -> Tensor:
        """Logits (M, B, Q, C) float32, for labels as frequent as those that the probe was trained on."""
        (model,) = self.model
        ids_BL, places_BL, seen_BLL = packed(asked)
        hidden_MBLd = model.hidden_among(self._embedded(ids_BL), places_BL, seen_BLL)
        (rows, queries, tokens), text = asked.asked_BQK.shape, ids_BL.shape[1] - asked.asked_BQK[0].numel()
        ends_MBQd = hidden_MBLd[:, :, text + tokens - 1 :: tokens]
        logits = torch.baddbmm(self.bias, ends_MBQd.flatten(1, 2).float(), self.maps)
        return logits.view(model.members, rows, queries, -1)

    def _embedded(self, ids_BL: Tensor) -> Tensor:
        (model,) = self.model
        which_BL3 = ids_BL[..., None] == model.vocabulary + torch.arange(MARKS, device=ids_BL.device)
        word_BL = ids_BL.clamp_max(model.vocabulary - 1)
        words = model.embedding(word_BL.expand(model.members, -1, -1)) + self.update(word_BL)
        # a product: the gradient of a look-up would add up all tokens one by one
        marks = which_BL3.to(words) @ self.marks[:, None]
        return torch.where(which_BL3.any(-1, keepdim=True), marks, words)

    @torch.no_grad()
    def answers(self, asked: Asked) -> tuple[Tensor, Tensor]:
        """Answers (M, B, Q): for labels as frequent as in training, and as frequent as ``log_prior`` says."""
        logits = self(asked)
        return likeliest(logits, "logits of probes"), likeliest(logits + self.log_prior, "logits of probes")

    @property
    def vocabulary(self) -> int:
        """Tokens of the task; START, MID and END have the numbers behind them."""
        return self.model[0].vocabulary


def packed(asked: Asked) -> tuple[Tensor, Tensor, Tensor]:
    """One row of each text and its queries: ids (B, L), places (B, L), which token sees which (B, L, L).

    Texts are padded, so that L is a multiple of ``ALIGN``; nothing sees the padding but itself.
    """
    ids_BT, last_BQ, asked_BQK = asked
    rows, queries, tokens = asked_BQK.shape
    ids_BT = F.pad(ids_BT, (0, -(ids_BT.shape[1] + queries * tokens) % ALIGN))
    at_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    at_Q, at_K = (torch.arange(count, device=ids_BT.device) for count in (queries, tokens))
    places_BL = torch.cat((at_T.expand(rows, -1), (last_BQ[..., None] + 1 + at_K).flatten(1)), 1)
    text_BL = torch.cat((at_T.expand(rows, -1), last_BQ[..., None].expand(-1, -1, tokens).flatten(1)), 1)
    query_L = torch.cat((torch.full_like(at_T, -1), at_Q[:, None].expand(-1, tokens).flatten()))
    is_text_L = query_L < 0
    own_BLL = (query_L[:, None] == query_L) & ~is_text_L & (places_BL[:, None] <= places_BL[..., None])
    seen_BLL = is_text_L & (places_BL[:, None] <= text_BL[..., None]) | own_BLL
    return torch.cat((ids_BT, asked_BQK.flatten(1)), 1), places_BL, seen_BLL
