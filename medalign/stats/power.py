"""How small a difference a test split can show, and how many questions a difference needs.

The closed form is Connor's approximation for paired proportions: with d the difference, psi the share of
questions on which the arms disagree, and z the normal quantiles of level and power,

    n = (z_alpha sqrt(psi) + z_beta sqrt(psi - d^2))^2 / d^2.

It assumes independent questions and a normal statistic; a variance over training seeds adds to psi / n on both
sides. The exact test is a little more cautious than that: where 0.8 is asked for it reached 0.75 to 0.79. `exact_power`
is the power of that very test. For questions in groups divide their number by the design effect; for k comparisons
corrected together use alpha / k; for means over seeds psi is the mean squared difference on a question.

Source: Connor (1987), Sample size for testing differences in proportions for the paired-sample design, Biometrics 43;
Duffy (1984), Asymptotic and exact power for the McNemar test, Biometrics 40 (the exact sum).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from scipy import special, stats

# Share of the questions on which two arms differ, assumed where a detectable difference is stated beforehand.
ASSUMED_DISCORDANCE = 0.3
_LARGEST_NUM_QUESTIONS = 10**9


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedDesign:
    """A comparison of two arms on the same questions, by the closed form.

    Attributes:
        discordance: Share of questions on which one arm is right and the other wrong, in [0, 1].
        wanted_power: Chance with which a true difference, or equivalence, is to be found.
        alpha: Level of the two-sided test; of each of the two one-sided tests where equivalence is asked for.
        seed_variance: Squared standard error of the difference over training seeds, taken as known.

    Raises:
        ValueError: A value is out of its range.
    """

    discordance: float
    wanted_power: float = 0.8
    alpha: float = 0.05
    seed_variance: float = 0.0

    def __post_init__(self) -> None:
        _check_levels(wanted_power=self.wanted_power, alpha=self.alpha)
        if not 0 <= self.discordance <= 1:
            raise ValueError(f"discordance must lie in [0, 1], got {self.discordance}")
        if not 0 <= self.seed_variance < 1:
            raise ValueError(f"seed_variance must lie in [0, 1), got {self.seed_variance}")

    def power(self, num_questions: float, difference: float) -> float:
        """Chance that a true difference is found.

        Args:
            num_questions: Independent questions that both arms answer.
            difference: True difference in accuracy, a fraction; its sign does not matter.

        Raises:
            ValueError: A value is out of its range.
        """
        _check_shares(difference, self.discordance)
        if num_questions <= 0:
            raise ValueError(f"num_questions must be above 0, got {num_questions}")
        null = math.sqrt(self.discordance / num_questions + self.seed_variance)
        true = math.sqrt(max(0.0, self.discordance - difference**2) / num_questions + self.seed_variance)
        room = abs(difference) - self._z_alpha * null
        return NormalDist().cdf(room / true) if true else float(room > 0)

    def detectable_difference(self, num_questions: float) -> float | None:
        """Smallest true difference in accuracy that is found with the power asked for.

        Args:
            num_questions: Independent questions that both arms answer.

        Returns:
            A fraction, at most the discordance; None if even arms that disagree in one direction only are not told
            apart.

        Raises:
            ValueError: A negative number of questions.
        """
        if num_questions < 0:
            raise ValueError(f"num_questions must not be negative, got {num_questions}")
        # Connor's equation, squared once, is quadratic in d; this is its root on the right side of the square. With
        # v = psi + n * seed_variance: n d = z_alpha sqrt(n v) + z_beta sqrt(n (v - d^2)).
        z_alpha, z_beta = self._z_alpha, self._z_beta
        under_root = num_questions + z_beta**2 - z_alpha**2
        if self.discordance == 0 or under_root < 0:
            return None
        variance = self.discordance + num_questions * self.seed_variance
        root = z_alpha * math.sqrt(num_questions) + z_beta * math.sqrt(under_root)
        difference = math.sqrt(variance) * root / (num_questions + z_beta**2)
        return difference if difference <= self.discordance else None

    def num_questions_needed(self, difference: float) -> int | None:
        """Fewest independent questions on which a true difference is found with the power asked for.

        Args:
            difference: In accuracy, a fraction; its sign does not matter.

        Returns:
            None where the variance over seeds alone hides the difference: more seeds are needed, not more questions.

        Raises:
            ValueError: The difference is 0 or larger than the discordance.
        """
        if not 0 < abs(difference) <= self.discordance:
            raise ValueError(
                f"need 0 < |difference| <= discordance, got difference {difference}, discordance {self.discordance}"
            )
        if self.seed_variance:
            return self._searched(difference)
        spread = self._z_alpha * math.sqrt(self.discordance)
        spread += self._z_beta * math.sqrt(self.discordance - difference**2)
        # Rounded first, so that a difference found for n questions needs n and not n + 1.
        return math.ceil(round((spread / difference) ** 2, 6))

    def num_questions_for_equivalence(self, margin: float) -> int | None:
        """Fewest independent questions on which two arms of equal accuracy are shown to be equivalent within a margin.

        Returns:
            None where the variance over seeds alone is too large for the margin.

        Raises:
            ValueError: The margin is out of its range, or the arms never disagree.

        Source: Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15; Chow, Shao and Wang (2008), Sample Size
        Calculations in Clinical Research, sec. 3.2.3: n = (z_{1 - alpha} + z_{1 - beta / 2})^2 psi / margin^2.
        """
        _check_levels(margin=margin)
        if self.discordance == 0:
            raise ValueError("discordance must be above 0, got 0")
        normal = NormalDist()
        spread = normal.inv_cdf(1 - self.alpha) + normal.inv_cdf((1 + self.wanted_power) / 2)
        largest = (margin / spread) ** 2
        if largest <= self.seed_variance:
            return None
        return math.ceil(round(self.discordance / (largest - self.seed_variance), 6))

    def _searched(self, difference: float) -> int | None:
        """By halving: with a variance over seeds the closed form has no handy inverse."""

        def is_enough(num_questions: int) -> bool:
            return self.power(num_questions, difference) >= self.wanted_power - 1e-12

        if not is_enough(_LARGEST_NUM_QUESTIONS):
            return None
        low, high = 0, _LARGEST_NUM_QUESTIONS
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if is_enough(middle) else (middle, high)
        return high

    @property
    def _z_alpha(self) -> float:
        return NormalDist().inv_cdf(1 - self.alpha / 2)

    @property
    def _z_beta(self) -> float:
        return NormalDist().inv_cdf(self.wanted_power)


def exact_power(num_questions: int, difference: float, *, discordance: float, alpha: float = 0.05) -> float:
    """Chance that McNemar's exact test finds a true difference: no approximation.

    Args:
        num_questions: Independent questions that both arms answer.
        difference: True difference in accuracy, a fraction; its sign does not matter.
        discordance: Share of questions on which one arm is right and the other wrong.

    Raises:
        ValueError: A value is out of its range.
    """
    _check_levels(alpha=alpha)
    _check_shares(difference, discordance)
    if num_questions < 1:
        raise ValueError(f"num_questions must be at least 1, got {num_questions}")
    return _ExactTest(num_questions, discordance, alpha).power(difference)


def exact_detectable_difference(
    num_questions: int, *, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Smallest true difference that McNemar's exact test finds with the power asked for.

    Returns:
        A fraction, at most the discordance; None if even arms that disagree in one direction only are not told apart.

    Raises:
        ValueError: A value is out of its range.
    """
    _check_levels(power=power, alpha=alpha)
    if not 0 <= discordance <= 1:
        raise ValueError(f"discordance must lie in [0, 1], got {discordance}")
    if discordance == 0 or num_questions < 1:
        return None
    test = _ExactTest(num_questions, discordance, alpha)
    low, high = 0.0, discordance
    if test.power(high) < power:
        return None
    while high - low > 1e-7:
        middle = (low + high) / 2
        is_enough = test.power(middle) >= power
        low, high = (low, middle) if is_enough else (middle, high)
    return high


class _ExactTest:
    """McNemar's exact test on so many questions; M = numbers of them on which the arms differ that occur at all."""

    def __init__(self, num_questions: int, discordance: float, alpha: float) -> None:
        self._discordance = discordance
        low, high = stats.binom.ppf([1e-12, 1 - 1e-12], num_questions, discordance)
        self._differ_M = np.arange(max(1, int(low)), int(high) + 1)
        self._probability_M = stats.binom.pmf(self._differ_M, num_questions, discordance)
        # Largest count of the rarer kind that is still significant: 2 P(X <= k) < alpha.
        largest_M = stats.binom.ppf(alpha / 2, self._differ_M, 0.5)
        self._largest_M = largest_M - (2 * special.bdtr(largest_M, self._differ_M, 0.5) >= alpha)

    def power(self, difference: float) -> float:
        share = (1 + abs(difference) / self._discordance) / 2
        is_any_M = self._largest_M >= 0
        differ_M, largest_M = self._differ_M[is_any_M], self._largest_M[is_any_M]
        found_M = special.bdtr(largest_M, differ_M, 1 - share) + special.bdtr(largest_M, differ_M, share)
        return float(self._probability_M[is_any_M] @ found_M)


def _check_levels(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")


def _check_shares(difference: float, discordance: float) -> None:
    if not (abs(difference) <= discordance <= 1 and discordance > 0):
        raise ValueError(
            f"need |difference| <= discordance <= 1 and discordance > 0, got difference {difference}, "
            f"discordance {discordance}"
        )
