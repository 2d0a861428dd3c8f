"""Paired bootstrap and permutation for any metric: a function from one arm's answers to a number.

Both take what each seed of each arm gave for every question, in any form that the metric understands: an array with
questions along its first axis, or a sequence with one item a question (predictions, texts, pairs of labels). The
metric is worked out for each seed and averaged over the seeds. Questions are drawn, or exchanged, for all seeds and
both arms at once, and whole groups where questions belong together.

Both hold for these trained models on new questions: seeds are averaged, not drawn. For a mean of scores a
question, such as the accuracy, `intervals.paired_bootstrap_interval` and `paired.sign_flip_exact` give the same in
far less time.
"""

# S = seeds, Q = questions, G = groups, R = resamples

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medalign.errors import DataError
from medalign.records import Interval
from medalign.stats.arrays import BoolArray, IntArray, number_groups
from medalign.stats.intervals import expanded_tail

Answers = Any  # an array with questions along its first axis, or a sequence with one item a question
Metric = Callable[[Any], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class BootstrapResult:
    """A metric of two arms and its difference over resamples of the questions.

    Attributes:
        first: The metric of the first arm, averaged over its seeds.
        second: The same of the second.
        difference: First less second.
        interval: Of the difference.
    """

    first: float
    second: float
    difference: float
    interval: Interval


def bootstrap_difference(
    metric: Metric,
    first: Sequence[Answers],
    second: Sequence[Answers],
    *,
    groups_Q: Sequence[Hashable] | IntArray | None = None,
    num_resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> BootstrapResult:
    """Interval for the difference of a metric between two arms, resampling questions with replacement.

    The percentile interval with its tails moved outwards as a t interval's are. Assumes independent groups and a
    metric that changes little when one question is left out: not for a maximum or a median of few answers. From some
    50 groups on; with fewer it is too narrow.

    Args:
        metric: Called with the drawn answers of one seed; must be defined for every resample.
        first: For each seed of the first arm its answers.
        second: The same for the second arm, whose number of seeds may differ.
        groups_Q: One label a question; None takes every question as independent.

    Raises:
        DataError: An arm has no seed, answers differ in number, fewer than two questions or groups, or the metric
            gave no finite number.
        ValueError: A value is out of its range.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, ch. 13; Koehn (2004), EMNLP, Statistical
    significance tests for machine translation evaluation (paired resampling of any metric); Hesterberg (2015), The
    American Statistician 69 (the tails).
    """
    _check(num_resamples, level)
    arms = _Arms(first, second, groups_Q)
    generator = np.random.default_rng(seed)
    differences = np.empty(num_resamples)
    for number in range(num_resamples):
        drawn_Q = arms.draw(generator)
        differences[number] = arms.score(metric, first, drawn_Q) - arms.score(metric, second, drawn_Q)
    tail = expanded_tail((1 - level) / 2, arms.num_groups)
    low, high = np.quantile(differences, [tail, 1 - tail])
    scores = arms.score(metric, first), arms.score(metric, second)
    return BootstrapResult(
        first=scores[0],
        second=scores[1],
        difference=scores[0] - scores[1],
        interval=Interval(float(low), float(high), level),
    )


def permutation_p(
    metric: Metric,
    first: Sequence[Answers],
    second: Sequence[Answers],
    *,
    groups_Q: Sequence[Hashable] | IntArray | None = None,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> float:
    """Two-sided p that a metric differs between two arms, by exchanging their answers to questions drawn at random.

    Under the null hypothesis it does not matter which arm gave which answer, for all seeds and a whole group
    together. With unequal numbers of seeds each arm's are repeated up to the least common multiple, which leaves its
    mean as it is. The one seen counts among the permutations, so that p is never 0 and the error is at most the level
    however few are drawn.

    Assumes that the arms are exchangeable within a group under the null hypothesis (not only equal in the metric), and
    that groups are independent.

    Raises:
        DataError: An arm has no seed, answers differ in number, fewer than two questions or groups, or the metric
            gave no finite number.
        ValueError: A value is out of its range.

    Source: Noreen (1989), Computer-Intensive Methods for Testing Hypotheses, ch. 2 (approximate randomisation);
    Phipson and Smyth (2010), Statistical Applications in Genetics and Molecular Biology 9 (p is never 0).
    """
    _check(num_resamples, 0.95)
    arms = _Arms(first, second, groups_Q)
    observed = abs(arms.score(metric, first) - arms.score(metric, second))
    num_seeds = math.lcm(len(first), len(second))
    paired = [(first[s % len(first)], second[s % len(second)]) for s in range(num_seeds)]
    generator = np.random.default_rng(seed)
    num_as_far = 0
    for _ in range(num_resamples):
        is_swapped_Q = arms.flip(generator)
        exchanged = [_exchanged(one, other, is_swapped_Q) for one, other in paired]
        found = arms.score(metric, [e[0] for e in exchanged]) - arms.score(metric, [e[1] for e in exchanged])
        # Sums in another order differ in their last digits, and a tie must count.
        num_as_far += abs(found) >= observed - 1e-12
    return (1 + num_as_far) / (1 + num_resamples)


class _Arms:
    """Two arms on the same questions, and how these are drawn and exchanged."""

    def __init__(
        self,
        first: Sequence[Answers],
        second: Sequence[Answers],
        groups_Q: Sequence[Hashable] | IntArray | None,
    ) -> None:
        if not len(first) or not len(second):
            raise DataError(f"an arm has no seed ({len(first)} and {len(second)}); give at least one of each")
        counts = {len(answers) for answers in [*first, *second]}
        if len(counts) > 1:
            raise DataError(f"answers are to {sorted(counts)} questions; give those to the same questions")
        (self._num_questions,) = counts
        labels: Any = range(self._num_questions) if groups_Q is None else [*groups_Q]
        if len(labels) != self._num_questions:
            raise DataError(f"{self._num_questions} questions but {len(labels)} group labels; give one each")
        self._numbers_Q = number_groups(labels)
        size_G = np.bincount(self._numbers_Q)
        self.num_groups = len(size_G)
        if self.num_groups < 2:
            raise DataError(
                f"{self._num_questions} questions in {self.num_groups} groups; two groups are needed at least"
            )
        self._sorted_Q = np.argsort(self._numbers_Q, kind="stable")
        self._size_G, self._start_G = size_G, np.cumsum(size_G) - size_G

    def draw(self, generator: np.random.Generator) -> IntArray:
        """Positions of the questions of as many groups as there are, drawn with replacement."""
        drawn_G = generator.integers(0, self.num_groups, self.num_groups)
        if self.num_groups == self._num_questions:
            return drawn_G
        size_G = self._size_G[drawn_G]
        first_G = np.cumsum(size_G) - size_G
        place = np.arange(size_G.sum()) + np.repeat(self._start_G[drawn_G] - first_G, size_G)
        return self._sorted_Q[place]

    def flip(self, generator: np.random.Generator) -> BoolArray:
        """Whether the arms' answers to each question are exchanged."""
        return generator.random(self.num_groups)[self._numbers_Q] < 0.5

    def score(self, metric: Metric, answers_S: Sequence[Answers], drawn_Q: IntArray | None = None) -> float:
        scores = [float(metric(a if drawn_Q is None else _taken(a, drawn_Q))) for a in answers_S]
        if not all(map(math.isfinite, scores)):
            when = "all questions" if drawn_Q is None else "a resample of the questions"
            raise DataError(f"the metric is {scores} on {when}; it must be a finite number on every one")
        return sum(scores) / len(scores)


def _taken(answers: Answers, drawn_Q: IntArray) -> Answers:
    if isinstance(answers, np.ndarray):
        return answers[drawn_Q]
    return [answers[index] for index in drawn_Q.tolist()]


def _exchanged(one: Answers, other: Answers, is_swapped_Q: BoolArray) -> tuple[Answers, Answers]:
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        mask = is_swapped_Q.reshape(-1, *[1] * (one.ndim - 1))
        return np.where(mask, other, one), np.where(mask, one, other)
    pairs = zip(one, other, is_swapped_Q.tolist(), strict=True)
    swapped = [(b, a) if is_swapped else (a, b) for a, b, is_swapped in pairs]
    return [pair[0] for pair in swapped], [pair[1] for pair in swapped]


def _check(num_resamples: int, level: float) -> None:
    if num_resamples < 1:
        raise ValueError(f"num_resamples must be at least 1, got {num_resamples}")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
