"""Our models in transformers' architectures: which one fits, its settings, and its weights under its names.

    gpt_neox    layer norm, one kind of rotary attention (all or a part of a head), plain MLP; biases that are zero
    llama       root-mean-square norm, fully rotary attention, also of grouped queries, gated MLP
    own         the rest: remote code of ours (``modeling_physlm``)

Shape letters: d width, H heads, k = d / H, h hidden units.
"""

from __future__ import annotations

from physlm.hf.architectures.gpt_neox import GPT_NEOX
from physlm.hf.architectures.llama import LLAMA
from physlm.hf.architectures.own import PHYSLM

# the first that a model fits into is its own
ARCHITECTURES = {one.name: one for one in (GPT_NEOX, LLAMA, PHYSLM)}
