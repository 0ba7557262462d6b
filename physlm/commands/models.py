"""Commands about trained models: model export, model import."""

from __future__ import annotations

import csv
import io
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from physlm import storage
from physlm.commands import completion
from physlm.commands.data import ExperimentOption, task_config
from physlm.commands.options import (
    ExperimentsOption,
    RunsOption,
    SetOption,
    choose_device,
    command,
    folder,
    named_experiment,
)
from physlm.config import override, unknown_key
from physlm.errors import UserError, counted
from physlm.lab.experiment import experiment_names
from physlm.measures.measure import check, check_name, take
from physlm.measures.merged import Merged, merged_model, merges

if TYPE_CHECKING:
    from physlm.lab.run import Run
    from physlm.measures.rows import Row
    from physlm.tasks.config import TaskConfig

LIBRARIES = ("hf",)

ToOption = Annotated[str, typer.Option("--to", metavar="LIBRARY", help="hf: a folder for transformers.")]


@command
def export(
    run: Annotated[str, typer.Argument(metavar="RUN", help="The folder of a run, or an experiment (or the "
                                       "beginning of its name) and --tier, --run.",
                                       autocompletion=completion.claims)],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="A new folder.")],
    to: ToOption = LIBRARIES[0],
    tier: Annotated[str, typer.Option("--tier", metavar="TIER", help="Of which tier the run of an experiment is.",
                                          autocompletion=completion.tiers)] = "demo",
    number: Annotated[int, typer.Option("--run", metavar="N", min=0, help="Which of the tier's runs.")] = 0,
    step: Annotated[int | None, typer.Option("--step", metavar="N",
                                             help="The weights after this step. Default: the last.")] = None,
    span: Annotated[float, typer.Option("--span", metavar="SHARE",
                                        help="Merge all weights that the run kept in this last share of its "
                                        "steps up to --step, as in the place of a decay; 0: none.")] = 0.0,
    way: Annotated[str, typer.Option("--way", metavar="WAY",
                                     help="Of merging: linear (the mean), sqrt or cosine.")] = "linear",
    runs: RunsOption = None,
    experiment: ExperimentOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Write a trained model and its tokenizer as a folder that AutoModelForCausalLM and AutoTokenizer load.

    \b
    Needs pip install 'physlm[hf]'. Examples:
      physlm model export p33_capacity --tier demo --run 2 --out capacity
      physlm model export runs/bioS-1000-2-1-100x-lr0.001-s0-0123456789ab --to hf --out people
    """
    if to not in LIBRARIES:
        raise UserError(unknown_key("to", to, LIBRARIES))
    found = _run(run, tier, number, experiment, folder("runs", runs), folder("experiments", experiments))
    if step not in (None, found.spec.steps, *found.spec.kept_steps):
        steps = ", ".join(map(str, (*found.spec.kept_steps, found.spec.steps)))
        raise UserError(f"--step: got {step}, expected one of {steps}, after which this run kept its weights")
    end = found.spec.steps if step is None else step
    (merge,) = merges(Merged(ends=(end / found.spec.steps,), spans=(span,), ways=(way,)), found.spec)
    if any(not found.weights_path(one).exists() for one in merge.steps):
        diverged = found.diverged() if found.path.is_dir() else None
        train = ("the command that began this run goes on with it" if (Path(run) / "config.json").exists()
                 else f"first physlm run {run} --tier {tier}")
        why = f"the run diverged: {diverged}" if diverged else f"no trained model here; {train}"
        raise UserError(f"{found.path}: {why}")
    import torch

    from physlm.hf.folders import export as write
    from physlm.lab.loading import load_model

    model = merged_model(lambda one: load_model(found.spec, found.weights_path(one), torch.device("cpu")), merge)
    architecture = write(found.spec, model, out)
    code = ", trust_remote_code=True" if architecture == "physlm" else ""
    merged = f", {counted(len(merge.steps), 'checkpoint')} merged ({way})" if span else ""
    print(f"{out}: {found.spec.title}{merged}, architecture {architecture}\n"
          f"  AutoModelForCausalLM.from_pretrained({str(out)!r}{code})\n"
          f"  AutoTokenizer.from_pretrained({str(out)!r}{code})")


@command
def import_model(
    source: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that a causal model of transformers was saved "
                                           "into.")],
    task: Annotated[str | None, typer.Option("--task", metavar="TASK", help="The task whose tokens it reads. Default: "
                                             "that of the run, if physlm model export wrote the folder.")] = None,
    settings: SetOption = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of the task.")] = None,
    measures: Annotated[list[str] | None, typer.Option("--measure", metavar="NAME", help="A measure to take, such as "
                                                       "answers or capacity; may be given several times.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the rows as CSV, too.")] = None,
    device: Annotated[str | None, typer.Option("--device", metavar="cpu|cuda",
                                               help="cpu or cuda. Default: a GPU if there is one.")] = None,
    experiment: ExperimentOption = None,
    experiments: ExperimentsOption = None,
) -> None:
    """Take our measures of a model that was trained elsewhere, and print their rows.

    \b
    The model is of the architecture llama, gpt_neox or our own, and reads the ids of a task of ours (physlm data
    export --to hf writes texts and ids). Needs pip install 'physlm[hf]'. Example:
      physlm model import DIR --task bios --set people=1000 --measure capacity
    """
    config = _task(source, task, settings, seed, experiment, folder("experiments", experiments))
    from physlm.hf.folders import read

    for name in measures or ():
        check_name(name)
    trained = read(source, config, choose_device(device), progress=sys.stderr.isatty())
    print(f"{source}: {trained.spec.model.label} on {config.title}")
    for name in measures or ():
        check(name, trained.spec)
    rows = [(name, row) for name in measures or () for row in take(name, trained)]
    for name, row in rows:
        print(f"  {name:12} {row.label:50} {row.value:10.4f} {row.unit:12} [{row.lo:.4f}, {row.hi:.4f}]  n={row.n}")
    if not rows:
        print("  it loads; --measure NAME takes a measure of it")
    if out is not None:
        with storage.output(out) as file:
            file.write(_table(rows).encode())


def _table(rows: list[tuple[str, Row]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ("measure", "quantity", "value", "unit", "n", "lo", "hi", "where"),
                            lineterminator="\n")
    writer.writeheader()
    writer.writerows({"measure": name, **asdict(row), "where": json.dumps(dict(row.where))} for name, row in rows)
    return text.getvalue()


def _run(name: str, tier: str, number: int, experiment: str | None, runs: Path, experiments: Path) -> Run:
    """The run that a folder or an experiment names."""
    from physlm.lab.run import Run
    from physlm.lab.store import Store
    from physlm.lab.stored import read_spec

    if experiment is not None:
        named_experiment(experiment, experiments)
    path = Path(name)
    if (path / "config.json").exists():
        settings = storage.read_json(path / "config.json", "expected the folder of a run")
        try:
            return Run(read_spec(settings, ()), path)
        except UserError as error:
            raise UserError(f"{path / 'config.json'}: {error}; name the run by its experiment, --tier and --run, or "
                            "its experiment by --experiment") from error
    if len(path.parts) > 1 or (path.is_dir() and name not in experiment_names(experiments)):
        raise UserError(f"{path}: found no run there (config.json); expected the folder of a run, or an experiment")
    claim = named_experiment(name, experiments)
    specs = claim.specs(tier)
    if number >= len(specs):
        raise UserError(f"--run: got {number}, expected between 0 and {len(specs) - 1}, the runs of tier {tier} of "
                        f"{claim.name}")
    return Store(runs).run(specs[number])


def _task(source: Path, name: str | None, settings: list[str] | None, seed: int | None, experiment: str | None,
          experiments: Path) -> TaskConfig:
    """The task that was named, or that of the run that was exported."""
    from physlm.hf.folders import SETTINGS
    from physlm.lab.stored import read_spec

    if name is not None:
        return task_config(name, settings, seed, experiment, experiments)
    stored = source / SETTINGS
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder; expected one that save_pretrained wrote")
    if not stored.exists():
        raise UserError(f"{source}: got no --task, expected one: no run of ours is said here ({SETTINGS})")
    if experiment is not None:
        named_experiment(experiment, experiments)
    config = read_spec(storage.read_json(stored, "give --task"), ()).task
    return override(config, [*(settings or ()), *([] if seed is None else [f"seed={seed}"])])
