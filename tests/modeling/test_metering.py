"""Seconds by activity, counted tokens, and a peak that starts anew."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from medalign.modeling import metering
from medalign.modeling.metering import Meter
from medalign.records import Cost
from tests.markers import requires_gpu


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    times = SimpleNamespace(perf_counter=clock, process_time=lambda: 2 * clock.now)
    monkeypatch.setattr(metering, "time", times)
    return clock


def test_scoring_inside_training_counts_as_scoring_alone(clock: Clock) -> None:
    meter = Meter()
    clock.now += 1
    with meter.during("train"):
        clock.now += 2
        with meter.during("score"):
            clock.now += 4
        clock.now += 8
    with meter.during("score"):
        clock.now += 16
    cost = meter.cost()
    assert (cost.train_seconds, cost.score_seconds, cost.wall_seconds, cost.cpu_seconds) == (10, 20, 31, 62)


def test_seconds_of_what_still_goes_on_count(clock: Clock) -> None:
    meter = Meter()
    with meter.during("train"):
        clock.now += 2
        with meter.during("score"):
            clock.now += 3
            cost = meter.cost()
            assert (cost.train_seconds, cost.score_seconds) == (2, 3)
        clock.now += 4
        cost = meter.cost()
        assert (cost.train_seconds, cost.score_seconds) == (6, 3)


def test_shared_work_has_an_account_of_its_own(clock: Clock) -> None:
    meter = Meter()
    clock.now += 1
    with meter.sharing("table"):
        with meter.during("score"):
            clock.now += 10
        meter.tokens_scored += 100
    with meter.during("score"):
        clock.now += 5
    meter.tokens_scored += 7
    cost, table = meter.cost(), meter.shared["table"]
    assert (table.wall_seconds, table.score_seconds, table.tokens_scored) == (10, 10, 100)
    assert (cost.wall_seconds, cost.score_seconds, cost.tokens_scored) == (6, 5, 7)


def test_shared_work_that_was_found_done_costs_nothing() -> None:
    meter = Meter()
    meter.uses_shared("table")
    assert meter.shared == {"table": Cost()}


def test_energy_is_the_share_of_the_device_that_the_slot_is(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([1000.0, 1600.0])
    monkeypatch.setattr(metering, "device_joules", lambda: next(told))
    monkeypatch.setattr(metering, "_device_share", lambda: 0.25)
    meter = Meter()
    clock.now += 40
    cost = meter.cost()
    assert (cost.energy_joules, cost.device_seconds) == (150.0, 10.0)


def test_without_a_driver_energy_is_undefined_and_no_device_is_held() -> None:
    if metering._cuda():
        pytest.skip("there is a GPU here")
    cost = Meter().cost()
    assert cost.energy_joules is None and cost.device_seconds == 0


@requires_gpu
def test_the_driver_tells_the_energy_of_work_on_a_gpu() -> None:
    import torch

    meter = Meter()
    matrix = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)
    for _ in range(200):
        matrix = matrix @ matrix / 100
    torch.cuda.synchronize()
    cost = meter.cost()
    assert cost.energy_joules is not None and 1 < cost.energy_joules < 2000 * cost.wall_seconds
    assert 0 < cost.device_seconds <= cost.wall_seconds


def test_seconds_before_a_failure_count(clock: Clock) -> None:
    meter = Meter()
    with pytest.raises(RuntimeError, match="diverged"), meter.during("train"):
        clock.now += 3
        raise RuntimeError("diverged")
    assert meter.cost().train_seconds == 3


def test_counted_tokens_stand_in_the_cost() -> None:
    meter = Meter()
    meter.tokens_trained += 5
    meter.tokens_scored += 7
    meter.tokens_generated += 9
    cost = meter.cost()
    assert (cost.tokens_trained, cost.tokens_scored, cost.tokens_generated) == (5, 7, 9)
    assert Meter().cost().tokens_trained == 0


def test_a_new_meter_forgets_the_peak_of_the_trial_before() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        pytest.skip("the peak of a process cannot be reset here")
    first = Meter()
    held = bytearray(b"x") * (1 << 28)
    peak = first.cost().peak_gib
    assert peak > 0.25
    del held
    assert first.cost().peak_gib >= peak - 0.001
    assert Meter().cost().peak_gib < peak - 0.2
