"""Rates of known GPUs."""

from __future__ import annotations

import pytest

from medalign.modeling.device_rates import flops_of
from medalign.records import Cost


@pytest.mark.parametrize(
    ("name", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA GeForce RTX 3090", 71),
        ("NVIDIA GeForce RTX 3090 Ti", 80),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("Tesla T4", 65),
    ],
)
def test_a_known_gpu_has_its_makers_rate(name: str, teraflops: int) -> None:
    assert flops_of(name) == teraflops * 1e12


def test_an_unknown_gpu_has_none() -> None:
    assert flops_of("Some Other Card") is None


def test_utilisation_is_the_share_of_the_devices_arithmetic() -> None:
    cost = Cost(train_seconds=2.0, tokens_trained=300, train_flops=71e12, device_flops=71e12)
    assert (cost.train_flops_utilisation, cost.train_tokens_per_second) == (0.5, 150.0)
    twice = cost + cost
    assert (twice.train_flops_utilisation, twice.device_flops) == (0.5, 71e12)
    assert (twice - cost).train_flops_utilisation == 0.5
    assert Cost().train_flops_utilisation is None
    assert Cost(train_seconds=1.0, train_flops=1.0).train_flops_utilisation is None
