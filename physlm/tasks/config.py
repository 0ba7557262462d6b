"""Every task's settings in one union; the ``kind`` key in the JSON tells them apart.  Free of torch."""

from physlm.tasks.biography.config import BioDConfig, BioRConfig, BioSConfig
from physlm.tasks.biography.question_config import MixedConfig, QuestionsConfig
from physlm.tasks.grammar.config import GrammarConfig

TaskConfig = BioSConfig | BioDConfig | BioRConfig | QuestionsConfig | MixedConfig | GrammarConfig
