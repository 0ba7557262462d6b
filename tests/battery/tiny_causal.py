"""Random causal models of two families, with tokenizers trained on the texts of a battery, as saved folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from extras import of_extra

from physlm.battery.questions import biographies, examples
from physlm.battery.settings import Battery

FAMILIES = ("gpt2", "llama")
END = "<|endoftext|>"


def save(family: str, battery: Battery, folder: Path, width: int = 64, layers: int = 2, positions: int = 256) -> None:
    """Write model and tokenizer; its byte pairs are those of the battery's texts."""
    transformers, tokenizers = of_extra("transformers", "battery"), of_extra("tokenizers", "battery")
    pairs = tokenizers.ByteLevelBPETokenizer(add_prefix_space=True)
    texts = [*biographies(battery), *(f"{one.prompt} {one.completion}" for one in examples(battery))]
    pairs.train_from_iterator(texts, vocab_size=2000, min_frequency=2, special_tokens=[END], show_progress=False)
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=pairs._tokenizer, bos_token=END, eos_token=END)
    shape: dict[str, Any] = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0}
    torch.manual_seed(0)
    if family == "gpt2":
        drop = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0)
        config = transformers.GPT2Config(n_embd=width, n_layer=layers, n_head=4, n_positions=positions, **shape, **drop)
    else:
        config = transformers.LlamaConfig(
            hidden_size=width, intermediate_size=8 * width // 3, num_hidden_layers=layers, num_attention_heads=4,
            max_position_embeddings=positions, tie_word_embeddings=True, **shape)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
