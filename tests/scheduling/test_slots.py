from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medalign.errors import ConfigError
from medalign.scheduling.slots import (
    CONTEXT_GIB,
    MAX_SLOTS_PER_TRIAL,
    Gpu,
    NodeSlots,
    Slot,
    Slots,
    available_cores,
    comparison_slots,
    node_slots,
    visible_gpus_gib,
    worker_environment,
)


def _gpus(*gib: float) -> list[Gpu]:
    return [Gpu(f"GPU-{number}", each) for number, each in enumerate(gib)]


@pytest.mark.parametrize(
    ("num_cores", "slot_cores", "max_slots", "expected"),
    [
        (2, None, None, (2, 1)),
        (2, 2, None, (1, 2)),
        (5, 2, None, (2, 2)),
        (2, 8, None, (1, 2)),
        (8, 1, 3, (3, 1)),
    ],
)
def test_cores_are_shared_out_on_a_machine_without_gpu(
    num_cores: int, slot_cores: int | None, max_slots: int | None, expected: tuple[int, int]
) -> None:
    node = node_slots([], num_cores, slot_cores=slot_cores, max_slots=max_slots)
    assert (node.num_slots, node.slot_cores) == expected
    slots = comparison_slots([node])
    assert slots.resources == {"cpu": expected[1], "medalign_cpu_slot": 1}


@pytest.mark.parametrize(
    ("gpus_gib", "per_device"),
    [
        ([23.6], (1,)),
        ([23.6] * 4, (1, 1, 1, 1)),
        ([79.6], (3,)),
        ([139.8], (5,)),
        ([47.5, 47.5], (2, 2)),
        ([79.6, 23.6], (3, 1)),
        ([8.0], (1,)),
    ],
)
def test_each_gpu_is_cut_by_its_own_size(gpus_gib: list[float], per_device: tuple[int, ...]) -> None:
    node = node_slots(_gpus(*gpus_gib), 16)
    assert node.per_device == per_device
    assert node.slot_cores == 16 // node.num_slots
    assert node.resources["medalign_gpu_slot"] == sum(per_device)


@pytest.mark.parametrize("gpu_gib", [23.6, 47.5, 79.6, 8.0, 139.8])
def test_slots_of_a_gpu_fit_into_it_together_with_what_cuda_holds(gpu_gib: float) -> None:
    node = node_slots(_gpus(gpu_gib), 16)
    slots = [node.slot_of(place) for place in range(node.num_slots)]
    held = sum(slot.memory_gib or 0 for slot in slots)
    assert held + (CONTEXT_GIB * len(slots) if len(slots) > 1 else 0) <= gpu_gib


def test_slots_are_limited_by_cores_and_by_the_upper_limit() -> None:
    assert node_slots(_gpus(*[23.6] * 4), 3).per_device == (1, 1, 1, 0)
    assert node_slots(_gpus(79.6, 79.6), 16, max_slots=4).per_device == (2, 2)
    assert node_slots(_gpus(*[23.6] * 4), 1, slot_cores=2).slot_cores == 1


def test_places_take_turns_among_the_gpus_and_each_knows_its_own() -> None:
    node = node_slots(_gpus(79.6, 23.6), 16)
    slots = [node.slot_of(place) for place in range(4)]
    assert [slot.gpu for slot in slots] == ["GPU-0", "GPU-1", "GPU-0", "GPU-0"]
    assert [slot.memory_gib for slot in slots] == [24.0, 23.6, 24.0, 24.0]
    assert {slot.num_cores for slot in slots} == {4}


def test_a_trial_of_several_slots_gets_them_on_one_gpu() -> None:
    node = node_slots(_gpus(79.6, 23.6, 139.8), 16)
    assert (node.per_device, node.num_trials(2)) == ((3, 1, 5), 3)
    assert node.resources["medalign_gpu_slot_x2"] == 3
    slots = [node.slot_of(place, 2) for place in range(3)]
    assert [slot.gpu for slot in slots] == ["GPU-0", "GPU-2", "GPU-2"]
    assert {slot.memory_gib for slot in slots} == {48.0}
    asked = comparison_slots([node], slots_per_trial=2).resources
    assert asked == {"cpu": 2, "medalign_gpu_slot": 2, "medalign_gpu_slot_x2": 1}


def test_a_cluster_of_mixed_cards_counts_on_its_smallest_slot() -> None:
    rack = node_slots(_gpus(23.6, 23.6), 8)
    server = node_slots(_gpus(79.6, 79.6), 128)
    head = node_slots([], 32)
    slots = comparison_slots([head, rack, server])
    assert slots == Slots(num_slots=8, slot=Slot(num_cores=4, memory_gib=23.6))
    assert comparison_slots([head]).num_slots == 32
    assert comparison_slots([rack, server], max_slots=3).num_slots == 3


def test_slots_of_another_size_than_asked_for_are_refused() -> None:
    nodes = [node_slots(_gpus(79.6), 8, slot_gib=40.0)]
    with pytest.raises(
        ConfigError, match=r"slot_gib: 24, but the nodes offer slots of 40 GiB; use --slot-gib 40"
    ):
        comparison_slots(nodes)


def test_a_trial_larger_than_every_device_is_refused() -> None:
    nodes = [node_slots(_gpus(23.6, 23.6), 8)]
    with pytest.raises(ConfigError, match=r"slots_per_trial: 2, but the largest device holds 1 slot"):
        comparison_slots(nodes, slots_per_trial=2)


@pytest.mark.parametrize("gpus_gib", [[], [79.6, 23.6], [23.6] * 8])
def test_a_node_tells_its_slots_to_driver_and_trials(gpus_gib: list[float]) -> None:
    node = node_slots(_gpus(*gpus_gib), 16)
    assert NodeSlots.from_text(node.to_text()) == node
    heard = NodeSlots.from_labels({**node.labels, "ray.io/node-id": "abc"})
    assert heard is not None
    assert comparison_slots([heard]) == comparison_slots([node])
    assert heard.resources == node.resources
    assert all(len(value) <= 63 for value in node.labels.values())


def test_a_node_of_others_offers_no_slots() -> None:
    assert NodeSlots.from_labels({"ray.io/node-id": "abc"}) is None


def test_places_for_large_trials_end_at_the_largest_size_and_at_none() -> None:
    resources = node_slots([], 20).resources
    assert resources[f"medalign_cpu_slot_x{MAX_SLOTS_PER_TRIAL}"] == 2
    assert len(resources) == MAX_SLOTS_PER_TRIAL
    assert node_slots([], 1).resources == {"medalign_cpu_slot": 1.0}


@pytest.mark.parametrize("name", ["num_cores", "slot_cores", "max_slots"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: 0; must be above 0"):
        node_slots([], **{"num_cores": 2, name: 0})


def test_a_process_sees_its_own_gpu_or_none_and_has_as_many_threads_as_cores() -> None:
    environment = worker_environment(Slot(num_cores=2))
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert worker_environment(Slot(memory_gib=24.0, gpu="GPU-7"))["CUDA_VISIBLE_DEVICES"] == "GPU-7"


def test_at_least_one_core_is_available() -> None:
    assert available_cores() >= 1


@pytest.fixture
def two_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho '0, GPU-aa, 24576'\necho '1, GPU-bb, 81559'\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")


@pytest.mark.usefixtures("two_gpus")
@pytest.mark.parametrize(
    ("visible", "expected"),
    [(None, (24.0, 79.6)), ("", ()), ("1", (79.6,)), ("GPU-aa", (24.0,)), ("1,0", (79.6, 24.0))],
)
def test_gpus_are_those_that_cuda_visible_devices_names(
    visible: str | None, expected: tuple[float, ...]
) -> None:
    environment = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
    assert visible_gpus_gib(environment) == pytest.approx(expected, abs=0.1)


def test_a_machine_without_nvidia_driver_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus_gib({}) == ()
