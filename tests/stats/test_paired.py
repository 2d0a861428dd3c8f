"""Exact paired tests against scipy and against every sign written out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from medalign.stats.paired import mcnemar_exact, seed_averaged_difference, sign_flip_exact


def p_over_all_signs(differences: list[int]) -> float:
    """The definition: the share of all sign patterns whose sum is at least as far from 0 as the one seen."""
    observed = abs(sum(differences))
    patterns = list(itertools.product((1, -1), repeat=len(differences)))
    sums = [abs(sum(sign * d for sign, d in zip(signs, differences, strict=True))) for signs in patterns]
    return sum(found >= observed for found in sums) / len(patterns)


def test_mcnemar_counts_what_only_one_arm_has_right() -> None:
    found = mcnemar_exact([1, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 0])
    assert (found.b, found.c) == (3, 1)
    assert found.p == pytest.approx(10 / 16)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (0, 6), (17, 4), (30, 41), (900, 700)])
def test_mcnemar_p_equals_the_binomial_test_of_scipy(b: int, c: int) -> None:
    first_Q, second_Q = [1] * b + [0] * c + [1, 0], [0] * b + [1] * c + [1, 0]
    expected = stats.binomtest(b, b + c).pvalue if b + c else 1.0
    assert mcnemar_exact(first_Q, second_Q).p == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [(0, 1), (5, 5), (0, 6), (17, 4), (30, 41), (120, 80)])
def test_mcnemar_and_sign_flip_equal_the_exact_test_of_statsmodels(b: int, c: int) -> None:
    first_Q, second_Q = [1] * b + [0] * c + [1, 0], [0] * b + [1] * c + [1, 0]
    expected = mcnemar([[1, b], [c, 1]], exact=True).pvalue
    assert mcnemar_exact(first_Q, second_Q).p == pytest.approx(expected, abs=1e-12)
    assert sign_flip_exact([1] * b + [-1] * c) == pytest.approx(expected, abs=1e-12)


def test_mcnemar_refuses_arms_that_answered_other_numbers_of_questions() -> None:
    with pytest.raises(ValueError, match="answered"):
        mcnemar_exact([1, 0], [1, 0, 1])


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (4, 4), (0, 6), (17, 4), (30, 41), (900, 700)])
def test_sign_flip_with_one_seed_is_mcnemar(b: int, c: int) -> None:
    difference_Q = [1] * b + [0] * 20 + [-1] * c
    expected = mcnemar_exact([d == 1 for d in difference_Q], [d == -1 for d in difference_Q]).p
    assert sign_flip_exact(difference_Q) == pytest.approx(expected, rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=9))
def test_sign_flip_equals_all_signs_written_out(differences: list[int]) -> None:
    assert sign_flip_exact(differences) == pytest.approx(p_over_all_signs(differences), abs=1e-12)


def test_sign_flip_flips_whole_groups() -> None:
    differences, groups = [2, -1, 1, 1, 2, 0, 1], ["a", "a", "b", "c", "c", "d", "b"]
    assert sign_flip_exact(differences, groups_Q=groups) == pytest.approx(p_over_all_signs([1, 2, 3, 0]))


def test_sign_flip_does_not_depend_on_the_unit_the_order_or_who_is_first() -> None:
    units_Q = np.array([2, -1, 0, 1, 2, 2, -2, 1])
    p = sign_flip_exact(units_Q)
    assert 0 < p < 1
    assert sign_flip_exact(3 * units_Q) == p
    assert sign_flip_exact(units_Q[::-1]) == pytest.approx(p, rel=1e-12)
    assert sign_flip_exact(-units_Q) == p


def test_groups_make_repeated_questions_count_once() -> None:
    once = [1, 1, 1, 0, 1, 1, -1]
    repeated, groups = np.repeat(once, 5), np.repeat(range(7), 5)
    assert sign_flip_exact(repeated, groups_Q=groups) == pytest.approx(sign_flip_exact(once))
    assert sign_flip_exact(repeated) < sign_flip_exact(once) / 10


def test_equal_arms_have_a_p_of_one() -> None:
    assert sign_flip_exact([0, 0, 0]) == 1
    assert sign_flip_exact([1, -1], groups_Q=["a", "a"]) == 1
    assert mcnemar_exact([1, 0], [1, 0]).p == 1


def test_sign_flip_rejects_a_true_null_no_more_often_than_it_says() -> None:
    rng = np.random.default_rng(1)
    p_values = [sign_flip_exact(rng.choice([-2, -1, 0, 0, 1, 2], 60)) for _ in range(1000)]
    assert 0.02 <= np.mean(np.array(p_values) < 0.05) <= 0.065


def test_sign_flip_refuses_fractions() -> None:
    with pytest.raises(ValueError, match="whole units"):
        sign_flip_exact([0.5, -0.5])


def test_seed_averaged_difference_is_exact_for_unequal_numbers_of_seeds() -> None:
    first_SQ = [[1, 1, 0], [1, 0, 0]]
    second_TQ = [[1, 0, 1], [0, 0, 1], [0, 1, 1]]
    found = seed_averaged_difference(first_SQ, second_TQ)
    assert found.units_per_question == 6
    assert found.units_Q.tolist() == [4, 1, -6]
    assert found.fraction_Q == pytest.approx(np.mean(first_SQ, axis=0) - np.mean(second_TQ, axis=0))


@pytest.mark.parametrize(("first", "second"), [([[1, 0]], [[1, 0, 1]]), ([1, 0], [[1, 0]])])
def test_seed_averaged_difference_refuses_arms_of_unequal_shape(first: list, second: list) -> None:
    with pytest.raises(ValueError, match="seeds x questions of equal width"):
        seed_averaged_difference(first, second)


def test_seed_averaged_difference_needs_a_seed() -> None:
    with pytest.raises(ValueError, match="at least one seed"):
        seed_averaged_difference(np.zeros((0, 3)), [[1, 0, 1]])
