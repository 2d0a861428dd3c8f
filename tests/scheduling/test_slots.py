from __future__ import annotations

import stat
from pathlib import Path

import pytest

from medalign.scheduling.slots import (
    Slot,
    Slots,
    available_cores,
    cpu_slots,
    gpu_slots,
    visible_gpus_gib,
    worker_environment,
)


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
def test_cpu_slots_share_the_cores_out(
    num_cores: int, slot_cores: int | None, max_slots: int | None, expected: tuple[int, int]
) -> None:
    slots = cpu_slots(num_cores, slot_cores, max_slots)
    assert (slots.num_slots, slots.slot.num_cores) == expected
    assert slots.slot.resources == {"cpu": expected[1]}


@pytest.mark.parametrize(
    ("gpus_gib", "slot_gib", "num_slots", "share"),
    [
        ([23.6], 24.0, 1, 1.0),
        ([23.6] * 4, 24.0, 4, 1.0),
        ([79.6], 24.0, 3, 0.3333),
        ([47.5, 47.5], 24.0, 4, 0.5),
        ([79.6, 23.6], 24.0, 2, 1.0),
        ([8.0], 24.0, 1, 1.0),
    ],
)
def test_gpu_slots_are_as_many_as_the_smallest_gpu_holds(
    gpus_gib: list[float], slot_gib: float, num_slots: int, share: float
) -> None:
    slots = gpu_slots(gpus_gib, 16, slot_gib=slot_gib)
    assert slots.num_slots == num_slots
    assert slots.slot.gpu_share == share
    assert slots.slot.num_cores == 16 // num_slots


@pytest.mark.parametrize("gpu_gib", [23.6, 47.5, 79.6, 8.0, 141.0])
def test_slots_of_a_gpu_fit_into_it_together(gpu_gib: float) -> None:
    slots = gpu_slots([gpu_gib], 16, slot_gib=24.0)
    assert slots.num_slots * slots.slot.gpu_share <= 1
    assert slots.slot.memory_gib is not None
    assert slots.num_slots * slots.slot.memory_gib <= gpu_gib


def test_gpu_slots_are_limited_by_cores_and_by_the_upper_limit() -> None:
    assert gpu_slots([23.6] * 4, 3, slot_gib=24.0) == Slots(
        num_slots=3, slot=Slot(num_cores=1, gpu_share=1.0, memory_gib=23.6)
    )
    assert gpu_slots([23.6] * 4, 16, slot_gib=24.0, max_slots=2).num_slots == 2
    assert gpu_slots([23.6] * 4, 1, slot_gib=24.0, slot_cores=2).slot.num_cores == 1


@pytest.mark.parametrize("name", ["num_cores", "slot_cores", "max_slots"])
def test_a_number_below_one_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: 0; must be above 0"):
        cpu_slots(**{"num_cores": 2, name: 0})


def test_gpu_slots_without_a_gpu_are_refused() -> None:
    with pytest.raises(ValueError, match="use cpu_slots"):
        gpu_slots([], 2, slot_gib=24.0)


def test_a_process_without_gpu_sees_none_and_has_as_many_threads_as_cores() -> None:
    environment = worker_environment(Slot(num_cores=2))
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["OMP_NUM_THREADS"] == environment["MKL_NUM_THREADS"] == "2"
    assert "CUDA_VISIBLE_DEVICES" not in worker_environment(Slot(gpu_share=0.5, memory_gib=24.0))


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
