"""Partial pooling: its limits, its slow definition by integration, and who is drawn in how far."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medalign.stats.pooling import pool_partially


def test_few_questions_are_drawn_to_the_mean_of_all_and_many_are_not() -> None:
    sizes = np.array([5, 400, 400, 400, 400])
    found = pool_partially([1.0, 0.40, 0.55, 0.50, 0.60], 0.25 / sizes)
    assert found[0].mean < 0.75 and found[0].own_weight < 0.5
    assert found[1].mean == pytest.approx(0.40, abs=0.02) and found[1].own_weight > 0.85
    assert found[0].interval.high - found[0].interval.low > found[1].interval.high - found[1].interval.low


def test_specialties_that_differ_no_more_than_chance_are_drawn_together() -> None:
    rng = np.random.default_rng(1)
    bare = rng.binomial(20, 0.5, 12) / 20
    found = pool_partially(bare, np.full(12, 0.25 / 20))
    assert np.ptp([pooled.mean for pooled in found]) < 0.5 * np.ptp(bare)


def test_it_equals_the_posterior_mean_by_numerical_integration() -> None:
    mean, variance = np.array([0.2, 0.5, 0.9]), np.array([0.02, 0.01, 0.05])

    centre = np.linspace(-2, 3, 4001)[:, None]
    densities = []
    for spread in np.linspace(0, 0.25, 160):
        total = variance + spread**2
        joint = stats.norm.pdf(mean, centre, np.sqrt(total)).prod(axis=1)
        own = spread**2 / total[0]
        posterior = own * mean[0] + (1 - own) * centre[:, 0]
        densities.append((joint.sum(), (joint * posterior).sum()))
    expected = sum(found[1] for found in densities) / sum(found[0] for found in densities)
    assert pool_partially(mean, variance)[0].mean == pytest.approx(expected, rel=1e-6)


def test_interval_ends_are_quantiles_of_the_posterior() -> None:
    mean, variance = np.array([0.3, 0.5, 0.6, 0.55]), np.full(4, 0.01)
    low, high = (pool_partially(mean, variance, level=level)[0].interval for level in (0.5, 0.9))
    assert high.low < low.low < pool_partially(mean, variance)[0].mean < low.high < high.high


def test_what_all_share_widens_every_interval_and_moves_nothing() -> None:
    mean, variance = [0.3, 0.5, 0.6], [0.01, 0.02, 0.01]
    alone, shared = pool_partially(mean, variance), pool_partially(mean, variance, common_variance=0.01)
    for one, other in zip(alone, shared, strict=True):
        assert one.mean == other.mean
        assert other.interval.low < one.interval.low < one.interval.high < other.interval.high


def test_intervals_cover_the_true_means_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(2)
    sizes = np.array([5, 8, 10, 15, 20, 30, 60, 120])
    covered = []
    for _ in range(60):
        truth = rng.normal(0.5, 0.08, len(sizes)).clip(0.05, 0.95)
        bare = rng.binomial(sizes, truth) / sizes
        for found, true in zip(pool_partially(bare, 0.25 / sizes), truth, strict=True):
            covered.append(found.interval.low <= true <= found.interval.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_pooling_halves_the_error_of_small_specialties() -> None:
    rng = np.random.default_rng(3)
    errors = []
    for _ in range(60):
        truth = rng.normal(0.5, 0.05, 10)
        bare = rng.binomial(10, truth) / 10
        pooled = np.array([found.mean for found in pool_partially(bare, np.full(10, 0.025))])
        errors.append([np.square(pooled - truth).mean(), np.square(bare - truth).mean()])
    pooled_error, bare_error = np.mean(errors, axis=0)
    assert pooled_error < 0.5 * bare_error


def test_what_cannot_be_pooled_is_refused() -> None:
    with pytest.raises(ValueError, match="two specialties or more"):
        pool_partially([0.5], [0.1])
    with pytest.raises(ValueError, match="variances above 0"):
        pool_partially([0.5, 0.4], [0.1, 0.0])
    with pytest.raises(ValueError, match="finite means"):
        pool_partially([0.5, float("nan")], [0.1, 0.1])
    with pytest.raises(ValueError, match="level must lie between 0 and 1"):
        pool_partially([0.5, 0.4], [0.1, 0.1], level=95)
