"""Seconds by activity, counted tokens, and a peak that starts anew."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from medalign.modeling import metering
from medalign.modeling.metering import Meter


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
