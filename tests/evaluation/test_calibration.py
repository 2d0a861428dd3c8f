"""Calibration against scikit-learn and against loops that follow the definitions word by word."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from medalign.evaluation.calibration import (
    accuracy_at_coverage,
    aurc,
    brier_score,
    expected_calibration_error,
    reliability_curve,
    risk_coverage,
)


def made(number: int, seed: int) -> tuple[list[float], list[bool]]:
    """Confidences, no two equal, and answers that are right a little less often than they say."""
    rng = random.Random(seed)
    confidence = [rng.uniform(0.2, 1.0) for _ in range(number)]
    return confidence, [rng.random() < 0.9 * c for c in confidence]


def slow_equal_width(confidence: list[float], correct: list[bool], num_bins: int) -> float:
    total = 0.0
    for b in range(num_bins):
        low, high = b / num_bins, (b + 1) / num_bins
        held = [i for i, c in enumerate(confidence) if low < c <= high or (b == 0 and c == 0)]
        if held:
            sure = sum(confidence[i] for i in held) / len(held)
            right = sum(correct[i] for i in held) / len(held)
            total += len(held) / len(confidence) * abs(sure - right)
    return total


def slow_equal_mass(confidence: list[float], correct: list[bool], num_bins: int) -> float:
    pairs = sorted(zip(confidence, correct, strict=True))
    size, larger = divmod(len(pairs), num_bins)
    total, start = 0.0, 0
    for b in range(num_bins):
        held = pairs[start : start + size + (b < larger)]
        start += len(held)
        if held:
            total += abs(sum(c for c, _ in held) - sum(right for _, right in held)) / len(pairs)
    return total


@pytest.mark.parametrize(("number", "num_bins"), [(1, 15), (7, 15), (100, 10), (1273, 15)])
def test_calibration_error_equals_its_slow_definition(number: int, num_bins: int) -> None:
    for seed in range(5):
        confidence, correct = made(number, seed)
        width = expected_calibration_error(confidence, correct, num_bins=num_bins)
        mass = expected_calibration_error(confidence, correct, num_bins=num_bins, binning="equal_mass")
        assert width == pytest.approx(slow_equal_width(confidence, correct, num_bins), abs=1e-12)
        assert mass == pytest.approx(slow_equal_mass(confidence, correct, num_bins), abs=1e-12)


@pytest.mark.parametrize(("binning", "strategy"), [("equal_width", "uniform"), ("equal_mass", "quantile")])
def test_reliability_curve_equals_scikit_learn(binning, strategy: str) -> None:
    confidence, correct = made(1000, 3)
    found = reliability_curve(confidence, correct, num_bins=10, binning=binning)
    right, sure = calibration_curve(correct, confidence, n_bins=10, strategy=strategy)
    assert [part.accuracy for part in found] == pytest.approx(right.tolist(), abs=1e-12)
    assert [part.confidence for part in found] == pytest.approx(sure.tolist(), abs=1e-12)
    assert sum(part.num_questions for part in found) == 1000


def test_edges_of_equal_width_bins_belong_to_the_bin_below() -> None:
    bins = reliability_curve([0.0, 0.2, 0.4, 1.0], [1, 1, 0, 1], num_bins=5)
    assert [(round(b.low, 9), round(b.high, 9), b.num_questions) for b in bins] == [
        (0.0, 0.2, 2),
        (0.2, 0.4, 1),
        (0.8, 1.0, 1),
    ]


def test_the_order_of_questions_with_equal_confidence_does_not_matter() -> None:
    confidence = [0.5] * 4 + [0.9] * 3
    answers = [True, False, False, False, True, True, False]
    found = set()
    for order in itertools.islice(itertools.permutations(range(7)), 0, 5040, 101):
        sure, right = [confidence[i] for i in order], [answers[i] for i in order]
        error = expected_calibration_error(sure, right, num_bins=3, binning="equal_mass")
        found.add((round(error, 12), round(aurc(sure, right), 12)))
    assert len(found) == 1


def test_calibration_error_of_small_bins_is_biased_as_the_docstring_says() -> None:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        confidence = rng.uniform(0.3, 1.0, 300)
        found.append(
            expected_calibration_error(confidence, rng.random(300) < confidence, binning="equal_mass")
        )
    assert np.mean(found) == pytest.approx(0.08, abs=0.01)


def test_brier_score_equals_scikit_learn_for_two_options_and_for_three() -> None:
    rng = np.random.default_rng(1)
    two = rng.dirichlet([1, 1], 50)
    right = rng.integers(0, 2, 50)
    expected = brier_score_loss(right, two[:, 1], scale_by_half=False)
    assert brier_score(two.tolist(), right.tolist()) == pytest.approx(expected, abs=1e-12)
    three = rng.dirichlet([1, 1, 1], 50)
    right = rng.integers(0, 3, 50)
    expected = brier_score_loss(right, three, labels=[0, 1, 2], scale_by_half=False)
    assert brier_score(three.tolist(), right.tolist()) == pytest.approx(expected, abs=1e-12)


def test_brier_score_takes_questions_of_unlike_numbers_of_options() -> None:
    assert brier_score([[1.0, 0.0], [0.2, 0.3, 0.5]], [0, 0]) == pytest.approx((0 + 0.64 + 0.09 + 0.25) / 2)


def test_risk_coverage_equals_its_slow_definition() -> None:
    confidence, correct = made(60, 4)
    order = sorted(range(60), key=lambda i: -confidence[i])
    expected = [sum(not correct[i] for i in order[:k]) / k for k in range(1, 61)]
    found = risk_coverage(confidence, correct)
    assert found.risk_Q.tolist() == pytest.approx(expected, abs=1e-12)
    assert found.coverage_Q.tolist() == pytest.approx([k / 60 for k in range(1, 61)])
    assert aurc(confidence, correct) == pytest.approx(sum(expected) / 60, abs=1e-12)


def test_aurc_of_a_confidence_that_says_nothing_is_the_error_rate() -> None:
    assert aurc([0.7] * 8, [True] * 6 + [False] * 2) == pytest.approx(0.25)


def test_equal_confidences_count_with_the_mean_over_their_orders() -> None:
    sure, right = [0.5, 0.5, 0.5, 0.9], [True, False, False, True]
    nudged = []
    for order in itertools.permutations(range(3)):
        ranked = [0.5 + 1e-6 * order[0], 0.5 + 1e-6 * order[1], 0.5 + 1e-6 * order[2], 0.9]
        nudged.append(aurc(ranked, right))
    assert aurc(sure, right) == pytest.approx(sum(nudged) / len(nudged), abs=1e-12)


def test_accuracy_at_coverage_answers_the_surest_questions() -> None:
    confidence = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1]
    correct = [True] * 5 + [False] * 5
    assert accuracy_at_coverage(confidence, correct, 0.5) == 1.0
    assert accuracy_at_coverage(confidence, correct, 0.7) == pytest.approx(5 / 7)
    assert accuracy_at_coverage(confidence, correct, 1.0) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="coverage must lie above 0 and be at most 1, got 0"):
        accuracy_at_coverage(confidence, correct, 0)


@pytest.mark.parametrize(
    ("confidence", "correct", "message"),
    [
        ([], [], "at least one, got 0 and 0"),
        ([0.5], [True, False], "got 1 and 2"),
        ([0.5, float("nan")], [True, False], "confidence of question 1: nan does not lie within 0 and 1"),
        ([1.5, 0.5], [True, False], "confidence of question 0: 1.5 does not lie"),
    ],
)
def test_what_is_no_confidence_is_refused(confidence, correct, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(confidence, correct)
    with pytest.raises(ValueError, match=message):
        aurc(confidence, correct)


def test_unknown_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="binning must be 'equal_width' or 'equal_mass', got 'adaptive'"):
        reliability_curve([0.5], [True], binning="adaptive")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="num_bins must be at least 1, got 0"):
        reliability_curve([0.5], [True], num_bins=0)
    with pytest.raises(ValueError, match="a right answer a question, got 0 for 1"):
        brier_score([[1.0]], [])
