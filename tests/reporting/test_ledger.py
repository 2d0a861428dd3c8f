"""The cost ledger: nothing left out, nothing counted twice, and a point's price with its interval."""

from __future__ import annotations

import math

import pytest

from medalign.records import ArmResult, Cost, TrialResult, TrialSpec
from medalign.reporting.ledger import Ledger, Price, arm_rows, make_ledger, trial_rows
from medalign.stats.comparison import ComparisonSummary, compare_arms
from tests.reporting import samples

TABLE = "reference log-probabilities"


def compare(arms: list[ArmResult]) -> ComparisonSummary:
    return compare_arms(arms, score=lambda predictions: {}, num_resamples=200)


def trial(name: str, stage: str, cost: Cost, status: str = "completed", **fields: object) -> TrialResult:
    method, _, number = name.partition("-")
    spec = TrialSpec(trial_id=f"{method}-{stage}-{number}", method=method, stage=stage, number=int(number))  # type: ignore[arg-type]
    return TrialResult(spec=spec, status=status, cost=cost, **fields)  # type: ignore[arg-type]


@pytest.fixture
def ledger() -> Ledger:
    arms = samples.make_arms(samples.make_questions(), {"base": 0.4, "sft": 0.6, "dpo": 0.2})
    trials = [
        trial("base-0", "refit", Cost(wall_seconds=5, cpu_seconds=4)),
        trial("sft-0", "search", Cost(wall_seconds=100, cpu_seconds=90)),
        trial("sft-1", "search", Cost(wall_seconds=50, cpu_seconds=40), "stopped"),
        trial("sft-2", "search", Cost(wall_seconds=20, cpu_seconds=10), "failed"),
        trial("sft-0", "refit", Cost(wall_seconds=80, cpu_seconds=70)),
        trial("dpo-0", "search", Cost(cpu_seconds=30), shared={TABLE: Cost(wall_seconds=9, cpu_seconds=8)}),
        trial("dpo-1", "search", Cost(cpu_seconds=30), shared={TABLE: Cost()}),
        trial("dpo-0", "refit", Cost(cpu_seconds=60), shared={TABLE: Cost()}),
    ]
    return make_ledger(trials, arms, compare(arms), Price())


def test_stopped_and_failed_trials_are_paid_for(ledger: Ledger) -> None:
    sft = ledger.arms["sft"]
    assert (sft.search.cpu_seconds, sft.refits.cpu_seconds, sft.total.wall_seconds) == (140, 70, 250)


def test_shared_work_is_counted_once_and_shown_as_shared(ledger: Ledger) -> None:
    (work,) = ledger.shared
    assert (work.name, work.cost.cpu_seconds, work.methods) == (TABLE, 8, ("dpo",))
    assert work.paid_by == ("dpo-search-0",)
    assert work.used_by == ("dpo-search-0", "dpo-search-1", "dpo-refit-0")
    assert ledger.arms["dpo"].total.cpu_seconds == 30 + 30 + 60 + 8
    assert ledger.arms["sft"].shared == Cost()
    assert ledger.grand_total.cpu_seconds == 4 + 90 + 40 + 10 + 70 + 30 + 30 + 60 + 8


def test_the_rows_add_up_to_their_last(ledger: Ledger) -> None:
    *rows, total = trial_rows(ledger)
    assert rows[-1]["name"] == f"shared: {TABLE}" and total["stage"] == "total"
    for name in ("wall_seconds", "cpu_seconds", "tokens_trained"):
        assert sum(row[name] for row in rows) == total[name]


def test_a_point_costs_the_whole_arm_over_its_gain(ledger: Ledger) -> None:
    arms = samples.make_arms(samples.make_questions(), {"base": 0.4, "sft": 0.6, "dpo": 0.2})
    pair = next(pair for pair in compare(arms).pairs if (pair.first, pair.second) == ("sft", "base"))
    point = ledger.points["sft"]
    assert point.middle == pytest.approx(210 / (100 * pair.difference))
    assert point.low == pytest.approx(210 / (100 * pair.interval.high))
    assert (point.high is None) == (pair.interval.low <= 0)


def test_an_arm_without_a_gain_has_no_price_for_a_point(ledger: Ledger) -> None:
    assert ledger.points["dpo"].middle is None and "base" not in ledger.points


def test_arms_are_compared_by_price_then_by_device_then_by_processor() -> None:
    arms = samples.make_arms(samples.make_questions(), {"base": 0.4, "sft": 0.6})
    cost = Cost(wall_seconds=7200, device_seconds=1800, cpu_seconds=3600)
    trials = [trial("base-0", "refit", cost), trial("sft-0", "refit", cost)]
    by_device = make_ledger(trials, arms, compare(arms), Price())
    assert by_device.axis == "device_seconds" and by_device.on_axis(cost) == 1800
    priced = make_ledger(trials, arms, compare(arms), Price(device_hour=2.0, core_hour=0.05, currency="EUR"))
    assert priced.axis == "price" and priced.on_axis(cost) == pytest.approx(1.05)
    assert trial_rows(priced)[-1]["price"] == pytest.approx(2.1)
    assert trial_rows(priced)[-1]["currency"] == "EUR" and trial_rows(by_device)[-1]["price"] is None


def test_undefined_stays_undefined() -> None:
    arms = samples.make_arms(samples.make_questions(), {"base": 0.4, "sft": 0.6})
    found = make_ledger([trial("base-0", "refit", Cost(cpu_seconds=1))], arms, compare(arms), Price())
    row = next(row for row in arm_rows(found) if row["name"] == "base")
    assert row["energy_joules"] is None and row["peak_gib"] is None and row["flops_per_answer"] is None


def test_an_answer_costs_what_scoring_took_over_all_that_were_answered() -> None:
    questions = samples.make_questions()
    arms = samples.make_arms(questions, {"base": 0.4, "sft": 0.6})
    refits = [
        trial(f"sft-{n}", "refit", Cost(score_flops=61e9, score_seconds=6.1), folder="x") for n in (0, 1)
    ]
    found = make_ledger(refits, arms, compare(arms), Price()).arms["sft"]
    assert found.answer_flops is not None and math.isclose(found.answer_flops, 1e9)
    assert found.answer_seconds == pytest.approx(0.1)
