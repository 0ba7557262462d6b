"""A battery as a folder for anybody's model, and answers read back from files.

    DIR/
      battery.json            the settings: everything else follows from them
      prompts.jsonl           id, task, kind, thought, prompt, instruction; with the answers only if they were asked for
      biographies.jsonl       text: what a model may read before, 20 texts a person
      finetune.jsonl          prompt, completion: questions about the half that no prompt is about
      lm_eval/                physlm_*.yaml and *.jsonl, tasks for lm-evaluation-harness
      README.md

Answers are JSON lines ``{"id": ..., "answer": ...}``, in any order; other keys are not read.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from physlm import storage
from physlm.battery.questions import Prompt, biographies, examples, prompts
from physlm.battery.settings import Battery
from physlm.battery.wording import ANSWER, NORMALISED
from physlm.config import from_dict, to_dict
from physlm.errors import UserError, shown
from physlm.inputs import bounded_lines, plain_file

SETTINGS = "battery.json"
HARNESS = "lm_eval"
MOST_TOKENS = 64  # of an answer
_MOST_BYTES = 1 << 20  # of a line
_EXPECTED = 'expected JSON lines like {"id": "...", "answer": "..."}'


def write_folder(battery: Battery, folder: Path, answers: bool = False) -> list[Prompt]:
    """Write all of it; the folder appears whole or not at all.

    Args:
        answers: write the right answers into prompts.jsonl, too.  Tasks for lm-evaluation-harness always have them.

    Raises:
        UserError: something lies there already.
    """
    asked = prompts(battery)
    with storage.new_folder(folder) as made:
        storage.write_json(made / SETTINGS, to_dict(battery))
        storage.write_text(made / "prompts.jsonl", _lines(record(one, answers) for one in asked))
        storage.write_text(made / "biographies.jsonl", _lines({"text": text} for text in biographies(battery)))
        storage.write_text(made / "finetune.jsonl", _lines(
            {"prompt": one.prompt, "completion": f" {one.completion}"} for one in examples(battery)))
        for name, text in harness(asked, folder).items():
            storage.write_text(made / HARNESS / name, text)
        storage.write_text(made / "README.md", _readme(battery, folder, len(asked)))
    return asked


def read_settings(folder: Path) -> Battery:
    """The battery of a folder.

    Raises:
        UserError: it has none, or one with other settings than there are.
    """
    return from_dict(Battery, storage.read_json(folder / SETTINGS, "expected a folder of physlm battery prompts"),
                     str(folder / SETTINGS))


def record(prompt: Prompt, answers: bool) -> dict[str, Any]:
    """A line of prompts.jsonl."""
    plain = {"id": prompt.id, "task": prompt.task, "kind": prompt.kind, "thought": prompt.thought,
             "prompt": prompt.prompt, "instruction": prompt.instruction}
    return {**plain, "answers": list(prompt.answers)} if answers else plain


def read_answers(files: Iterable[str]) -> dict[str, str]:
    """What was answered, by the id of the question; an answer of null is none.

    Raises:
        UserError: a file cannot be read, a line is no such object, or a question was answered twice.
    """
    found: dict[str, str] = {}
    for name in files:
        with plain_file(name, _EXPECTED) as file:
            for number, line in enumerate(bounded_lines(file, name, _MOST_BYTES), 1):
                if line.strip():
                    which, answer = _answer(line, f"{name} line {number}")
                    if which in found:
                        raise UserError(f"{name} line {number}: got a second answer to {which!r}, expected one")
                    found[which] = answer
    return found


def harness(asked: Sequence[Prompt], folder: Path) -> dict[str, str]:
    """Tasks for lm-evaluation-harness: name -> content of a file.

    One task for each of the four and each way, and the group ``physlm_battery`` of all.  Its ``exact_match`` leaves out
    case, blanks around and the full stop; where several people fit, one is asked for, so that inverse search may count
    lower there than by ``physlm battery grade``.
    """
    groups: dict[str, list[Prompt]] = {}
    for one in asked:
        name = f"physlm_{one.task.replace(' ', '_')}" + ("_thought" if one.thought else "")
        groups.setdefault(name, []).append(one)
    files = {}
    for name, some in groups.items():
        files[f"{name}.jsonl"] = _lines(record(one, False) | {"answer": one.answers[0]} for one in some)
        files[f"{name}.yaml"] = _harness_task(name, (folder / HARNESS / f"{name}.jsonl").absolute(), some[0].thought)
    listed = "".join(f"  - {name}\n" for name in groups)
    files["physlm_battery.yaml"] = f"group: physlm_battery\ntask:\n{listed}metadata:\n  version: 1\n"
    return files


def _harness_task(name: str, data: Path, thought: bool) -> str:
    """One task; a JSON text is YAML as well, so that any path is quoted right."""
    pattern = rf"{ANSWER}\s*(.*)" if thought else r"^\s*(.*)"
    return f"""task: {name}
tag: physlm
dataset_path: json
dataset_kwargs:
  data_files:
    test: {json.dumps(str(data))}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs:
  until: ["\\n"]
  do_sample: false
  max_gen_toks: {MOST_TOKENS}
filter_list:
  - name: answer
    filter:
      - function: regex
        regex_pattern: {json.dumps(pattern)}
        group_select: 0
      - function: take_first
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    regexes_to_ignore: ["\\\\s*\\\\.?\\\\s*$"]
metadata:
  version: 1
"""


def _answer(line: bytes, place: str) -> tuple[str, str]:
    try:
        data = storage.parse_json(line.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise UserError(f"{place}: got bytes that are no UTF-8 text, {_EXPECTED}") from None
    except ValueError as error:
        raise UserError(f"{place}: got {shown(line.decode(errors='replace').strip())}, which is no JSON ({error}); "
                        f"{_EXPECTED}") from None
    if not isinstance(data, dict) or not isinstance(data.get("id"), str) or "answer" not in data:
        raise UserError(f"{place}: got {shown(data)}, {_EXPECTED}")
    answer = data["answer"]
    if answer is not None and not isinstance(answer, str):
        raise UserError(f"{place}: answer: got {shown(answer)}, expected a text in quotes, or null for none")
    return data["id"], answer or ""


def _lines(records: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records)


def _readme(battery: Battery, folder: Path, count: int) -> str:
    name = shlex.quote(folder.name)
    return f"""# A battery of questions about {battery.people:,} invented people

Made by physlm, a laboratory for the physics of language models. All people are invented; the whole follows from
`{SETTINGS}`.

1. Let a model read `biographies.jsonl`, and perhaps learn from `finetune.jsonl` (as training data, or as documents).
2. Give it each of the {count:,} prompts of `prompts.jsonl`; `instruction` is for models that were not trained on such
   questions. Save what it writes as JSON lines: {{"id": "...", "answer": "..."}}.
3. `physlm battery grade answers.jsonl --of {name}` prints the table.

An answer is right by {NORMALISED}

`{HARNESS}/` has the same as tasks: `lm_eval --include_path {HARNESS} --tasks physlm_battery ...`; its files name this
folder by its full path.
"""
