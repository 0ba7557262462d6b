"""What only a CUDA device can show: the same data, the whole step in a graph, the same bits on each run."""

import dataclasses
from pathlib import Path
from typing import Literal

import pytest
import torch
from storyteller import stories, write
from task_examples import example, kinds
from torch import Tensor

from physlm.errors import NotFiniteError
from physlm.measures.generation import generate
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.models.parts.mlp import Plain
from physlm.models.parts.moe import MoE
from physlm.models.parts.part import MLP
from physlm.tasks.biography.config import BioDConfig, BiographyConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import Ask, MixedConfig, QuestionsConfig
from physlm.tasks.config import TaskConfig
from physlm.training.config import RunSpec, TrainConfig
from physlm.training.loop import train_population
from physlm.training.step import Population

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
PLAIN = Plain()
TASKS: list[BiographyConfig] = [
    BioSConfig(people=5000),
    BioSConfig(people=300, fresh=False, entries_per_row=1, row_tokens=60),
    BioDConfig(people=100, attributes=2, chunks=3, diversity=8, chunk_tokens=2, alphabet=4, row_tokens=128),
    BioDConfig(people=100, attributes=8),
    BioSConfig(people=300, texts=5, permute=2, celebrities=50, entries_per_row=4, row_tokens=300),
    BioSConfig(people=300, rewritten=True),
    BioSConfig(people=300, texts=40, rewritten=True, fullname=True),
]
QUESTIONS: list[QuestionsConfig | MixedConfig] = [
    QuestionsConfig(people=300),
    QuestionsConfig(people=300, ask=Ask(kinds=("month_mod6", "luck_later", "bdate_to_first"), hints=0.5)),
    MixedConfig(people=300, texts=5),
]


def specs(precision: Literal["bf16", "float32"] = "bf16", mlp: MLP = PLAIN) -> list[RunSpec]:
    task = BioSConfig(people=200, entries_per_row=1, row_tokens=60)
    model = ModelConfig(layers=2, heads=2, width=32, mlp=(mlp,))
    base = TrainConfig(exposures=8, batch_rows=16, precision=precision)
    members = ((4e-3, 0), (8e-3, 0), (8e-3, 1))
    return [RunSpec(task, model, dataclasses.replace(base, learning_rate=rate, seed=seed)) for rate, seed in members]


def agree(here: tuple[Tensor, ...], there: tuple[Tensor, ...]) -> bool:
    """Whether the CPU and the GPU hold the same, and anything at all."""
    assert all(tensor.is_cuda for tensor in there) and any(tensor.any() for tensor in here)
    return all(a.equal(b.cpu()) for a, b in zip(here, there, strict=True))


def same_rows(config: TaskConfig) -> bool:
    task, index = config.build(), torch.arange(1000, 1064)
    return agree(task.rows(index, "train", 3), task.to("cuda").rows(index.cuda(), "train", 3))


def same_entries(config: BiographyConfig) -> bool:
    task, person = config.build(), torch.arange(config.people)
    return agree(task.entries(person, person), task.to("cuda").entries(person.cuda(), person.cuda()))


@pytest.mark.parametrize("config", TASKS, ids=lambda c: f"{c.kind}-{c.people}")
def test_both_devices_generate_identical_batches(config: BiographyConfig) -> None:
    assert same_rows(config) and same_entries(config)


def test_both_devices_read_identical_texts(tmp_path: Path) -> None:
    file = write(tmp_path / "texts.jsonl", stories(300, [1, 4, 2]))
    config = BioRConfig(300, file, entries_per_row=4, row_tokens=300)
    assert same_rows(config) and same_entries(config)


@pytest.mark.parametrize("config", QUESTIONS, ids=lambda c: c.kind)
def test_both_devices_ask_identical_questions(config: QuestionsConfig | MixedConfig) -> None:
    assert same_rows(config)


@pytest.mark.parametrize("kind", kinds())
def test_both_devices_know_the_same_of_every_task(kind: str, tmp_path: Path) -> None:
    """Found by its kind: rows, texts, and the questions of every condition."""
    config = example(kind, tmp_path)
    assert same_rows(config)
    here, there = config.build(), config.build().to("cuda")
    assert here.texts(torch.arange(9)) == there.texts(torch.arange(9, device="cuda"))
    for condition in config.conditions().values():
        mine, theirs = here.prompts(20, **condition), there.prompts(20, **condition)
        assert all(a.equal(b.cpu()) if isinstance(a, Tensor) else a == b for a, b in zip(mine, theirs, strict=True))
        ids = torch.cat((theirs.ids_BP, theirs.answers_BQ), 1)
        assert all(grade.is_cuda for grade in there.grade(theirs, ids))


@pytest.mark.parametrize("mlp", [PLAIN, MoE(experts=8, bias_rate=1e-3), MoE(top_k=3, capacity=0.5, shared=True)],
                         ids=lambda mlp: mlp.label)  # fmt: skip
def test_a_resumed_run_ends_with_the_same_bits(mlp: MLP, tmp_path: Path) -> None:
    states = []
    for name, stop in (("whole", None), ("again", None), ("resumed", 40)):
        checkpoint = tmp_path / f"{name}.safetensors"
        if stop is not None:
            def interrupt(record: dict[str, object], stop: int = stop) -> None:
                if record["step"] == stop:
                    raise KeyboardInterrupt
            with pytest.raises(KeyboardInterrupt):
                train_population(specs(mlp=mlp), torch.device("cuda"), checkpoint=checkpoint, log=interrupt,
                                 checkpoint_seconds=0.0, progress=False)  # fmt: skip
        models = train_population(specs(mlp=mlp), torch.device("cuda"), checkpoint=checkpoint, log=lambda record: None,
                                  progress=False)  # fmt: skip
        states.append([value for model in models for value in model.state_dict().values()])
    for other in states[1:]:
        assert all(a.equal(b) for a, b in zip(states[0], other, strict=True))


def test_a_member_that_diverges_in_a_captured_step_harms_nobody(tmp_path: Path) -> None:
    """Log points alone find it; the others' losses are those that they have beside members that learn."""
    wild = [dataclasses.replace(spec, train=dataclasses.replace(spec.train, learning_rate=1e30)) for spec in specs()]
    logs: list[list[dict[str, object]]] = [[], [], []]
    for log, members in zip(logs, (specs(), [wild[0], *specs()[1:]], wild), strict=True):
        models = train_population(members, torch.device("cuda"), checkpoint=tmp_path / str(id(log)), log=log.append,
                                  progress=False)  # fmt: skip
        finite = [all(bool(x.isfinite().all()) for x in model.state_dict().values()) for model in models]
        assert finite == [spec not in wild for spec in members]
    whole, one, all_ = logs
    assert [line for line in one if line["member"] != 0] == [line for line in whole if line["member"] != 0]
    assert [line["loss"] for line in one if line["member"] == 0][-1] is None and one[-1]["step"] == whole[-1]["step"]
    assert len(all_) < len(whole) / 4, "with nobody left, training ends"


@pytest.mark.parametrize(("temperature", "mlp"), [(0.0, PLAIN), (1.0, PLAIN), (0.0, MoE())])
def test_captured_generation_refuses_logits_that_are_not_finite(temperature: float, mlp: MLP) -> None:
    model = Decoder(ModelConfig(layers=2, heads=2, width=32, mlp=(mlp,)), 50, (0,)).to("cuda")
    prompts = torch.zeros(3, 1, dtype=torch.long, device="cuda")
    generate(model, prompts, 5, temperature=temperature)
    with torch.no_grad():
        model.embedding.weight[0, 7, 0] = torch.nan
    with pytest.raises(NotFiniteError, match="logits"):
        generate(model, prompts, 5, temperature=temperature)


@pytest.mark.parametrize("mlp", [PLAIN, MoE(experts=8)], ids=lambda mlp: mlp.label)
def test_the_captured_step_does_what_the_cpu_does(mlp: MLP) -> None:
    losses = {}
    for device in ("cpu", "cuda"):
        population = Population(specs("float32", mlp), torch.device(device), window=20)
        while population.step < 40:
            population.advance()
        losses[device] = population.recent_losses(20)["loss"]
    torch.testing.assert_close(losses["cpu"], losses["cuda"], rtol=2e-3, atol=2e-3)
