"""An output of its own beside the embedding: with the embedding's numbers in it, it is the tied model."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from part_models import BASE, SPEC, VOCABULARY, ids_of, randomised

from physlm.config import content_hash, override
from physlm.lab.cost import member_bytes
from physlm.measures.generation import generate
from physlm.measures.losses import model_losses
from physlm.models.counting import parameter_counts, training_flops
from physlm.models.decoder import Decoder
from physlm.models.listing import TOKEN_TABLES
from physlm.models.lora import LowRank
from physlm.models.quantisation import Quantisation, stored_bits
from physlm.models.quantised import quantised
from physlm.training.config import RunSpec
from physlm.training.step import Population

CPU = torch.device("cpu")
UNTIED = dataclasses.replace(BASE, tied=False)


def as_tied(members: int = 2) -> tuple[Decoder, Decoder]:
    """A tied model, and one that is not with the same numbers at both ends."""
    tied = randomised(BASE, members)
    untied = Decoder(UNTIED, VOCABULARY, (None,) * members)
    untied.load_state_dict({**tied.state_dict(), "output.weight": tied.embedding.weight})
    return tied, untied


def test_with_the_embedding_at_its_output_it_is_the_tied_model_everywhere() -> None:
    """Logits, nats, generated tokens; and the gradient of the tied table is the sum of those of the two."""
    tied, untied = as_tied()
    ids = ids_of(2, 3, 12)
    assert untied(ids).logits.equal(tied(ids).logits)
    prompts = ids_of(1, 5, 3)[0]
    assert generate(untied, prompts, 6, key=1, temperature=1.0).ids.equal(
        generate(tied, prompts, 6, key=1, temperature=1.0).ids)
    entries = SPEC.task.build().entries(torch.arange(4), torch.zeros(4, dtype=torch.long))  # type: ignore[attr-defined]
    wide = [Decoder(config, len(SPEC.task.vocabulary()), (0,)) for config in (BASE, UNTIED)]
    wide[1].load_state_dict({**wide[0].state_dict(), "output.weight": wide[0].embedding.weight})
    nats = [model_losses(model)(torch.arange(4), entries) for model in wide]
    assert nats[0].equal(nats[1]) and nats[0].any()
    found = [torch.autograd.grad(model(ids).logits.square().sum(), [model.embedding.weight, *(
        [] if model.output is None else [model.output.weight])]) for model in (tied, untied)]
    assert all(grad.any() for grad in found[1])
    torch.testing.assert_close(found[0][0], found[1][0] + found[1][1])


def test_every_reader_of_logits_reads_the_output() -> None:
    """The control: other numbers at the output are other logits, nats and tokens, and the hidden states as before."""
    tied, untied = as_tied()
    with torch.no_grad():
        assert untied.output is not None
        untied.output.weight.copy_(untied.output.weight.flip(1))
    ids = ids_of(2, 3, 12)
    assert untied.hidden(ids)[0].equal(tied.hidden(ids)[0])
    torch.testing.assert_close(untied(ids).logits, tied(ids).logits.flip(-1))
    prompts = ids_of(1, 5, 3)[0]
    first = [generate(model, prompts, 1, key=1, temperature=0.0).ids[..., -1] for model in (tied, untied)]
    assert first[1].equal(VOCABULARY - 1 - first[0])


@pytest.mark.parametrize("causal", [True, False])
def test_a_table_more_is_counted_stored_and_multiplied_once(causal: bool) -> None:
    tied, untied = (dataclasses.replace(config, causal=causal, vocab_size=30) for config in (BASE, UNTIED))
    a, b = (parameter_counts(config, VOCABULARY) for config in (tied, untied))
    used = tied.used_rows(VOCABULARY) * BASE.width
    assert b["params_all"] - a["params_all"] == 30 * BASE.width
    assert b["params_used"] - a["params_used"] == b["params_active"] - a["params_active"] == used
    assert b["params_nonembedding"] == a["params_nonembedding"]
    assert training_flops(tied, VOCABULARY, 8) == training_flops(untied, VOCABULARY, 8)
    bits = [stored_bits(config, VOCABULARY, None) for config in (tied, untied)]
    assert bits[1] - bits[0] == 32 * used
    four = Quantisation(bits=4, embedding=True)
    bits = [stored_bits(config, VOCABULARY, four) for config in (tied, untied)]
    assert bits[1] - bits[0] == used * 4 + tied.used_rows(VOCABULARY) * 16, "indices, and a scale a row"
    memory = [member_bytes(dataclasses.replace(SPEC, model=config)) for config in (tied, untied)]
    assert memory[1] > memory[0]


def test_a_tied_model_is_what_it_was_before_there_were_others() -> None:
    """No hash and no name of a run knows of the setting where it is at its default."""
    assert content_hash(BASE) == "7c7ac6b72c2e" and BASE.label == "2-2x8"
    assert content_hash(UNTIED) != content_hash(BASE) and UNTIED.label == "2-2x8-untied"
    assert set(Decoder(UNTIED, VOCABULARY).state_dict()) - set(Decoder(BASE, VOCABULARY).state_dict()) == {
        TOKEN_TABLES[1]}


def test_low_rank_updates_of_the_embedding_leave_the_output_alone() -> None:
    start = dataclasses.replace(SPEC, model=UNTIED)
    spec = override(RunSpec(SPEC.task, UNTIED, SPEC.train, start),
                    ["train.lora_rank=2", "train.lora_embedding_rank=3"])
    first = Population([start], CPU).model_of(0).state_dict()
    population = Population([spec], CPU, initial=[first])
    for _ in range(3):
        population.advance()
    last = population.model_of(0).state_dict()
    assert last["output.weight"].equal(first["output.weight"])
    assert not last["embedding.weight"].equal(first["embedding.weight"])
    model = randomised(UNTIED)
    assert not any(p is model.output_table for p in LowRank(model, 2, 3, 4.0, (0, 1)).weights)


@pytest.mark.parametrize("embedding", [True, False])
def test_both_tables_are_quantised_or_neither(embedding: bool) -> None:
    model = randomised(UNTIED)
    found = quantised(model, Quantisation(bits=2, method="nearest", embedding=embedding)).state_dict()
    for name in TOKEN_TABLES:
        levels = max(len(row.unique()) for row in found[name].flatten(0, 1))
        assert (levels <= 4) == embedding, name
