"""Power: the closed form against its own equation, and against simulated comparisons."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from medalign.stats.paired import mcnemar_exact
from medalign.stats.power import PairedDesign, exact_detectable_difference, exact_power


def connor(difference: float, discordance: float, power: float, alpha: float) -> float:
    z_alpha, z_beta = stats.norm.ppf(1 - alpha / 2), stats.norm.ppf(power)
    spread = z_alpha * math.sqrt(discordance) + z_beta * math.sqrt(discordance - difference**2)
    return (spread / difference) ** 2


@pytest.mark.parametrize("num_questions", [80, 120, 1000])
@pytest.mark.parametrize("discordance", [0.2, 0.5])
@pytest.mark.parametrize(("power", "alpha"), [(0.8, 0.05), (0.9, 0.01), (0.5, 0.05), (0.4, 0.05)])
def test_minimum_detectable_difference_solves_connors_equation(
    num_questions: int, discordance: float, power: float, alpha: float
) -> None:
    expected = optimize.brentq(
        lambda d: connor(d, discordance, power, alpha) - num_questions, 1e-4, discordance, xtol=1e-12
    )
    design = PairedDesign(discordance=discordance, wanted_power=power, alpha=alpha)
    assert design.detectable_difference(num_questions) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("num_questions", "discordance"), [(60, 0.3), (120, 0.3), (200, 0.1)])
def test_the_exact_test_reaches_nearly_the_power_asked_for(num_questions: int, discordance: float) -> None:
    difference = PairedDesign(discordance=discordance).detectable_difference(num_questions)
    assert difference is not None
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    rng = np.random.default_rng(1)
    found = []
    for _ in range(2000):
        outcome_Q = rng.choice(3, p=shares, size=num_questions)
        found.append(mcnemar_exact(outcome_Q == 0, outcome_Q == 1).p < 0.05)
    assert 0.72 <= np.mean(found) <= 0.82


def test_more_questions_and_fewer_disagreements_show_smaller_differences() -> None:
    few, many = (PairedDesign(discordance=0.3).detectable_difference(n) for n in (100, 400))
    steady = PairedDesign(discordance=0.15).detectable_difference(100)
    corrected = PairedDesign(discordance=0.3, alpha=0.05 / 6).detectable_difference(100)
    assert few is not None and many is not None and steady is not None and corrected is not None
    assert many < steady < few < corrected


def test_nothing_is_detectable_with_too_few_questions_or_without_disagreement() -> None:
    assert PairedDesign(discordance=0.3).detectable_difference(10) is None
    assert PairedDesign(discordance=1).detectable_difference(1) is None
    assert PairedDesign(discordance=1).detectable_difference(0) is None
    assert PairedDesign(discordance=0).detectable_difference(1000) is None


@pytest.mark.parametrize("num_questions", [60, 121, 997])
def test_num_questions_needed_is_the_inverse(num_questions: int) -> None:
    design = PairedDesign(discordance=0.3)
    difference = design.detectable_difference(num_questions)
    assert difference is not None
    assert (
        design.num_questions_needed(difference) == design.num_questions_needed(-difference) == num_questions
    )


def test_num_questions_needed_matches_a_sample_size_worked_by_hand() -> None:
    # (1.959964 sqrt(0.3) + 0.841621 sqrt(0.3 - 0.01))^2 / 0.01
    assert PairedDesign(discordance=0.3).num_questions_needed(0.1) == 234


@pytest.mark.parametrize(("difference", "discordance"), [(0, 0.3), (0.4, 0.3), (0.1, 0)])
def test_impossible_differences_are_refused(difference: float, discordance: float) -> None:
    with pytest.raises(ValueError, match=r"need 0 < \|difference\| <= discordance"):
        PairedDesign(discordance=discordance).num_questions_needed(difference)


def test_values_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"discordance must lie in \[0, 1\], got 1.5"):
        PairedDesign(discordance=1.5)
    with pytest.raises(ValueError, match="num_questions must not be negative"):
        PairedDesign(discordance=0.5).detectable_difference(-1)
    with pytest.raises(ValueError, match="wanted_power must lie between 0 and 1, got 80"):
        PairedDesign(discordance=0.5, wanted_power=80)
    with pytest.raises(ValueError, match="alpha must lie between 0 and 1"):
        PairedDesign(discordance=0.5, alpha=0)


def power_written_out(num_questions: int, difference: float, discordance: float, alpha: float) -> float:
    """Every outcome of McNemar's exact test times its probability."""
    shares = [(discordance + difference) / 2, (discordance - difference) / 2, 1 - discordance]
    found = 0.0
    for b in range(num_questions + 1):
        for c in range(num_questions + 1 - b):
            if b + c and stats.binomtest(b, b + c).pvalue < alpha:
                found += float(stats.multinomial.pmf([b, c, num_questions - b - c], num_questions, shares))
    return found


@pytest.mark.parametrize(("difference", "discordance"), [(0.0, 0.5), (0.2, 0.4), (0.3, 0.3)])
def test_exact_power_equals_all_outcomes_written_out(difference: float, discordance: float) -> None:
    expected = power_written_out(25, difference, discordance, 0.05)
    assert exact_power(25, difference, discordance=discordance) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("num_questions", [100, 400, 1273])
@pytest.mark.parametrize("discordance", [0.1, 0.3])
def test_the_exact_test_has_the_power_of_its_closed_form(num_questions: int, discordance: float) -> None:
    difference = exact_detectable_difference(num_questions, discordance=discordance)
    assert difference is not None
    assert exact_power(num_questions, difference, discordance=discordance) == pytest.approx(0.8, abs=1e-4)
    rng = np.random.default_rng(num_questions)
    first, second = (discordance + difference) / 2, (discordance - difference) / 2
    b, c, _ = rng.multinomial(num_questions, [first, second, 1 - discordance], 4000).T
    p_values = 2 * stats.binom.cdf(np.minimum(b, c), b + c, 0.5)
    assert np.mean(p_values < 0.05) == pytest.approx(0.8, abs=0.02)


def test_the_exact_test_errs_at_most_as_often_as_it_says() -> None:
    for num_questions in (20, 100, 400, 1273):
        for discordance in (0.05, 0.2, 0.5):
            assert exact_power(num_questions, 0.0, discordance=discordance) <= 0.05


def test_closed_form_of_power_is_the_inverse_of_the_detectable_difference() -> None:
    for seed_variance in (0.0, 1e-4, 4e-4):
        design = PairedDesign(discordance=0.3, seed_variance=seed_variance)
        difference = design.detectable_difference(400)
        assert difference is not None
        assert design.power(400, difference) == pytest.approx(0.8, abs=1e-9)
        assert design.num_questions_needed(difference) == 400


def test_variance_over_seeds_sets_a_floor_that_no_number_of_questions_lowers() -> None:
    design = PairedDesign(discordance=0.3, seed_variance=1e-4)
    assert design.num_questions_needed(0.02) is None and design.num_questions_for_equivalence(0.02) is None


def test_arms_of_equal_accuracy_are_called_equivalent_with_the_power_asked_for() -> None:
    num_questions = PairedDesign(discordance=0.2).num_questions_for_equivalence(0.05)
    assert num_questions == math.ceil(0.2 * (stats.norm.ppf(0.95) + stats.norm.ppf(0.9)) ** 2 / 0.05**2)
    rng = np.random.default_rng(1)
    b, c, _ = rng.multinomial(num_questions, [0.1, 0.1, 0.8], 4000).T
    centre = (b - c) / num_questions
    error = np.sqrt(((b + c) / num_questions - centre**2) / num_questions)
    assert np.mean(np.abs(centre) + stats.norm.ppf(0.95) * error < 0.05) == pytest.approx(0.8, abs=0.02)


def test_power_that_cannot_be_reckoned_is_refused() -> None:
    with pytest.raises(ValueError, match=r"need \|difference\| <= discordance"):
        exact_power(100, 0.3, discordance=0.2)
    with pytest.raises(ValueError, match="num_questions must be above 0, got 0"):
        PairedDesign(discordance=0.2).power(0, 0.1)
    with pytest.raises(ValueError, match=r"seed_variance must lie in \[0, 1\), got -1"):
        PairedDesign(discordance=0.2, seed_variance=-1)
    with pytest.raises(ValueError, match="margin must lie between 0 and 1, got 2"):
        PairedDesign(discordance=0.2).num_questions_for_equivalence(2)
    assert exact_detectable_difference(10, discordance=0.3) is None
