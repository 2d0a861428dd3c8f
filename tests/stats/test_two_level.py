"""Differences over questions and seeds: against slow definitions, special cases and the exact coverage."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from medalign.stats.intervals import wilson_interval
from medalign.stats.two_level import (
    TwoLevelEstimate,
    accuracy_interval,
    accuracy_variances,
    estimate_difference,
)

RNG = np.random.default_rng(1)
FIRST, SECOND = RNG.random((3, 40)) < 0.7, RNG.random((2, 40)) < 0.5


def estimate(*args: object, **kwargs: object) -> TwoLevelEstimate:
    found = estimate_difference(*args, **kwargs)  # type: ignore[arg-type]
    assert found is not None
    return found


def over_seeds_written_out(score_SQ: np.ndarray) -> tuple[float, float]:
    """Squared standard error of the mean over seeds, without and with noise, cell by cell."""
    num_seeds, num_questions = score_SQ.shape
    means = [sum(row) / num_questions for row in score_SQ.tolist()]
    grand = sum(means) / num_seeds
    with_noise = sum((mean - grand) ** 2 for mean in means) / (num_seeds - 1)
    noise = 0.0
    for question in range(num_questions):
        of_question = sum(float(score_SQ[seed, question]) for seed in range(num_seeds)) / num_seeds
        for seed in range(num_seeds):
            noise += (float(score_SQ[seed, question]) - means[seed] - of_question + grand) ** 2
    noise /= (num_seeds - 1) * num_questions**2
    return (with_noise - noise) / num_seeds, with_noise / num_seeds


def test_both_variances_equal_their_definitions_cell_by_cell() -> None:
    found = estimate(FIRST, SECOND)
    # Half a question each way is added: two questions of weight one half.
    difference = [*(FIRST.mean(0) - SECOND.mean(0)).tolist(), 1.0, -1.0]
    weight = [1.0] * 40 + [0.5, 0.5]
    centre = sum(w * d for w, d in zip(weight, difference, strict=True)) / 41
    scatter = sum(w * (d - centre) ** 2 for w, d in zip(weight, difference, strict=True))
    assert found.centre == pytest.approx(centre)
    assert found.variance_questions == pytest.approx(41 / 40 * scatter / 41**2)
    first, second = over_seeds_written_out(FIRST), over_seeds_written_out(SECOND)
    over_seeds = max(0.0, first[0] + second[0])
    assert found.variance_seeds == pytest.approx(over_seeds)
    assert found.difference == pytest.approx(FIRST.mean() - SECOND.mean())
    spread = found.variance_questions**2 / 39 + first[1] ** 2 / 2 + second[1] ** 2 / 1
    assert found.degrees_of_freedom == pytest.approx((found.variance_questions + over_seeds) ** 2 / spread)


def test_variance_over_questions_is_that_of_the_mean_of_independent_questions_but_for_the_added_ones() -> (
    None
):
    first, second = RNG.random((1, 3000)) < 0.7, RNG.random((1, 3000)) < 0.5
    expected = (first[0].astype(float) - second[0]).var(ddof=1) / 3000
    assert estimate(first, second).variance_questions == pytest.approx(expected, rel=1e-3)


def test_swapping_the_arms_mirrors_the_interval_and_keeps_p() -> None:
    forward, backward = estimate(FIRST, SECOND), estimate(SECOND, FIRST)
    there, back = forward.interval(), backward.interval()
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert forward.p_value() == pytest.approx(backward.p_value())


def test_interval_excludes_zero_exactly_where_p_is_below_the_level() -> None:
    for shift in np.linspace(0, 0.3, 13):
        first = np.random.default_rng(2).random((2, 200)) < 0.5 + shift
        found = estimate(first, np.random.default_rng(3).random((2, 200)) < 0.5)
        interval = found.interval(0.95)
        assert (found.p_value() < 0.05) == (not interval.low <= 0 <= interval.high)


def test_repeating_every_question_within_its_group_changes_nothing() -> None:
    once = estimate(FIRST, SECOND)
    groups = np.repeat(np.arange(40), 3)
    repeated = estimate(FIRST.repeat(3, axis=1), SECOND.repeat(3, axis=1), groups_Q=groups)
    assert repeated.centre == pytest.approx(once.centre)
    assert repeated.variance_questions == pytest.approx(once.variance_questions)
    assert repeated.variance_seeds == pytest.approx(once.variance_seeds)
    assert repeated.degrees_of_freedom == pytest.approx(once.degrees_of_freedom)


def test_seeds_that_differ_widen_the_interval_and_a_seed_free_arm_adds_nothing() -> None:
    base = np.arange(100)[None] % 2 == 0
    steady = np.stack([np.arange(100) < 60] * 2)
    uneven = np.stack([np.arange(100) < 50, np.arange(100) < 70])
    calm = estimate(steady, base, second_varies=False)
    shaken = estimate(uneven, base, second_varies=False)
    assert calm.variance_seeds == 0
    assert shaken.variance_seeds is not None and shaken.variance_seeds > 0
    assert shaken.interval().high - shaken.interval().low > calm.interval().high - calm.interval().low


def test_one_seed_of_an_arm_that_varies_leaves_the_variance_over_seeds_unknown() -> None:
    unknown = estimate(FIRST[:1], SECOND)
    known = estimate(FIRST[:1], SECOND[:1], first_varies=False, second_varies=False)
    assert unknown.variance_seeds is None
    assert known.variance_seeds == 0
    assert known.degrees_of_freedom == pytest.approx(39)


def test_arms_that_never_differ_are_not_known_to_be_equal() -> None:
    found = estimate(FIRST[:1], FIRST[:1]).interval()
    assert found.low == -found.high and 0.02 < found.high < 0.07


def test_an_interval_never_leaves_what_a_difference_can_be() -> None:
    found = estimate(np.ones((1, 3)), np.zeros((1, 3))).interval(0.999)
    assert (found.low >= -1, found.high) == (True, 1)


def test_questions_of_a_single_group_give_no_estimate() -> None:
    assert estimate_difference(FIRST, SECOND, groups_Q=["a"] * 40) is None


def coverage(num_questions: int, discordance: float, difference: float) -> float:
    """Exact chance that the 95 % interval holds the truth: every outcome times its probability."""
    share = (discordance + difference) / (2 * discordance)
    low, high = stats.binom.ppf([1e-9, 1 - 1e-9], num_questions, discordance).astype(int)
    covered = 0.0
    for num_differ in range(low, high + 1):
        b = np.arange(num_differ + 1)
        total = num_questions + 1
        centre = (2 * b - num_differ) / total
        variance = ((num_differ + 1) / total - centre**2) / (total - 1)
        half = stats.t.ppf(0.975, num_questions - 1) * np.sqrt(variance)
        holds = np.abs(centre - difference) <= half
        chance = stats.binom.pmf(b, num_differ, share) @ holds
        covered += stats.binom.pmf(num_differ, num_questions, discordance) * chance
    return covered


def test_the_enumerated_interval_is_the_one_of_the_estimate() -> None:
    b, c, n = 12, 5, 100
    first = np.array([[True] * b + [False] * (n - b)])
    second = np.array([[False] * b + [True] * c + [False] * (n - b - c)])
    found = estimate(first, second)
    centre = (b - c) / (n + 1)
    assert found.centre == pytest.approx(centre)
    assert found.standard_error == pytest.approx(math.sqrt(((b + c + 1) / (n + 1) - centre**2) / n))


@pytest.mark.parametrize("num_questions", [100, 400, 1273])
@pytest.mark.parametrize("discordance", [0.1, 0.2, 0.3, 0.5])
@pytest.mark.parametrize("share", [0, 0.3])
def test_exact_coverage_of_the_difference_lies_between_94_and_96_percent(
    num_questions: int, discordance: float, share: float
) -> None:
    found = coverage(num_questions, discordance, share * discordance)
    assert 0.94 <= found <= (0.962 if num_questions == 100 and discordance == 0.1 else 0.96)


def test_accuracy_interval_is_wilsons_with_one_seed_and_no_group() -> None:
    right = np.array([[True] * 75 + [False] * 45])
    expected = wilson_interval(75, 120, 0.9)
    for varies in (True, False):
        assert accuracy_interval(right, varies=varies, level=0.9) == pytest.approx(expected)


@pytest.mark.parametrize("right", [True, False])
def test_accuracy_interval_where_all_answers_are_alike_counts_groups(right: bool) -> None:
    found = accuracy_interval(np.full((2, 30), right), groups_Q=np.repeat(range(10), 3))
    assert found == pytest.approx(wilson_interval(10 * right, 10))


def test_seeds_that_agree_count_once_and_seeds_that_scatter_narrow_the_interval() -> None:
    once = RNG.random((1, 200)) < 0.6
    widths = [
        (lambda found: found.high - found.low)(accuracy_interval(scores))
        for scores in (once, np.repeat(once, 5, axis=0), RNG.random((5, 200)) < 0.6)
    ]
    assert widths[1] == pytest.approx(widths[0], rel=0.01)
    assert widths[2] < 0.7 * widths[0]


def test_accuracy_interval_widens_where_seeds_differ() -> None:
    shift = np.stack([np.arange(400) < 200, np.arange(400) < 280])
    alone = accuracy_interval(shift, varies=False)
    both = accuracy_interval(shift)
    assert both.low < alone.low < alone.high < both.high


def test_accuracy_variances_are_those_of_the_interval_and_never_zero() -> None:
    over_questions, over_seeds = accuracy_variances(FIRST)
    assert over_questions == pytest.approx(FIRST.mean(0).var(ddof=1) / 40)
    assert over_seeds == pytest.approx(max(0.0, over_seeds_written_out(FIRST)[0]))
    assert accuracy_variances(FIRST[:1])[1] is None
    assert accuracy_variances(FIRST[:1], varies=False)[1] == 0
    assert accuracy_variances(np.ones((1, 20)))[0] > 0


def test_bad_scores_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="answered 40 and 39 questions"):
        estimate_difference(FIRST, SECOND[:, 1:])
    with pytest.raises(ValueError, match="at least two questions, got 1"):
        estimate_difference([[1]], [[0]])
    with pytest.raises(ValueError, match="the score of seed 1 on question 2 is nan"):
        estimate_difference([[0, 1, 0], [0, 1, math.nan]], [[0, 1, 0]])
    with pytest.raises(ValueError, match=r"seeds x questions, got an array of shape \(3,\)"):
        accuracy_interval([0, 1, 0])
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        estimate(FIRST, SECOND).interval(95)
    with pytest.raises(dataclasses.FrozenInstanceError):
        estimate(FIRST, SECOND).centre = 0.0  # type: ignore[misc]
