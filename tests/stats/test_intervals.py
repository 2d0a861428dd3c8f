"""Intervals against peers, slow definitions and simulated coverage."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from medalign.stats.intervals import design_effect, paired_bootstrap_interval, wilson_interval


@pytest.mark.parametrize(("successes", "total"), [(0, 1), (0, 12), (5, 12), (75, 120), (120, 120)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_interval_equals_scipy(successes: int, total: int, level: float) -> None:
    expected = stats.binomtest(successes, total).proportion_ci(level, method="wilson")
    found = wilson_interval(successes, total, level)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.level == level


def test_wilson_interval_equals_statsmodels() -> None:
    for total in (7, 100, 400, 1273):
        for successes in range(0, total + 1, max(1, total // 12)):
            expected = proportion_confint(successes, total, alpha=0.05, method="wilson")
            found = wilson_interval(successes, total)
            assert (found.low, found.high) == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_takes_seed_averaged_successes() -> None:
    low, middle, high = (wilson_interval(successes, 120) for successes in (60, 60.5, 61))
    assert low.low < middle.low < high.low
    assert low.high < middle.high < high.high


def test_wilson_interval_mirrors_when_right_and_wrong_are_swapped() -> None:
    right, wrong = wilson_interval(17, 60), wilson_interval(43, 60)
    assert (right.low, right.high) == pytest.approx((1 - wrong.high, 1 - wrong.low))


@pytest.mark.parametrize("share", [0.1, 0.3, 0.62])
def test_wilson_interval_covers_the_truth_about_as_often_as_it_says(share: float) -> None:
    successes = np.random.default_rng(1).binomial(120, share, 1000)
    intervals = [wilson_interval(int(count), 120) for count in successes]
    assert 0.925 <= np.mean([found.low <= share <= found.high for found in intervals]) <= 0.975


@pytest.mark.parametrize(("successes", "total"), [(-1, 10), (11, 10), (0, 0), (float("nan"), 10)])
def test_wilson_interval_refuses_counts_that_cannot_be(successes: float, total: float) -> None:
    with pytest.raises(ValueError, match=r"successes must lie in \[0, total\]"):
        wilson_interval(successes, total)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_that_is_no_fraction_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        wilson_interval(1, 2, level)
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        paired_bootstrap_interval([1, 0], level=level)


def test_design_effect_is_one_without_groups() -> None:
    scores = [1, 0, 1, 1]
    assert design_effect(scores, None) == 1
    assert design_effect(scores, ["a", "b", "c", "d"]) == 1


def test_design_effect_equals_the_group_size_where_a_group_is_one_question_repeated() -> None:
    score_G = np.random.default_rng(2).integers(0, 2, 2000)
    groups = np.repeat(np.arange(2000), 3).tolist()
    assert design_effect(np.repeat(score_G, 3), groups) == pytest.approx(3, rel=1e-3)


def test_design_effect_counts_groups_where_all_scores_are_equal() -> None:
    assert design_effect([1, 1, 1, 1], ["a", "a", "b", "b"]) == 2


def test_design_effect_matches_the_variance_of_the_mean_over_simulated_test_sets() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 3).tolist()
    # Each group has its own difficulty; the mean's variance over many test sets is the truth.
    sets = [rng.random(120) < np.repeat(rng.beta(1, 1, 40), 3) for _ in range(2000)]
    true_effect = np.var([scores.mean() for scores in sets]) / (0.5 * 0.5 / 120)
    found = np.mean([design_effect(scores, groups) for scores in sets[:300]])
    assert found == pytest.approx(true_effect, rel=0.1)


def test_bootstrap_interval_equals_the_exact_bootstrap_distribution_of_few_questions() -> None:
    difference_Q = np.array([1.0, 0.0, -1.0, 1.0, 0.5])
    every_resample = [np.mean(drawn) for drawn in itertools.product(difference_Q, repeat=5)]
    # Half the level that leaves so much in the tails after the expansion for 5 groups.
    tail = stats.norm.cdf(np.sqrt(5 / 4) * stats.t.ppf(0.2, 4))
    expected = np.quantile(every_resample, [tail, 1 - tail])
    found = paired_bootstrap_interval(difference_Q, num_resamples=40_000, level=0.6, seed=1)
    assert (found.low, found.high) == pytest.approx(tuple(expected), abs=0.021)


def test_bootstrap_interval_is_near_the_t_interval_for_many_questions() -> None:
    difference_Q = np.random.default_rng(4).choice([1, 0, 0, 0, -1], 400)
    expected = stats.ttest_1samp(difference_Q, 0).confidence_interval(0.95)
    found = paired_bootstrap_interval(difference_Q, seed=2)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.005)


def test_cluster_bootstrap_of_repeated_questions_equals_the_bootstrap_of_the_questions() -> None:
    difference_G = np.random.default_rng(5).choice([1, 0, -1], 50)
    once = paired_bootstrap_interval(difference_G, seed=3)
    repeated = paired_bootstrap_interval(np.repeat(difference_G, 4), groups_Q=np.repeat(range(50), 4), seed=3)
    assert (repeated.low, repeated.high) == pytest.approx((once.low, once.high))


def test_groups_of_one_question_each_change_nothing() -> None:
    difference_Q = np.random.default_rng(6).choice([1, 0, -1], 30)
    labels = [f"g{29 - index}" for index in range(30)]
    assert paired_bootstrap_interval(difference_Q, groups_Q=labels) == paired_bootstrap_interval(difference_Q)


def test_bootstrap_interval_mirrors_when_the_arms_are_swapped() -> None:
    difference_Q = np.random.default_rng(7).choice([1, 1, 0, -1], 80)
    forward, backward = paired_bootstrap_interval(difference_Q), paired_bootstrap_interval(-difference_Q)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=1e-12)


def test_bootstrap_interval_is_the_same_for_one_seed_and_another_for_another() -> None:
    difference_Q = np.random.default_rng(8).normal(0, 0.2, 80).clip(-1, 1)
    assert paired_bootstrap_interval(difference_Q, seed=1) == paired_bootstrap_interval(difference_Q, seed=1)
    assert paired_bootstrap_interval(difference_Q, seed=1) != paired_bootstrap_interval(difference_Q, seed=2)


@pytest.mark.parametrize("size", [1, 4])
def test_drawing_kinds_of_groups_gives_the_interval_of_drawing_groups(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    difference_Q = np.random.default_rng(11).choice([1, 0.5, 0, 0, 0, -0.5, -1], 1200)
    groups = np.arange(1200) // size
    kinds = paired_bootstrap_interval(difference_Q, groups_Q=groups, num_resamples=40_000)
    monkeypatch.setattr("medalign.stats.intervals._DRAWS_A_KIND", 10**6)
    each = paired_bootstrap_interval(difference_Q, groups_Q=groups, num_resamples=40_000)
    # 40,000 resamples know an end to about 0.0002; the interval is 0.07 wide or more.
    assert kinds == pytest.approx(each, abs=0.001) and kinds != each


@pytest.mark.parametrize("values", [[1, 0, -1], [1, 1, 0, -1], [0.5, 0, 0, -1]])
def test_drawing_kinds_mirrors_when_the_arms_are_swapped(values: list[float]) -> None:
    # The first list makes a distribution that is its own mirror image.
    difference_Q = np.repeat(values, 50)
    forward, backward = paired_bootstrap_interval(difference_Q), paired_bootstrap_interval(-difference_Q)
    assert (forward.low, forward.high) == pytest.approx((-backward.high, -backward.low), abs=1e-12)
    assert paired_bootstrap_interval(difference_Q[::-1]) == forward


def test_drawing_in_batches_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    difference_Q = np.random.default_rng(9).normal(0, 0.2, 40).clip(-1, 1)
    whole = paired_bootstrap_interval(difference_Q, num_resamples=500)
    monkeypatch.setattr("medalign.stats.intervals._BATCH_DRAWS", 40 * 7)
    assert paired_bootstrap_interval(difference_Q, num_resamples=500) == whole


def test_interval_contains_zero_when_both_arms_agree() -> None:
    found = paired_bootstrap_interval(np.zeros(50))
    assert (found.low, found.high) == (0, 0)
    one_each = np.array([1, -1] + [0] * 48)
    found = paired_bootstrap_interval(one_each)
    assert found.low < 0 < found.high


def test_a_single_group_says_nothing_about_the_difference() -> None:
    found = paired_bootstrap_interval([1, 1, 0], groups_Q=["a", "a", "a"])
    assert (found.low, found.high) == (-1, 1)


@pytest.mark.parametrize(("num_groups", "size"), [(120, 1), (40, 3)])
def test_bootstrap_interval_covers_the_truth_about_as_often_as_it_says(num_groups: int, size: int) -> None:
    rng = np.random.default_rng(10)
    groups_Q = np.repeat(np.arange(num_groups), size)
    covered = []
    for repeat in range(300):
        # The arms differ on 30 % of the questions, the true difference is 0.1.
        difference_G = rng.choice([1, -1, 0], p=[0.2, 0.1, 0.7], size=num_groups)
        found = paired_bootstrap_interval(
            np.repeat(difference_G, size), groups_Q=groups_Q, num_resamples=1000, seed=repeat
        )
        covered.append(found.low <= 0.1 <= found.high)
    assert 0.915 <= np.mean(covered) <= 0.985


def test_questions_and_groups_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="no questions to resample"):
        paired_bootstrap_interval([])
    with pytest.raises(ValueError, match="3 values but 2 group labels"):
        paired_bootstrap_interval([1, 0, 1], groups_Q=["a", "b"])
    with pytest.raises(ValueError, match="num_resamples must be at least 1"):
        paired_bootstrap_interval([1, 0, 1], num_resamples=0)
