"""Every setting is live: change any one and the run changes.  Fields are found by looking, so a new one is tested."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import json
import math
import shutil
import tempfile
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from positions import way
from storyteller import stories, write

from physlm.config import override, to_dict
from physlm.errors import UserError
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import Part
from physlm.tasks.biography.config import BioDConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.junk_config import JunkConfig
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.tasks.config import TaskConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.igsm.config import Chain, IgsmConfig, Noise, Retry
from physlm.tasks.memory.compression import CompressionConfig
from physlm.tasks.memory.fuzzy import FuzzyConfig
from physlm.tasks.memory.memorise import MemoriseConfig
from physlm.tasks.memory.recall import RecallConfig
from physlm.tasks.memory.selective import SelectiveConfig
from physlm.tasks.mixture import MixtureConfig
from physlm.tasks.playground.brevo import BrevoConfig
from physlm.tasks.playground.copying import CopyConfig
from physlm.tasks.playground.cycles import CyclesConfig
from physlm.tasks.playground.hops import HopsConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.playground.mqar import MqarConfig
from physlm.tasks.playground.needle import NeedleConfig
from physlm.tasks.state.regular import RegularConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.step import Population, check_members

CPU = torch.device("cpu")
MODEL = ModelConfig(layers=1, heads=1, width=8)
# 20 steps, two of them warm-up at most: one is asked for, so that one more is seen
TRAIN = TrainConfig(exposures=10, batch_rows=3, learning_rate=1e-2, weight_decay=0.1, warmup_steps=1,
                    precision="float32")  # fmt: skip
BIOD = BioDConfig(people=12, attributes=2, chunks=2, diversity=5, chunk_tokens=2, alphabet=4, name_pools=(3, 3, 3),
                  entries_per_row=2, row_tokens=50)  # fmt: skip
BIOS = BioSConfig(people=12, entries_per_row=2, row_tokens=100)
# fixed texts, where the settings of augmentation are live
FIXED = dataclasses.replace(BIOS, texts=2, permute=1, celebrities=2)
ASK = Ask(kinds=("birth_year", "month_minus"), hints=0.5)
QUESTIONS = QuestionsConfig(people=12, celebrities=4, entries_per_row=2, row_tokens=40, ask=ASK)
FOLDER = Path(tempfile.mkdtemp(prefix="knobs"))
atexit.register(shutil.rmtree, FOLDER)
# each text is about the people of three settings at once, so that each of these can be changed alone; the full names
# that stand for pronouns tell them apart
WORLDS = ((0, 0), (1, 0), (0, 1))
FILE, OTHER = (
    write(FOLDER / f"{word}.jsonl", [[f"{text} {word}" for text in mine] for mine in stories(13, [3], 0, WORLDS)])
    for word in ("often", "seldom")  # the first is a word of these texts anyway, the second is one more
)
BIOR = BioRConfig(12, FILE, fullname=True, texts=2, entries_per_row=2, row_tokens=400)
# several wordings, which kinds with hints do not have
MIXED = MixedConfig(people=12, entries_per_row=2, row_tokens=100, texts=2, permute=1, share=0.5, questions_per_row=5)
JUNK = JunkConfig(12, junk=300, share=0.5, entries_per_row=2, row_tokens=100)
# an encoder with learnt positions on an implicit grammar with noise, where the settings of all of these are live
GRAMMAR = GrammarConfig("s -> a b | b a a\na -> '1' '2' | '2' '1'\nb -> '1' '1' '2' | '2'\n", row_tokens=24,
                        bag_tokens=4, noise="token", noise_fraction=0.5)  # fmt: skip
ENCODER = ModelConfig(layers=1, heads=1, width=8, causal=False, **way("absolute", 30))
BASES = {
    "bioD": RunSpec(BIOD, MODEL, TRAIN),
    "bioS": RunSpec(BIOS, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "bioS fixed": RunSpec(FIXED, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "bioR": RunSpec(BIOR, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "bioQA": RunSpec(QUESTIONS, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "bioMixed": RunSpec(MIXED, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "bioJunk": RunSpec(JUNK, MODEL, dataclasses.replace(TRAIN, exposures=2)),
    "grammar": RunSpec(GRAMMAR, ENCODER, dataclasses.replace(TRAIN, steps=6)),
    "tuned": RunSpec(BIOD, MODEL, dataclasses.replace(TRAIN, exposures=3, lora_rank=1, lora_embedding_rank=2),
                     RunSpec(BIOD, MODEL, TRAIN)),
    "singlora": RunSpec(BIOD, MODEL, dataclasses.replace(TRAIN, exposures=20, lora_kind="singlora", lora_rank=1,
                                                         lora_embedding_rank=2, lora_ramp=2),
                        RunSpec(BIOD, MODEL, TRAIN)),
    "vera": RunSpec(BIOD, MODEL, dataclasses.replace(TRAIN, exposures=3, lora_kind="vera", lora_rank=1,
                                                     lora_embedding_rank=2), RunSpec(BIOD, MODEL, TRAIN)),
    "upcycled": RunSpec(BIOD, dataclasses.replace(MODEL, mlp=(MoE(experts=2, top_k=2, expert=Plain()),)),
                        dataclasses.replace(TRAIN, exposures=3, redrawn=0.25), RunSpec(BIOD, MODEL, TRAIN)),
    "scales": RunSpec(BIOD, dataclasses.replace(MODEL, mixer=(Attention(learnt_scale="head"),)),
                      dataclasses.replace(TRAIN, exposures=3, trained="scales"), RunSpec(BIOD, MODEL, TRAIN)),
    "two heads": RunSpec(BIOD, dataclasses.replace(MODEL, heads=2), dataclasses.replace(TRAIN, exposures=3)),
    "looped": RunSpec(BIOD, dataclasses.replace(MODEL, layers=3, loops=2), dataclasses.replace(TRAIN, exposures=3)),
}
LIVE_IN_TUNED = ("train.lora_rank", "train.lora_embedding_rank", "train.lora_alpha", "train.lora_ratio",
                 "train.lora_kind")
LIVE_IN_VERA, LIVE_IN_SINGLORA = ("train.lora_initial",), ("train.lora_ramp",)
LIVE_IN_UPCYCLED = ("train.redrawn",)
LIVE_IN_SCALES = ("train.trained",)
LIVE_IN_HEADS = ("model.mixer.rope_heads", "model.mixer.group")
LIVE_IN_LOOPED = ("model.prelude", "model.coda")
LIVE_IN_LAYERS = ("model.mixer.value_residual", "model.mixer.learnt_residual")  # there is a later one
LIVE_IN_FIXED = tuple(f"task.{name}" for name in ("texts", "permute", "fullname", "couples", "reverse", "celebrities"))
LIVE_IN_ASK = tuple(f"task.ask.{name}" for name in ("kinds", "half", "group", "most", "hints", "loss"))
LIVE_IN_FORMS = ("task.ask.forms", "task.ask.held_out")
LIVE_IN_GRAMMAR = ("train.mask_rate", "model.absolute")
LIVE_IN_SHORT = ("task.chain.drop", "task.chain.at_random")
BY_HAND = tuple(BASES)
# with wrong starts and noise, where their settings are live; those of shorter solutions, which have neither, apart
IGSM = IgsmConfig(max_op=6, max_ip=12, retry=Retry(0.5, "wrong", "name"), noise=Noise("graph"), row_tokens=200)
SHORT = dataclasses.replace(IGSM, retry=Retry(), noise=Noise(), chain=Chain("names"))
BASES |= {kind: RunSpec(task, MODEL, dataclasses.replace(TRAIN, steps=4))
          for kind, task in (("igsm", IGSM), ("igsm short", SHORT))}
# others of rows alone in sizes that leave every setting a neighbour
BASES |= {task.kind: RunSpec(task, MODEL, dataclasses.replace(TRAIN, steps=4)) for task in (
    BrevoConfig(6, 1, 2, 3, row_tokens=128), CopyConfig(6, 9, 3, 64), MqarConfig(6, 64, 1.0, 1, 3, 64),
    NeedleConfig(20, 8, 2, row_tokens=64), HopsConfig(1, 3, 62, 58, row_tokens=128),
    CyclesConfig(11, 4, window=98, share=0.7), RegularConfig(12, 5, automata=5), RecallConfig(noisy=0.2),
    FuzzyConfig(), CompressionConfig(length=6, row_tokens=64), SelectiveConfig(4, window=16, row_tokens=64),
    MemoriseConfig(), MixtureConfig(shares=(1.0, 2.0), row_tokens=64))}  # fmt: skip
# a task that stands in no table yet is tested with its own defaults; its settings need only change something
BASES |= {kind: RunSpec(TaskConfig.of_kind(kind)(), MODEL, dataclasses.replace(TRAIN, steps=4))
          for kind in TaskConfig.kinds() if kind not in {base.task.kind for base in BASES.values()}}
# where the next value in line is not allowed: a width must be a multiple of 2 heads
NEXT = {"task.file": OTHER, "task.ask.kinds": ["birth_year", "day_minus"], "task.ask.most": 2,
        "model.mixer": "uniform", "model.mlp": "gated", "model.norm": "rmsnorm", "model.local": "canon",
        "model.residual": "hyper", "model.parallel": "parscale", "model.mixer.value_residual": 0.5,
        "model.route": {"kind": "depths", "every": 1},
        "model.mixer.rope": 0.25, "model.width": 16, "train.z_loss": 1.0, "train.steps": 7,
        "train.snapshots": 2, "train.kept": [3], "train.stable": 0.5,
        "task.noise": "nonterminal", "task.noise.tokens": 40,
        "task.op": 5, "task.layers": 3, "task.width": 3, "task.categorisations": 3, "task.groups": 4,
        "task.group_items": 10, "task.fewest": 1, "task.filler": "repeat", "task.shares": [3.0, 1.0],
        "task.group": "S5",
        "task.tasks": [to_dict(ManoConfig(2)), to_dict(ManoConfig(7))],
        "task.grammar": "s -> a a\na -> '1' '2' | '2' '1' '1'\n"}
# what a setting must change, and what it must leave as it is; others need only change something
CHANGES = {
    "task.seed": "batches", "task.fresh": "batches", "task.entries_per_row": "batches", "task.row_tokens": "batches",
    "task.people": "batches", "task.diversity": "batches", "task.chunk_tokens": "batches",
    "model.layers": "params", "model.width": "params", "model.mlp.ratio": "params", "model.vocab_size": "params",
    "model.heads": "logits", "model.norm": "logits", "model.norm.eps": "logits",
    "model.mixer": "params", "model.mixer.rope": "logits",
    "model.mixer.rope_base": "logits", "model.mixer.qk_norm": "params", "model.mlp": "params",
    **dict.fromkeys((f"model.mixer.{name}" for name in ("rope_heads", "bias", "window", "chunk", "scale", "log_n",
                                                        "floor")), "logits"), "model.mixer.learnt_scale": "params",
    **dict.fromkeys((f"model.mixer.{name}" for name in ("group", "gate", "sink", "value_rows")), "params"),
    "train.trained": "trained", "train.optimiser": "trained",
    "model.mlp.act": "logits", "model.local": "params",
    "model.residual": "params", "model.route": "params", "model.parallel": "params",
    "model.mixer.value_residual": "logits", "model.mixer.learnt_residual": "params",
    "train.z_loss": "trained", "model.init_std": "logits",
    "task.name_pools": "params", "task.alphabet": "params",
    "train.exposures": "steps", "train.batch_rows": "batches", "train.seed": "batches",
    "train.learning_rate": "trained", "train.weight_decay": "trained", "train.warmup_steps": "trained",
    "train.decay": "trained", "train.steps": "steps", "train.snapshots": "snapshots", "train.mask_rate": "batches",
    "model.causal": "params", "model.absolute": "params", "task.grammar": "batches", "task.bag_tokens": "params",
    "model.tied": "params", "model.ternary": "logits",
    **dict.fromkeys(("model.loops", *LIVE_IN_LOOPED), "logits"), "train.redrawn": "logits",
    "task.junk": "batches", "task.domain": "batches",
    "task.bags": "batches", "task.bag_weights": "batches", "task.noise": "batches", "task.noise_rate": "batches",
    "task.noise_fraction": "batches", **dict.fromkeys(LIVE_IN_FIXED, "batches"),
    **dict.fromkeys((*LIVE_IN_ASK, *LIVE_IN_FORMS, "task.share", "task.questions_per_row"), "batches"),
    **dict.fromkeys((*LIVE_IN_TUNED, *LIVE_IN_VERA, *LIVE_IN_SINGLORA, "train.stable"), "trained"),
    "train.kept": "kept", "task.questions": "params", "task.pool_size": "params",
    "task.rewritten": "params",
    "task.file": "params",
    "train.final_fraction": "trained", "train.betas": "trained", "train.eps": "trained", "train.precision": "trained",
}  # fmt: skip


def fields(config: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(dotted name, type, value) of every setting."""
    hints = typing.get_type_hints(type(config))
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if prefix + field.name == "start":
            continue  # another run, see test_starting.py
        if field.name == "sha256":
            continue  # no choice: it is that of the file
        if isinstance(value, Part) or (isinstance(value, tuple) and (not value or isinstance(value[0], Part))):
            yield prefix + field.name, None, value  # another part in its place
            for part in (value[:1] if isinstance(value, tuple) else (value,)):
                yield from fields(part, f"{prefix}{field.name}.")
        elif dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, hints[field.name], value


def another(name: str, hint: Any, value: Any) -> Any:
    """The next value in line."""
    if name in NEXT:
        return NEXT[name]
    if typing.get_origin(hint) is typing.Literal:
        return next(option for option in typing.get_args(hint) if option != value)
    if isinstance(value, tuple):
        return (another(name, typing.get_args(hint)[0], value[0]), *value[1:])
    if isinstance(value, bool):
        return not value
    # five more embedding rows than bioD has words, not just any number of them
    if name == "model.vocab_size":
        return 4000
    return value + 1 if isinstance(value, int) else value / 2


def changed(base: RunSpec, name: str) -> RunSpec:
    ((hint, value),) = [(hint, value) for other, hint, value in fields(base) if other == name]
    texts = [f"{name}={json.dumps(another(name, hint, value))}"]
    if name == "task.file":
        texts.append('task.sha256=""')
    spec = override(base, texts)
    assert spec != base
    return spec


LIVE_ONLY = {"bioS": ("task.fresh", "task.rewritten"), "bioD": ("task.fresh",), "bioS fixed": LIVE_IN_FIXED,
             "bioR": ("task.texts", "task.fullname"),
             "bioQA": (*LIVE_IN_ASK, "task.celebrities", "task.rewritten"), "bioMixed": LIVE_IN_FORMS,
             "grammar": LIVE_IN_GRAMMAR, "tuned": LIVE_IN_TUNED, "vera": LIVE_IN_VERA,
             "singlora": LIVE_IN_SINGLORA, "upcycled": LIVE_IN_UPCYCLED,
             "scales": LIVE_IN_SCALES, "two heads": LIVE_IN_HEADS, "looped": (*LIVE_IN_LOOPED, *LIVE_IN_LAYERS),
             "igsm short": LIVE_IN_SHORT}


def applies(kind: str, name: str) -> bool:
    """Whether it is tested in this base: where alone it is live; else a task's settings in each task, others once."""
    homes = [home for home, names in LIVE_ONLY.items() if name in names]
    if homes:
        return kind in homes
    if name.startswith("task."):
        return kind not in ("bioS fixed", "tuned", "vera", "singlora", "upcycled", "scales", "two heads", "looped",
                            "igsm short")
    return kind == "bioD"


KNOBS = [(kind, name) for kind, base in BASES.items() for name, _, _ in fields(base) if applies(kind, name)]


@functools.cache
def seen(spec: RunSpec) -> dict[str, Any]:
    """All that a run is to somebody who cannot read its settings."""
    # in place of the weights of a start those of the untrained model will do
    initial = None if spec.start is None else [Population([spec.start], CPU).model_of(0).state_dict()]
    population = Population([spec], CPU, window=spec.steps, initial=initial)
    inputs, targets = population.sample(0, steps=spec.steps)
    model = population.model_of(0)
    ids = (torch.arange(24) % min(7, population.model.vocabulary)).view(1, 2, 12)
    found = {
        "snapshots": spec.snapshot_steps,
        "kept": spec.kept_steps,
        "steps": population.steps,
        "batches": (tuple(inputs.shape), inputs.flatten().tolist(), targets.flatten().tolist()),
        "params": sum(p.numel() for p in model.parameters()),
        "logits": model(ids).logits.flatten()[:50].tolist(),
    }
    while population.step < population.steps:
        population.advance()
    trained = population.model_of(0).state_dict()
    return {**found, "trained": {name: value.flatten().tolist() for name, value in trained.items()}}


@pytest.mark.parametrize("kind", BASES)
def test_an_unchanged_run_is_seen_to_be_the_same(kind: str) -> None:
    """The control: no difference comes from anything but the settings."""
    before = seen(BASES[kind])
    seen.cache_clear()
    assert seen(dataclasses.replace(BASES[kind])) == before
    assert all(math.isfinite(x) for weights in before["trained"].values() for x in weights)


@pytest.mark.parametrize(("kind", "name"), KNOBS)
def test_every_setting_changes_the_run(kind: str, name: str) -> None:
    base, spec = BASES[kind], changed(BASES[kind], name)
    before, after = seen(base), seen(spec)
    different = {aspect for aspect in before if before[aspect] != after[aspect]}
    assert different, f"{name}: {to_dict(spec)} does the same as {to_dict(base)}: a dead setting"
    if name in CHANGES:
        assert CHANGES[name] in different
    if CHANGES.get(name) == "trained":
        assert different == {"trained"}, "how a model is trained does not touch its data or its first weights"
    if name.startswith("model.") and name != "model.causal":
        assert not different & {"batches", "steps"}, "the data does not depend on the model"
    if name == "task.seed":
        assert not different & {"params", "logits", "steps"}


def test_the_table_of_changes_names_settings() -> None:
    assert set(CHANGES) == {name for kind, name in KNOBS if kind in BY_HAND} - {"task.attributes", "task.chunks"}


def test_rows_that_no_token_uses_are_counted_apart() -> None:
    base, spec = BASES["bioD"], changed(BASES["bioD"], "model.vocab_size")
    words = Population([base], CPU).model.vocabulary
    before, after = parameter_counts(base.model, words), parameter_counts(spec.model, words)
    assert before["params_used"] == before["params_all"] == after["params_used"] < after["params_all"]
    for one, counts in ((base, before), (spec, after)):
        model = Decoder(one.model, words)
        assert sum(p.numel() for p in model.parameters()) == counts["params_all"] == seen(one)["params"]


@pytest.mark.parametrize(("kind", "name"), KNOBS)
def test_what_may_differ_within_a_population(kind: str, name: str) -> None:
    members = [BASES[kind], changed(BASES[kind], name)]
    if any(f"{name}.".startswith(f"{field}.") for field in members[0].member_fields):
        check_members(members)
    else:
        with pytest.raises(UserError, match="members of a population"):
            check_members(members)


def test_steps_by_hand() -> None:
    """10 exposures of 12 people, 2 in each of 3 rows; and one person more fills no whole step."""
    assert BASES["bioD"].steps == 20
    assert changed(BASES["bioD"], "task.people").steps == math.ceil(130 / 6) == 22
    assert BASES["bioD"].tokens == 20 * 3 * 50
