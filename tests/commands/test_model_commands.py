"""physlm model: a trained run as a folder of transformers, and back under our measures."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from extras import of_extra

from physlm.config import override, to_dict
from physlm.lab.experiment import load_experiment
from physlm.lab.store import Store
from physlm.models.decoder import Decoder
from physlm.storage import save_tensors, write_json

FOLDER = Path(__file__).parents[2] / "experiments"
CLAIM = "p33_capacity"


@pytest.fixture
def stored(tmp_path):
    """The untrained models of the claim's first two runs, as if they had been trained."""
    for spec in load_experiment(CLAIM, FOLDER).specs("smoke")[:2]:
        run = Store(tmp_path / "runs").run(spec)
        run.path.mkdir(parents=True)
        write_json(run.path / "config.json", to_dict(spec))
        run.write_model(Decoder(spec.model, len(spec.task.vocabulary()), (1,)).state_dict())
    return run


@pytest.fixture
def export(physlm, tmp_path):
    return lambda *options: physlm("model", "export", *options, "--runs", tmp_path / "runs")


def test_a_run_is_named_by_its_claim_or_its_folder(export, physlm, stored, tmp_path, monkeypatch):
    transformers = of_extra("transformers", "hf")
    monkeypatch.chdir(tmp_path)
    (tmp_path / CLAIM).mkdir()  # as in a folder of results: a claim's name is that of the claim
    code, out, err = export(CLAIM, "--tier", "smoke", "--run", 1, "--to", "hf", "--out", tmp_path / "a")
    assert code == 0 and not err and out.startswith(f"{tmp_path / 'a'}: {stored.spec.title}, architecture gpt_neox\n")
    assert export(stored.path, "--out", tmp_path / "b")[0] == 0
    for name in ("model.safetensors", "tokenizer.json", "physlm.json", "README.md"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    words = stored.spec.task.vocabulary()
    assert len(transformers.AutoTokenizer.from_pretrained(tmp_path / "a")) == len(words)
    found = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "a")
    assert found.get_input_embeddings().weight.shape == (len(words), stored.spec.model.width)
    card = (tmp_path / "a" / "README.md").read_text()
    assert stored.spec.model.label in card and f"{len(words):,} words" in card

    (tmp_path / "rows.csv").symlink_to(tmp_path / "real.csv")
    code, out, err = physlm("model", "import", tmp_path / "a", "--measure", "capacity", "--device", "cpu",
                            "--out", tmp_path / "rows.csv")  # fmt: skip
    assert code == 0 and (tmp_path / "rows.csv").is_symlink(), err
    with open(tmp_path / "rows.csv") as file:
        rows = {row["quantity"]: row for row in csv.DictReader(file)}
    assert float(rows["bits_per_param"]["value"]) >= 0 and "bits_per_param" in out


def test_a_named_task_takes_the_place_of_the_stored_one(export, physlm, stored, tmp_path):
    of_extra("transformers", "hf")
    export(stored.path, "--out", tmp_path / "a")
    (tmp_path / "a" / "physlm.json").unlink()
    assert "got no --task, expected one" in physlm("model", "import", tmp_path / "a")[2]
    settings = [text for key, value in to_dict(stored.spec.task).items() if key != "kind"
                for text in ("--set", f"{key}={json.dumps(value)}")]  # fmt: skip
    named = ("model", "import", tmp_path / "a", "--device", "cpu", "--task", "biod")
    code, out, err = physlm(*named, *settings)
    assert code == 0 and "on bioD N=32\n" in out and "--measure NAME takes a measure of it" in out, err
    code, _, err = physlm(*named)
    assert code == 2 and "expected at least 1862, the task's vocabulary" in err
    code, _, err = physlm(*named, *settings, "--measure", "answers")
    assert code == 2 and "asks questions" in err


def test_checkpoints_are_merged_into_what_is_written(physlm, stored, tmp_path):
    transformers = of_extra("transformers", "hf")
    steps = stored.spec.steps
    spec = override(stored.spec, [f"train.kept=[{steps - 2}, {steps - 1}]"])
    run = Store(tmp_path / "runs").run(spec)
    run.path.mkdir(parents=True)
    write_json(run.path / "config.json", to_dict(spec))
    model = Decoder(spec.model, len(spec.task.vocabulary()), (1,))
    for step, times in ((steps - 2, 1.0), (steps - 1, 2.0), (steps, 6.0)):
        save_tensors(run.weights_path(step), {name: times * value for name, value in model.state_dict().items()}, {})
    found = {}
    span = 2.5 / steps
    for name, options in {"last": (), "one": ("--step", steps - 1), "mean": ("--span", span),
                          "sqrt": ("--span", span, "--way", "sqrt")}.items():
        code, out, err = physlm("model", "export", run.path, *options, "--out", tmp_path / name)
        assert code == 0 and ("3 checkpoints merged" in out) == (name in ("mean", "sqrt")), err
        model_of = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        found[name] = model_of.get_input_embeddings().weight.detach()
    table = model.embedding.weight[0].detach()
    first, second = math.sqrt(1 / 3), math.sqrt(2 / 3)
    decayed = first + 2 * (second - first) + 6 * (1 - second)
    for name, times in {"last": 6, "one": 2, "mean": 3, "sqrt": decayed}.items():
        torch.testing.assert_close(found[name], times * table, rtol=1e-5, atol=1e-6)
    for options, words in ((("--span", 0.4 / steps), "expected at least two in the last"),
                           (("--way", "ema"), "ways: got"), (("--span", 1), "spans: got 1.0, expected a share")):
        code, _, err = physlm("model", "export", run.path, *options, "--out", tmp_path / "x")
        assert code == 2 and words in err and not (tmp_path / "x").exists(), err


def test_mistakes_are_one_line(export, stored, tmp_path):
    out = ("--out", tmp_path / "x")
    untrained = Store(tmp_path / "runs").run(override(stored.spec, ["train.seed=9"]))
    untrained.path.mkdir()
    write_json(untrained.path / "config.json", to_dict(untrained.spec))
    for options, words in (
        ((CLAIM, "--tier", "smoke", "--run", 99, *out), "--run: got 99, expected between 0 and"),
        ((CLAIM, "--tier", "smoke", "--step", 3, *out), "--step: got 3, expected one of"),
        (("p33_cap", "--tier", "demo", *out), "no trained model here; first physlm run p33_cap --tier demo\n"),
        (("p33", *out), "experiment: 'p33' is the beginning of"),
        ((untrained.path, *out), "no trained model here; the command that began this run goes on with it\n"),
        (("p33_capacty", *out), "did you mean 'p33_capacity'"),
        ((stored.path, "--to", "gguf", *out), "to: unknown name 'gguf'"),
    ):  # fmt: skip
        code, printed, err = export(*options)
        assert (code, printed) == (2, "") and words in err and len(err.strip().splitlines()) == 1, options
    assert not (tmp_path / "x").exists()


def test_without_the_extra_the_install_line_is_said(export, stored, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "transformers"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "transformers", None)  # any import of it fails
    code, _, err = export(stored.path, "--out", tmp_path / "x")
    assert code == 2 and "transformers is not installed" in err and "pip install 'physlm[hf]'" in err
    assert not (tmp_path / "x").exists()


def test_parts_lists_every_part_with_its_numbers(physlm):
    from physlm.commands.parts import FAMILIES

    code, out, _ = physlm("model", "parts", "--width", "64", "--heads", "4", "--tokens", "100")
    lines = out.splitlines()
    assert code == 0
    for name, family in FAMILIES.items():
        start = next(i for i, line in enumerate(lines) if line.startswith(f"model.{name} "))
        listed = [line.split() for line in lines[start + 1 :]]
        for kind in family.kinds():
            assert any(line[:1] == [kind] for line in listed), kind
    assert max(map(len, lines)) < 120 and "``" not in out and "False" not in out and "pro=false" in out
    (gla,) = [line.split() for line in lines if line.startswith("  gla ")]
    assert gla[2] == str(64 * 64 // 2 // 4) and "exponent=0.0625" in out
    (attention,) = [line.split() for line in lines if line.startswith("  attention ")]
    assert attention[1:3] == [f"{4 * 64 * 64:,}", f"{2 * 64 * 100:,}"]


def test_parts_with_a_setting_are_those_that_have_it(physlm):
    """The state of log-linear forms: a memory for each binary digit of the row's length, not more than levels - 1."""
    sizes = {}
    for levels, tokens in ((0, 512), (10, 512), (10, 100), (4, 512)):
        code, out, _ = physlm("model", "parts", "--width", "64", "--heads", "4", "--tokens", str(tokens), "--set",
                              f"levels={levels}")
        listed = [line.split() for line in out.splitlines() if line.startswith("  ") and line[2] != " "]
        assert code == 0 and {"mamba2", "gated_deltanet"} <= {line[0] for line in listed} and "model.mlp" not in out
        sizes[levels, tokens] = {line[0]: int(line[2].replace(",", "")) for line in listed}
    for kind, memory in (("mamba2", 2 * 64 * 64), ("gated_deltanet", 9 * 64**2 // 8 // 4)):
        base = sizes[0, 512][kind]
        more = [sizes[key][kind] - base for key in ((10, 512), (10, 100), (4, 512))]
        assert more == [8 * memory, 6 * memory, 2 * memory]
    code, _, err = physlm("model", "parts", "--set", "level=3")
    assert code == 2 and "--set: got level=3, expected settings that a part has" in err
    code, _, err = physlm("model", "parts", "--set", "levels=1")
    assert code == 2 and "model.mixer.levels: got 1" in err


def test_parts_of_one_family_and_what_does_not_fit(physlm):
    code, out, _ = physlm("model", "parts", "mixer", "--width", "63", "--heads", "4")
    assert code == 0 and "model.width: got 63 for 4 heads" in out and "gated " not in out
    code, _, err = physlm("model", "parts", "mixers")
    assert code == 2 and "FAMILY: unknown name 'mixers'; did you mean 'mixer'" in err
