"""Costs add up, come apart again, and make the round trip through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalign.records import Cost, TrialResult, TrialSpec, trial_result_from_json, trial_result_to_json

COSTS = st.builds(
    Cost,
    wall_seconds=st.integers(0, 10**6),
    device_seconds=st.integers(0, 10**6),
    tokens_trained=st.integers(0, 10**9),
    train_flops=st.integers(0, 2**50).map(float),
    energy_joules=st.none() | st.integers(0, 10**6).map(float),
    peak_gib=st.floats(0, 100),
)


@given(COSTS, COSTS)
def test_what_is_added_can_be_taken_away(first: Cost, second: Cost) -> None:
    both = first + second
    assert both == second + first
    left = both - second
    assert (left.wall_seconds, left.tokens_trained) == (first.wall_seconds, first.tokens_trained)
    assert left.train_flops == pytest.approx(first.train_flops)
    assert both.peak_gib == max(first.peak_gib, second.peak_gib)


def test_energy_that_no_driver_told_is_not_zero() -> None:
    assert (Cost() + Cost()).energy_joules is None
    assert (Cost(energy_joules=5.0) + Cost()).energy_joules == 5.0


def test_a_part_never_leaves_less_than_nothing() -> None:
    left = Cost(wall_seconds=1, energy_joules=2.0) - Cost(wall_seconds=3, energy_joules=9.0)
    assert (left.wall_seconds, left.energy_joules) == (0, 0.0)


def test_a_result_makes_the_round_trip_with_its_shared_work() -> None:
    spec = TrialSpec(trial_id="dpo-search-000", method="dpo", stage="search")
    result = TrialResult(spec=spec, status="completed", shared={"table": Cost(tokens_scored=5)})
    assert trial_result_from_json(json.loads(json.dumps(trial_result_to_json(result)))) == result


def test_a_result_of_before_the_ledger_is_read() -> None:
    spec = TrialSpec(trial_id="dpo-search-000", method="dpo", stage="search")
    raw = trial_result_to_json(TrialResult(spec=spec, status="completed"))
    del raw["shared"], raw["cost"]["train_flops"], raw["cost"]["energy_joules"]
    assert trial_result_from_json(raw).cost.train_flops == 0
