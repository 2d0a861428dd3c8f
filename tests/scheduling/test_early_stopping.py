from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from medalign.records import Progress, Stage, TrialResult, TrialSpec
from medalign.scheduling.early_stopping import Asha, AshaSettings


def _spec(number: int, method: str = "sft", stage: Stage = "search") -> TrialSpec:
    return TrialSpec(trial_id=f"{method}-{stage}-{number:03d}", method=method, stage=stage, number=number)


def _at(share: float, score: float) -> Progress:
    return Progress(budget_share=share, score=score)


def test_rungs_are_the_powers_below_the_full_budget() -> None:
    assert AshaSettings(grace_share=0.1, reduction_factor=3).rungs == pytest.approx((0.1, 0.3, 0.9))
    assert AshaSettings(grace_share=0.5, reduction_factor=2).rungs == (0.5,)
    assert AshaSettings(grace_share=1.0).rungs == ()


def test_first_trial_goes_on_and_a_worse_one_is_stopped_at_the_rung_only() -> None:
    asha = Asha(AshaSettings(grace_share=0.5))
    assert asha.goes_on(_spec(0), _at(0.5, 0.4))
    assert asha.goes_on(_spec(1), _at(0.25, 0.1))
    assert not asha.goes_on(_spec(1), _at(0.5, 0.3))
    assert asha.goes_on(_spec(2), _at(0.5, 0.4))
    assert asha.goes_on(_spec(2), _at(0.75, 0.0))


def test_a_trial_as_good_as_the_cutoff_goes_on() -> None:
    asha = Asha()
    assert all(asha.goes_on(_spec(number), _at(0.5, 0.4)) for number in range(3))


def test_share_a_rounding_error_below_the_rung_counts_as_reached() -> None:
    asha = Asha(AshaSettings(grace_share=0.3))
    asha.goes_on(_spec(0), _at(0.3, 0.4))
    assert not asha.goes_on(_spec(1), _at(0.1 + 0.1 + 0.1 - 2e-16, 0.3))


def test_methods_are_not_compared_with_each_other() -> None:
    asha = Asha()
    assert asha.goes_on(_spec(0, "sft"), _at(0.5, 0.9))
    assert asha.goes_on(_spec(0, "icl"), _at(0.5, 0.1))


def test_refits_are_neither_stopped_nor_counted() -> None:
    asha = Asha()
    assert asha.goes_on(_spec(0, stage="refit"), _at(0.5, 0.9))
    assert asha.goes_on(_spec(0), _at(0.5, 0.1))
    assert asha.goes_on(_spec(1, stage="refit"), _at(0.5, 0.0))


def test_nothing_is_stopped_at_its_full_budget() -> None:
    asha = Asha(AshaSettings(grace_share=0.5))
    asha.goes_on(_spec(0), _at(0.5, 0.9))
    assert asha.goes_on(_spec(1), _at(1.0, 0.0))


def test_score_that_is_no_number_is_the_lowest() -> None:
    asha = Asha()
    assert asha.goes_on(_spec(0), _at(0.5, float("nan")))
    assert asha.goes_on(_spec(1), _at(0.5, 0.1))
    assert not asha.goes_on(_spec(2), _at(0.5, float("nan")))
    assert asha.goes_on(_spec(3), _at(0.5, 0.2))


def test_recalled_results_count_as_seen() -> None:
    asha = Asha()
    asha.recall(
        [TrialResult(spec=_spec(0), status="completed", score=0.9, history=(_at(0.5, 0.4), _at(1.0, 0.9)))]
    )
    assert not asha.goes_on(_spec(1), _at(0.5, 0.3))


@pytest.mark.parametrize("reduction_factor", [2.0, 3.0])
def test_decisions_are_those_of_ray_tune_below_the_full_budget(reduction_factor: float) -> None:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    settings = AshaSettings(grace_share=0.1, reduction_factor=reduction_factor)
    ray_asha = AsyncHyperBandScheduler(
        time_attr="budget_share",
        metric="score",
        mode="max",
        grace_period=0.1,
        max_t=1.0,
        reduction_factor=reduction_factor,
        stop_last_trials=False,
    )
    asha = Asha(settings)
    generator = random.Random(0)
    specs = [_spec(number) for number in range(20)]
    for spec in specs:
        ray_asha.on_trial_add(None, SimpleNamespace(trial_id=spec.trial_id))
    reports = [(share, spec) for spec in specs for share in sorted(generator.sample(range(5, 100), 8))]
    reports.sort(key=lambda report: report[0] + 30 * generator.random())
    stopped: set[str] = set()
    latest: dict[str, int] = {}
    num_stops = 0
    for share, spec in reports:
        if spec.trial_id in stopped or share < latest.get(spec.trial_id, 0):
            continue
        latest[spec.trial_id] = share
        score = generator.random()
        result = {"budget_share": share / 100, "score": score}
        action = ray_asha.on_trial_result(None, SimpleNamespace(trial_id=spec.trial_id), result)
        goes_on = asha.goes_on(spec, _at(share / 100, score))
        assert goes_on == (action == "CONTINUE")
        if not goes_on:
            stopped.add(spec.trial_id)
            num_stops += 1
    assert 3 < num_stops < 20


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grace_share": 0.0}, r"grace_share: 0\.0; must be above 0"),
        ({"grace_share": 1.5}, r"grace_share: 1\.5; must be above 0 and at most 1"),
        ({"reduction_factor": 1.0}, r"reduction_factor: 1\.0; must be above 1"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AshaSettings(**changes)
