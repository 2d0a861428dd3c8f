"""The winner's curse: the best of several settings on validation looks better than it is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import integrate, special

from medalign.records import Interval
from medalign.stats.intervals import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class WinnersCurse:
    """How an arm's best score in the search compares with what it reached on the test.

    Attributes:
        validation_accuracy: Of the setting that won the search.
        test_accuracy: Of the same setting, refitted, on the test questions.
        gap: Validation less test.
        interval: Of the gap. It also holds how the two splits differ in difficulty.
        expected_from_choice: The gap to expect from choosing alone, were all settings equally good: how far the
            best of so many independent draws lies above their mean. An upper bound, since settings err on the same
            questions.
        num_trials: Settings among which the best was chosen.
    """

    validation_accuracy: float
    test_accuracy: float
    gap: float
    interval: Interval
    expected_from_choice: float
    num_trials: int


def winners_curse(
    validation_accuracy: float,
    num_validation: int,
    test_accuracy: float,
    test_interval: Interval,
    num_trials: int,
) -> WinnersCurse:
    """The gap between the best validation score and the test, with an interval.

    The interval joins Wilson's of the validation score with the one given for the test. Assumes that the two splits are
    independent, and independent validation questions; it does not undo the choice, so that it stands around the
    inflated gap, which is what it is to show.

    Args:
        num_validation: Scored validation questions.
        num_trials: Settings tried, 1 or more.

    Raises:
        ValueError: A value is out of its range.

    Source: Newcombe (1998), Statistics in Medicine 17, method 10 (interval of a difference); Capen, Clapp and Campbell
    (1971), J. Petroleum Technology 23 (the curse).
    """
    if num_trials < 1:
        raise ValueError(f"num_trials must be at least 1, got {num_trials}")
    for name, value in (("validation_accuracy", validation_accuracy), ("test_accuracy", test_accuracy)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], got {value}")
    before = wilson_interval(validation_accuracy * num_validation, num_validation, test_interval.level)
    gap = validation_accuracy - test_accuracy
    below = math.hypot(validation_accuracy - before.low, test_interval.high - test_accuracy)
    above = math.hypot(before.high - validation_accuracy, test_accuracy - test_interval.low)
    spread = math.sqrt(validation_accuracy * (1 - validation_accuracy) / num_validation)
    return WinnersCurse(
        validation_accuracy=validation_accuracy,
        test_accuracy=test_accuracy,
        gap=gap,
        interval=Interval(max(-1.0, gap - below), min(1.0, gap + above), test_interval.level),
        expected_from_choice=spread * expected_largest(num_trials),
        num_trials=num_trials,
    )


def expected_largest(num_draws: int) -> float:
    """Expected largest of so many independent standard normal draws.

    Source: David and Nagaraja (2003), Order Statistics, sec. 3.1: the integral of x n phi(x) Phi(x)^(n - 1).
    """

    def integrand(x: float) -> float:
        return float(x * num_draws * math.exp(-x * x / 2) * special.ndtr(x) ** (num_draws - 1))

    return 0.0 if num_draws == 1 else integrate.quad(integrand, -9, 9)[0] / math.sqrt(2 * math.pi)
