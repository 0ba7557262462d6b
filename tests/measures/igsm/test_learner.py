"""Variable probes learn as in a plain loop: recorded, padded and made ahead or not; the CPU to the last bit."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain, count, islice, pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from physlm.errors import UserError
from physlm.measures.igsm import learner
from physlm.measures.igsm.asking import Asked, Batch, Source
from physlm.measures.igsm.heads import VariableProbe
from physlm.measures.igsm.labels import classes
from physlm.measures.igsm.learner import Learner, Lesson, lesson
from physlm.measures.igsm.settings import Kind, VariableConfig
from physlm.measures.igsm.training import source_of, train_probe
from physlm.measures.probes import IGNORE
from physlm.models.config import ModelConfig
from physlm.models.decoder import Decoder
from physlm.tasks.igsm.config import FAMILIES, IgsmConfig
from physlm.training import ahead

TINY, CPU = FAMILIES["tiny"], torch.device("cpu")
SMALL = ModelConfig(layers=2, heads=2, width=32)
QUICK = VariableConfig(steps=30, problems=8, learning_rate=0.01)
SHUFFLED = (False, True)
gpu = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
on_each = pytest.mark.parametrize("device", [CPU, pytest.param(torch.device("cuda"), marks=gpu)], ids=str)


def model_of(config: IgsmConfig = TINY) -> Decoder:
    return Decoder(SMALL, len(config.vocabulary()), (1, 2))


def batches(kind: Kind, setting: VariableConfig = QUICK, config: IgsmConfig = TINY) -> Iterator[Batch]:
    return chain.from_iterable(map(source_of(kind, config, setting, setting.balanced).group, count()))


def labels_of(batch: Batch) -> np.ndarray:
    return np.stack([batch.drawn.labels, batch.shuffled(QUICK.seed)])


def plain(model: Decoder, kind: Kind, setting: VariableConfig, config: IgsmConfig = TINY) -> VariableProbe:
    """A loop as one writes it first: batches as long as they are, rates on the host, torch's own ``backward``."""
    device = model.embedding.weight.device
    frozen = copy.deepcopy(model).requires_grad_(False)
    probe = VariableProbe(frozen, classes(kind, config.modulus), setting.rank, setting.seed)
    optimiser = torch.optim.AdamW(probe.parameters(), betas=(0.9, 0.98), weight_decay=setting.weight_decay)
    for step, batch in enumerate(islice(batches(kind, setting, config), setting.steps)):
        for group in optimiser.param_groups:
            group["lr"] = setting.learning_rate * (1 - step / setting.steps)
        labels_MBQ = torch.from_numpy(labels_of(batch)).to(device)
        optimiser.zero_grad()
        logits = probe(batch.asked.to(device))
        total = torch.zeros((), device=device)
        for logits_BQC, labels_BQ in zip(logits, labels_MBQ, strict=True):
            total = total + torch.nn.functional.cross_entropy(logits_BQC.flatten(0, 1), labels_BQ.flatten(),
                                                              ignore_index=IGNORE)
        total.backward()
        optimiser.step()
    return probe


def learnt(probe: VariableProbe) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in probe.parameters()])


def assert_near(found: VariableProbe, wanted: VariableProbe, share: float) -> None:
    """The two have gone the same way, but for this share of it."""
    begun = VariableProbe(found.model[0], found.bias.shape[-1], found.update.rank, QUICK.seed)
    way = (learnt(wanted) - learnt(begun)).norm()
    assert way > 0.1 and (learnt(found) - learnt(wanted)).norm() < share * way


# 1 %: rounding moves a path of 30 steps by much less (float32, and Adam divides by what a gradient usually is, so that
# only parameters whose gradients are noise go astray).  A step too many, a wrong rate or batch, moments that were not
# undone are at least 1 / 30 of it.
NEAR = 0.01


@on_each
@pytest.mark.parametrize(("kind", "rank"), [("can_next", 8), ("dep", 8), ("value", 0)])
def test_probes_learn_as_in_a_plain_loop(kind: Kind, rank: int, device: torch.device) -> None:
    model, setting = model_of().to(device), replace(QUICK, rank=rank)
    assert_near(train_probe(model, TINY, kind, setting, SHUFFLED), plain(model, kind, setting), NEAR)


def test_the_control_is_far_off() -> None:
    model, fewer = model_of(), replace(QUICK, steps=29)
    with pytest.raises(AssertionError):
        assert_near(train_probe(model, TINY, "can_next", fewer, SHUFFLED), plain(model, "can_next", QUICK), NEAR)


def test_the_plain_update_to_the_last_bit() -> None:
    """On a CPU, given the same loss: rates as tensors and gradients without ``backward`` change no bit."""
    probes = [VariableProbe(model_of().requires_grad_(False), 2, 8, 0) for _ in range(2)]
    taught = Learner(probes[0], QUICK)
    optimiser = torch.optim.AdamW(probes[1].parameters(), betas=(0.9, 0.98), weight_decay=QUICK.weight_decay)
    for step, batch in enumerate(islice(batches("nece"), QUICK.steps)):
        taught.learn(lesson(batch.asked, labels_of(batch), CPU))
        for group in optimiser.param_groups:
            group["lr"] = QUICK.learning_rate * (1 - step / QUICK.steps)
        optimiser.zero_grad()
        learner.loss(probes[1](batch.asked), torch.from_numpy(labels_of(batch))).backward()
        optimiser.step()
    assert learnt(probes[0]).equal(learnt(probes[1]))


@on_each
def test_several_lengths_are_learnt_from_by_one_probe(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    """In turn, so that no recording has the last word; nothing sees the padding."""
    monkeypatch.setitem(learner.ROW_TOKENS, "cpu", 64)
    shapes = []
    step = learner._Step.load

    def load(self: learner._Step, some: Lesson) -> None:
        shapes.append(some.asked.ids_BT.shape[1])
        step(self, some)

    monkeypatch.setattr(learner._Step, "load", load)
    small = FAMILIES["small4"]
    model = model_of(small).to(device)
    found = train_probe(model, small, "known", QUICK, SHUFFLED)
    assert all((tokens + 50) % 64 == 0 for tokens in shapes) and 3 <= len(set(shapes)) <= 6
    assert shapes[0] == max(shapes[:9]), "the longest of the first batches is recorded before them"
    assert sum(a != b for a, b in pairwise(shapes)) > 8, "they take turns"
    assert_near(found, plain(model, "known", QUICK, small), NEAR)


def test_warming_up_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed over to be restored is all that a step changes, and stays where it is, as a recording needs."""
    wanted = learnt(train_probe(model_of(), TINY, "known", QUICK, SHUFFLED))
    places: set[tuple[int, ...]] = set()

    def warmed_up(step: Callable[[], None], tensors: Callable[[], list[Tensor]], *more: object) -> Callable[[], None]:
        """As ``captured`` does it."""
        before = [(tensor, tensor.detach().clone()) for tensor in tensors()]
        for _ in range(3):
            step()
            with torch.no_grad():
                for tensor in tensors():
                    tensor.zero_()
                for tensor, old in before:
                    tensor.copy_(old)
        places.add(tuple(tensor.data_ptr() for tensor in tensors()))
        return step

    monkeypatch.setattr(learner, "captured", warmed_up)
    assert learnt(train_probe(model_of(), TINY, "known", QUICK, SHUFFLED)).equal(wanted)
    (same,) = places
    assert len(same) == 4 * 5 + 1, "each of five parameters, its two moments and its count; the steps done"


@pytest.mark.parametrize("kind", ["known", "dep"])
def test_a_step_never_asks_the_device_for_a_number(kind: Kind) -> None:
    """The device without numbers has none to give."""
    nowhere = torch.device("meta")
    probe = VariableProbe(model_of().requires_grad_(False).to(nowhere), 2, 8, 0)
    batch = next(batches(kind))
    there = [x.to(nowhere) for x in lesson(batch.asked, labels_of(batch), torch.device("cuda")).tensors]
    found = learner.loss(probe(Asked(*there[:3])), there[3])
    assert len(torch.autograd.grad(found, list(probe.parameters()))) == 5
    with pytest.raises(RuntimeError):
        bool(found)


@pytest.mark.parametrize("beside", [True, False])
def test_batches_made_ahead_are_the_same(beside: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = learnt(train_probe(model_of(), TINY, "dep", QUICK, SHUFFLED))
    monkeypatch.setitem(ahead.BESIDE, "cpu", beside)
    assert learnt(train_probe(model_of(), TINY, "dep", QUICK, SHUFFLED)).equal(wanted)


@on_each
@pytest.mark.parametrize("error", [UserError("no such problem"), ZeroDivisionError("a bug")])
def test_errors_of_batches_are_raised_and_no_thread_stays(
    error: Exception, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ahead.BESIDE, device.type, True)
    made, made_by = Source._batch, set()

    def failing(self: Source, ids_BW: np.ndarray, found: object, numbers_B: np.ndarray) -> Batch:
        made_by.add(threading.current_thread().name)
        if numbers_B.max() >= 2 * 64:
            raise error
        return made(self, ids_BW, found, numbers_B)  # type: ignore[arg-type]

    monkeypatch.setattr(Source, "_batch", failing)
    with pytest.raises(type(error), match=str(error)) as caught:
        train_probe(model_of().to(device), TINY, "nece", QUICK, SHUFFLED)
    assert caught.value is error and "rows-ahead" in made_by and not makers()


@on_each
def test_no_thread_stays_when_a_step_fails(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ahead.BESIDE, device.type, True)

    def stop(self: Learner, some: Lesson) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Learner, "learn", stop)
    with pytest.raises(KeyboardInterrupt):
        train_probe(model_of().to(device), TINY, "nece", QUICK)
    assert not makers()


def makers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "rows-ahead"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_are_made_while_steps_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    made, recorded, during = Source._batch, learner.captured, []

    def slow(self: Source, *arguments: object) -> Batch:
        time.sleep(0.05)
        return made(self, *arguments)  # type: ignore[arg-type]

    def recording(*arguments: object) -> Callable[[], None]:
        during.append(len(makers()))
        return recorded(*arguments)  # type: ignore[arg-type]

    model = model_of().cuda()
    wanted = plain(model, "known", QUICK)
    monkeypatch.setattr(Source, "_batch", slow)
    monkeypatch.setattr(learner, "captured", recording)
    found = train_probe(model, TINY, "known", QUICK, SHUFFLED)
    assert max(during) == 1 and not makers()
    assert_near(found, wanted, NEAR)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_batch_is_overwritten_before_the_device_has_read_it() -> None:
    """The device is held back before each step, and the host fills the same buffer again and again."""
    cuda = torch.device("cuda")
    some = [lesson(batch.asked, labels_of(batch), cuda) for batch in islice(batches("nece"), 16)]
    longest = max(one.asked.ids_BT.shape[1] for one in some)
    padded = [one._replace(asked=one.asked._replace(ids_BT=torch.nn.functional.pad(
        one.asked.ids_BT, (0, longest - one.asked.ids_BT.shape[1])))) for one in some]
    step, load, seen, behind = learner._Step(padded[0], cuda), torch.ones(4096, 4096, device=cuda), [], []
    for one in padded:
        for _ in range(8):
            load @ load
        behind.append(not torch.cuda.current_stream().query())
        step.load(one)
        seen.append([x.clone() for x in step.lesson.tensors])
    assert any(behind), "the control: the host was ahead"
    for one, found in zip(padded, seen, strict=True):
        assert all(mine.cpu().equal(theirs) for mine, theirs in zip(found, one.tensors, strict=True))
