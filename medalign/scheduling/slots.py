"""How a machine is shared out: a slot is what one trial may use of it."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Cores of a slot where the user does not say.
DEFAULT_SLOT_CORES = 1
# A card sold as 24 GiB reports 23.6: it falls short of a slot by less than this share.
SLOT_TOLERANCE = 0.05
_RAY_GPU_PRECISION = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """What one trial may use.

    Attributes:
        num_cores: CPU cores, which are also its threads.
        gpu_share: Share of one GPU; 0 on a machine without.
        memory_gib: Cap on the GPU memory of its process; None without a GPU.
    """

    num_cores: int = DEFAULT_SLOT_CORES
    gpu_share: float = 0.0
    memory_gib: float | None = None

    @property
    def resources(self) -> dict[str, float]:
        """The slot in Ray's words."""
        return {"cpu": self.num_cores, **({"gpu": self.gpu_share} if self.gpu_share else {})}


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """The slots of one machine, all alike.

    Attributes:
        num_slots: How many trials run at once.
    """

    num_slots: int = 1
    slot: Slot = field(default_factory=Slot)


def cpu_slots(num_cores: int, slot_cores: int | None = None, max_slots: int | None = None) -> Slots:
    """Slots of a machine without a GPU.

    Args:
        num_cores: That may be used in all.
        slot_cores: Of one slot; None for DEFAULT_SLOT_CORES. More than there are gives one slot of all.
        max_slots: Upper limit; None for as many as fit.

    Raises:
        ValueError: A number below 1.
    """
    _check_positive(num_cores=num_cores, slot_cores=slot_cores, max_slots=max_slots)
    cores = min(slot_cores or DEFAULT_SLOT_CORES, num_cores)
    return Slots(num_slots=_capped(num_cores // cores, max_slots), slot=Slot(num_cores=cores))


def gpu_slots(
    gpus_gib: Sequence[float],
    num_cores: int,
    *,
    slot_gib: float,
    slot_cores: int | None = None,
    max_slots: int | None = None,
) -> Slots:
    """Slots of a machine with GPUs, each of which holds the same number of slots.

    Args:
        gpus_gib: Total memory of each GPU; the smallest one sets how many slots a GPU holds.
        slot_gib: Memory of one slot. A GPU smaller than that is one slot.
        slot_cores: CPU cores of one slot; None shares them out evenly.
        max_slots: Upper limit; None for as many as fit.

    Raises:
        ValueError: A number that is not positive, or no GPU.
    """
    _check_positive(num_cores=num_cores, slot_gib=slot_gib, slot_cores=slot_cores, max_slots=max_slots)
    if not gpus_gib:
        raise ValueError("gpus_gib: empty; use cpu_slots on a machine without a GPU")
    per_gpu = max(1, math.floor(min(gpus_gib) / slot_gib + SLOT_TOLERANCE))
    num_slots = _capped(per_gpu * len(gpus_gib), max_slots)
    num_slots = min(num_slots, num_cores // (slot_cores or 1)) or 1
    slot = Slot(
        num_cores=min(slot_cores or max(1, num_cores // num_slots), num_cores),
        # Rounded down to what Ray can count, so that as many fit as were meant.
        gpu_share=math.floor(_RAY_GPU_PRECISION / per_gpu) / _RAY_GPU_PRECISION,
        memory_gib=min(slot_gib, min(gpus_gib) / per_gpu),
    )
    return Slots(num_slots=num_slots, slot=slot)


def available_cores() -> int:
    """CPU cores that this process may use: its affinity, and its control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def visible_gpus_gib(environment: Mapping[str, str] = os.environ) -> tuple[float, ...]:
    """Total memory of each NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves visible; empty without a driver.

    Asks `nvidia-smi`, because asking torch would load it and could open a CUDA context in the driver's process.
    """
    program = shutil.which("nvidia-smi")
    if program is None or environment.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    command = [program, "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return ()
    gpus = {}
    for line in answer.stdout.splitlines():
        index, uuid, mib = (cell.strip() for cell in line.split(","))
        gpus[index] = gpus[uuid] = float(mib) / 1024
    names = environment.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return tuple(gib for name, gib in gpus.items() if name.isdigit())
    return tuple(gpus[name.strip()] for name in names.split(",") if name.strip() in gpus)


def worker_environment(slot: Slot) -> dict[str, str]:
    """Environment variables of a trial's process, to be set before it imports torch."""
    threads = str(slot.num_cores)
    environment = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        # oneDNN keeps what it made for each new shape, by default of 1,024 shapes: most of a GiB here.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
    }
    if not slot.gpu_share:
        # Ray leaves every GPU visible to a process that asked for none.
        environment["CUDA_VISIBLE_DEVICES"] = ""
    return environment


def apply_slot(slot: Slot) -> None:
    """Holds this process to its slot; to be called in the thread that runs the trials, before and after it loads torch.

    Before, so that the cap on GPU memory is there first: Ray's shares of a GPU are bookkeeping only, and without the
    cap a trial could take the whole card. After, because the number of threads is a thread's own. A process
    without GPU is not made to load torch here: `worker_environment` speaks for it until it does.
    """
    if slot.memory_gib is None and "torch" not in sys.modules:
        return
    import torch

    torch.set_num_threads(slot.num_cores)
    if slot.memory_gib is not None and torch.cuda.is_available():
        total_gib = torch.cuda.get_device_properties(0).total_memory / 2**30
        torch.cuda.set_per_process_memory_fraction(min(1.0, slot.memory_gib / total_gib))


def _capped(number: int, limit: int | None) -> int:
    return number if limit is None else min(number, limit)


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ValueError(f"{name}: {number}; must be above 0")
