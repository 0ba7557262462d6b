"""Every task's settings in one union; the ``kind`` key in the JSON tells them apart.  Free of torch."""

from physlm.tasks.biography.config import BioDConfig, BioSConfig

TaskConfig = BioSConfig | BioDConfig
