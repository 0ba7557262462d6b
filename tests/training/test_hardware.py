"""The peak that utilisation is a fraction of: by name, only in bf16, only where the name is known."""

from __future__ import annotations

import pytest
import torch

from physlm.training.hardware import PEAK_TFLOPS, peak_flops


@pytest.mark.parametrize(("name", "precision", "peak"), [
    ("NVIDIA H200", "bf16", PEAK_TFLOPS["H200"] * 1e12), ("NVIDIA H200", "float32", None),
    ("NVIDIA A100-SXM4-80GB", "bf16", 312e12), ("Some GPU", "bf16", None),
])
def test_a_gpus_peak(monkeypatch: pytest.MonkeyPatch, name: str, precision: str, peak: float | None) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_flops(torch.device("cuda"), precision) == peak


def test_a_cpu_has_no_known_peak() -> None:
    assert peak_flops(torch.device("cpu"), "bf16") is None
