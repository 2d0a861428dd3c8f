"""Exact tests of whether two arms that answered the same questions differ."""

# S, T = seeds of the first and the second arm, Q = questions, G = groups

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medalign.stats.arrays import FloatArray, IntArray, group_sums


class McnemarResult(NamedTuple):
    """Questions that only the first (b) or only the second (c) has right, and the two-sided p."""

    b: int
    c: int
    p: float


class SeedAveragedDifference(NamedTuple):
    """Mean over the first arm's seeds less that over the second's, as whole numbers.

    Attributes:
        units_Q: The difference on each question, in units.
        units_per_question: Units that make up one whole question.
    """

    units_Q: IntArray
    units_per_question: int

    @property
    def fraction_Q(self) -> FloatArray:  # noqa: N802
        """The difference on each question, in [-1, 1]."""
        return self.units_Q / self.units_per_question


def mcnemar_exact(first_Q: npt.ArrayLike, second_Q: npt.ArrayLike) -> McnemarResult:
    """Two-sided exact test on the questions on which exactly one of two arms is right.

    Under the null hypothesis each of these is as likely to fall to one arm as to the other, so
    that b is binomial. Assumes independent questions. Conservative, the more so the fewer
    questions differ: with fewer than 6 it cannot fall below 0.05.

    Args:
        first_Q: Whether the first arm is right on each question.
        second_Q: The same for the second.

    Raises:
        ValueError: The two differ in length.

    Source: McNemar (1947), Psychometrika 12; exact form as in Agresti (2013), Categorical Data Analysis, 11.1.
    """
    first_Q, second_Q = np.asarray(first_Q, dtype=bool), np.asarray(second_Q, dtype=bool)
    if first_Q.shape != second_Q.shape:
        raise ValueError(f"the arms answered {first_Q.shape} and {second_Q.shape} questions")
    b, c = int((first_Q & ~second_Q).sum()), int((second_Q & ~first_Q).sum())
    tail = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
    return McnemarResult(b, c, min(1.0, 2 * tail / 2 ** (b + c)))


def seed_averaged_difference(first_SQ: npt.ArrayLike, second_TQ: npt.ArrayLike) -> SeedAveragedDifference:
    """The difference of two arms on each question, averaged over seeds, without rounding.

    Args:
        first_SQ: Whether the first arm is right, for each seed and question.
        second_TQ: The same for the second arm, whose number of seeds may differ.

    Raises:
        ValueError: An arm has no seed, or the two have other numbers of questions.
    """
    first_SQ, second_TQ = np.asarray(first_SQ, dtype=bool), np.asarray(second_TQ, dtype=bool)
    if first_SQ.ndim != 2 or second_TQ.ndim != 2 or first_SQ.shape[1:] != second_TQ.shape[1:]:
        raise ValueError(
            f"expected seeds x questions of equal width, got {first_SQ.shape} and {second_TQ.shape}"
        )
    num_first, num_second = len(first_SQ), len(second_TQ)
    if not (num_first and num_second):
        raise ValueError(f"each arm needs at least one seed, got {num_first} and {num_second}")
    units = math.lcm(num_first, num_second)
    first_Q = first_SQ.sum(axis=0, dtype=np.int64) * (units // num_first)
    second_Q = second_TQ.sum(axis=0, dtype=np.int64) * (units // num_second)
    return SeedAveragedDifference(first_Q - second_Q, units)


def sign_flip_exact(
    units_Q: npt.ArrayLike, *, groups_Q: Sequence[Hashable] | IntArray | None = None
) -> float:
    """Two-sided p of the sum of differences when the sign of each could as well be the other.

    The whole distribution of the sum of +-|d| is built by convolution, so that no resampling error
    is left. With one seed and no groups it is McNemar's exact test. With groups the differences in a group
    are added and the group's sum is flipped.

    Assumes that under the null hypothesis the two arms are exchangeable within a group (not only equal in
    mean), and that groups are independent. A group more or less in a test of few groups changes
    much: with fewer than 6 groups that differ, p cannot fall below 0.05. Differences among seeds are averaged away
    before the test and do not enter its variance.

    Args:
        units_Q: The difference on each question, in whole units (see `seed_averaged_difference`).
        groups_Q: One label a question; None flips every question by itself.

    Raises:
        ValueError: The differences are not integers.

    Source: Fisher (1935), The Design of Experiments, sec. 21; Pagano and Tritchler (1983), JASA 78 (exact
    distribution by convolution). Time grows with groups x units: 0.1 s for 10,000 questions and 2 seeds.
    """
    units_Q = np.asarray(units_Q)
    if not np.issubdtype(units_Q.dtype, np.integer):
        raise ValueError(f"differences must be whole units, got an array of {units_Q.dtype}")
    units_G = group_sums(units_Q, groups_Q)
    weight_G = np.abs(units_G[units_G != 0])
    if not len(weight_G):
        return 1.0
    unit = int(np.gcd.reduce(weight_G))
    weight_G = weight_G // unit
    observed = abs(int(units_G.sum())) // unit
    # The sum is 2 x (units with a plus sign) - (all units): its lower tail, doubled by symmetry.
    highest = (int(weight_G.sum()) - observed) // 2
    return min(1.0, 2 * float(_plus_distribution(weight_G)[: highest + 1].sum()))


def _plus_distribution(weight_G: IntArray) -> FloatArray:
    """Probability of each total of the weights that get a plus sign, all signs equally likely."""
    probability = np.zeros(int(weight_G.sum()) + 1)
    probability[0] = 1.0
    reach = 0
    for weight in weight_G.tolist():
        half = 0.5 * probability[: reach + 1]
        probability[: reach + 1] = half
        probability[weight : reach + weight + 1] += half
        reach += weight
    return probability
