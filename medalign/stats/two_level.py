"""A mean or a difference with both of its uncertainties: over questions, and over training seeds.

The same questions are answered by every seed of an arm, so the scores form a crossed table with two
random factors. With x the score of seed s on question q,

    x_sq = mean + seed_s + question_q + noise_sq,
    variance of the mean = var(question + noise / S) / Q + var(seed) / S.

The first term is estimated from the scores averaged over seeds, by groups where questions belong
together. The second is the variance of the seeds' means less what noise alone gives them, summed over both arms
and not below 0. Degrees of freedom are Satterthwaite's, reckoned before that subtraction, which keeps two or three
seeds honest.

What it assumes: groups drawn independently from the questions one cares about, seeds from all seeds, a mean
close to normal. With 2 seeds the variance over seeds is barely known: where it dominates, a nominal 95 % interval
against an arm without seeds covers about 90 % (docs/statistics.md holds the table).

Source: Searle, Casella and McCulloch (1992), Variance Components, ch. 4 (crossed random factors); Satterthwaite (1946),
Biometrics Bulletin 2; Cameron, Gelbach and Miller (2011), J. Business and Economic Statistics 29 (two-way clusters).
"""

# S = seeds, Q = questions, G = groups

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from medalign.records import Interval
from medalign.stats.arrays import FloatArray, IntArray, group_sums
from medalign.stats.intervals import design_effect, wilson_score

# Questions added in thought at either end of the scale, half a question each: see `estimate_difference`.
_ADDED = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoLevelEstimate:
    """A difference of two arms' mean scores and how well it is known.

    Attributes:
        difference: Mean score of the first arm less that of the second.
        centre: The same, moved a little to 0; intervals and tests stand around it.
        variance_questions: Squared standard error from the choice of questions.
        variance_seeds: Squared standard error from the choice of seeds; None where an arm that depends on its seed has
            only one, so that it is unknown and the estimate holds for these trained models alone.
        degrees_of_freedom: Of the t distribution.
        num_questions: Questions.
        num_groups: Groups that these fall into.
    """

    difference: float
    centre: float
    variance_questions: float
    variance_seeds: float | None
    degrees_of_freedom: float
    num_questions: int
    num_groups: int

    @property
    def standard_error(self) -> float:
        """Over questions, and over seeds where that is known."""
        return math.sqrt(self.variance_questions + (self.variance_seeds or 0.0))

    def interval(self, level: float = 0.95) -> Interval:
        """A t interval for the true difference, cut at -1 and 1.

        Raises:
            ValueError: The level is not between 0 and 1.
        """
        if not 0 < level < 1:
            raise ValueError(f"level must lie between 0 and 1, got {level}")
        half = -special.stdtrit(self.degrees_of_freedom, (1 - level) / 2) * self.standard_error
        return Interval(float(max(-1.0, self.centre - half)), float(min(1.0, self.centre + half)), level)

    def p_value(self) -> float:
        """Two-sided p of a t test that the true difference is 0."""
        return float(2 * special.stdtr(self.degrees_of_freedom, -abs(self.centre) / self.standard_error))


class _Seeds(NamedTuple):
    """Squared standard error of an arm's mean over seeds, without and with what noise adds, and seeds - 1.

    Without noise it is unbiased, and so may come out below 0; cut at 0 only where it is used.
    """

    variance: float
    variance_with_noise: float
    degrees_of_freedom: int


def estimate_difference(
    first_SQ: npt.ArrayLike,
    second_TQ: npt.ArrayLike,
    *,
    groups_Q: Sequence[Hashable] | IntArray | None = None,
    first_varies: bool = True,
    second_varies: bool = True,
) -> TwoLevelEstimate | None:
    """The difference of two arms that answered the same questions, with both uncertainties.

    Half a question that only the first has right and half a one that only the second has right are added in
    thought (of a group's mean size where there are groups). Without them the interval is far too narrow where arms
    seldom differ: with 100 questions and 5 % of them answered differently it covers 90 to 95 %, with them 96 to 97.5.

    Args:
        first_SQ: Scores in [0, 1] for each seed and question.
        second_TQ: The same for the second arm, whose number of seeds may differ.
        groups_Q: One label a question; None takes every question as independent.
        first_varies: Whether the first arm's answers depend on its seed; the untouched base's do not.
        second_varies: The same for the second arm.

    Returns:
        None if all questions are of one group: nothing then says how much another group would differ.

    Raises:
        ValueError: The arms answered other numbers of questions, fewer than two, or a score is not finite.

    Source: Agresti and Min (2005), Simple improved confidence intervals for comparing matched proportions,
    Statistics in Medicine 24 (added half questions); see the module for the rest.
    """
    first_SQ, second_TQ = _scores(first_SQ), _scores(second_TQ)
    if first_SQ.shape[1] != second_TQ.shape[1]:
        raise ValueError(f"the arms answered {first_SQ.shape[1]} and {second_TQ.shape[1]} questions")
    difference_Q = first_SQ.mean(axis=0) - second_TQ.mean(axis=0)
    num_questions = len(difference_Q)
    if num_questions < 2:
        raise ValueError(f"a difference needs at least two questions, got {num_questions}")
    sum_G = group_sums(difference_Q, groups_Q)
    if len(sum_G) < 2:
        return None
    centre, variance_questions = _over_questions(sum_G, group_sums(np.ones(num_questions), groups_Q))
    seeds = [
        _over_seeds(score_SQ, groups_Q)
        for score_SQ, varies in ((first_SQ, first_varies), (second_TQ, second_varies))
        if varies
    ]
    known = [found for found in seeds if found is not None]
    is_known = len(known) == len(seeds)
    variance_seeds = max(0.0, sum(found.variance for found in known)) if is_known else None
    spread = variance_questions**2 / (len(sum_G) - 1)
    if variance_seeds is not None:
        spread += sum(found.variance_with_noise**2 / found.degrees_of_freedom for found in known)
    return TwoLevelEstimate(
        difference=float(difference_Q.mean()),
        centre=centre,
        variance_questions=variance_questions,
        variance_seeds=variance_seeds,
        degrees_of_freedom=max(1.0, (variance_questions + (variance_seeds or 0.0)) ** 2 / spread),
        num_questions=num_questions,
        num_groups=len(sum_G),
    )


def accuracy_interval(
    score_SQ: npt.ArrayLike,
    *,
    groups_Q: Sequence[Hashable] | IntArray | None = None,
    varies: bool = True,
    level: float = 0.95,
) -> Interval:
    """Interval for the mean score of one arm over questions and, where they are known, over seeds.

    Wilson's, for as many independent questions as the two-level variance is worth, at most seeds x questions.
    With one seed and no groups it is Wilson's own. Where all scores are equal every group counts as one
    question. With one seed of an arm that varies it holds for this trained model alone.

    Args:
        score_SQ: Scores in [0, 1] for each seed and question.
        groups_Q: One label a question; None takes every question as independent.
        varies: Whether the arm's answers depend on its seed.

    Raises:
        ValueError: There are no questions, a score is not finite or a value is out of its range.

    Source: Korn and Graubard (1998), Survey Methodology 24, and Dean and Pagano (2015), J. Survey Statistics and
    Methodology 3 (effective sample size in Wilson's interval); see the module for the variance.
    """
    score_SQ = _scores(score_SQ)
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    num_seeds, num_questions = score_SQ.shape
    score_Q = score_SQ.mean(axis=0)
    share = float(score_Q.mean())
    tail = (1 - level) / 2
    num_groups = len(group_sums(score_Q, groups_Q))
    if num_questions < 2 or share * (1 - share) < 1e-12:
        return wilson_score(share, num_groups, -float(special.ndtri(tail)), level)
    over_questions = _over_questions_plain(score_Q, groups_Q)
    seeds = _over_seeds(score_SQ, groups_Q) if varies else None
    independent = share * (1 - share) / (num_questions - 1)
    over_seeds = max(0.0, seeds.variance) if seeds else 0.0
    variance = max(over_questions + over_seeds, independent / num_seeds)
    spread = over_questions**2 / (num_groups - 1) if 1 < num_groups < num_questions else 0.0
    if seeds:
        spread += seeds.variance_with_noise**2 / seeds.degrees_of_freedom
    quantile = special.stdtrit(max(1.0, variance**2 / spread), tail) if spread else special.ndtri(tail)
    return wilson_score(share, num_questions * independent / variance, -float(quantile), level)


def accuracy_variances(
    score_SQ: npt.ArrayLike, *, groups_Q: Sequence[Hashable] | IntArray | None = None, varies: bool = True
) -> tuple[float, float | None]:
    """Squared standard errors of an arm's mean score over questions and over seeds.

    The first is never 0: where all scores are equal, half a right and half a wrong answer are added in thought. The
    second is None with one seed of an arm that varies.

    Raises:
        ValueError: There are fewer than two questions, or a score is not finite.
    """
    score_SQ = _scores(score_SQ)
    score_Q = score_SQ.mean(axis=0)
    num_questions = len(score_Q)
    if num_questions < 2:
        raise ValueError(f"a variance needs at least two questions, got {num_questions}")
    over_questions = _over_questions_plain(score_Q, groups_Q)
    if over_questions < 1e-12:
        num_groups = len(group_sums(score_Q, groups_Q))
        share = float(score_Q.mean() * num_groups + _ADDED) / (num_groups + 2 * _ADDED)
        over_questions = share * (1 - share) / num_groups
    seeds = _over_seeds(score_SQ, groups_Q) if varies else None
    return over_questions, (max(0.0, seeds.variance) if seeds else None) if varies else 0.0


def _over_questions_plain(score_Q: FloatArray, groups_Q: Sequence[Hashable] | IntArray | None) -> float:
    """Squared standard error of the mean over questions, widened by their groups."""
    scatter = float(np.square(score_Q - score_Q.mean()).sum())
    return design_effect(score_Q, groups_Q) * scatter / (len(score_Q) * (len(score_Q) - 1))


def _scores(score_SQ: npt.ArrayLike) -> FloatArray:
    found = np.asarray(score_SQ, dtype=np.float64)
    if found.ndim != 2 or not found.size:
        raise ValueError(f"expected scores of seeds x questions, got an array of shape {found.shape}")
    if not np.isfinite(found).all():
        seed, question = np.argwhere(~np.isfinite(found))[0]
        raise ValueError(f"the score of seed {seed} on question {question} is {found[seed, question]}")
    return found


def _over_questions(sum_G: FloatArray, size_G: FloatArray) -> tuple[float, float]:
    """Mean difference with the added half questions, and its variance over groups."""
    size = size_G.mean()
    total = size_G.sum() + 2 * _ADDED * size
    centre = sum_G.sum() / total
    residual_G = sum_G - centre * size_G
    added = _ADDED * size**2 * ((1 - centre) ** 2 + (1 + centre) ** 2)
    num_units = len(sum_G) + 2 * _ADDED
    variance = num_units / (num_units - 1) * (residual_G @ residual_G + added) / total**2
    return float(centre), float(variance)


def _over_seeds(score_SQ: FloatArray, groups_Q: Sequence[Hashable] | IntArray | None) -> _Seeds | None:
    """None with one seed: its variance cannot be known."""
    num_seeds, num_questions = score_SQ.shape
    if num_seeds < 2:
        return None
    mean_S = score_SQ.mean(axis=1)
    noise_SQ = score_SQ - mean_S[:, None] - score_SQ.mean(axis=0) + mean_S.mean()
    noise = sum(float(np.square(group_sums(noise_Q, groups_Q)).sum()) for noise_Q in noise_SQ)
    noise /= (num_seeds - 1) * num_questions**2
    with_noise = float(mean_S.var(ddof=1))
    return _Seeds((with_noise - noise) / num_seeds, with_noise / num_seeds, num_seeds - 1)
