"""A trained run as a folder of Hugging Face's, and a folder as a run that our measures take.

    export(run.spec, model, Path("out"))
    AutoModelForCausalLM.from_pretrained("out"), AutoTokenizer.from_pretrained("out")

    out/
      config.json  model.safetensors  generation_config.json
      tokenizer.json  tokenizer_config.json
      modeling_physlm.py              where none of transformers' own architectures has the shape; then both take
                                      trust_remote_code=True
      physlm.json                     the settings of the run, as in its own folder
      README.md                       the model card
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from physlm import storage
from physlm.config import to_dict
from physlm.errors import UserError, counted
from physlm.extras import needed
from physlm.hf.architectures import ARCHITECTURES
from physlm.hf.convert import architecture_of, class_of, to_hf, to_ours
from physlm.hf.tokenizer import hf_tokenizer
from physlm.models.counting import parameter_counts
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig

if TYPE_CHECKING:
    import torch

    from physlm.measures.trained import Trained
    from physlm.models.decoder import Decoder

SETTINGS = "physlm.json"


def export(spec: RunSpec, model: Decoder, folder: Path) -> str:
    """Write the folder, which appears whole or not at all; the name of the architecture.

    Raises:
        UserError: the folder is there and not empty, no architecture has the model's shape, or a library is missing.
    """
    architecture = architecture_of(spec.model).name
    with storage.new_folder(folder) as made, without_bars():
        to_hf(model, spec.task.row_tokens).save_pretrained(made)
        hf_tokenizer(spec.task.vocabulary(), spec.model.absolute or None).save_pretrained(made)
        storage.write_json(made / SETTINGS, to_dict(spec))
        storage.write_text(made / "README.md", model_card(spec, architecture))
    return architecture


def read(folder: Path, task: TaskConfig, device: torch.device, progress: bool = False) -> Trained:
    """A causal model of transformers that reads the tokens of ``task``, as a run for our measures.

    Its weights become those of a ``Decoder``, so that every measure can be taken of it.  How it was trained is not
    known: it counts as one step in float32, and has no snapshots.

    Raises:
        UserError: no such folder, a model that no ``Decoder`` is (``convert.to_ours``), or transformers is
            missing.
    """
    from physlm.measures.trained import Trained

    model = to_ours(_loaded(folder), len(task.vocabulary())).to(device)
    spec = RunSpec(task, model.config, TrainConfig(steps=1, precision="float32"))
    return Trained(spec, device, lambda step: model, progress)


def _loaded(folder: Path) -> Any:
    """The model of a folder: safetensors alone, and none of its code is run."""
    transformers = needed("transformers", "hf")
    settings = storage.read_json(folder / "config.json", f"expected a folder that {' or '.join(ARCHITECTURES)} models "
                                                         "were saved into")  # fmt: skip
    kind = settings.get("model_type") if isinstance(settings, dict) else None
    if kind not in ARCHITECTURES:
        raise UserError(f"{folder}: got a model of the architecture {kind!r}, expected one of "
                        f"{', '.join(ARCHITECTURES)}; hf_features and physlm battery take any")
    check_safetensors(folder)
    try:
        with without_bars():
            found, loading = class_of(kind).from_pretrained(folder, dtype="float32", local_files_only=True,
                                                            use_safetensors=True, output_loading_info=True)
    except (OSError, ValueError, KeyError, transformers.utils.hub.EntryNotFoundError) as error:
        raise UserError(f"{folder}: transformers cannot load this model: {error}") from error
    kinds = ("missing_keys", "unexpected_keys", "mismatched_keys")
    odd = sorted(str(name) for kind in kinds for name in loading[kind])
    if odd:  # transformers itself draws what is missing at random, and goes on
        raise UserError(f"{folder}: {odd[0]} and {len(odd) - 1} more weights are missing, too many or of another "
                        "shape; expected all weights of the model and no others")
    return found


def check_safetensors(folder: Path) -> None:
    """Refuse a folder whose weights are pickled.

    transformers that is asked for safetensors alone says no more than that a file is missing, and has a way of its own
    for an adapter beside the model.

    Raises:
        UserError: see above.
    """
    with storage.disk_errors(folder):
        names = sorted(path.name for path in folder.iterdir())
    pickled = [name for name in names if name.startswith("pytorch_model") and name.endswith(".bin")]
    if "adapter_model.bin" in names or (pickled and not any(name.endswith(".safetensors") for name in names)):
        name = pickled[0] if pickled else "adapter_model.bin"
        raise UserError(f"{folder}: got {name}, whose weights are pickled and not opened; expected safetensors alone")


@contextlib.contextmanager
def without_bars() -> Iterator[None]:
    """Inside, transformers shows no bars for what takes a moment."""
    logging = needed("transformers.utils.logging", "hf")
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def model_card(spec: RunSpec, architecture: str) -> str:
    """The README of the folder: what it is, and how it is used."""
    vocabulary = len(spec.task.vocabulary())
    remote = ", trust_remote_code=True" if architecture == "physlm" else ""
    code = f"The architecture is transformers' own `{architecture}`."
    if remote:
        code = ("The architecture is our own: its code is `modeling_physlm.py` in this folder, which "
                "`trust_remote_code` lets transformers run.")
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [physlm, synthetic]
---
# {spec.title}

A GPT that was trained from scratch on synthetic data by physlm, a laboratory for the physics of language models.
{code}

| | |
|---|---|
| task | {spec.task.title} |
| model | {spec.model.label}, {parameter_counts(spec.model, vocabulary)['params_used']:,} parameters |
| vocabulary | {vocabulary:,} words, one token each |
| training | {counted(spec.steps, 'step')} of {spec.train.batch_rows} x {spec.task.row_tokens} tokens, learning rate \
{spec.train.learning_rate:g} |

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("."{remote})
tokenizer = AutoTokenizer.from_pretrained("."{remote})
prompt = tokenizer("...", return_tensors="pt")             # words of the task alone
print(tokenizer.decode(model.generate(**prompt, max_new_tokens=64, do_sample=False)[0], skip_special_tokens=True))
```

Weights are those of training, in float32. All settings of the run are in `{SETTINGS}`.
It knows the words of its task and nothing of the world: every person in it is invented.
"""
