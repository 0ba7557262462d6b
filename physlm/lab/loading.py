"""A trained model from its run's folder; weights that are not those of the run are refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from physlm import storage
from physlm.errors import UserError
from physlm.training.config import RunSpec

if TYPE_CHECKING:
    import torch

    from physlm.models.decoder import Decoder


def load_model(spec: RunSpec, path: Path, device: torch.device) -> Decoder:
    """The trained model of a run.

    Raises:
        UserError: the file is damaged or holds another model.
    """
    from physlm.models.decoder import Decoder

    cure = f"delete the folder {path.parent} and give the same command again; no other run is lost"
    tensors, _ = storage.load_tensors(path, cure)
    vocabulary = len(spec.task.vocabulary())
    model = Decoder(spec.model, vocabulary, seeds=(None,))
    table, ours = tensors.get("embedding.weight"), model.embedding.weight
    if table is not None and table.ndim == ours.ndim and table.shape[1] != ours.shape[1]:
        raise UserError(f"{path}: got weights of a vocabulary of {table.shape[1]} rows, expected {ours.shape[1]}, "
                        f"those of {spec.task.title}, which has {vocabulary} tokens; {cure}")
    _check_weights(tensors, model.state_dict(), path, cure)
    model.load_state_dict(tensors)
    return model.to(device)


def _check_weights(
    tensors: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor], path: Path, cure: str
) -> None:
    """``UserError`` for weights of another model, of another type, or that are not finite."""
    for name in sorted({*tensors, *expected}):
        ours, found = expected.get(name), tensors.get(name)
        wanted, got = ("nothing" if one is None else f"{tuple(one.shape)} {one.dtype}" for one in (ours, found))
        if wanted != got:
            raise UserError(f"{path}: {name}: got {got}, expected {wanted}: not the weights of the run's model; {cure}")
        if found is not None and not bool(found.isfinite().all()):
            raise UserError(f"{path}: {name}: got weights that are not finite; {cure}")
