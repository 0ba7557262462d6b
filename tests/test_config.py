"""Configs: a strict round trip, one hash per content, typed overrides, and no dead setting."""

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from physlm.config import content_hash, from_dict, override, to_dict, unknown_key
from physlm.errors import UserError
from physlm.lab.committed import committed_claims
from physlm.lab.experiment import load_experiment
from physlm.measures.knowledge_config import KnowledgeConfig
from physlm.measures.probes import ProbeConfig
from physlm.models.config import ModelConfig
from physlm.models.parts.attention import Attention
from physlm.models.parts.canon import Canon
from physlm.models.parts.deltanet import DeltaNet
from physlm.models.parts.fox import FoX
from physlm.models.parts.gated import Gated
from physlm.models.parts.gated_deltanet import GatedDeltaNet
from physlm.models.parts.gla import GLA
from physlm.models.parts.linear import LinearAttention
from physlm.models.parts.mamba2 import Mamba2
from physlm.models.parts.mla import MLA
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.ngram import NGram
from physlm.models.parts.norms import LayerNorm, RMSNorm
from physlm.models.parts.nsa import NSA
from physlm.models.parts.parallel import OneStream, ParScale
from physlm.models.parts.path import PaTH
from physlm.models.parts.positional import PositionOnly
from physlm.models.parts.relative import Relative
from physlm.models.parts.residual import Add, Hyper, ManifoldHyper
from physlm.models.parts.route import AllTokens, MixtureOfDepths
from physlm.models.parts.simplicial import Simplicial
from physlm.tasks.biography.config import BioDConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.junk_config import JunkConfig
from physlm.tasks.biography.kinds import RETRIEVAL
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.tasks.grammar.config import GrammarConfig
from physlm.tasks.igsm.config import Chain, IgsmConfig, Noise, Retry
from physlm.tasks.playground.brevo import BrevoConfig
from physlm.tasks.playground.depo import DepoConfig
from physlm.tasks.playground.mano import ManoConfig
from physlm.tasks.state.flip_flop import FlipFlopConfig
from physlm.training.config import RunSpec, TrainConfig

ROOT = Path(__file__).parents[1]
SPEC = RunSpec(BioDConfig(people=7), ModelConfig(), TrainConfig())
DEFAULTS: dict[str, dict[str, Any]] = {
    "BioSConfig": dict(people=10_000, fresh=True, entries_per_row=9, row_tokens=512, seed=0, texts=0, permute=0,
                       fullname=False, couples=False, reverse=0, celebrities=0, pool_size=0, rewritten=False,
                       questions=False),
    "MixedConfig": dict(people=10_000, fresh=True, entries_per_row=9, row_tokens=512, seed=0, texts=0, permute=0,
                        fullname=False, couples=False, reverse=0, celebrities=0, pool_size=0, rewritten=False,
                        share=0.8, questions_per_row=40, ask=Ask()),
    "JunkConfig": dict(people=10_000, entries_per_row=9, row_tokens=512, seed=0, pool_size=0, junk=100_000_000,
                       share=0.875, domain=False),
    "BioRConfig": dict(people=10_000, file="", sha256="", texts=0, fullname=False, entries_per_row=8, row_tokens=512,
                       seed=0, pool_size=0),
    "QuestionsConfig": dict(people=10_000, celebrities=0, seed=0, entries_per_row=40, row_tokens=512, ask=Ask(),
                            pool_size=0, file="", sha256="", rewritten=False),
    "Ask": dict(kinds=RETRIEVAL, half="train", group="all", most=0, hints=0.0, forms=1, held_out=False, loss="answer"),
    "BioDConfig": dict(people=10_000, attributes=5, chunks=1, diversity=1000, chunk_tokens=2, alphabet=50,
                       name_pools=(400, 400, 1000), fresh=True, entries_per_row=9, row_tokens=512, seed=0),
    "GrammarConfig": dict(grammar="cfg3b", row_tokens=512, seed=0, bag_tokens=0, bags="disjoint", bag_weights="uniform",
                          noise="none", noise_rate=0.15, noise_fraction=0.0),
    "IgsmConfig": dict(max_op=15, max_ip=20, op=None, op_mix="min2", method="direct", layers=4, width=4, order="pq",
                       dependency_order="shuffled", letter_order="random", reask=False, modulus=23, templates="split",
                       categorisations=4, groups=5, group_items=20, retry=Retry(), noise=Noise(), noise_words=False,
                       chain=Chain(), row_tokens=768, seed=0),
    "Chain": dict(drop="none", at_random=False), "Retry": dict(rate=0.0, names="wrong", mask="none"),
    "Noise": dict(sentences="none", share=0.5, tokens=None, amount="full", rate=1.0),
    "ManoConfig": dict(length=10, modulus=23, row_tokens=1024, seed=0),
    "FlipFlopConfig": dict(write=0.1, read=0.1, loss="answer", row_tokens=512, seed=0),
    "DepoConfig": dict(nodes=75, hops=16, shortest_name=5, longest_name=7, name_words=4, queries=10, row_tokens=2048,
                       seed=0),
    "BrevoConfig": dict(nodes=70, shortest_name=1, longest_name=1, name_words=0, row_tokens=1024, seed=0),
    "ModelConfig": dict(layers=2, heads=1, width=64, mixer=(Attention(),), mlp=(Plain(),), norm=LayerNorm(), local=(),
                        absolute=0, vocab_size=0, init_std=0.02, causal=True, ternary=False, tied=True, loops=1,
                        prelude=0, coda=0, residual=Add(), route=AllTokens(), parallel=OneStream()),
    "Attention": dict(rope=1.0, rope_base=10_000.0, qk_norm="none", rope_heads=1.0, bias="none", window=0, chunk=0,
                      scale=1.0, learnt_scale="none", log_n=False, floor=0, group=1, gate="none", sink=False,
                      value_rows=0, value_residual=0.0, learnt_residual=False),
    "MixtureOfDepths": dict(capacity=0.125, every=2, decision="predictor", units=32, weight="score", alpha=0.01),
    "ParScale": dict(streams=4, prefix=8, smooth=0.01),
    "Hyper": dict(streams=4), "ManifoldHyper": dict(streams=2, apart=-8.0),
    "NGram": dict(mlp=Plain(), rows=4096, longest=3, hashes=2, channels=16, hashed="tokens"),
    "NSA": dict(block=4, select=4, window=8, rope=True, rope_base=10_000.0),
    "Simplicial": dict(window=16, second=4), "FoX": dict(pro=False), "PaTH": dict(rank=0.125, conv=True, forget=False),
    "MLA": dict(latent=0.5, rotated=0.5, rope_base=10_000.0),
    "LinearAttention": dict(normaliser="sum", keys=1.0, values=1.0, conv=False),
    "GLA": dict(gate="vector", rank=16, exponent=1 / 16, keys=0.5, values=1.0, conv=False),
    "Mamba2": dict(expand=2, size=64, conv=True, levels=0),
    "DeltaNet": dict(negative=False, steps=1, keys=1.0, values=1.0, conv=True, silu=True),
    "GatedDeltaNet": dict(negative=False, steps=1, keys=0.75, values=1.5, conv=True, levels=0, silu=True),
    "Relative": dict(reach=512), "PositionOnly": dict(reach=512), "Plain": dict(ratio=4, act="gelu"),
    "Gated": dict(ratio=8 / 3, act="silu"), "LayerNorm": dict(eps=1e-5), "RMSNorm": dict(eps=1e-5),
    "Canon": dict(sites="ABCD", residual=True, act=False, trained=True),
    "MoE": dict(experts=32, top_k=1, expert=Plain(ratio=1), capacity=2.0, shared=False, alpha=0.01, bias_rate=0.0,
                chain=1),
    "TrainConfig": dict(exposures=100, batch_rows=96, learning_rate=1e-3, weight_decay=0.01, warmup_steps=1000,
                        final_fraction=0.1, betas=(0.9, 0.98), eps=1e-6, precision="bf16", seed=0,
                        steps=0, decay="cosine", mask_rate=0.15, snapshots=0, lora_rank=0, lora_embedding_rank=0,
                        lora_alpha=4.0, lora_ratio=1.0, z_loss=0.0, redrawn=0.0, trained="all", optimiser="adamw",
                        stable=0.0, kept=(), lora_kind="lora", lora_initial=0.1, lora_ramp=1000),
}


@dataclass(frozen=True)
class Part:
    x: float = 0.5
    name: str | None = None


@dataclass(frozen=True)
class Whole:
    part: Part
    sizes: tuple[int, ...] = (1, 2)
    mode: Literal["a", "b"] = "a"
    on: bool = False


@given(st.builds(Whole, st.builds(Part, st.floats(allow_nan=False, allow_infinity=False), st.none() | st.text())))
def test_round_trip(whole: Whole) -> None:
    assert from_dict(Whole, to_dict(whole)) == whole


def test_tasks_are_told_apart_by_kind() -> None:
    for task in (BioDConfig(people=7), BioSConfig(people=7), BioRConfig(people=7, texts=2),
                 GrammarConfig(noise="token", noise_fraction=0.5),
                 QuestionsConfig(ask=Ask(kinds=("major",), forms=3)), MixedConfig(share=0.5, ask=Ask(loss="all"))):
        spec = dataclasses.replace(SPEC, task=task, train=TrainConfig(steps=9))
        assert from_dict(RunSpec, to_dict(spec)) == spec
    allowed = "bioD, bioJunk, bioMixed, bioQA, bioR, bioS, brevo, .*depo, .*grammar"
    with pytest.raises(UserError, match=f"task.kind: unknown name 'bioX'; did you mean .*Allowed: {allowed}"):
        from_dict(RunSpec, {**to_dict(SPEC), "task": {"kind": "bioX"}})


PARTS: dict[str, object] = {"mixer": (Attention(rope=0.0),), "mlp": (Gated(),), "norm": RMSNorm(), "local": (Canon(),),
                            "residual": Hyper(), "route": MixtureOfDepths(), "parallel": ParScale()}


def test_every_setting_of_a_run_changes_its_hash() -> None:
    """A run is named by all of its content."""
    tuned = dataclasses.replace(SPEC, start=SPEC)  # low ranks need one
    upcycled = dataclasses.replace(  # and so does a share that is drawn anew, of a mixture
        tuned, model=dataclasses.replace(SPEC.model, mlp=(MoE(expert=Plain()),)))
    others = dict.fromkeys(("lora_rank", "lora_embedding_rank", "lora_alpha", "lora_ratio"), tuned)
    others["redrawn"] = upcycled
    others["trained"] = dataclasses.replace(  # and learnt scales alone, of a model that has some
        tuned, model=dataclasses.replace(SPEC.model, mixer=(Attention(learnt_scale="head"),)))
    looped = dataclasses.replace(SPEC, model=dataclasses.replace(SPEC.model, layers=4, loops=3))
    others |= {"prelude": looped, "coda": looped}
    hashes = {content_hash(base) for base in (SPEC, *others.values())}
    changes = 0
    for part in ("task", "model", "train"):
        config = getattr(SPEC, part)
        for field in dataclasses.fields(config):
            value: Any = getattr(config, field.name)
            other: Any
            if isinstance(value, bool):
                other = not value
            elif field.name in PARTS:
                other = PARTS[field.name]
            elif isinstance(value, str):
                other = {"bf16": "float32", "cosine": "linear", "all": "scales", "adamw": "muon",
                         "lora": "vera"}[value]
            elif value == ():
                other = (1,)
            elif isinstance(value, tuple):
                other = tuple(v / 2 if isinstance(v, float) else v - 1 for v in value)
            else:
                other = (value / 2 or 1.0) if isinstance(value, float) else value + (value or 2)
            base = others.get(field.name, SPEC)
            new = dataclasses.replace(base, **{part: dataclasses.replace(getattr(base, part), **{field.name: other})})
            hashes.add(content_hash(new))
            changes += 1
    assert len(hashes) == changes + 5
    assert content_hash(SPEC) == content_hash(from_dict(RunSpec, to_dict(SPEC)))


def test_a_setting_added_later_leaves_older_hashes_alone() -> None:
    """With the old behaviour as its default; any other value is another run."""
    Before = dataclasses.make_dataclass("Settings", [("a", int), ("b", float, 0.5)], frozen=True)
    After = dataclasses.make_dataclass("Settings", [("a", int), ("b", float, 0.5), ("c", str, "old")], frozen=True)
    assert content_hash(Before(1)) == content_hash(After(1)) != content_hash(After(1, c="new"))
    assert content_hash(Before(1, 0.25)) == content_hash(After(1, 0.25)) != content_hash(After(1))


def test_defaults_never_change() -> None:
    """They are left out of the hash: another default would let a finished run pass for a different one."""
    defaults = {cls.__name__: {f.name: f.default for f in dataclasses.fields(cls)}
                for cls in (BioSConfig, BioDConfig, JunkConfig, BioRConfig, QuestionsConfig, MixedConfig, Ask,
                            GrammarConfig, IgsmConfig, Chain, Retry, Noise, LayerNorm, RMSNorm, Canon,
                            ManoConfig, DepoConfig, BrevoConfig, FlipFlopConfig, ModelConfig, Attention, Relative,
                            PositionOnly, FoX, PaTH, MLA, LinearAttention, GLA, Mamba2, DeltaNet, GatedDeltaNet,
                            Plain, Gated, MoE,
                            Hyper, ManifoldHyper, MixtureOfDepths, ParScale, NGram, NSA, Simplicial, TrainConfig)}
    assert defaults == DEFAULTS


def classes_of(config: object) -> Iterator[type]:
    """Those of a config and of all configs within it that have a setting with a default."""
    if dataclasses.is_dataclass(config):
        if any(field.default is not dataclasses.MISSING for field in dataclasses.fields(config)):
            yield type(config)
        for field in dataclasses.fields(config):
            yield from classes_of(getattr(config, field.name))
    elif isinstance(config, tuple):
        for one in config:
            yield from classes_of(one)


@pytest.mark.parametrize("claim", committed_claims(ROOT / "results"))
def test_all_defaults_that_committed_runs_rest_on_are_in_the_table(claim: str) -> None:
    for spec in load_experiment(claim, ROOT / "experiments").specs("gpu"):
        for run in (spec, *spec.starts):
            met = {cls.__name__ for config in (run.task, run.model, run.train) for cls in classes_of(config)}
            assert met <= set(DEFAULTS)


@pytest.mark.parametrize(("text", "message"), [
    ("train.learning_rat=1", "did you mean 'learning_rate'"),
    ("train.learning_rate=fast", "expected float, got 'fast'"),
    ("train.learning_rate", "expected key=value"),
    ("model.layers.x=1", "there are no settings in 'model.layers'"),
    ("modle.layers=1", "settings are in model, start, task, train"),
    ("model.norm=none", "model.norm.kind: unknown name 'none'. Allowed: dyt, layernorm, rmsnorm"),
    ("train.batch_rows=0", "train.batch_rows: got 0, expected at least 1"),
    ("train.learning_rate=-1", "got -1.0, expected between 0.0 and inf"),
    ("train.learning_rate=Infinity", "expected a finite number, got inf"),
    ("model.mixer.rope_base=NaN", "expected a finite number, got nan"),
    ("model.init_std=1e999", "expected a finite number, got inf"),
    ("task.people=2.5", "expected int, got 2.5"),
    ("task.fresh=True", "task.fresh: expected true or false, got 'True'"),
    ("task.fresh=yes", "expected true or false, got 'yes'"),
    ("task.fresh=1", "expected true or false, got 1"),
    ("train.learning_rate=" + "9" * 400, "between -2^63 and 2^63 - 1, got a number of about 400 digits"),
    ("train.seed=" + "9" * 400, "train.seed: expected a number between -2^63 and 2^63 - 1, got a number"),
    ("train.seed=" + "9" * 5000, "train.seed: expected int, got '999"),
    ("train.seed=9223372036854775808", "got 9223372036854775808"),
    ("train.seed=-1e400", "expected a finite number, got -inf"),
    ("train.seed=" + "[" * 100_000, "train.seed: expected int, got '[[["),
    ("train.seed=" + "[" * 900 + "]" * 900, "train.seed: expected int, got [[["),
    ("x" * 100_000 + "=1", "unknown name 'xxx"),
    ("task.kind=[]", "task.kind: unknown name []. Allowed: bioD"),
    ("task.kind={}", "task.kind: unknown name {}. Allowed: bioD"),
    ("task=[]", "task.kind: unknown name []. Allowed: bioD"),
    ("train.decay=[]", "train.decay: got [], expected one of 'cosine', 'linear'"),
    ("train.betas={}", "train.betas: expected a list, got {}"),
    ("model.layers=100000000", "model.layers: got 100000000, expected at most 4096"),
    ("model.width=1000000000", "expected at most 131072"),
    ("model.mlp.ratio=1000000000", "plain.ratio: got 1000000000, expected at most 1048576"),
    ("model.mixer.rope_base=1e999", "expected a finite number, got inf"),
    ("train.batch_rows=1000000000", "train.batch_rows: got 1000000000 with 512 task.row_tokens, expected at most"),
    ("task.row_tokens=1000000000", "task.row_tokens: got 1000000000, expected at most 1048576"),
    ("task.entries_per_row=1000000000", "with 1000000000 entries in a row, expected at most"),
    ("train.snapshots=1000000000", "train.snapshots: got 1000000000, expected at most 62"),
    ("train.lora_rank=1000000000", "expected at most 131072"),
    ("train.mask_rate=0", "train.mask_rate: got 0.0, expected more than 0"),
    ("task.chunk_tokens=100000000", "task.chunk_tokens=100000000: got 500000000, expected at most 32768"),
    ("task.alphabet=1000000000000", "task.alphabet=1000000000000: got 1000000000000, expected at most 1048576"),
    ("task.diversity=1000000000", "got 10000000000, expected at most 134217728"),
    ("task.attributes=1000000000", "expected at most 32768"),
])  # fmt: skip
def test_bad_overrides_name_the_cure(text: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        override(SPEC, [text])
    assert message in str(error.value)
    assert len(str(error.value)) < 600 + len(text.partition("=")[0])  # a value is shown in part


@pytest.mark.parametrize(("make", "message"), [
    (lambda: ModelConfig(mixer=(Attention(), Attention(learnt_scale="heads"))),  # type: ignore[arg-type]
     "model.mixer[1].learnt_scale: got 'heads', expected one of 'none', 'head', 'one'"),
    (lambda: ModelConfig(mlp=(MoE(expert=Plain(act="relu")),)),  # type: ignore[arg-type]
     "model.mlp[0].expert.act: got 'relu', expected one of 'gelu', 'relu2'"),
    (lambda: ModelConfig(route=MixtureOfDepths(weight="logit")),  # type: ignore[arg-type]
     "model.route.weight: got 'logit', expected one of 'score', 'sigmoid'"),
    (lambda: TrainConfig(optimiser="sgd"),  # type: ignore[arg-type]
     "train.optimiser: got 'sgd', expected one of 'adamw', 'muon'"),
    (lambda: RunSpec(FlipFlopConfig(loss="every"), ModelConfig(), TrainConfig(steps=1)),  # type: ignore[arg-type]
     "task.loss: got 'every', expected one of 'answer', 'all'"),
])  # fmt: skip
def test_a_choice_that_there_is_not_is_refused_in_python_too(make: Any, message: str) -> None:
    with pytest.raises(UserError) as error:
        make()
    assert str(error.value) == message


def test_overrides_are_typed() -> None:
    spec = override(SPEC, ["train.learning_rate=3e-3", "model.layers=4", "task.name_pools=[3,4,5]", "task.fresh=false"])
    assert (spec.train.learning_rate, spec.model.layers) == (3e-3, 4)
    assert isinstance(spec.task, BioDConfig) and spec.task.name_pools == (3, 4, 5) and spec.task.fresh is False
    assert override(SPEC, ["train.learning_rate=1"]).train.learning_rate == 1.0


def test_overrides_are_applied_together() -> None:
    """Two that fit together may each be wrong alone."""
    spec = override(override(SPEC, ["model.heads=2"]), ["model.width=126", "model.heads=3"])
    assert (spec.model.width, spec.model.heads) == (126, 3)


def test_member_fields_exist() -> None:
    for field in SPEC.member_fields:
        assert content_hash(override(SPEC, [f"{field}=7"])) != content_hash(SPEC)


def test_steps_cover_the_exposures() -> None:
    spec = RunSpec(BioSConfig(people=1000, entries_per_row=9), ModelConfig(), TrainConfig(exposures=100, batch_rows=8))
    assert spec.steps == -(-100 * 1000 // 72)
    assert spec.steps * spec.entries_per_step >= 100 * 1000 > (spec.steps - 1) * spec.entries_per_step
    assert spec.tokens == spec.steps * 8 * 512


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("config", "names"), [
    (TrainConfig, ("learning_rate", "weight_decay", "final_fraction", "eps", "mask_rate", "lora_alpha",
                   "stable", "lora_initial")),
    (ModelConfig, ("init_std",)),
    (lambda **part: ModelConfig(mixer=(Attention(**part),)), ("rope", "rope_base", "rope_heads", "scale")),
    (partial(GrammarConfig, noise="token"), ("noise_rate", "noise_fraction")),
    (Ask, ("hints",)), (MixedConfig, ("share",)),
    (ProbeConfig, ("learning_rate", "position_rate", "weight_decay")),
    (KnowledgeConfig, ("learning_rate", "weight_decay", "epsilon", "update_speed")),
])  # fmt: skip
def test_no_setting_is_infinite_or_no_number(config: Any, names: tuple[str, ...], value: float) -> None:
    for name in names:
        with pytest.raises(UserError, match="expected"):
            config(**{name: value})


def test_the_largest_whole_numbers_are_kept() -> None:
    for seed in (2**63 - 1, -(2**63)):
        assert override(SPEC, [f"train.seed={seed}"]).train.seed == seed


def test_many_names_are_not_all_listed():
    """An error is one line that can be read: the nearest names, how many there are, and which command lists them."""
    names = [f"p33_size_{number:02d}" for number in range(100)] + ["p41_mano"]
    message = unknown_key("experiment", "p41_manu", names, "physlm list")
    begin = "experiment: unknown name 'p41_manu'; did you mean 'p41_mano'? Allowed: 101 names, such as "
    assert message.startswith(begin)
    assert message.endswith("; physlm list lists all") and len(message) < 200 and "p41_mano, " in message
    assert unknown_key("experiment", [], names).endswith("p33_size_04"), "also what is no text"
    few = names[:40]
    assert unknown_key("experiment", "x", few).endswith(", ".join(few))
