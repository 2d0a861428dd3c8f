"""Partial pooling: what a specialty of few questions says once the other specialties are heard too."""

# J = specialties, T = values of the spread on a grid

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from medalign.records import Interval
from medalign.stats.arrays import FloatArray

_NUM_SPREADS = 160
_NUM_HALVINGS = 48


class PooledMean(NamedTuple):
    """A specialty's mean drawn to the mean of all, and how much of it is its own.

    Attributes:
        mean: Between the specialty's bare mean and that of all specialties.
        interval: For the specialty's true mean.
        own_weight: Share of the bare mean in the pooled one: near 1 with many questions, near 0 with few.
    """

    mean: float
    interval: Interval
    own_weight: float


def pool_partially(
    mean_J: npt.ArrayLike,
    variance_J: npt.ArrayLike,
    *,
    common_variance: float = 0.0,
    bounds: tuple[float, float] = (0.0, 1.0),
    level: float = 0.95,
) -> tuple[PooledMean, ...]:
    """Pooled means of specialties, by a hierarchical normal model.

    The true means are taken as normal around a common one, with a spread between specialties that the data decide
    on. The spread is not fixed at its best value, as in plain empirical Bayes, but averaged over all that fit (a
    uniform prior up to a quarter of the scale), so that intervals are not too narrow with few specialties.

    Assumes that specialties are exchangeable before their answers are seen, and independent. A specialty that truly
    stands apart is drawn in too far. The intervals cover 95 % averaged over specialties, not for each of them.

    Args:
        mean_J: Bare mean of each specialty.
        variance_J: Squared standard error of each over questions; above 0.
        common_variance: Squared standard error that all share (training seeds); widens every interval.
        bounds: Between which the means must lie.

    Raises:
        ValueError: There are fewer than two specialties, or a value is out of its range.

    Source: Efron and Morris (1975), JASA 70; Rubin (1981), J. Educational Statistics 6; Gelman et al. (2013), Bayesian
    Data Analysis, 3rd ed., sec. 5.4, eqs 5.17 to 5.21.
    """
    mean_J, variance_J = np.asarray(mean_J, dtype=np.float64), np.asarray(variance_J, dtype=np.float64)
    if mean_J.ndim != 1 or mean_J.shape != variance_J.shape or len(mean_J) < 2:
        raise ValueError(f"pooling needs two specialties or more, got means of shape {mean_J.shape}")
    if not (np.isfinite(mean_J).all() and (variance_J > 0).all() and common_variance >= 0):
        raise ValueError("pooling needs finite means and variances above 0")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    low, high = bounds
    spread_T = np.linspace(0, (high - low) / 4, _NUM_SPREADS)
    total_TJ = variance_J + spread_T[:, None] ** 2
    weight_TJ = 1 / total_TJ
    centre_T = (weight_TJ * mean_J).sum(axis=1) / weight_TJ.sum(axis=1)
    centre_variance_T = 1 / weight_TJ.sum(axis=1)
    deviation_TJ = mean_J - centre_T[:, None]
    log_T = 0.5 * (np.log(centre_variance_T) - (np.log(total_TJ) + deviation_TJ**2 / total_TJ).sum(axis=1))
    probability_T = np.exp(log_T - log_T.max())
    probability_T /= probability_T.sum()
    own_TJ = spread_T[:, None] ** 2 / total_TJ
    posterior_TJ = own_TJ * mean_J + (1 - own_TJ) * centre_T[:, None]
    sd_TJ = np.sqrt(own_TJ * variance_J + (1 - own_TJ) ** 2 * centre_variance_T[:, None] + common_variance)
    tail = (1 - level) / 2
    ends = [_quantile(probability_T, posterior_TJ, sd_TJ, share) for share in (tail, 1 - tail)]
    return tuple(
        PooledMean(mean, Interval(max(low, start), min(high, end), level), own)
        for mean, start, end, own in zip(
            np.clip(probability_T @ posterior_TJ, low, high).tolist(),
            *(found.tolist() for found in ends),
            (probability_T @ own_TJ).tolist(),
            strict=True,
        )
    )


def _quantile(probability_T: FloatArray, mean_TJ: FloatArray, sd_TJ: FloatArray, share: float) -> FloatArray:
    """Of each specialty's mixture of normals, by halving."""
    low_J, high_J = (mean_TJ - 9 * sd_TJ).min(axis=0), (mean_TJ + 9 * sd_TJ).max(axis=0)
    for _ in range(_NUM_HALVINGS):
        middle_J = (low_J + high_J) / 2
        is_low_J = probability_T @ special.ndtr((middle_J - mean_TJ) / sd_TJ) < share
        low_J, high_J = np.where(is_low_J, middle_J, low_J), np.where(is_low_J, high_J, middle_J)
    return (low_J + high_J) / 2
