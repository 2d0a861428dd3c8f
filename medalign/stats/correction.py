"""Correction of p-values for the number of comparisons made."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted by Holm's step-down method, in the order given.

    Keeps the chance of any false claim among all comparisons below the level, however the tests
    depend on each other, and is never weaker than Bonferroni's.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Statistics 6.
    """
    _check(p_values)
    adjusted = [0.0] * len(p_values)
    floor = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        floor = max(floor, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = floor
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted by Benjamini and Hochberg's step-up method, in the order given.

    Keeps the expected share of false claims among the claims made below the level: right for a list to
    look through, such as specialties, where Holm's would find next to nothing. Assumes tests that are independent or
    positively dependent. Discrete tests, as on few questions, make it cautious.

    Raises:
        ValueError: A p-value is not in [0, 1].

    Source: Benjamini and Hochberg (1995), Controlling the false discovery rate, J. Royal Statistical Society B 57.
    """
    _check(p_values)
    adjusted = [0.0] * len(p_values)
    ceiling = 1.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: -p_values[i])):
        ceiling = min(ceiling, p_values[index] * len(p_values) / (len(p_values) - rank))
        adjusted[index] = ceiling
    return tuple(adjusted)


def _check(p_values: Sequence[float]) -> None:
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value must lie in [0, 1], got {p}")
