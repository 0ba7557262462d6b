"""A captured step does what the step does, from where it began."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor

from physlm.training.captured import captured


def test_without_a_gpu_the_step_is_called_as_it_stands() -> None:
    """And not before it is asked for: its warm-up has no place there."""
    calls: list[int] = []

    def step() -> None:
        calls.append(1)

    assert captured(step, list, torch.device("cpu")) is step and not calls


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_steps_are_those_of_an_ordinary_loop() -> None:
    """AdamW on a line, with a falling rate that the step counts for itself, and data that change between steps."""
    inputs, truth = torch.randn(7, 20, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, -2.0, 0.5])
    weights = [train(torch.device("cuda"), recorded, inputs, truth) for recorded in (False, True)]
    torch.testing.assert_close(weights[0], weights[1])


def train(device: torch.device, recorded: bool, inputs: Tensor, truth: Tensor) -> Tensor:
    w = torch.nn.Parameter(torch.ones(3, device=device))
    rate, done, x = (torch.zeros(shape, device=device) for shape in ((), (), (20, 3)))
    wanted = truth.to(device)
    optimiser = torch.optim.AdamW([{"params": [w], "lr": rate}], fused=True, capturable=True)

    def one_step() -> None:
        rate.copy_(0.1 * (1 - done / len(inputs)))
        (w.grad,) = torch.autograd.grad(((x @ w - x @ wanted) ** 2).mean(), [w])
        optimiser.step()
        done.add_(1)

    def state() -> list[Tensor]:
        return [w, done, *(moment for one in optimiser.state.values() for moment in one.values())]

    with warnings.catch_warnings():  # the ordinary loop is the one that is not captured
        warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")
        step = captured(one_step, state, device) if recorded else one_step
        assert w.equal(torch.ones_like(w)) and not done
        for batch in inputs:
            x.copy_(batch)
            step()
    assert int(done) == len(inputs) and bool((w != 1).all())
    return w.detach().cpu()
