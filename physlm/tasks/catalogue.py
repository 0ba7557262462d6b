"""From settings to a task: the one table to extend when a task is added.

``vocabulary_for`` is free of torch; ``build`` imports the task's module when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, overload

from physlm.tasks.biography.config import BioDConfig, BiographyConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.biography.words import biod_vocabulary, bior_vocabulary, bios_vocabulary, questions_vocabulary
from physlm.tasks.config import TaskConfig
from physlm.tasks.grammar.config import GrammarConfig, grammar_vocabulary
from physlm.tasks.vocabulary import Vocabulary

if TYPE_CHECKING:
    from physlm.tasks.biography.mixed import Mixed
    from physlm.tasks.biography.questions import Questions
    from physlm.tasks.grammar.task import GrammarTask
    from physlm.tasks.task import BiographyTask, Task

_MODULES = {
    "bioS": ("physlm.tasks.biography.bios", "BioS"),
    "bioD": ("physlm.tasks.biography.biod", "BioD"),
    "bioR": ("physlm.tasks.biography.bior", "BioR"),
    "bioQA": ("physlm.tasks.biography.questions", "Questions"),
    "bioMixed": ("physlm.tasks.biography.mixed", "Mixed"),
    "grammar": ("physlm.tasks.grammar.task", "GrammarTask"),
}


@overload
def build(config: BiographyConfig) -> BiographyTask: ...


@overload
def build(config: QuestionsConfig) -> Questions: ...


@overload
def build(config: MixedConfig) -> Mixed: ...


@overload
def build(config: GrammarConfig) -> GrammarTask: ...


def build(config: TaskConfig) -> Task:
    """The task that ``config`` describes, on the CPU; ``.to(device)`` moves it."""
    module, name = _MODULES[config.kind]
    task: Task = getattr(import_module(module), name)(config)
    return task


def vocabulary_for(config: TaskConfig) -> Vocabulary:
    """The closed vocabulary of the task, without building its tables."""
    if isinstance(config, BioSConfig):
        return bios_vocabulary(config.questions, config.pool_size)
    if isinstance(config, BioRConfig):
        return bior_vocabulary(config.file, config.sha256, config.pool_size)
    if isinstance(config, QuestionsConfig):
        return questions_vocabulary(config)
    if isinstance(config, MixedConfig):
        return bios_vocabulary(True, config.pool_size)
    if isinstance(config, GrammarConfig):
        return grammar_vocabulary(config)
    assert isinstance(config, BioDConfig)
    return biod_vocabulary(config)
