"""Causal models of transformers: what they write and hold, how they are trained, and the battery from end to end."""

from __future__ import annotations

import dataclasses
import json
import math
import shutil

import pytest
import tiny_causal
import torch
from extras import of_extra

from physlm.battery.questions import Example, examples, names
from physlm.battery.settings import WAYS, Battery
from physlm.errors import UserError
from physlm.hf import folders
from physlm.measures.measure import take
from physlm.measures.trained import Trained
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.gated import Gated
from physlm.models.parts.norms import RMSNorm
from physlm.storage import load_tensors
from physlm.tasks.biography.people import value_counts
from physlm.training.config import RunSpec, TrainConfig

of_extra("accelerate", "battery")
from physlm.battery import causal, finetune, singlora  # noqa: E402  they would do without, but not their tests
from physlm.battery.finetune import IGNORE, Finetuning, Rows  # noqa: E402

BATTERY = Battery(people=12, pool_size=4, kinds=("major", "month_mod2", "all_to_full"))
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=tiny_causal.FAMILIES)
def folder(request, tmp_path_factory):
    made = tmp_path_factory.mktemp(request.param)
    tiny_causal.save(request.param, BATTERY, made, width=16)
    return made


@pytest.fixture
def model(folder):
    return causal.load(str(folder), CPU)


def test_a_model_writes_the_same_alone_and_beside_longer_prompts(model):
    prompts = [one.prompt for one in examples(BATTERY)][::5]
    together = model.write(prompts, most=6)
    assert together == [model.write([prompt], most=6)[0] for prompt in prompts] and any(together)
    ids = torch.tensor([[model.first, *model.ids(prompts[0])]])
    with torch.no_grad():
        likeliest = int(model.model(ids).logits[0, -1].argmax())
    assert model.write(prompts[:1], most=1) == [model.tokenizer.decode([likeliest], skip_special_tokens=True)]


def test_a_model_that_knows_nothing_spends_log_v_nats_a_token(model):
    """All weights zero: every token has the same probability, so the bits follow from the number of tokens."""
    with torch.no_grad():
        for weight in model.model.parameters():
            weight.zero_()
    found, most = causal.value_bits(model, BATTERY)
    pools = value_counts(BATTERY.pool_size)
    assert most == pytest.approx(BATTERY.people * sum(map(math.log2, pools.values())))
    spans = causal._value_spans(BATTERY, tuple(pools))
    tokens = sum(len(model.ids(f" {text[begin:end].strip()}")) for text, places in spans for begin, end in places)
    assert found.value == pytest.approx(most - tokens * math.log2(len(model.tokenizer)))
    assert found.lo <= found.value <= found.hi and found.n == BATTERY.people


def test_rows_hold_everybody_once_a_pass_and_learn_answers_alone(model):
    settings = Finetuning(batch_rows=2, row_tokens=128)
    rows = Rows(model, BATTERY, settings)
    found = [row for row, _ in zip(rows, range(3 * rows.in_pass), strict=False)]
    assert all(len(row["input_ids"]) == settings.row_tokens for row in found)
    assert all((row["labels"][row["attention_mask"] == 0] == IGNORE).all() for row in found)
    first = model.tokenizer.decode(torch.cat([row["input_ids"] for row in found[: rows.in_pass]]))
    texts = [text.strip() for text in first.split(tiny_causal.END) if text.strip()]
    read = [text for text in texts if "Answer:" not in text]
    assert sorted(name for name in names(BATTERY) for text in read if text.startswith(name)) == sorted(names(BATTERY))
    taught = {f"{one.prompt} {one.completion}" for one in examples(BATTERY, finetune.DRAWS)}
    assert set(texts) - set(read) <= taught
    learnt = [model.tokenizer.decode(row["labels"][row["labels"] != IGNORE]) for row in found]
    assert not any("What major did" in text for text in learnt)
    again = Rows(model, BATTERY, settings)
    assert all(torch.equal(one["input_ids"], other["input_ids"]) for one, other in zip(found, again, strict=False))
    other = Rows(model, BATTERY, Finetuning(row_tokens=128, seed=1))
    assert any(not torch.equal(one["input_ids"], two["input_ids"]) for one, two in zip(found, other, strict=False))


def test_the_given_part_of_a_question_ends_where_its_answer_begins(model):
    one = Example("major", "What major did Anya Briar Forger study? Answer:", "Communications.")
    piece = finetune._piece(model, one.prompt, one.completion)
    assert model.tokenizer.decode(piece.ids[piece.given :]) == f" {one.completion}{tiny_causal.END}"


def counted(model, how, rank):
    """What the update of every linear map but the output trains, by hand."""
    if how == "full":
        return sum(p.numel() for p in model.parameters())
    conv = type(model).__name__.startswith("GPT2")  # which keeps its maps transposed
    shapes = [tuple(part.weight.shape) for part in model.modules()
              if type(part).__name__ in ("Linear", "Conv1D") and part is not model.get_output_embeddings()]
    pairs = [shape if conv else shape[::-1] for shape in shapes]
    return sum({"lora": rank * (inputs + outputs), "vera": rank + outputs, "singlora": rank * max(inputs, outputs)}[how]
               for inputs, outputs in pairs)  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers so
@pytest.mark.parametrize("how", WAYS)
def test_training_lowers_the_loss_and_the_saved_model_writes_the_same(folder, tmp_path, how):
    of_extra("peft", "battery")
    trained = causal.load(str(folder), CPU)
    settings = Finetuning("full", passes=8, row_tokens=128, batch_rows=4, learning_rate=1e-2)
    if how != "full":  # which leaves the embedding as it is: it must know the words before
        trained, _ = finetune.train(trained, dataclasses.replace(BATTERY, seed=1), settings)
        rate = {"vera": 1e-1}.get(how, 1e-2)
        settings = dataclasses.replace(settings, how=how, passes=24, lora_rank=8, learning_rate=rate)
    before, parameters = causal.value_bits(trained, BATTERY)[0].value, trained.parameters
    trained, words = finetune.train(trained, BATTERY, settings)
    assert ("low-rank updates, rank 8" in words) == (how == "lora") and f"{settings.passes} passes" in words
    numbers = int(words.partition(" parameters trained")[0].rpartition(" ")[2].replace(",", ""))
    assert numbers == counted(trained.model, how, 8)
    assert causal.value_bits(trained, BATTERY)[0].value > before + BATTERY.people
    assert trained.parameters == parameters
    finetune.save(trained, tmp_path / "saved")
    prompts = [one.prompt for one in examples(BATTERY)][::7]
    assert causal.load(str(tmp_path / "saved"), CPU).write(prompts, most=5) == trained.write(prompts, most=5)


def test_what_cannot_be_trained_or_loaded_is_refused(folder, model, tmp_path):
    for rows, message in ((512, "at most 256"), (16, "expected at least")):
        with pytest.raises(UserError, match=message):
            finetune.train(model, BATTERY, Finetuning(row_tokens=rows))
    with pytest.raises(UserError, match=r"found no config\.json there; expected a folder"):
        causal.load(str(tmp_path), CPU)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="transformers cannot load"):
        causal.load(str(tmp_path), CPU)
    for missing in (str(tmp_path / "none"), "./none", "~/none", "some/where/else"):
        with pytest.raises(UserError, match="where no folder is; expected a folder"):
            causal.load(missing, CPU)  # no question to the hub


class Opened:
    """Pickled, it makes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "adapter_model.bin"])
def test_pickled_weights_are_not_opened(folder, tmp_path, name):
    source, opened = tmp_path / "model", tmp_path / "opened"
    shutil.copytree(folder, source)
    if name == "pytorch_model.bin":
        weights = load_tensors(source / "model.safetensors")[0]
        (source / "model.safetensors").unlink()
    else:
        weights = {}
        (source / "adapter_config.json").write_text(json.dumps({
            "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": str(source), "r": 2,
            "target_modules": "all-linear"}))
    torch.save({**weights, "opened": Opened(opened)}, source / name)
    with pytest.raises(UserError, match=f"got {name}, whose weights are pickled and not opened; expected safetensors"):
        causal.load(str(source), CPU)
    ours = json.loads((source / "config.json").read_text())["model_type"] != "gpt2"
    with pytest.raises(UserError, match="pickled and not opened" if ours else "got a model of the architecture 'gpt2'"):
        folders.read(source, BATTERY.biographies, CPU)
    assert not opened.exists()


def test_singlora_begins_as_the_model_and_leaves_no_sign(folder):
    model = causal.load(str(folder), CPU).model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    ids = torch.arange(12).view(2, 6)
    logits = model(ids).logits
    updates = singlora.attach(model, 4, 8.0)
    assert model(ids).logits.equal(logits) and updates
    assert {name.rsplit(".", 1)[1] for name, p in model.named_parameters() if p.requires_grad} == {"a"}
    for step, wanted in ((0, 0.0), (5, 0.5), (10, 1.0), (40, 1.0)):
        singlora.raise_ramp(updates, step, 100)
        assert {update.ramp for update in updates} == {wanted}
    moved = model(ids).logits
    assert not moved.allclose(logits, atol=1e-4)
    singlora.merge(model)
    torch.testing.assert_close(model(ids).logits, moved)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys() and all(p.requires_grad for p in after.values())
    changed = {name for name, p in after.items() if not p.detach().equal(before[name])}
    assert changed and all(name.endswith("weight") and before[name].ndim == 2 for name in changed)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks transformers so
@pytest.mark.parametrize("how", ["lora", "vera", "singlora"])
def test_updates_of_low_rank_begin_with_the_seed(folder, how):
    of_extra("peft", "battery")
    found = {}
    for seed, other in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(other)
        trained, _ = finetune.train(causal.load(str(folder), CPU), BATTERY, Finetuning(
            how, passes=1, row_tokens=128, batch_rows=16, learning_rate=1e-2, seed=seed))
        found[seed, other] = torch.cat([weight.detach().flatten() for weight in trained.model.parameters()])
    assert torch.equal(found[0, 1], found[0, 2]) and not torch.equal(found[0, 1], found[1, 1])


def test_a_step_has_as_many_rows_on_many_gpus_as_on_one(tmp_path, monkeypatch):
    transformers = of_extra("transformers", "battery")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)

    def arguments():
        return transformers.TrainingArguments(output_dir=str(tmp_path), per_device_train_batch_size=3)

    if not torch.cuda.is_available():  # then the library believes that there are four
        assert arguments().train_batch_size == 12
    made = finetune._on_one_gpu(arguments())
    assert made.n_gpu == 1 and made.train_batch_size == 3


@pytest.mark.parametrize(("settings", "message"), [
    ({"how": "some"}, "full, lora, vera or singlora"), ({"passes": 0}, "passes: got 0"), ({"questions": 1.0}, "share"),
    ({"learning_rate": math.nan}, "learning_rate nan"),
])  # fmt: skip
def test_bad_settings_of_training_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        Finetuning(**settings)


def test_the_battery_from_end_to_end(folder, physlm, tmp_path):
    options = ("--people", 12, "--pool-size", 4, "--kind", "major", "--kind", "month_mod2", "--kind", "all_to_full",
               "--device", "cpu")  # fmt: skip
    code, out, err = physlm("battery", "--model", folder, "--finetune", "full", "--passes", 2, "--batch-rows", 4,
                            "--learning-rate", 1e-2, *options, "--out", tmp_path / "report")
    assert code == 0 and not err, err
    for part in ("2 passes", "inverse search", "72 forward questions, 6 about each of 12 names", "own tokens",
                 "by a thought written first"):
        assert part in out, part
    made = tmp_path / "report"
    assert {path.name for path in made.iterdir()} == {
        "card.md", "scores.json", "answers.jsonl", "index.sqlite", "model"}
    found = json.loads((made / "scores.json").read_text())
    assert {one["way"] for one in found["scores"]} == {"", "thought first", "index"}
    assert {one["oracle"] for one in found["scores"]} == {1.0}
    physlm("battery", "prompts", *options[:-2], "--out", tmp_path / "people")
    code, graded, err = physlm("battery", "grade", made / "answers.jsonl", "--of", tmp_path / "people")
    same = [line for line in graded.splitlines() if line.startswith(("retrieval", "classification"))]
    assert code == 0 and same == [line for line in out.splitlines() if line.startswith(("retrieval", "classif")) and
                                  "by a thought" not in line] + [line for line in same if "by a thought" in line]


@pytest.mark.parametrize(("settings", "measured"), [
    ({"mlp": (Gated(),), "norm": RMSNorm()}, True), ({}, False),  # gpt_neox has biases, which training moves
])  # fmt: skip
def test_capacity_is_counted_as_in_the_lab_where_the_model_reads_our_tokens(physlm, tmp_path, settings, measured):
    battery = dataclasses.replace(BATTERY, kinds=("major",), spaced=True)
    spec = RunSpec(battery.biographies, ModelConfig(layers=1, heads=2, width=16, **settings), TrainConfig(steps=1))
    made = Decoder(spec.model, len(spec.task.vocabulary()), (1,))
    folders.export(spec, made, tmp_path / "ours")
    options = ("--people", 12, "--pool-size", 4, "--kind", "major", "--device", "cpu")
    code, out, err = physlm("battery", "--model", tmp_path / "ours", *options)
    assert code == 0, err
    trained = Trained(spec, CPU, lambda step: made)
    bits = {row.quantity: row for row in take("capacity", trained)}["bits_per_param"]
    assert f"\nbits per parameter: {bits.value:.3g} (" in out
    code, out, err = physlm("battery", "--model", tmp_path / "ours", *options, "--finetune", "full", "--passes", 6,
                            "--learning-rate", 1e-2, "--row-tokens", 160)  # fmt: skip
    (line,) = [line for line in out.splitlines() if line.startswith("bits per parameter: ")]
    assert code == 0 and ("not measured" not in line) == measured, err
