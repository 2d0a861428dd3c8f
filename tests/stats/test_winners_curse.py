"""The gap between validation and test: its interval against statsmodels' peer of the method, and its simulated size."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.proportion import confint_proportions_2indep

from medalign.records import Interval
from medalign.stats.intervals import wilson_interval
from medalign.stats.winners_curse import expected_largest, winners_curse


def test_gap_and_interval_are_newcombes_for_two_independent_proportions() -> None:
    found = winners_curse(0.6, 60, 0.5, wilson_interval(60, 120), 4)
    expected = confint_proportions_2indep(36, 60, 60, 120, method="newcomb", compare="diff")
    assert found.gap == pytest.approx(0.1)
    assert (found.interval.low, found.interval.high) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("num_draws", "expected"), [(1, 0), (2, 0.5641895835), (3, 0.8462843753)])
def test_expected_largest_of_few_draws_is_known(num_draws: int, expected: float) -> None:
    assert expected_largest(num_draws) == pytest.approx(expected, abs=1e-8)


def test_equally_good_settings_show_the_gap_that_choice_alone_is_expected_to_make() -> None:
    rng = np.random.default_rng(1)
    best = rng.binomial(100, 0.6, (4000, 8)).max(axis=1) / 100
    found = winners_curse(0.6, 100, 0.6, Interval(0.5, 0.7), 8)
    assert best.mean() - 0.6 == pytest.approx(found.expected_from_choice, abs=0.005)


def test_one_trial_has_nothing_to_choose_from() -> None:
    assert winners_curse(0.6, 60, 0.5, Interval(0.4, 0.6), 1).expected_from_choice == 0


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="num_trials must be at least 1, got 0"):
        winners_curse(0.6, 60, 0.5, Interval(0.4, 0.6), 0)
    with pytest.raises(ValueError, match=r"validation_accuracy must lie in \[0, 1\], got 60"):
        winners_curse(60, 60, 0.5, Interval(0.4, 0.6), 1)
