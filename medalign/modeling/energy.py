"""What the driver tells of a device's energy: NVIDIA's management library, where there is one."""

from __future__ import annotations

import functools
from typing import Any


def device_joules() -> float | None:
    """Energy that the current GPU has used since its driver was loaded, in joules; None where nothing tells it.

    NVML's counter (Volta and later) is of the whole device: with several trials on it, each has its share of it.
    """
    handle = _handle()
    if handle is None:
        return None
    import pynvml

    try:
        return float(pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1000
    except pynvml.NVMLError:
        return None


@functools.cache
def _handle() -> Any:
    """NVML's handle of torch's current GPU, found by its UUID: the two may number devices differently."""
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
        uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
        return pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}")
    except (AttributeError, pynvml.NVMLError):
        return None
