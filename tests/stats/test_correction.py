"""Corrections against their definitions and against statsmodels."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from statsmodels.stats.multitest import multipletests

from medalign.stats.correction import benjamini_hochberg, holm


def rejected_step_by_step(p_values: list[float], level: float) -> set[int]:
    """Holm's procedure as he wrote it: test the smallest at level / m, the next at level / (m - 1), until one fails."""
    rejected: set[int] = set()
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] > level / (len(p_values) - rank):
            break
        rejected.add(index)
    return rejected


def test_holm_adjusts_a_known_example_and_keeps_the_order() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx((0.06, 0.03, 0.06))


def test_an_adjusted_p_is_below_a_level_exactly_when_holms_procedure_rejects_there() -> None:
    rng = random.Random(1)
    for _ in range(200):
        p_values = [rng.random() ** 3 for _ in range(rng.randint(1, 6))]
        level = rng.uniform(0.01, 0.4)
        found = {index for index, p in enumerate(holm(p_values)) if p <= level}
        assert found == rejected_step_by_step(p_values, level)


def test_equal_p_values_stay_equal_and_none_exceeds_one() -> None:
    assert holm([0.5, 0.5, 1.0]) == (1.0, 1.0, 1.0)
    assert holm([0.01, 0.01]) == (0.02, 0.02)
    assert holm([]) == ()


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_holm_refuses_what_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\]"):
        holm([0.5, p])


@pytest.mark.parametrize(("correct", "method"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_corrections_equal_those_of_statsmodels(correct: Callable, method: str) -> None:
    rng = random.Random(2)
    for count in (1, 2, 5, 15, 200):
        p_values = [rng.random() ** 3 for _ in range(count)] + [0.03, 0.03, 1.0, 0.0]
        expected = multipletests(p_values, method=method)[1]
        assert correct(p_values) == pytest.approx(tuple(expected), abs=1e-12)


def test_benjamini_hochberg_adjusts_a_known_example_and_keeps_the_order() -> None:
    assert benjamini_hochberg([0.04, 0.01, 0.03, 0.5]) == pytest.approx((0.16 / 3, 0.04, 0.16 / 3, 0.5))
    assert benjamini_hochberg([]) == ()


def test_benjamini_hochberg_refuses_what_is_no_probability() -> None:
    with pytest.raises(ValueError, match=r"must lie in \[0, 1\], got 2"):
        benjamini_hochberg([0.5, 2])
