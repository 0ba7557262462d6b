"""All weights of a model by name, from what its parts list.  Free of torch.

First values, the optimiser's groups, counts, FLOPs and low-rank updates are sums and choices over this list.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from physlm.models.config import ModelConfig
from physlm.models.parts.part import Kept, Part
from physlm.models.parts.weight import EMBEDDING, OUTPUT, TABLE, Normal, Weight

# what has a row for each token: the embedding, and the output of a model that is not tied
TOKEN_TABLES = ("embedding.weight", "output.weight")


class Slot(NamedTuple):
    """A place of a block, the part that fills it, and its weights.

    Attributes:
        width: channels of local mixing; 0 for other parts.
    """

    part: Part
    weights: tuple[Weight, ...]
    width: int = 0

    def state(self, model: ModelConfig, positions: int, beside: bool) -> tuple[Kept, ...]:
        """What the part keeps of rows of so many positions."""
        if self.width:
            return self.part.state_at(self.width, positions, beside)  # type: ignore[attr-defined]
        return self.part.state(model, positions, beside)


def block_slots(config: ModelConfig, layer: int) -> dict[str, Slot]:
    """The parts of one block by the place that they fill, in the order of reading; ``mixer.local`` is within ``mixer``.

    Places that are empty are left out.
    """
    mixer, mlp, local = config.mixers[layer], config.mlps[layer], config.locals[layer]
    read = _as_ternary if config.ternary else tuple[Weight, ...]
    norm = Slot(config.norm, config.norm.weights(config))

    def residual(branch: str, number: int) -> dict[str, Slot]:
        weights = config.residual.weights_at(config, 2 * layer + number)
        return {f"{branch}_residual": Slot(config.residual, weights)} if weights else {}

    def mixing(site: str, width: int, name: str) -> dict[str, Slot]:
        if local is None or site not in local.sites or not width:
            return {}
        return {name: Slot(local, local.weights_at(width), width)}

    routed = config.route.routes(layer)
    slots = {**({"route": Slot(config.route, config.route.weights(config))} if routed else {}),
             **residual("attention", 0), "attention_norm": norm, **mixing("A", config.width, "local_a"),
             "attention": Slot(mixer, read(mixer.first_weights(config) if layer == config.first_carrying
                                           else mixer.weights(config))),
             **mixing("B", mixer.local_width(config), "attention.local")}
    if not mlp.empty:
        slots |= {**residual("mlp", 1), "mlp_norm": norm, **mixing("C", config.width, "local_c"),
                  "mlp": Slot(mlp, read(mlp.weights(config))), **mixing("D", mlp.local_width(config), "mlp.local")}
    if routed:
        return {place: slot if place == "route" else slot._replace(weights=_shared_out(slot.weights, config, layer))
                for place, slot in slots.items()}
    return slots


def _shared_out(weights: tuple[Weight, ...], config: ModelConfig, layer: int) -> tuple[Weight, ...]:
    """The same, of a layer that a share of the tokens reads."""
    return tuple(dataclasses.replace(weight, share=weight.share * config.route.share(layer)) for weight in weights)


def _as_ternary(weights: tuple[Weight, ...]) -> tuple[Weight, ...]:
    """The same, the matrices that tokens are multiplied with as ternary ones."""
    return tuple(dataclasses.replace(weight, role=dataclasses.replace(weight.role, ternary=True))
                 if weight.role.matrix and weight.role.multiplied else weight for weight in weights)


def shared_weights(config: ModelConfig) -> dict[str, Weight]:
    """Weights that several blocks share, by name."""
    return {weight.name: weight for mixer in config.mixers for weight in mixer.shared_weights(config)}


def model_weights(config: ModelConfig, vocabulary: int) -> dict[str, Weight]:
    """Every weight of the model, those that are not trained included, by its name in ``Decoder.state_dict``."""
    d = config.width
    shape = (config.embedding_rows(vocabulary), d)
    found = {"embedding.weight": Weight("weight", shape, Normal(), EMBEDDING if config.tied else TABLE)}
    if not config.tied:
        found["output.weight"] = Weight("weight", shape, Normal(), OUTPUT)
    if config.absolute:
        found["positions.weight"] = Weight("weight", (config.absolute, d), Normal(), TABLE)
    found |= shared_weights(config)
    for layer in range(config.layers):
        for place, slot in block_slots(config, layer).items():
            found |= {f"blocks.{layer}.{place}.{weight.path}": weight for weight in slot.weights}
    found |= {f"final_norm.{weight.path}": weight for weight in config.norm.weights(config)}
    return found | {f"parallel.{weight.path}": weight for weight in config.parallel.weights(config)}


def times_read(config: ModelConfig, name: str) -> int:
    """How often a token meets the weight of this name: once; of a layer once in each stream, if it is looped at each
    pass."""
    place, _, rest = name.partition(".")
    return config.parallel.streams * config.order.count(int(rest.partition(".")[0])) if place == "blocks" else 1
