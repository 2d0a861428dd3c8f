"""Calibration of every arm as the report shows it: bins with intervals, scores, and what a temperature would mend."""

# Q = questions

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medalign.evaluation.calibration import (
    aurc,
    brier_score,
    expected_calibration_error,
    reliability_curve,
    risk_coverage,
)
from medalign.evaluation.confidence import (
    confidences,
    fit_temperature,
    option_probabilities,
    scored_only,
)
from medalign.evaluation.predictions import Scoring
from medalign.records import ArmResult, Prediction
from medalign.stats.intervals import wilson_interval

BINS = 10
_CURVE_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Answers of like confidence; `low` and `high` are Wilson's interval of the accuracy."""

    confidence: float
    accuracy: float
    low: float
    high: float
    num_questions: int


@dataclass(frozen=True, kw_only=True)
class ArmReliability:
    """How far an arm's confidence can be believed; every number is over all its seeds.

    Attributes:
        ece: Expected calibration error over bins of equal mass.
        ece_equal_width: The same over bins of equal width.
        brier: Over all options, in [0, 2].
        aurc: Area under the risk-coverage curve.
        coverage: (share of questions answered, share of wrong answers among them), the surest first.
        temperature: Fitted on the validation answers of the search trial with the arm's setting; None without them.
        ece_after: ECE on the test once confidences are divided by it.
        why_no_temperature: Why there is none, else empty.
    """

    arm: str
    bins: tuple[Bin, ...]
    ece: float
    ece_equal_width: float
    brier: float
    aurc: float
    mean_confidence: float
    accuracy: float
    coverage: tuple[tuple[float, float], ...]
    temperature: float | None = None
    ece_after: float | None = None
    why_no_temperature: str = ""


def arm_reliability(
    arm: ArmResult, scoring: Scoring, validation: Sequence[Prediction] = ()
) -> ArmReliability | None:
    """Calibration of an arm; None if no question has options.

    Args:
        validation: What the search trial with the arm's setting answered to the validation questions.
    """
    seeds = [scored_only(predictions) for predictions in arm.predictions]
    answers = [prediction for predictions in seeds for prediction in predictions]
    if not answers:
        return None
    confidence_Q = confidences(answers, scoring=scoring)
    correct_Q = np.array([bool(p.correct) for p in answers], dtype=np.float64)
    curve = reliability_curve(
        confidence_Q, correct_Q, num_bins=min(BINS, len(seeds[0])), binning="equal_mass"
    )
    coverage = risk_coverage(confidence_Q, correct_Q)
    picked = np.unique(np.linspace(0, len(answers) - 1, _CURVE_POINTS).astype(int))
    temperature, after, why = _mended(seeds, scoring, validation)
    return ArmReliability(
        arm=arm.arm,
        # Seeds answer the same questions, so they are no further observations.
        bins=tuple(_bin(part.confidence, part.accuracy, part.num_questions, len(seeds)) for part in curve),
        ece=expected_calibration_error(confidence_Q, correct_Q, binning="equal_mass"),
        ece_equal_width=expected_calibration_error(confidence_Q, correct_Q, binning="equal_width"),
        brier=brier_score(
            [option_probabilities(p, scoring) for p in answers], [p.answer_index or 0 for p in answers]
        ),
        aurc=aurc(confidence_Q, correct_Q),
        mean_confidence=float(confidence_Q.mean()),
        accuracy=float(correct_Q.mean()),
        coverage=tuple((float(coverage.coverage_Q[i]), float(coverage.risk_Q[i])) for i in picked),
        temperature=temperature,
        ece_after=after,
        why_no_temperature=why,
    )


def all_reliabilities(
    arms: Sequence[ArmResult], scoring: Scoring, validation: Mapping[str, Sequence[Prediction]]
) -> tuple[ArmReliability, ...]:
    """Of every arm with scored questions, in their order."""
    found = (arm_reliability(arm, scoring, validation.get(arm.arm, ())) for arm in arms)
    return tuple(item for item in found if item is not None)


def _bin(confidence: float, accuracy: float, number: int, num_seeds: int) -> Bin:
    independent = number / num_seeds
    interval = wilson_interval(accuracy * independent, independent)
    return Bin(
        confidence=confidence,
        accuracy=accuracy,
        low=interval.low,
        high=interval.high,
        num_questions=number,
    )


def _mended(
    seeds: Sequence[Sequence[Prediction]], scoring: Scoring, validation: Sequence[Prediction]
) -> tuple[float | None, float | None, str]:
    if not scored_only(validation):
        return None, None, "undefined: its answers to the validation questions were not kept"
    fitted = fit_temperature(validation, scoring=scoring)
    if fitted.at_bound:
        return None, None, "undefined: the validation answers bound no temperature"
    answers = [prediction for predictions in seeds for prediction in predictions]
    confidence_Q = confidences(answers, scoring=scoring, temperature=fitted.value)
    correct_Q = np.array([bool(p.correct) for p in answers], dtype=np.float64)
    after = expected_calibration_error(confidence_Q, correct_Q, binning="equal_mass")
    return fitted.value, after, ""
