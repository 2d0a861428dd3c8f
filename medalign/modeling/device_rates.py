"""What a GPU can do at most, by its maker's data sheet."""

from __future__ import annotations

import functools

# Dense products in 16 bits with sums in 32, in units of 10^12 a second (NVIDIA's data sheets and white papers). The
# first name that a device's own contains counts.
_TERAFLOPS = {
    "H200": 989.0,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.0,
    "A100": 312.0,
    "A6000": 155.0,
    "A40": 150.0,
    "A10G": 70.0,
    "A10": 125.0,
    "L40S": 362.0,
    "RTX 4090": 165.0,
    "RTX 3090 Ti": 80.0,
    "RTX 3090": 71.0,
    "V100": 125.0,
    "T4": 65.0,
}


def flops_of(name: str) -> float | None:
    """Operations a second of the device of that name; None if it is not known."""
    found = next((rate for known, rate in _TERAFLOPS.items() if known in name), None)
    return None if found is None else found * 1e12


@functools.cache
def published_flops() -> float | None:
    """Of this process's GPU; None without one."""
    import torch

    return flops_of(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
