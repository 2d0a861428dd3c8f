"""How small a difference a test split can show, and how many questions a difference needs.

Both follow Connor's approximation for paired proportions: with d the difference, psi the share of
questions on which the arms disagree, and z the normal quantiles of level and power,

    n = (z_alpha sqrt(psi) + z_beta sqrt(psi - d^2))^2 / d^2.

It assumes independent questions and a normal statistic. The exact test is a little more cautious: where 0.8 is
asked for it reached 0.75 to 0.79 (20,000 simulated comparisons each, 60 to 1,000 questions, discordance 0.1 to
0.5). For questions in groups divide their number by the design effect; for k comparisons corrected together use
alpha / k; for means over seeds psi is the mean squared difference on a question.

Source: Connor (1987), Sample size for testing differences in proportions for the paired-sample design, Biometrics 43.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def minimum_detectable_difference(
    num_questions: float, *, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """Smallest true difference in accuracy that is found with the power asked for.

    Args:
        num_questions: Independent questions that both arms answer.
        discordance: Share of questions on which one arm is right and the other wrong, in [0, 1].

    Returns:
        A fraction, at most the discordance; None if even arms that disagree in one direction only are not told apart.

    Raises:
        ValueError: A value is out of its range.
    """
    z_alpha, z_beta = _quantiles(power, alpha)
    if not 0 <= discordance <= 1:
        raise ValueError(f"discordance must lie in [0, 1], got {discordance}")
    if num_questions < 0:
        raise ValueError(f"num_questions must not be negative, got {num_questions}")
    # Connor's equation, squared once, is quadratic in d; this is its root on the right side of the square.
    under_root = num_questions + z_beta**2 - z_alpha**2
    if discordance == 0 or under_root < 0:
        return None
    root = z_alpha * math.sqrt(num_questions) + z_beta * math.sqrt(under_root)
    difference = math.sqrt(discordance) * root / (num_questions + z_beta**2)
    return difference if difference <= discordance else None


def num_questions_needed(
    difference: float, *, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Fewest independent questions on which a true difference is found with the power asked for.

    Args:
        difference: In accuracy, a fraction; its sign does not matter.
        discordance: Share of questions on which one arm is right and the other wrong; at least the difference.

    Raises:
        ValueError: A value is out of its range, or the difference is 0 or larger than the discordance.
    """
    z_alpha, z_beta = _quantiles(power, alpha)
    if not 0 < abs(difference) <= discordance <= 1:
        raise ValueError(
            f"need 0 < |difference| <= discordance <= 1, got difference {difference}, discordance {discordance}"
        )
    spread = z_alpha * math.sqrt(discordance) + z_beta * math.sqrt(discordance - difference**2)
    # Rounded first, so that a difference found for n questions needs n and not n + 1.
    return math.ceil(round((spread / difference) ** 2, 6))


def _quantiles(power: float, alpha: float) -> tuple[float, float]:
    for name, value in (("power", power), ("alpha", alpha)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, got {value}")
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha / 2), normal.inv_cdf(power)
