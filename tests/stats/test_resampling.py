"""Resampling for any metric: against the fast ways for the accuracy, and all permutations written out."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from medalign.errors import DataError
from medalign.stats.intervals import paired_bootstrap_interval
from medalign.stats.paired import seed_averaged_difference, sign_flip_exact
from medalign.stats.resampling import bootstrap_difference, permutation_p

RNG = np.random.default_rng(1)
FIRST, SECOND = RNG.random((2, 60)) < 0.7, RNG.random((3, 60)) < 0.5


def mean(answers: Sequence[float]) -> float:
    return float(np.mean(answers))


def test_bootstrap_of_a_mean_is_the_paired_bootstrap() -> None:
    found = bootstrap_difference(mean, FIRST, SECOND, num_resamples=4000)
    expected = paired_bootstrap_interval(FIRST.mean(0) - SECOND.mean(0), num_resamples=40_000)
    assert found.interval == pytest.approx(expected, abs=0.012)
    assert found.first == pytest.approx(FIRST.mean())
    assert found.difference == pytest.approx(FIRST.mean() - SECOND.mean())


def test_bootstrap_of_whole_groups_is_the_paired_bootstrap_of_groups() -> None:
    groups = np.arange(60) // 3 % 17
    found = bootstrap_difference(mean, FIRST, SECOND, groups_Q=groups, num_resamples=4000)
    expected = paired_bootstrap_interval(
        FIRST.mean(0) - SECOND.mean(0), groups_Q=groups, num_resamples=40_000
    )
    assert found.interval == pytest.approx(expected, abs=0.015)


def test_a_list_of_any_items_does_as_well_as_an_array() -> None:
    as_lists = (
        [[{"right": bool(right)} for right in seed] for seed in FIRST],
        [[{"right": bool(right)} for right in seed] for seed in SECOND],
    )

    def accuracy(answers: Sequence[dict[str, bool]]) -> float:
        return sum(answer["right"] for answer in answers) / len(answers)

    found = bootstrap_difference(accuracy, *as_lists, num_resamples=100)
    assert found.interval == pytest.approx(
        bootstrap_difference(mean, FIRST, SECOND, num_resamples=100).interval
    )
    assert permutation_p(accuracy, *as_lists, num_resamples=100) == permutation_p(
        mean, FIRST, SECOND, num_resamples=100
    )


def test_permutation_of_a_mean_is_the_exact_sign_flip_test() -> None:
    expected = sign_flip_exact(seed_averaged_difference(FIRST, SECOND).units_Q)
    assert permutation_p(mean, FIRST, SECOND, num_resamples=4000) == pytest.approx(expected, abs=0.02)


def macro_f1(answers: np.ndarray) -> float:
    """Of columns gold and predicted."""
    gold, said = answers.T
    scores = []
    for label in (0, 1, 2):
        num_both = np.sum((gold == label) & (said == label))
        scores.append(2 * num_both / (np.sum(gold == label) + np.sum(said == label)))
    return float(np.mean(scores))


def test_permutation_of_a_metric_that_is_no_mean_equals_all_exchanges_written_out() -> None:
    gold = np.array([0, 1, 2, 0, 1, 2, 0])
    first = np.column_stack([gold, [0, 1, 2, 0, 1, 1, 0]])
    second = np.column_stack([gold, [1, 1, 0, 0, 2, 2, 1]])
    observed = abs(macro_f1(first) - macro_f1(second))
    differences = []
    for pattern in itertools.product((False, True), repeat=7):
        mask = np.array(pattern)[:, None]
        one, other = np.where(mask, second, first), np.where(mask, first, second)
        differences.append(abs(macro_f1(one) - macro_f1(other)))
    expected = np.mean(np.array(differences) >= observed - 1e-12)
    assert permutation_p(macro_f1, [first], [second], num_resamples=1500) == pytest.approx(
        expected, abs=0.035
    )


def test_groups_are_exchanged_as_a_whole() -> None:
    first, second = np.ones((1, 12)), np.zeros((1, 12))
    groups = np.arange(12) // 3
    # Of 16 exchanges of 4 groups two are as far from 0 as the one seen.
    assert permutation_p(mean, first, second, groups_Q=groups, num_resamples=2000) == pytest.approx(
        2 / 16, abs=0.025
    )


def test_swapping_the_arms_mirrors_everything() -> None:
    there = bootstrap_difference(mean, FIRST, SECOND, num_resamples=200)
    back = bootstrap_difference(mean, SECOND, FIRST, num_resamples=200)
    assert (there.interval.low, there.interval.high) == pytest.approx(
        (-back.interval.high, -back.interval.low)
    )
    assert permutation_p(mean, FIRST, SECOND, num_resamples=200) == permutation_p(
        mean, SECOND, FIRST, num_resamples=200
    )


def test_the_same_seed_gives_the_same_result() -> None:
    one, again, other = (
        bootstrap_difference(mean, FIRST, SECOND, num_resamples=100, seed=seed) for seed in (1, 1, 2)
    )
    assert one == again != other
    assert permutation_p(mean, FIRST, SECOND, num_resamples=100, seed=1) == permutation_p(
        mean, FIRST, SECOND, num_resamples=100, seed=1
    )


def test_p_is_never_zero_and_one_for_equal_arms() -> None:
    assert permutation_p(mean, np.ones((1, 50)), np.zeros((1, 50)), num_resamples=99) == 0.01
    assert permutation_p(mean, FIRST, FIRST, num_resamples=99) == 1


def test_permutation_of_a_correlation_rejects_a_true_null_no_more_often_than_it_says() -> None:
    def correlation(answers: np.ndarray) -> float:
        return float(np.corrcoef(answers.T)[0, 1])

    rng = np.random.default_rng(2)
    p_values = [
        permutation_p(correlation, [rng.normal(size=(20, 2))], [rng.normal(size=(20, 2))], num_resamples=39)
        for _ in range(200)
    ]
    assert np.mean(np.array(p_values) <= 0.05) <= stats.binom.ppf(0.999, 200, 0.05) / 200


def test_answers_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match=r"an arm has no seed \(1 and 0\)"):
        bootstrap_difference(mean, FIRST[:1], [])
    with pytest.raises(DataError, match=r"answers are to \[59, 60\] questions"):
        permutation_p(mean, FIRST, SECOND[:, 1:])
    with pytest.raises(DataError, match="60 questions but 2 group labels"):
        permutation_p(mean, FIRST, SECOND, groups_Q=["a", "b"])
    with pytest.raises(DataError, match="60 questions in 1 groups; two groups are needed"):
        permutation_p(mean, FIRST, SECOND, groups_Q=["a"] * 60)
    with pytest.raises(DataError, match=r"the metric is \[nan\] on a resample of the questions"):
        bootstrap_difference(lambda answers: float("nan"), FIRST[:1], SECOND)
    with pytest.raises(ValueError, match="num_resamples must be at least 1, got 0"):
        permutation_p(mean, FIRST, SECOND, num_resamples=0)
    with pytest.raises(ValueError, match="level must lie between 0 and 1, got 95"):
        bootstrap_difference(mean, FIRST, SECOND, level=95)
