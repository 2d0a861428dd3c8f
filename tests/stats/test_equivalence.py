"""The equivalence test: against its two one-sided tests, and its exact error at the edge of the margin."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from medalign.stats.equivalence import equivalence_p
from medalign.stats.two_level import TwoLevelEstimate, estimate_difference


def estimate(num_first: int, num_second: int, num_questions: int) -> TwoLevelEstimate:
    """Of two arms of which the one alone has so many right, and the other so many."""
    first = np.zeros((1, num_questions), dtype=bool)
    second = first.copy()
    first[0, :num_first] = True
    second[0, num_first : num_first + num_second] = True
    found = estimate_difference(first, second, first_varies=False, second_varies=False)
    assert found is not None
    return found


def test_p_is_the_larger_of_two_one_sided_t_tests() -> None:
    found = estimate(60, 50, 2000)
    margin, half = 0.03, 0.5 / 2000
    error = math.sqrt(found.variance_questions)
    below = stats.t.sf((found.centre + margin - half) / error, 1999)
    above = stats.t.cdf((found.centre - margin + half) / error, 1999)
    assert equivalence_p(found, margin) == pytest.approx(max(below, above))


def test_equivalence_is_shown_where_the_90_percent_interval_lies_well_inside_the_margin() -> None:
    found = estimate(60, 60, 4000)
    interval = found.interval(0.9)
    assert equivalence_p(found, interval.high + 0.002) < 0.05 < equivalence_p(found, interval.high - 0.002)


def test_arms_that_never_differ_on_few_questions_are_not_equivalent() -> None:
    # A true difference of 2 points leaves 120 questions without a trace in 9 % of all cases: 0.98 ** 120.
    assert equivalence_p(estimate(0, 0, 120), 0.02) > 0.05
    assert equivalence_p(estimate(0, 0, 200), 0.02) < 0.05


def test_it_does_not_matter_who_is_first() -> None:
    assert equivalence_p(estimate(30, 22, 900), 0.03) == pytest.approx(
        equivalence_p(estimate(22, 30, 900), 0.03)
    )


def error_at_the_edge(num_questions: int, discordance: float, margin: float) -> float:
    """Exact chance that arms which differ by the margin are called equivalent."""
    low, high = stats.binom.ppf([1e-9, 1 - 1e-9], num_questions, discordance).astype(int)
    share = (discordance + margin) / (2 * discordance)
    total, wrong = num_questions + 1, 0.0
    for num_differ in range(low, high + 1):
        b = np.arange(num_differ + 1)
        centre = (2 * b - num_differ) / total
        variance = ((num_differ + 1) / total - centre**2) / (total - 1)
        error = np.sqrt(np.maximum(variance, margin * (1 - margin) / num_questions))
        p = stats.t.cdf(-(margin - 0.5 / num_questions - np.abs(centre)) / error, num_questions - 1)
        chance = stats.binom.pmf(b, num_differ, share) @ (p < 0.05)
        wrong += stats.binom.pmf(num_differ, num_questions, discordance) * chance
    return wrong


@pytest.mark.parametrize("num_questions", [100, 150, 400, 1273])
@pytest.mark.parametrize("margin", [0.02, 0.05])
@pytest.mark.parametrize("times", [1.0, 1.2, 1.5, 2.0])
def test_arms_that_differ_by_the_margin_are_seldom_called_equivalent(
    num_questions: int, margin: float, times: float
) -> None:
    assert error_at_the_edge(num_questions, times * margin, margin) <= 0.055


@pytest.mark.parametrize("margin", [0, 1, 2])
def test_a_margin_that_is_no_fraction_is_refused(margin: float) -> None:
    with pytest.raises(ValueError, match=f"margin must lie between 0 and 1, got {margin}"):
        equivalence_p(estimate(5, 3, 100), margin)
