"""Exported models: the same logits, the same texts when they write, and the same model when they come back."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from extras import of_extra
from learning import learn
from task_examples import example
from torch import Tensor
from torch.nn.functional import pad

from physlm import storage
from physlm.config import override
from physlm.errors import UserError
from physlm.hf import folders
from physlm.hf.architectures import ARCHITECTURES
from physlm.hf.convert import architecture_of, to_hf, to_ours
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.gated import Gated
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.mlp import NoMLP, Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.norms import DyT, LayerNorm, RMSNorm
from physlm.models.parts.positional import Uniform
from physlm.models.parts.residual import Hyper
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig

transformers = of_extra("transformers", "hf")

PROMPTS, NEW_TOKENS = 200, 24
NOPE = Attention(rope=0.0)
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "rope, layer norm": ("gpt_neox", {}),
    "quarter rope, relu2, untied": ("gpt_neox", {"mixer": (Attention(rope=0.25),), "mlp": (Plain(act="relu2"),),
                                                 "tied": False}),
    "rope, rms norm, gated": ("llama", {"mlp": (Gated(),), "norm": RMSNorm()}),
    "base, relu2 gate, untied": ("llama", {"mixer": (Attention(rope_base=500.0),), "mlp": (Gated(act="relu2"),),
                                           "norm": RMSNorm(), "tied": False}),
    "canon": ("physlm", {"local": (Canon(),)}),
    "nope": ("physlm", {"mixer": (NOPE,)}),
    "canon, nope": ("physlm", {"local": (Canon(sites="AC", act=True),), "mixer": (NOPE,)}),
    "quarter rope, gated": ("physlm", {"mixer": (Attention(rope=0.25),), "mlp": (Gated(),)}),
    "hybrid": ("physlm", {"mixer": (Attention(qk_norm="head"), NOPE), "mlp": (Gated(), NoMLP()), "norm": RMSNorm(),
                          "local": (Canon(residual=False),), "tied": False}),
    "learnt positions": ("physlm", {"mixer": (Attention(rope=0.0, qk_norm="full"),), "absolute": 64,
                                    "mlp": (Plain(ratio=2),)}),
    "irope": ("physlm", {"mixer": (Attention(chunk=8, qk_norm="unit"), Attention(rope=0.0, floor=8))}),
    "short sights": ("physlm", {"mixer": (Attention(rope=0.0, bias="alibi", window=9, learnt_scale="head"),
                                          Attention(rope_heads=0.5, chunk=7, log_n=True, scale=0.7)),
                                "local": (Canon(sites="B"),)}),
    "t5": ("physlm", {"mixer": (Attention(rope=0.0, bias="t5", learnt_scale="one"),
                                Attention(bias="t5", window=11, log_n=True, learnt_scale="one"))}),
    "hard alibi": ("physlm", {"mixer": (Attention(rope=0.0, bias="hard_alibi", scale=1.5),
                                        Attention(rope=0.0, bias="hard_alibi", log_n=True, chunk=9)), "heads": 4}),
    "alibi, 3 heads": ("physlm", {"mixer": (Attention(rope=0.0, bias="alibi", chunk=20),), "heads": 3, "width": 24}),
    "other eps": ("gpt_neox", {"norm": LayerNorm(eps=0.01)}),
    "other eps, rms norm, gated": ("llama", {"mlp": (Gated(),), "norm": RMSNorm(eps=0.01)}),
    "other eps, nope": ("physlm", {"mixer": (Attention(rope=0.0),), "norm": RMSNorm(eps=0.01)}),
    "shared keys": ("llama", {"mixer": (Attention(group=2),), "heads": 4, "mlp": (Gated(),), "norm": RMSNorm()}),
    "shared keys, normed, half of the heads turned": ("physlm", {
        "mixer": (Attention(group=2, qk_norm="head", rope_heads=0.5), Attention(group=4, qk_norm="full", log_n=True)),
        "heads": 4, "local": (Canon(),)}),
    "gates, sinks": ("physlm", {
        "mixer": (Attention(gate="head", sink=True), Attention(rope=0.0, bias="alibi", sink=True),
                  Attention(gate="element", group=2, sink=True, window=7)), "layers": 3}),
    "rows of tokens": ("physlm", {"mixer": (Attention(value_rows=5), Attention(value_rows=4, group=2))}),
    "loops": ("physlm", {"layers": 4, "loops": 3, "prelude": 1, "coda": 1, "local": (Canon(),)}),
    "llama in windows": ("physlm", {"mixer": (Attention(window=6),), "mlp": (Gated(),), "norm": RMSNorm()}),
}  # fmt: skip
# of random and of trained weights
WRITE = ("rope, layer norm", "rope, rms norm, gated", "canon", "nope", "short sights", "t5", "shared keys",
         "gates, sinks", "rows of tokens", "loops")  # fmt: skip
EVERY = [pytest.param(*shape, id=name) for name, shape in SHAPES.items()]


def shaped(changes: dict[str, Any], **more: Any) -> ModelConfig:
    # wide first weights: random models then write more than one word, and are sure of it beyond all rounding
    return ModelConfig(**{"layers": 2, "heads": 2, "width": 32, "init_std": 0.3, **changes, **more})


@cache
def task(kind: str) -> TaskConfig:
    # one person in a text each, so that prompts differ
    config: TaskConfig = override(example(kind, Path()), ["people=2000"] if kind == "bioS" else [])
    return config


@cache
def trained(name: str, kind: str) -> tuple[RunSpec, Decoder]:
    train = TrainConfig(steps=120, batch_rows=8, learning_rate=5e-3, warmup_steps=4, precision="float32")
    spec = RunSpec(task(kind), shaped(SHAPES[name][1], init_std=0.05), train)
    return spec, learn(spec)


def random(config: ModelConfig, kind: str) -> tuple[RunSpec, Decoder]:
    spec = RunSpec(task(kind), config, TrainConfig(steps=1, batch_rows=1))
    model = Decoder(config, len(task(kind).vocabulary()), (6,))
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() == 2:  # gains and scales begin all alike
                p.mul_(0.8 + 0.4 * torch.rand(p.shape, generator=generator))
            if not p.any():  # sinks, and gates of rows of tokens
                p.copy_(0.5 * torch.randn(p.shape, generator=generator))
    return spec, model


def texts(kind: str, rows: int, split: str = "evaluation") -> list[list[int]]:
    return [text.ids for text in task(kind).build().texts(torch.arange(rows), split)]


@torch.no_grad()
def written(model: Decoder, kind: str) -> tuple[list[list[int]], Tensor]:
    """Beginnings of texts, and how our model goes on, (rows, NEW_TOKENS); <eos> after the end.

    Where two words are equally likely up to rounding the choice is nobody's: such texts are left out.
    """
    prompts = [ids[: 3 + number % 13] for number, ids in enumerate(texts(kind, PROMPTS + 20))]
    lengths = torch.tensor([len(ids) for ids in prompts])
    rows = torch.stack([pad(torch.tensor(ids), (0, int(lengths.max()) - len(ids))) for ids in prompts])
    made = generate(model, rows, NEW_TOKENS, lengths=lengths, temperature=0.0)
    first, second = model(made.ids[None]).logits[0, :, :-1].topk(2).values.unbind(-1)
    place = torch.arange(first.shape[1])
    decided = (place >= lengths[:, None] - 1) & (place < (made.lengths + made.ended)[:, None] - 1)
    sure = ((first - second > 1e-4) | ~decided).all(-1).nonzero()[:PROMPTS, 0].tolist()
    begins = [prompts[row] for row in sure]
    return begins, torch.stack([made.ids[row, len(prompts[row]) :][:NEW_TOKENS] for row in sure])


def loaded(folder: Path) -> tuple[Any, ...]:
    remote = (folder / "modeling_physlm.py").exists()
    return tuple(one.from_pretrained(folder, trust_remote_code=remote)
                 for one in (transformers.AutoModelForCausalLM, transformers.AutoTokenizer))


@pytest.mark.parametrize("kind", ["bioS", "grammar"])
@pytest.mark.parametrize(("architecture", "changes"), EVERY)
def test_logits_are_the_same(architecture: str, changes: dict[str, Any], kind: str) -> None:
    config = shaped(changes, init_std=0.05, vocab_size=4000 if kind == "bioS" else 0)
    _, model = random(config, kind)
    assert architecture_of(config).name == architecture
    found = to_hf(model, 64)
    assert found.config.model_type == architecture
    ids = torch.tensor([(ids * 8)[:48] for ids in texts(kind, 8)])
    with torch.no_grad():
        theirs, ours = found(ids).logits, model(ids[None]).logits[0, ..., : model.vocabulary]
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=0)
        assert ours.std() > 0.1
        back = to_ours(found, model.vocabulary)
        again = back(ids[None]).logits[0]
    assert torch.equal(again, ours) and back.config == override(config, ["init_std=0.02", "vocab_size=0"])


@pytest.mark.parametrize("kind", ["bioS", "grammar"])
@pytest.mark.parametrize("name", WRITE)
@pytest.mark.parametrize("weights", ["random", "trained"])
def test_they_write_the_same_texts(name: str, kind: str, weights: str, tmp_path: Path) -> None:
    spec, model = trained(name, kind) if weights == "trained" else random(shaped(SHAPES[name][1]), kind)
    folders.export(spec, model, tmp_path / "out")
    theirs, tokenizer = loaded(tmp_path / "out")
    assert theirs.config.model_type == SHAPES[name][0]
    vocabulary = spec.task.vocabulary()
    prompts, ours = written(model, kind)
    lengths = torch.tensor([len(ids) for ids in prompts])
    batch = tokenizer([vocabulary.decode(ids) for ids in prompts], padding=True, return_tensors="pt")
    assert batch.attention_mask.sum(-1).equal(lengths)
    found = theirs.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)[:, batch.input_ids.shape[1] :]
    new = pad(found, (0, NEW_TOKENS - found.shape[1]))
    assert len(prompts) == PROMPTS and new.equal(ours) and len({tuple(row.tolist()) for row in new}) > 3
    assert tokenizer.batch_decode(new, skip_special_tokens=True) == [vocabulary.decode(row.tolist()) for row in ours]


@pytest.mark.parametrize("name", ["canon", "hybrid", "learnt positions", "irope", "short sights", "t5", "hard alibi",
                                  "shared keys, normed, half of the heads turned", "gates, sinks", "rows of tokens",
                                  "loops"])  # fmt: skip
def test_our_code_writes_alike_with_and_without_a_memory(name: str) -> None:
    _, model = random(shaped(SHAPES[name][1]), "grammar")
    found, ids = to_hf(model, 64), torch.tensor([(ids * 4)[:20] for ids in texts("grammar", 6)])
    mask = (torch.arange(20) >= 2 * torch.arange(6)[:, None]).long()
    for beams in (1, 3):
        alike = [found.generate(ids, attention_mask=mask, max_new_tokens=12, do_sample=False, num_beams=beams,
                                use_cache=cached) for cached in (True, False)]  # fmt: skip
        assert alike[0].equal(alike[1])


def test_our_code_has_states_and_losses_as_the_others_have() -> None:
    _, model = random(shaped(SHAPES["canon"][1]), "grammar")
    ids = torch.tensor([(ids * 4)[:20] for ids in texts("grammar", 3)])
    found = to_hf(model, 64)(ids, labels=ids, output_hidden_states=True, logits_to_keep=0)
    logits, taps = model(ids[None], taps=["embedding", "block.0.out", "block.1.out"])
    for theirs, ours in zip(found.hidden_states, taps.values(), strict=True):
        torch.testing.assert_close(theirs, ours[0], atol=1e-5, rtol=1e-5)
    nll = torch.nn.functional.cross_entropy(logits[0, :, :-1].flatten(0, 1), ids[:, 1:].flatten())
    torch.testing.assert_close(found.loss, nll)
    found.loss.backward()


def test_our_code_needs_nothing_of_physlm(tmp_path: Path) -> None:
    """In a process that finds no physlm, the folder is enough."""
    spec, model = random(shaped(SHAPES["hybrid"][1]), "grammar")
    folders.export(spec, model, tmp_path / "out")
    code = ("import sys; sys.modules['physlm'] = None\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
            "model = AutoModelForCausalLM.from_pretrained('out', trust_remote_code=True)\n"
            "prompt = AutoTokenizer.from_pretrained('out', trust_remote_code=True)('3 2 1', return_tensors='pt')\n"
            "print(model.generate(**prompt, max_new_tokens=9, do_sample=False).tolist()[0])")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
                          env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "home")})  # fmt: skip
    assert done.returncode == 0, done.stderr
    prompt = torch.tensor([spec.task.vocabulary().encode("<eos> 3 2 1")])
    ours = generate(model, prompt, 9, temperature=0.0)
    assert json.loads(done.stdout.splitlines()[-1]) == ours.ids[0, : int(ours.lengths[0]) + int(ours.ended[0])].tolist()


def test_a_folder_from_before_a_setting_was_there_is_read(tmp_path: Path) -> None:
    """A block that does not speak of windows, biases and scales has none."""
    spec, model = random(shaped(SHAPES["quarter rope, gated"][1]), "grammar")
    folders.export(spec, model, tmp_path / "out")
    settings = storage.read_json(tmp_path / "out" / "config.json", "an export")
    first = ("rope", "rope_base", "qk_norm", "mlp", "hidden", "act", "canon", "canon_residual", "canon_act")
    assert all(set(block) > set(first) for block in settings["blocks"])
    blocks = [{name: block[name] for name in first} for block in settings["blocks"]]
    storage.write_json(tmp_path / "out" / "config.json", settings | {"blocks": blocks})
    back = folders.read(tmp_path / "out", spec.task, torch.device("cpu"))
    assert back.spec.model == override(spec.model, ["init_std=0.02"])
    ids = torch.tensor([(ids * 4)[:20] for ids in texts("grammar", 3)])
    with torch.no_grad():
        theirs, ours = loaded(tmp_path / "out")[0](ids).logits, model(ids[None]).logits[0]
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("changes", "words"), [
    ({"causal": False}, "got an encoder"),
    ({"ternary": True}, "model.ternary: got True, expected False"),
    ({"mlp": (MoE(experts=4),)}, "model.mlp: got 'moe', expected plain or gated or none"),
    ({"mixer": (Attention(), Uniform())}, "model.mixer: got 'uniform', expected attention"),
    ({"mixer": (GatedDeltaNet(),)}, "model.mixer: got 'gated_deltanet', expected attention"),
    ({"mixer": (Attention(), DeltaNet(silu=False))}, "model.mixer: got 'deltanet', expected attention"),
    ({"norm": DyT()}, "model.norm: got 'dyt', expected layernorm or rmsnorm"),
    ({"residual": Hyper()}, "model.residual: got 'hyper', expected add"),
], ids=["encoder", "ternary", "experts", "uniform", "delta", "delta, no SiLU", "dyt", "hyper"])  # fmt: skip
def test_what_cannot_be_exported_is_named(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    spec, model = random(shaped(changes), "grammar")
    with pytest.raises(UserError, match=words):
        folders.export(spec, model, tmp_path / "out")
    assert not any(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("x")
    with pytest.raises(UserError, match="something is there already"):
        folders.export(*random(shaped({}), "grammar"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


# ---- Back


def test_a_model_that_was_trained_elsewhere_is_measured_as_ours(tmp_path: Path) -> None:
    from physlm.measures.capacity import measure
    from physlm.measures.trained import Trained

    config = shaped(SHAPES["rope, rms norm, gated"][1])
    spec = RunSpec(example("bioS", tmp_path), config, TrainConfig(steps=1, precision="float32"))
    model = Decoder(config, len(spec.task.vocabulary()), (6,))
    folders.export(spec, model, tmp_path / "out")
    run = folders.read(tmp_path / "out", spec.task, torch.device("cpu"))
    assert run.spec.model == override(spec.model, ["init_std=0.02"]) and run.spec.task == spec.task
    theirs, ours = measure(run), measure(Trained(spec, torch.device("cpu"), lambda step: model))
    compared = [name for name in (row.label for row in ours) if "untrained" not in name]
    assert {row.label: row.value for row in theirs if row.label in compared} == {
        row.label: row.value for row in ours if row.label in compared}  # fmt: skip


def nudged(model: Any, name: str) -> Any:
    with torch.no_grad():
        dict(model.named_parameters())[name].add_(1.0)
    return model


@pytest.mark.parametrize(("theirs", "words"), [
    (lambda: nudged(to_hf(random(shaped({}), "grammar")[1], 64), "gpt_neox.final_layer_norm.bias"),
     "final_layer_norm.bias: got values other than 0"),
    (lambda: transformers.GPT2LMHeadModel(transformers.GPT2Config(vocab_size=4, n_embd=8, n_layer=1, n_head=1,
                                                                  bos_token_id=0, eos_token_id=0)),
     "the architecture 'gpt2', expected one of gpt_neox, llama, physlm; hf_features"),
    (lambda: transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=4, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4, head_dim=16,
        rms_norm_eps=1e-5)), "head_dim: got 16, expected 8"),
    (lambda: to_hf(random(shaped({}), "grammar")[1], 64), "expected at least 9, the task's vocabulary"),
], ids=["bias", "gpt2", "wide heads", "vocabulary"])  # fmt: skip
def test_what_cannot_be_imported_is_named(theirs: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        to_ours(theirs(), 9)


def test_a_folder_that_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config\.json"):
        folders.read(tmp_path, task("grammar"), torch.device("cpu"))
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(UserError, match="transformers cannot load this model"):
        folders.read(tmp_path, task("grammar"), torch.device("cpu"))


def test_a_folder_whose_weights_are_not_all_there_is_refused(tmp_path: Path) -> None:
    spec, model = random(shaped({}), "grammar")
    folders.export(spec, model, tmp_path / "out")
    tensors, metadata = storage.load_tensors(tmp_path / "out" / "model.safetensors")
    del tensors["gpt_neox.layers.1.mlp.dense_4h_to_h.weight"]
    storage.save_tensors(tmp_path / "out" / "model.safetensors", tensors, metadata)
    with pytest.raises(UserError, match="layers.1.mlp.dense_4h_to_h.weight and 0 more weights are missing"):
        folders.read(tmp_path / "out", spec.task, torch.device("cpu"))


def test_another_version_that_computes_otherwise_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As transformers 5.0 did: it took the share of a head that is rotated from elsewhere."""
    _, model = random(shaped({}), "grammar")
    settings = ARCHITECTURES["gpt_neox"].settings(model.config)
    changed = {**settings, "rope_parameters": {**settings["rope_parameters"], "partial_rotary_factor": 0.25}}
    other = dataclasses.replace(ARCHITECTURES["gpt_neox"], settings=lambda config: changed)
    monkeypatch.setitem(ARCHITECTURES, "gpt_neox", other)
    with pytest.raises(UserError, match="computes other logits from these weights"):
        to_hf(model, 64)
