"""Whether two arms are so alike that the difference does not matter."""

from __future__ import annotations

import math

from scipy import special

from medalign.stats.two_level import TwoLevelEstimate


def equivalence_p(estimate: TwoLevelEstimate, margin: float) -> float:
    """p of two one-sided tests that the true difference lies outside (-margin, margin).

    Below 0.05 the arms are equivalent within the margin: the 90 % interval of the difference lies inside it. The
    test looks at the edge of the margin, so the variance over questions is taken as at least what a difference of
    that size must have, and half a question is allowed for the steps in which a difference moves. With these the chance
    of calling a difference as large as the margin equivalent was 5.3 % at most, by exact enumeration (one seed, 60 to
    1,273 questions, margins 0.02 and 0.05); without, up to 13 % where arms seldom differ.

    Assumes what `two_level` assumes; with `variance_seeds` None the claim is on these trained models alone.

    Args:
        margin: The largest difference that does not matter, in (0, 1).

    Raises:
        ValueError: The margin is out of its range.

    Source: Schuirmann (1987), J. Pharmacokinetics and Biopharmaceutics 15; Tango (1998), Statistics in Medicine 17 (a
    variance that fits the null hypothesis).
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, got {margin}")
    least = margin * (1 - margin) / estimate.num_groups
    standard_error = math.sqrt(max(estimate.variance_questions, least) + (estimate.variance_seeds or 0.0))
    room = margin - 0.5 / estimate.num_groups - abs(estimate.centre)
    return float(special.stdtr(estimate.degrees_of_freedom, -room / standard_error))
