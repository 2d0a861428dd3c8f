"""Array types, and questions that belong together."""

# Q = questions, G = groups

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt

BoolArray = npt.NDArray[np.bool_]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def number_groups(groups_Q: Sequence[Hashable]) -> IntArray:
    """Each question's group as a number from 0, in the order in which groups first occur."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(group, len(numbers)) for group in groups_Q], dtype=np.int64)


def group_sums(values_Q: npt.ArrayLike, groups_Q: Sequence[Hashable] | IntArray | None) -> npt.NDArray:
    """Sum of the values in each group, in order of first occurrence; integers stay integers.

    Args:
        values_Q: One value a question.
        groups_Q: One label a question; None makes every question a group.

    Raises:
        ValueError: The two differ in length or are not one-dimensional.
    """
    values_Q = np.asarray(values_Q)
    if values_Q.ndim != 1:
        raise ValueError(f"expected one value a question, got an array of shape {values_Q.shape}")
    if groups_Q is None:
        return values_Q
    if len(groups_Q) != len(values_Q):
        raise ValueError(f"{len(values_Q)} values but {len(groups_Q)} group labels")
    numbers_Q = number_groups([*groups_Q])
    sums_G = np.zeros(numbers_Q.max(initial=-1) + 1, dtype=values_Q.dtype)
    np.add.at(sums_G, numbers_Q, values_Q)
    return sums_G
