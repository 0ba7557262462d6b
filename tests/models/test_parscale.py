"""ParScale: parallel streams through the same layers, told apart by prefixes, merged for each token."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from part_checks import CHECKS, check_steps_are_whole_rows
from part_models import BASE, VOCABULARY, ids_of, randomised

from physlm.errors import UserError
from physlm.lab.cost import member_bytes
from physlm.models.config import ModelConfig
from physlm.models.counting import parameter_counts, state_bytes, training_flops
from physlm.models.decoder import Decoder
from physlm.models.parts.attention import Attention
from physlm.models.parts.distances import turn
from physlm.models.parts.fox import FoX
from physlm.models.parts.parallel import ParScale
from physlm.models.parts.route import MixtureOfDepths
from physlm.tasks.biography.config import BioDConfig
from physlm.training.config import RunSpec, TrainConfig

FOUR = dataclasses.replace(BASE, heads=4, width=32)
MODELS = [dataclasses.replace(FOUR, parallel=ParScale(3, 5)), dataclasses.replace(FOUR, parallel=ParScale(1, 4)),
          dataclasses.replace(FOUR, parallel=ParScale(2, 17), loops=2,
                              mixer=(Attention(group=2, sink=True, gate="head", value_rows=4),))]  # fmt: skip
named = pytest.mark.parametrize("config", MODELS, ids=lambda config: config.label)


def test_every_check_of_parts_holds_beside_other_parts() -> None:
    for check in CHECKS:
        check(MODELS[2])


@named
def test_whole_rows_are_steps_in_float64(config: ModelConfig) -> None:
    check_steps_are_whole_rows(randomised(config).double(), 40, (9,), 1e-10)


@pytest.mark.parametrize("members", [1, 2])
def test_one_stream_without_a_prefix_is_the_plain_model_bit_for_bit(members: int) -> None:
    config = dataclasses.replace(FOUR, parallel=ParScale(1, 0))
    model, plain, ids = Decoder(config, VOCABULARY, range(members)), Decoder(FOUR, VOCABULARY, range(members)), ids_of(
        members, 3, 20)
    assert model.state_dict().keys() == plain.state_dict().keys()
    assert model(ids).logits.equal(plain(ids).logits)
    assert parameter_counts(config, VOCABULARY) == parameter_counts(FOUR, VOCABULARY)
    assert training_flops(config, VOCABULARY, 64) == training_flops(FOUR, VOCABULARY, 64)


def test_of_equal_prefixes_all_weights_give_the_same() -> None:
    model = randomised(MODELS[0]).double()
    one = Decoder(MODELS[1], VOCABULARY, (0, 1)).double()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(".prefix"):
                p.copy_(p[:, :1])
    small = dataclasses.replace(MODELS[0], parallel=ParScale(1, 5))
    one = Decoder(small, VOCABULARY, (0, 1)).double()
    state = {name: value[:, :1] if name.endswith(".prefix") else value for name, value in model.state_dict().items()
             if not name.startswith("parallel.")}
    one.load_state_dict(state)
    ids = ids_of(2, 3, 20)
    torch.testing.assert_close(model.hidden(ids)[0], one.hidden(ids)[0], atol=1e-10, rtol=1e-10)


def test_the_merge_written_out() -> None:
    """Each stream is a model of one stream with its prefix; the weights are of what leaves their final norms."""
    model, ids = randomised(MODELS[0]).double(), ids_of(2, 3, 20)
    small = dataclasses.replace(MODELS[0], parallel=ParScale(1, 5))
    hidden = []
    for stream in range(3):
        one = Decoder(small, VOCABULARY, (0, 1)).double()
        one.load_state_dict({name: value[:, stream : stream + 1] if name.endswith(".prefix") else value
                             for name, value in model.state_dict().items() if not name.startswith("parallel.")})
        hidden.append(one.hidden(ids)[0])
    up, out = model.get_parameter("parallel.merge_up.weight"), model.get_parameter("parallel.merge_out.weight")
    for m in range(2):
        inner = torch.nn.functional.silu(torch.cat([one[m] for one in hidden], -1) @ up[m])
        share = 0.99 * (inner @ out[m]).softmax(-1) + 0.01 / 3
        assert float(share.detach().std(-1).mean()) > 0.01, "weights of each token"
        wanted = sum(share[..., p : p + 1] * hidden[p][m] for p in range(3))
        torch.testing.assert_close(model.hidden(ids)[0][m], wanted, atol=1e-10, rtol=1e-10)


def test_a_prefix_is_seen_by_all_tokens_and_not_turned() -> None:
    """One layer of attention alone, written out: softmax over the n prefix keys and those of the row."""
    config = dataclasses.replace(BASE, layers=1, parallel=ParScale(1, 3))
    model, ids = randomised(config).double(), ids_of(2, 2, 9)
    plain = Decoder(dataclasses.replace(config, parallel=ParScale(1, 0)), VOCABULARY, (0, 1)).double()
    plain.load_state_dict({name: value for name, value in model.state_dict().items() if not name.endswith(".prefix")})
    scores = plain.hidden(ids, ("block.0.attention",))[1]["block.0.attention"].log()
    x, block = plain.embedding(ids), plain._blocks()[0]
    normed = block.attention_norm(x, torch.float64)
    found = model.hidden(ids, ("block.0.mixer",))[1]["block.0.mixer"]
    q, k, v = (y.unflatten(-1, (2, 8)).transpose(2, 3) for y in block.attention.qkv(normed).chunk(3, -1))
    cos, sin = config.mixer[0].tables(config, 16, torch.device("cpu"))
    q, k = turn(q, cos[:9].double(), sin[:9].double()), turn(k, cos[:9].double(), sin[:9].double())
    prefix = model.get_parameter("blocks.0.attention.prefix")[:, 0].unflatten(-1, (2, 8)).transpose(2, 3)
    raw = (q @ k.mT / 8**0.5).masked_fill(scores.isinf(), -torch.inf)
    before = q @ prefix[:, 0][:, None].mT / 8**0.5
    weights = torch.cat((before, raw), -1).softmax(-1)
    values = torch.cat((prefix[:, 1][:, None].expand(-1, 2, -1, -1, -1), v), 3)
    wanted = block.attention.out((weights @ values).transpose(2, 3).flatten(-2))
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def test_parameters_flops_state_and_memory_are_those_of_all_streams() -> None:
    streams, n, d, layers, tokens = 3, 5, 32, 2, 64
    plain, ours = (parameter_counts(one, VOCABULARY) for one in (FOUR, MODELS[0]))
    more = 2 * streams * n * d * layers + streams * d * d + d * streams
    assert ours["params_used"] == plain["params_used"] + more
    assert ours["params_active"] == plain["params_active"] + more
    layer = 6 * 12 * d * d + 3 * 4 * d * (tokens / 2 + n)
    wanted = streams * layers * layer + 6 * (VOCABULARY * d + streams * d * d + d * streams)
    assert training_flops(MODELS[0], VOCABULARY, tokens) == wanted
    assert state_bytes(MODELS[0], tokens) == streams * state_bytes(FOUR, tokens)
    train = TrainConfig(batch_rows=256)
    sizes = [member_bytes(RunSpec(BioDConfig(people=12), one, train)) for one in (FOUR, MODELS[0])]
    assert 2.9 < sizes[1] / sizes[0] < 3.1


def test_taps_hold_the_streams_side_by_side() -> None:
    model, ids = randomised(MODELS[0]), ids_of(2, 3, 12)
    taps = model.hidden(ids, ("embedding", "block.0.mixer", "block.1.out", "final"))[1]
    assert [tap.shape[-1] for tap in taps.values()] == [32, 96, 96, 32]
    assert not any(name.endswith(".attention") for name in model.tap_names)


def test_an_encoder_has_streams_too() -> None:
    model, ids = randomised(dataclasses.replace(MODELS[0], causal=False)), ids_of(2, 3, 12)
    changed = ids.clone()
    changed[..., -1] += 1
    assert not model(ids).logits[:, :, 0].allclose(model(changed % VOCABULARY).logits[:, :, 0])


@pytest.mark.parametrize(("changes", "message"), [
    ({"mixer": (FoX(),)}, "got fox with model.parallel=parscale"),
    ({"mixer": (Attention(window=4),)}, "got rope_window4 with model.parallel=parscale"),
    ({"route": MixtureOfDepths()}, "got parscale_streams3_prefix5 with model.route=depths, expected no prefix"),
])
def test_models_that_it_does_not_fit_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(MODELS[0], **changes)


@pytest.mark.parametrize(("setting", "message"), [
    ({"streams": 0}, "streams: got 0"), ({"prefix": 0}, "prefix: got 0 with 4 streams, expected at least 1"),
    ({"streams": 1, "prefix": -1}, "prefix: got -1 with 1 stream, expected at least 0"),
    ({"smooth": 1.0}, "smooth: got 1.0"),
])
def test_settings_that_mean_nothing_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"model.parallel.{message}"):
        ParScale(**setting)
