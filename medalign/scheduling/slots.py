"""How machines are shared out: a slot is what one trial may use of one, 24 GiB of one GPU or a set of CPU cores.

Ray's own `GPU` resource cannot say this where cards differ: a third of an 80 GB card is a slot, a third of a 24 GB card
is none. So each node offers its slots as a custom resource that it works out from its own cards when it joins, and a
trial asks for slots alone. Ray numbers the units of that resource (`custom_unit_instance_resources`), and the number
tells a trial's process which GPU is its own.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from medalign.errors import ConfigError

Kind = Literal["gpu", "cpu"]

DEFAULT_SLOT_GIB = 24.0
# Cores of a slot where the user does not say.
DEFAULT_SLOT_CORES = 1
# A card sold as 24 GiB reports 23.6: it falls short of a slot by less than this share.
SLOT_TOLERANCE = 0.05
# What CUDA itself holds for each process, beside what the cap on its memory counts (seen: 0.5 GiB on an H100).
CONTEXT_GIB = 0.6
# A trial may take so many slots of one GPU at most.
MAX_SLOTS_PER_TRIAL = 8
# Given to the processes of a node by the one that starts it.
NODE_VARIABLE = "MEDALIGN_NODE_SLOTS"
_LABEL = "medalign."


class Gpu(NamedTuple):
    """A GPU by the name that CUDA_VISIBLE_DEVICES knows, and its total memory."""

    name: str
    gib: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Slot:
    """What one trial may use, and what its process is held to.

    Attributes:
        num_cores: CPU cores, which are also its threads.
        memory_gib: Cap on the GPU memory of its process; None without a GPU.
        gpu: Name of its GPU, known in the trial's process alone; None elsewhere and without a GPU.
    """

    num_cores: int = DEFAULT_SLOT_CORES
    memory_gib: float | None = None
    gpu: str | None = None

    @property
    def kind(self) -> Kind:
        return "cpu" if self.memory_gib is None else "gpu"


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeSlots:
    """The slots that one machine offers.

    They are numbered by turns, one of each GPU and then the next of each: Ray gives out low numbers first, and few
    trials shall not crowd on one card.

    Attributes:
        per_device: How many slots each GPU holds; one number, that of all slots, for a machine without GPU.
        gpus: The GPUs in the same order; empty on a machine without, and where only its labels are known.
        slot_gib: Memory that a slot stands for.
        memory_gib: What the smallest slot really has: less on a card that falls short; None without a GPU.
        slot_cores: CPU cores of a slot.
        num_cores: Of the machine.
    """

    per_device: tuple[int, ...]
    gpus: tuple[Gpu, ...] = ()
    slot_gib: float = DEFAULT_SLOT_GIB
    memory_gib: float | None = None
    slot_cores: int = DEFAULT_SLOT_CORES
    num_cores: int = 1

    @property
    def kind(self) -> Kind:
        return "cpu" if self.memory_gib is None else "gpu"

    @property
    def num_slots(self) -> int:
        return sum(self.per_device)

    def num_trials(self, slots_per_trial: int) -> int:
        """Trials that it takes at once; a trial's slots are always of one device."""
        return sum(number // slots_per_trial for number in self.per_device)

    @property
    def resources(self) -> dict[str, float]:
        """What it offers in Ray's words: its slots, and its places for trials of two slots, three, ..."""
        offered = {_resource(self.kind): float(self.num_slots)}
        for size in range(2, MAX_SLOTS_PER_TRIAL + 1):
            if places := self.num_trials(size):
                offered[_resource(self.kind, size)] = float(places)
        return {name: number for name, number in offered.items() if number}

    @property
    def labels(self) -> dict[str, str]:
        """What the driver is to know of the node, as labels of a Ray node."""
        facts = {
            "slots": "-".join(map(str, self.per_device)),
            "slot-gib": f"{self.slot_gib:g}",
            "slot-cores": str(self.slot_cores),
            "cores": str(self.num_cores),
        }
        if self.memory_gib is not None:
            facts["memory-gib"] = f"{self.memory_gib:g}"
        return {_LABEL + name: value for name, value in facts.items()}

    @classmethod
    def from_labels(cls, labels: Mapping[str, str]) -> NodeSlots | None:
        """The inverse of `labels`, without the names of the GPUs; None for a node that offers no slots."""
        facts = {
            name.removeprefix(_LABEL): value for name, value in labels.items() if name.startswith(_LABEL)
        }
        if "slots" not in facts:
            return None
        return cls(
            per_device=tuple(int(number) for number in facts["slots"].split("-")),
            slot_gib=float(facts["slot-gib"]),
            memory_gib=float(facts["memory-gib"]) if "memory-gib" in facts else None,
            slot_cores=int(facts["slot-cores"]),
            num_cores=int(facts["cores"]),
        )

    def to_text(self) -> str:
        """For NODE_VARIABLE."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_text(cls, text: str) -> NodeSlots:
        """The inverse of `to_text`."""
        raw = json.loads(text)
        gpus = tuple(Gpu(str(name), float(gib)) for name, gib in raw["gpus"])
        return cls(**{**raw, "per_device": tuple(raw["per_device"]), "gpus": gpus})

    def slot_of(self, place: int, slots_per_trial: int = 1) -> Slot:
        """What the trial in that place may use.

        Args:
            place: From 0 to below `num_trials(slots_per_trial)`: the number that Ray gave it.
        """
        cores = min(self.slot_cores * slots_per_trial, self.num_cores)
        if self.memory_gib is None:
            return Slot(num_cores=cores)
        places = [range(held // slots_per_trial) for held in self.per_device]
        turns = sorted((turn, device) for device, turns in enumerate(places) for turn in turns)
        device = turns[place][1]
        gpu, held = self.gpus[device], self.per_device[device]
        memory_gib = _slot_memory(gpu.gib, held, self.slot_gib) * slots_per_trial
        return Slot(num_cores=cores, memory_gib=memory_gib, gpu=gpu.name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Slots:
    """The slots of one comparison.

    Attributes:
        num_slots: How many trials run at once.
        slot: The least that a trial can count on, whichever machine it comes to.
        slots_per_trial: That a trial takes, all of one device.
        node: What this machine offers where Ray is started here; None on a cluster, whose nodes say it themselves.
    """

    num_slots: int = 1
    slot: Slot = field(default_factory=Slot)
    slots_per_trial: int = 1
    node: NodeSlots | None = None

    @property
    def resources(self) -> dict[str, float]:
        """What a trial asks Ray for."""
        size = self.slots_per_trial
        asked: dict[str, float] = {"cpu": self.slot.num_cores, _resource(self.slot.kind): size}
        return {**asked, _resource(self.slot.kind, size): 1} if size > 1 else asked

    @property
    def offered(self) -> NodeSlots:
        """What this machine is to offer for them."""
        if self.node is not None:
            return self.node
        cores = self.slot.num_cores * self.num_slots
        return NodeSlots(per_device=(self.num_slots,), slot_cores=self.slot.num_cores, num_cores=cores)


def node_slots(
    gpus: Sequence[Gpu],
    num_cores: int,
    *,
    slot_gib: float = DEFAULT_SLOT_GIB,
    slot_cores: int | None = None,
    max_slots: int | None = None,
) -> NodeSlots:
    """The slots of a machine, each GPU cut by its own size.

    Args:
        gpus: Empty for a machine whose slots are sets of cores.
        num_cores: That may be used in all.
        slot_gib: Memory of one slot. A GPU smaller than that is one slot.
        slot_cores: CPU cores of one slot; None shares them out evenly among the slots of GPUs and is
            DEFAULT_SLOT_CORES without. More than there are gives one slot of all.
        max_slots: Upper limit; None for as many as fit.

    Raises:
        ConfigError: A number that is not positive.
    """
    _check_positive(num_cores=num_cores, slot_gib=slot_gib, slot_cores=slot_cores, max_slots=max_slots)
    if not gpus:
        cores = min(slot_cores or DEFAULT_SLOT_CORES, num_cores)
        number = min(num_cores // cores, max_slots or num_cores)
        return NodeSlots(per_device=(number,), slot_gib=slot_gib, slot_cores=cores, num_cores=num_cores)
    held = [max(1, math.floor(gpu.gib / slot_gib + SLOT_TOLERANCE)) for gpu in gpus]
    memory_gib = min(_slot_memory(gpu.gib, number, slot_gib) for gpu, number in zip(gpus, held, strict=True))
    limit = min(max_slots or sum(held), num_cores // (slot_cores or 1)) or 1
    per_device = _capped(held, limit)
    cores = min(slot_cores or max(1, num_cores // sum(per_device)), num_cores)
    return NodeSlots(
        per_device=per_device,
        gpus=tuple(gpus),
        slot_gib=slot_gib,
        memory_gib=memory_gib,
        slot_cores=cores,
        num_cores=num_cores,
    )


def no_slots(num_cores: int) -> NodeSlots:
    """A machine that serves the cluster and runs no trial."""
    return NodeSlots(per_device=(0,), num_cores=num_cores)


def comparison_slots(
    nodes: Sequence[NodeSlots],
    *,
    slot_gib: float = DEFAULT_SLOT_GIB,
    slots_per_trial: int = 1,
    max_slots: int | None = None,
) -> Slots:
    """The slots of all nodes together: those with a GPU where there are any, else those of cores.

    Args:
        slot_gib: That the comparison was planned for.

    Raises:
        ConfigError: No node has room for a trial, or GPU slots are not of the size that was asked for.
    """
    _check_positive(slots_per_trial=slots_per_trial, max_slots=max_slots)
    kind: Kind = "gpu" if any(node.kind == "gpu" for node in nodes) else "cpu"
    chosen = [node for node in nodes if node.kind == kind]
    sizes = sorted({node.slot_gib for node in chosen})
    if kind == "gpu" and sizes != [slot_gib]:
        offered = " and ".join(f"{size:g}" for size in sizes)
        raise ConfigError(
            f"slot_gib: {slot_gib:g}, but the nodes offer slots of {offered} GiB; use --slot-gib {sizes[0]:g}, or "
            f"start the nodes with `medalign node start --slot-gib {slot_gib:g}`"
        )
    num_trials = sum(node.num_trials(slots_per_trial) for node in chosen)
    if not num_trials:
        largest = max((number for node in chosen for number in node.per_device), default=0)
        raise ConfigError(
            f"slots_per_trial: {slots_per_trial}, but the largest device holds {largest} slot(s); use fewer"
        )
    roomy = [node for node in chosen if node.num_trials(slots_per_trial)]
    cores = min(min(node.slot_cores * slots_per_trial, node.num_cores) for node in roomy)
    memory = [node.memory_gib * slots_per_trial for node in roomy if node.memory_gib is not None]
    return Slots(
        num_slots=min(num_trials, max_slots or num_trials),
        slot=Slot(num_cores=cores, memory_gib=min(memory, default=None)),
        slots_per_trial=slots_per_trial,
    )


def local_slots(
    *,
    slot_gib: float = DEFAULT_SLOT_GIB,
    slot_cores: int | None = None,
    slots_per_trial: int = 1,
    max_slots: int | None = None,
) -> Slots:
    """The slots of this machine.

    Raises:
        ConfigError: As `node_slots` and `comparison_slots`.
    """
    node = node_slots(visible_gpus(), available_cores(), slot_gib=slot_gib, slot_cores=slot_cores)
    slots = comparison_slots([node], slot_gib=slot_gib, slots_per_trial=slots_per_trial, max_slots=max_slots)
    return dataclasses.replace(slots, node=node)


def available_cores() -> int:
    """CPU cores that this process may use: its affinity, and its control group's quota where there is one."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def visible_gpus(environment: Mapping[str, str] = os.environ) -> tuple[Gpu, ...]:
    """Each NVIDIA GPU that CUDA_VISIBLE_DEVICES leaves visible, by its UUID; none without a driver.

    Asks `nvidia-smi`, because asking torch would load it and could open a CUDA context in the driver's process. Its
    UUIDs hold in every process, while CUDA may number the cards otherwise than `nvidia-smi` does.
    """
    program = shutil.which("nvidia-smi")
    if program is None or environment.get("CUDA_VISIBLE_DEVICES") == "":
        return ()
    command = [program, "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        return ()
    gpus: dict[str, Gpu] = {}
    for line in answer.stdout.splitlines():
        index, uuid, mib = (cell.strip() for cell in line.split(","))
        gpus[index] = gpus[uuid] = Gpu(uuid, float(mib) / 1024)
    names = environment.get("CUDA_VISIBLE_DEVICES")
    if names is None:
        return tuple(dict.fromkeys(gpus.values()))
    return tuple(gpus[name.strip()] for name in names.split(",") if name.strip() in gpus)


def visible_gpus_gib(environment: Mapping[str, str] = os.environ) -> tuple[float, ...]:
    """Total memory of each visible GPU."""
    return tuple(gpu.gib for gpu in visible_gpus(environment))


def worker_environment(slot: Slot) -> dict[str, str]:
    """Environment variables of a trial's process, to be set before it imports torch."""
    threads = str(slot.num_cores)
    return {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "TOKENIZERS_PARALLELISM": "false",
        # oneDNN keeps what it made for each new shape, by default of 1,024 shapes: most of a GiB here.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "32",
        # Its own card, or none: Ray would leave every GPU visible to a process that asked for none.
        "CUDA_VISIBLE_DEVICES": slot.gpu or "",
        # GPU memory in blocks that can grow: fewer holes, so that a step needs little more than what it holds.
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
    }


def apply_slot(slot: Slot) -> None:
    """Holds this process to its slot; to be called in the thread that runs the trials, before and after it loads torch.

    Before, so that the cap on GPU memory is there first: a slot is bookkeeping of Ray's only, and without the
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


def unit_resources() -> tuple[str, ...]:
    """Names of the resources whose units Ray is to number, for every node of a cluster alike."""
    return tuple(
        _resource(kind, size) for kind in ("gpu", "cpu") for size in range(1, MAX_SLOTS_PER_TRIAL + 1)
    )


def place_resource(slots: Slots) -> str:
    """The resource whose unit number is a trial's place on its node."""
    return _resource(slots.slot.kind, slots.slots_per_trial)


def _resource(kind: str, size: int = 1) -> str:
    return f"medalign_{kind}_slot" + (f"_x{size}" if size > 1 else "")


def _slot_memory(gpu_gib: float, held: int, slot_gib: float) -> float:
    """Memory of each of the slots of one GPU; several leave room for what CUDA holds for each process."""
    share = gpu_gib if held == 1 else gpu_gib / held - CONTEXT_GIB
    return round(min(slot_gib, share), 2)


def _capped(held: Sequence[int], limit: int) -> tuple[int, ...]:
    """Takes slots away one by one, from the last GPU that holds most, until no more than the limit are left."""
    left = list(held)
    while sum(left) > limit:
        left[max(range(len(left)), key=lambda device: (left[device], device))] -= 1
    return tuple(left)


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not number > 0:
            raise ConfigError(f"{name}: {number}; must be above 0")
