"""Calibration: does an answer given with a confidence of 0.8 turn out right 8 times out of 10?

A question's confidence is the probability of the option that was chosen, out of a softmax over the
scores by which it was chosen. All functions take arrays of confidences and of right answers, so
that they serve any model; `confidence.py` makes these arrays out of predictions.
"""

# Q = questions, B = bins

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Binning = Literal["equal_width", "equal_mass"]

NUM_BINS = 15  # of Guo et al. (2017)


class ReliabilityBin(NamedTuple):
    """Questions of like confidence.

    Attributes:
        low: Lower end of the bin; with equal mass the smallest confidence in it.
        high: Upper end of the bin; with equal mass the largest confidence in it.
        confidence: Mean confidence, a fraction.
        accuracy: Share of right answers.
    """

    low: float
    high: float
    num_questions: int
    confidence: float
    accuracy: float


def reliability_curve(
    confidence_Q: npt.ArrayLike,
    correct_Q: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal_width",
) -> tuple[ReliabilityBin, ...]:
    """Confidence against accuracy, in bins of rising confidence; empty bins are left out.

    Args:
        confidence_Q: In [0, 1].
        correct_Q: Whether each answer is right.
        binning: `equal_width`: bin b holds ((b - 1) / B, b / B], the first one 0 too. `equal_mass`: questions in
            the order of their confidence, cut into B parts whose sizes differ by at most one; where equal
            confidences are cut apart, each part gets the mean of their right answers, so that the order in
            which questions are given does not matter.

    Raises:
        ValueError: There are no questions, a confidence is no number within [0, 1], or the two differ in number.

    Source: DeGroot and Fienberg (1983), The comparison and evaluation of forecasters; Niculescu-Mizil and
    Caruana (2005), ICML; equal mass: Nguyen and O'Connor (2015), arXiv:1508.05154.
    """
    confidence_Q, correct_Q = _checked(confidence_Q, correct_Q)
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}")
    if binning == "equal_width":
        edges = np.linspace(0.0, 1.0, num_bins + 1)
        bin_Q = np.clip(np.searchsorted(edges, confidence_Q, side="left"), 1, num_bins) - 1
        members = [(edges[b], edges[b + 1], np.flatnonzero(bin_Q == b)) for b in range(num_bins)]
    elif binning == "equal_mass":
        correct_Q = _mean_of_ties(confidence_Q, correct_Q)
        parts = np.array_split(np.argsort(confidence_Q, kind="stable"), num_bins)
        members = [(confidence_Q[p[0]], confidence_Q[p[-1]], p) for p in parts if len(p)]
    else:
        raise ValueError(f"binning must be 'equal_width' or 'equal_mass', got {binning!r}")
    return tuple(
        ReliabilityBin(
            low=float(low),
            high=float(high),
            num_questions=len(part),
            confidence=float(confidence_Q[part].mean()),
            accuracy=float(correct_Q[part].mean()),
        )
        for low, high, part in members
        if len(part)
    )


def expected_calibration_error(
    confidence_Q: npt.ArrayLike,
    correct_Q: npt.ArrayLike,
    *,
    num_bins: int = NUM_BINS,
    binning: Binning = "equal_width",
) -> float:
    """Mean distance between confidence and accuracy over the bins, weighted by their questions; in [0, 1].

    It is biased upwards where bins are small: a perfectly calibrated model scores about 0.08 with 15 bins of 20
    questions each. Compare values of equal numbers of questions and bins alone.

    Raises:
        ValueError: As `reliability_curve`.

    Source: Naeini et al. (2015), AAAI; Guo et al. (2017), arXiv:1706.04599 (equal width); Nixon et al. (2019),
    arXiv:1904.01685 (equal mass, there "adaptive").
    """
    bins = reliability_curve(confidence_Q, correct_Q, num_bins=num_bins, binning=binning)
    num_questions = sum(part.num_questions for part in bins)
    return sum(part.num_questions * abs(part.confidence - part.accuracy) for part in bins) / num_questions


def brier_score(probabilities: Sequence[Sequence[float]], answer_index: Sequence[int]) -> float:
    """Mean squared distance of the options' probabilities from the right answer's 0s and 1; in [0, 2].

    Questions may differ in their number of options.

    Raises:
        ValueError: There are no questions, or the two differ in number.

    Source: Brier (1950), Verification of forecasts expressed in terms of probability, eq. 2.
    """
    if not probabilities or len(probabilities) != len(answer_index):
        raise ValueError(
            f"Brier's score needs a right answer a question, got {len(answer_index)} for {len(probabilities)}"
        )
    total = 0.0
    for options, right in zip(probabilities, answer_index, strict=True):
        total += sum((p - (index == right)) ** 2 for index, p in enumerate(options))
    return total / len(probabilities)


class RiskCoverage(NamedTuple):
    """What is gained by answering only the questions with the highest confidence.

    Attributes:
        coverage_Q: Share of the questions answered: 1 / Q, 2 / Q, ..., 1.
        risk_Q: Share of wrong answers among them.
    """

    coverage_Q: FloatArray
    risk_Q: FloatArray


def risk_coverage(confidence_Q: npt.ArrayLike, correct_Q: npt.ArrayLike) -> RiskCoverage:
    """The risk of each coverage, questions taken in the order of falling confidence.

    Equal confidences count with the mean of their right answers: the expectation over their order.

    Raises:
        ValueError: As `reliability_curve`.

    Source: El-Yaniv and Wiener (2010), JMLR 11; Geifman and El-Yaniv (2017), arXiv:1705.08500.
    """
    confidence_Q, correct_Q = _checked(confidence_Q, correct_Q)
    wrong_Q = 1.0 - _mean_of_ties(confidence_Q, correct_Q)[np.argsort(-confidence_Q, kind="stable")]
    num_answered_Q = np.arange(1, len(wrong_Q) + 1)
    return RiskCoverage(num_answered_Q / len(wrong_Q), np.cumsum(wrong_Q) / num_answered_Q)


def aurc(confidence_Q: npt.ArrayLike, correct_Q: npt.ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean risk over all coverages; lower is better.

    It mixes accuracy with the order of confidences: an arm with fewer errors has a smaller one even if its
    confidence says nothing. With a confidence that says nothing it is the error rate.

    Raises:
        ValueError: As `reliability_curve`.

    Source: Geifman, Uziel and El-Yaniv (2019), arXiv:1805.08206, eq. 3.
    """
    return float(risk_coverage(confidence_Q, correct_Q).risk_Q.mean())


def accuracy_at_coverage(confidence_Q: npt.ArrayLike, correct_Q: npt.ArrayLike, coverage: float) -> float:
    """Share of right answers among the `ceil(coverage * Q)` questions with the highest confidence.

    Raises:
        ValueError: The coverage is not within (0, 1]; and as `reliability_curve`.
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage must lie above 0 and be at most 1, got {coverage}")
    risk_Q = risk_coverage(confidence_Q, correct_Q).risk_Q
    # Rounded first, so that a coverage of 0.7 of 10 questions is 7 and not 8.
    return 1.0 - float(risk_Q[int(np.ceil(round(coverage * len(risk_Q), 9))) - 1])


def _checked(confidence_Q: npt.ArrayLike, correct_Q: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    confidence_Q = np.asarray(confidence_Q, dtype=np.float64)
    correct_Q = np.asarray(correct_Q, dtype=np.float64)
    if confidence_Q.ndim != 1 or confidence_Q.shape != correct_Q.shape or not len(confidence_Q):
        raise ValueError(
            "calibration needs as many confidences as answers and at least one, "
            f"got {confidence_Q.size} and {correct_Q.size}"
        )
    outside: Any = ~((confidence_Q >= 0) & (confidence_Q <= 1 + 1e-9))
    if outside.any():
        position = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"confidence of question {position}: {confidence_Q[position]} does not lie within 0 and 1"
        )
    return confidence_Q, correct_Q


def _mean_of_ties(confidence_Q: FloatArray, correct_Q: FloatArray) -> FloatArray:
    """Each answer replaced by the mean over the questions of the same confidence."""
    _, level_Q = np.unique(confidence_Q, return_inverse=True)
    return (np.bincount(level_Q, weights=correct_Q) / np.bincount(level_Q))[level_Q]
