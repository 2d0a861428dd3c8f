from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from medalign.records import Progress, Stage, TrialResult, TrialSpec
from medalign.scheduling.early_stopping import (
    Asha,
    AshaSettings,
    Wilcoxon,
    WilcoxonSettings,
    stopping_rule,
)


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


def _report(share: float, scores: list[float]) -> Progress:
    right = sum(score > 0.5 for score in scores) / len(scores)
    return Progress(budget_share=share, score=right, question_scores=tuple(scores))


def _answers(mean: float, seed: int) -> list[float]:
    generator = random.Random(seed)
    return [min(1.0, max(0.0, generator.gauss(mean, 0.2))) for _ in range(60)]


def test_wilcoxon_stops_what_is_clearly_worse_and_spares_what_may_be_chance() -> None:
    rule = Wilcoxon()
    assert rule.goes_on(_spec(0), _report(0.5, _answers(0.6, 0)))
    assert not rule.goes_on(_spec(1), _report(0.5, _answers(0.3, 1)))
    assert rule.goes_on(_spec(2), _report(0.5, _answers(0.6, 3)))
    assert rule.goes_on(_spec(3), _report(0.25, _answers(0.1, 3)))
    assert rule.goes_on(_spec(4, "icl"), _report(0.5, _answers(0.1, 4)))


def test_wilcoxon_never_stops_the_more_accurate_trial() -> None:
    rule = Wilcoxon()
    sure = [0.9] * 30 + [0.4] * 30
    doubtful = [0.51] * 31 + [0.0] * 29
    assert rule.goes_on(_spec(0), _report(0.5, sure))
    assert rule.goes_on(_spec(1), _report(0.5, doubtful))


def test_wilcoxon_decides_as_its_own_test_says() -> None:
    from scipy.stats import wilcoxon

    settings = WilcoxonSettings(p_threshold=0.05)
    stopped = []
    for seed in range(20):
        rule = Wilcoxon(settings)
        best, other = _report(0.5, _answers(0.6, seed)), _report(0.5, _answers(0.5, 100 + seed))
        if other.score >= best.score:
            continue
        difference = [b - a for a, b in zip(best.question_scores, other.question_scores, strict=True)]
        p = float(wilcoxon(difference, alternative="less", zero_method="zsplit").pvalue)
        rule.goes_on(_spec(0), best)
        goes_on = rule.goes_on(_spec(1), other)
        assert goes_on == (p >= 0.05 or sum(difference) >= 0)
        stopped.append(not goes_on)
    assert 0 < sum(stopped) < len(stopped)


def test_wilcoxon_without_answers_stops_nothing_but_a_score_that_is_no_number() -> None:
    rule = Wilcoxon()
    rule.goes_on(_spec(0), _at(0.5, 0.9))
    assert rule.goes_on(_spec(1), _at(0.5, 0.1))
    assert not rule.goes_on(_spec(2), _at(0.5, float("nan")))


@pytest.mark.parametrize("kind", [Asha, Wilcoxon])
def test_by_generations_the_order_of_reports_does_not_matter(kind: type[Asha] | type[Wilcoxon]) -> None:
    reports = {number: _report(0.5, _answers(0.3 + 0.05 * (number * 7 % 8), number)) for number in range(8)}
    decisions = []
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [3, 2, 1, 0, 7, 6, 5, 4], [1, 3, 0, 2, 6, 4, 7, 5]):
        rule = kind(WilcoxonSettings(generation=4) if kind is Wilcoxon else AshaSettings(generation=4))
        went_on = {number: rule.goes_on(_spec(number), reports[number]) for number in order}
        decisions.append(dict(sorted(went_on.items())))
    assert decisions[0] == decisions[1] == decisions[2]
    assert all(decisions[0][number] for number in range(4))
    assert not all(decisions[0].values())


def test_the_rule_is_the_one_that_the_settings_are_of() -> None:
    assert stopping_rule(None) is None
    assert type(stopping_rule(AshaSettings())) is Asha
    assert type(stopping_rule(WilcoxonSettings())) is Wilcoxon
    with pytest.raises(ValueError, match=r"p_threshold: 1\.0; must be above 0 and below 1"):
        WilcoxonSettings(p_threshold=1.0)
