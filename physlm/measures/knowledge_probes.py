"""P- and Q-probes: where in a text, and whether in the name, a model's knowledge of a person is linearly readable.

    x = E[ids] + A[ids] B;   logits_p = W_p norm(h_p) + c_p [+ U h_p],   h_p = hidden(x) at place p

The model is frozen.  Trained are, for every target, an update of its input embedding of low rank (A of V x r, B of
r x d), which adapts the model to the new question without room for knowledge, and for every target and place a
normalisation with gain and shift and a linear map of the last hidden state.  Source: arXiv 2309.14316, section 5.

    P-probe: reads a biography at the token before each attribute; rank 2, layer norm, 50 texts a step.
    Q-probe: reads <eos> full name <eos> at its last token; rank 16, batch norm, 200 names a step.

A begins at zero and B as a Gaussian, as in ``physlm.models.lora``.  The published names stand between a starting and an
ending token; ours are both <eos>, and in the update the one at the end has a row of its own (``own``), since what asks
for an attribute there is in the way before the name.  With few people to a name the rows of the names learn these
people by heart; ``own="alone"`` moves the token that is read and no other, by one vector for each target and place:
every place is read from the text as it stands, so that what is asked at one place does not change another.

A map of hundreds of classes by hundreds of dimensions does the same: 5,000 people x 8 bits against 263 x 512 weights.
``start="output"`` lets it begin where the model's own output stands: U holds the output's rows of the tokens that the
answers begin with and never learns, W begins at zero.  The model can then be asked by moving what it reads, and W has
only to correct it.  U knows no person; with ``own="alone"`` it takes one vector to say what is asked.  What is then
read is for the most part what the model itself would say next; ``evaluate(mapped=False)`` leaves W and c out.

    model = beside(trained, untrained)                                # two members, the second is the control
    scores = knowledge_probe(model, source, targets, P_PROBE)         # texts: ``physlm.measures.knowledge_texts``
    scores.accuracy.value[member, target, place]

All members x targets train in one loop: the frozen model reads each batch once a target, in one pass of M members with
Y x B rows each.  The places of one target share its update of low rank (our reading; one for each place would be six
times the work).  With ``own="alone"`` the model reads each batch once in all, and beside it, at each place, a single
token for each target (``Decoder.aside``).  The dropout of the published probes is left out, since our models have none.

Cost.  A frozen weight costs 2 FLOPs a token forward and 2 for the gradient of its input, 4 in all where training pays 6
(``probe_flops``): 11 targets x 50 biographies x 62 tokens (bioS up to its last attribute) of a model of 12 x 768, whose
85 M weights need 0.34 GFLOP a token, are 11.7 TFLOP a step, and a step of a Q-probe, 11 x 200 x 5 tokens, is 3.7.  That
is for updates of low rank; one token beside the text for each target and place is a seventh of it for P-probes, and a
quarter for Q-probes.  ``physlm bench probes`` times these.

Shape letters: M members, Y targets, N = M Y probes, B texts, T positions, P places, d width, r rank, C classes,
S people.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from physlm.errors import UserError, counted
from physlm.measures.finite import likeliest
from physlm.measures.knowledge_config import P_PROBE, KnowledgeConfig
from physlm.measures.knowledge_heads import EmbeddingUpdate, PlaceHeads
from physlm.measures.knowledge_scores import KnowledgeScores, scores_of
from physlm.measures.knowledge_texts import ABSENT, Source, Texts
from physlm.measures.probes import IGNORE, Target
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts
from physlm.models.decoder import Decoder
from physlm.models.module import Weights
from physlm.training.captured import captured, descend, moved_by
from physlm.training.step import compiled


def knowledge_probe(
    model: Decoder, source: Source, targets: Sequence[Target], config: KnowledgeConfig = P_PROBE,
    progress: bool = False,
) -> KnowledgeScores:  # fmt: skip
    """Train the probes of all members, targets and places, and judge them on other people."""
    probes = KnowledgeProbes(model, source, targets, config)
    probes.train(progress)
    return probes.evaluate(progress)


class KnowledgeProbes:
    """Trained (or still untrained) probes.

    Args:
        model: any number of members; it computes in the dtype of its weights (``Trained.ready``) and is not changed.
        source: texts on the model's device.
        targets: ``name``, ``classes`` and, for ``start="output"``, ``tokens`` count.  The maps are padded to the
            largest number of classes, so targets with ten thousand are better asked in a call of their own.

    Raises:
        UserError: no targets, labels outside of the classes, places outside of the text, tokens outside of the model's
            vocabulary, all seen in the first batches of both kinds; classes without the tokens they begin with.
    """

    def __init__(self, model: Decoder, source: Source, targets: Sequence[Target], config: KnowledgeConfig = P_PROBE):
        self.source, self.targets, self.config = source, tuple(targets), config
        for texts in (source.train(0), source.evaluation(0)):
            _check(texts, source, self.targets, model)
        self.model = copy.deepcopy(model).requires_grad_(False)
        device, width = model.embedding.weight.device, model.config.width
        if device.type == "cuda":
            self.model.compile_parts(compiled)
        probes, rows = model.members * len(self.targets), model.embedding.weight.shape[1]
        self.own = rows if config.own == "too" else None  # the row of the update behind those of the model's tokens
        self.update: EmbeddingUpdate | None = None
        self.vectors: nn.Parameter | None = None
        if config.own == "alone":
            self.vectors = nn.Parameter(torch.zeros(probes, len(source.places), width, device=device))
        else:
            self.update = EmbeddingUpdate(probes, rows + (config.own == "too"), width, config.rank, config.seed)
            self.update.to(device)
        classes = tuple(target.classes for target in self.targets) * model.members
        fixed = _output_map(self.model, self.targets) if config.start == "output" else None
        self.heads = PlaceHeads(classes, len(source.places), width, config.norm, fixed).to(device)
        self._learnt_from: list[Tensor] = []

    def logits(self, texts: Texts, mapped: bool = True) -> Tensor:
        """(M, Y, P, B, C) float32, -inf beyond the classes of a target; of no meaning at a place that is absent.

        Not ``mapped``: without what the maps have learnt, which ``start="output"`` alone can do.

        Raises:
            UserError: another start, without the maps.
        """
        if not mapped and self.config.start != "output":
            raise UserError(f"knowledge probe: mapped: got false with start {self.config.start!r}, expected start "
                            "'output'")
        causal = self.model.config.causal
        ids_BT = texts.ids_BT[:, : self.source.reach] if causal and self.source.reach else texts.ids_BT
        if self.update is not None:
            hidden_NPBd = self._moved(ids_BT, texts.places_BP, self.update)
        elif self.model.has_aside:
            hidden_NPBd = self._aside(ids_BT, texts.places_BP)
        else:
            hidden_NPBd = self._one_by_one(ids_BT, texts.places_BP)
        logits: Tensor = self.heads(hidden_NPBd.float(), mapped)
        return logits.unflatten(0, (self.model.members, len(self.targets)))

    def _moved(self, ids_BT: Tensor, places_BP: Tensor, update: EmbeddingUpdate) -> Tensor:
        """Last hidden states of the texts with the update in all of their tokens, (N, P, B, d)."""
        members, targets = self.model.members, len(self.targets)
        plain_MBTd = self.model.embedding(ids_BT.expand(members, -1, -1))
        moved_BT = ids_BT if self.own is None else _at_places(ids_BT, places_BP, self.own)
        x_MYBTd = plain_MBTd[:, None] + update(moved_BT).unflatten(0, (members, targets))
        places = places_BP.clamp_min(0).repeat(targets, 1).expand(members, -1, -1)
        hidden = self.model.hidden_from(x_MYBTd.flatten(1, 2), places)  # (M, Y B, P, d)
        return hidden.unflatten(1, (targets, -1)).flatten(0, 1).transpose(1, 2)

    def _aside(self, ids_BT: Tensor, places_BP: Tensor) -> Tensor:
        """Last hidden states where each place's vector moves the token there and no other, (N, P, B, d).

        The texts are read once; beside each of them stand Y P tokens.
        """
        assert self.vectors is not None
        members, targets = self.model.members, len(self.targets)
        at_BP = places_BP.clamp_min(0)
        reading = self.model.remember(ids_BT.shape[0], ids_BT.shape[1], beside=True)
        self.model.read(ids_BT.expand(members, -1, -1), reading)
        plain_MBPd = self.model.embedding(ids_BT.gather(1, at_BP).expand(members, -1, -1))
        x_MBYPd = plain_MBPd[:, :, None] + self.vectors.unflatten(0, (members, targets))[:, None]
        hidden = self.model.aside(x_MBYPd.flatten(2, 3), at_BP.repeat(1, targets), reading)  # (M, B, Y P, d)
        return hidden.unflatten(2, (targets, -1)).permute(0, 2, 3, 1, 4).flatten(0, 1)

    def _one_by_one(self, ids_BT: Tensor, places_BP: Tensor) -> Tensor:
        """The same by reading the whole text anew for each place: slow, and right for every model."""
        assert self.vectors is not None
        members, targets = self.model.members, len(self.targets)
        plain_MBTd = self.model.embedding(ids_BT.expand(members, -1, -1))
        found = []
        for p, vector_Nd in enumerate(self.vectors.unbind(1)):
            at_B1 = places_BP[:, p : p + 1].clamp_min(0)
            there_BT = torch.zeros_like(ids_BT).scatter(1, at_B1, 1)
            x_MYBTd = plain_MBTd[:, None] + (there_BT[..., None] * vector_Nd[:, None, None]).unflatten(
                0, (members, targets))
            hidden = self.model.hidden_from(x_MYBTd.flatten(1, 2), at_B1.repeat(targets, 1).expand(members, -1, -1))
            found.append(hidden.squeeze(2).unflatten(1, (targets, -1)).flatten(0, 1))
        return torch.stack(found, 1)

    def loss(self, texts: Texts) -> Tensor:
        """Mean nats an answer, summed over members, targets and places, which share no parameter across targets."""
        logits = self.logits(texts)
        labels = _labels(texts).expand(logits.shape[:-1])
        nll = F.cross_entropy(logits.flatten(0, 3), labels.reshape(-1), reduction="none", ignore_index=IGNORE)
        asked = (labels != IGNORE).sum(-1).clamp_min(1)
        return (nll.view(labels.shape).sum(-1) / asked).sum()

    def train(self, progress: bool = False) -> None:
        """All steps, of batches of one shape."""
        optimiser, device = self._optimiser(), self.heads.maps.device
        texts, done = Texts(*(x.clone() for x in self.source.train(0))), torch.zeros((), device=device)

        def one_step() -> None:
            for group in optimiser.param_groups:
                group["lr"].copy_(self.config.learning_rate * group["speed"] * (1 - done / self.config.steps))
            descend(self.loss(texts), optimiser)  # rank 0 leaves the update unused
            done.add_(1)

        def state() -> list[Tensor]:
            return [*moved_by(optimiser), *self.heads.buffers(), done]

        self.heads.train()
        step = captured(one_step, state, device)
        steps = range(self.config.steps)
        for number in tqdm(steps, desc="training probes", leave=False, disable=None if progress else True):
            batch = self.source.train(number)
            self._learnt_from.append(batch.people_B)
            for held, new in zip(texts, batch, strict=True):
                held.copy_(new)
            step()

    def _optimiser(self) -> torch.optim.AdamW:
        """The rates are tensors, which a step sets for itself."""
        decay, speed, device = self.config.weight_decay, self.config.update_speed, self.heads.maps.device
        update = [*([] if self.update is None else self.update.parameters()),
                  *([] if self.vectors is None else [self.vectors])]
        plain = [self.heads.gain, self.heads.shift, self.heads.bias]
        groups = [
            {"params": update, "weight_decay": decay / speed, "speed": speed},
            {"params": [self.heads.maps], "weight_decay": decay, "speed": 1.0},
            {"params": plain, "weight_decay": 0.0, "speed": 1.0},
        ]
        for group in groups:
            group["lr"] = torch.zeros((), device=device)
        return torch.optim.AdamW(groups, eps=self.config.epsilon, fused=True, capturable=device.type == "cuda")

    @torch.no_grad()
    def evaluate(self, progress: bool = False, mapped: bool = True) -> KnowledgeScores:
        """Accuracy on the people of split "evaluation"; ``mapped`` as for ``logits``.

        Raises:
            UserError: a person was learnt from.
        """
        self.heads.eval()
        hits, labels, people = [], [], []
        numbers = range(self.source.evaluation_batches)
        for number in tqdm(numbers, desc="judging probes", leave=False, disable=None if progress else True):
            texts = self.source.evaluation(number)
            _check(texts, self.source, self.targets, self.model)
            label = _labels(texts)
            answers = likeliest(self.logits(texts, mapped), "logits of probes")
            hits.append((answers == label).cpu())  # IGNORE is never an answer
            labels.append(label.cpu())
            people.append(texts.people_B.cpu())
        self._check_people(torch.cat(people))
        together = (torch.cat(hits, -1), torch.cat(labels, -1), torch.cat(people))
        return scores_of(self.targets, self.source.places, *together)

    def _check_people(self, judged: Tensor) -> None:
        if not self._learnt_from:
            return
        both = judged[torch.isin(judged, torch.cat(self._learnt_from).unique().cpu())].unique()
        if len(both):
            raise UserError(f"knowledge probe: {len(both)} of {len(judged.unique())} people to judge by were learnt "
                            f"from, for example person {int(both[0])}; expected disjoint people")


def beside(*models: Decoder) -> Decoder:
    """Models of one shape as the members of one, in this order; for example trained and untrained.

    Raises:
        UserError: no models, or models of several shapes or vocabularies.
    """
    shapes = [(model.config, model.vocabulary) for model in models]
    if not shapes:
        raise UserError("beside: got no models, expected at least one")
    for config, vocabulary in shapes:
        if config != shapes[0][0]:
            raise UserError(f"beside: got models of shapes {shapes[0][0]} and {config}, expected one shape")
        if vocabulary != shapes[0][1]:
            raise UserError(f"beside: got vocabularies of {shapes[0][1]} and {vocabulary} tokens, expected one")
    joined, members = copy.deepcopy(models[0]), sum(model.members for model in models)
    others = [model.state_dict() for model in models]  # buffers too
    for name, weight in joined.state_dict(keep_vars=True).items():
        weight.data = torch.cat([other[name].to(weight) for other in others])
    for module in joined.modules():
        if isinstance(module, Decoder | Weights):
            module.members = members
    return joined


def probe_flops(model: ModelConfig, source_shape: tuple[int, int], targets: int, steps: int) -> float:
    """FLOPs of training: 4 a weight and token, and attention's 6 l d T a token, which is causal; heads left out.

    Args:
        source_shape: texts of a step, and positions that are read of each.
        targets: members x targets.
    """
    rows, positions = source_shape
    weights = parameter_counts(model, 1)["params_nonembedding"] * model.depth / model.layers
    a_token = 4.0 * weights + 6.0 * model.depth * model.width * positions
    return a_token * rows * positions * targets * steps


def _output_map(model: Decoder, targets: Sequence[Target]) -> Tensor:
    """The output's rows of the tokens that the classes begin with, zero beyond the classes: (M Y, d, C) float32."""
    for target in targets:
        if len(target.tokens) != target.classes:
            raise UserError(f"knowledge probe: {target.name}: got the first tokens of "
                            f"{counted(len(target.tokens), 'class')}, expected those of all {target.classes}, as "
                            "start='output' begins with them")
        _check_vocabulary(f"{target.name}: got first tokens", min(target.tokens), max(target.tokens), model)
    most = max(target.classes for target in targets)
    output_MVd = model.output_table.float()
    maps = [F.pad(output_MVd[:, list(target.tokens)].mT, (0, most - target.classes)) for target in targets]
    return torch.stack(maps, 1).flatten(0, 1)


def _at_places(ids_BT: Tensor, places_BP: Tensor, row: int) -> Tensor:
    """The same ids with ``row`` at the places, where there are any."""
    at_BT = torch.zeros_like(ids_BT).scatter_add(1, places_BP.clamp_min(0), (places_BP != ABSENT).long())
    return ids_BT.masked_fill(at_BT > 0, row)


def _labels(texts: Texts) -> Tensor:
    """Labels at each place, (Y, P, B)."""
    return texts.labels_BY.T[:, None].where(texts.places_BP.T != ABSENT, IGNORE)


def _check(texts: Texts, source: Source, targets: Sequence[Target], model: Decoder) -> None:
    if not targets:
        raise UserError("knowledge probe: got no targets, expected at least one")
    if texts.places_BP.shape[1] != len(source.places) or texts.labels_BY.shape[1] != len(targets):
        raise UserError(f"knowledge probe: got {counted(texts.places_BP.shape[1], 'place')} and "
                        f"{counted(texts.labels_BY.shape[1], 'label')} a text, expected "
                        f"{counted(len(source.places), 'place')} and {counted(len(targets), 'target')}")
    for target, label in zip(targets, texts.labels_BY.unbind(-1), strict=True):
        low, high = int(label.min()), int(label.max())
        if low < IGNORE or high >= target.classes:
            raise UserError(f"knowledge probe: {target.name}: got labels from {low} to {high}, expected 0 to "
                            f"{target.classes - 1}, or {IGNORE} where nothing is asked")
    length = texts.ids_BT.shape[1]
    reach = min(length, source.reach or length)
    low, high = int(texts.places_BP.min()), int(texts.places_BP.max())
    if low < ABSENT or high >= reach:
        raise UserError(f"knowledge probe: got places from {low} to {high}, expected 0 to {reach - 1}, or {ABSENT} "
                        "where there is none")
    _check_vocabulary("got tokens", int(texts.ids_BT.min()), int(texts.ids_BT.max()), model)


def _check_vocabulary(what: str, low: int, high: int, model: Decoder) -> None:
    if low < 0 or high >= model.vocabulary:
        raise UserError(f"knowledge probe: {what} {low} to {high}, but the model has a vocabulary of "
                        f"{model.vocabulary}; expected the vocabulary that it was trained with")
