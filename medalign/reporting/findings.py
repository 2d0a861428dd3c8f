"""Everything that a report derives from the arms once, for its plots, tables and files alike."""

# A = arms, Q = questions

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medalign.records import ArmResult
from medalign.reporting.error_rows import slice_rows
from medalign.reporting.ledger import Ledger, make_ledger
from medalign.reporting.recommendations import training_recommendations
from medalign.reporting.report_data import ReportData
from medalign.reporting.rows import Row, flip_rows

if TYPE_CHECKING:
    from medalign.evaluation.error_analysis import ErrorAnalysis
    from medalign.reporting.reliability import ArmReliability
    from medalign.stats.comparison import ComparisonSummary


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the arms came to.

    Attributes:
        front: Arms on the Pareto front of accuracy and cost.
        front_probability: How often each arm is on it when the questions are drawn anew.
        reliability: Of every arm with scored questions.
        slices: The parts of the questions with what each arm fixes and breaks there (`error_rows.slice_rows`).
        flips: The questions on which arms differ (`rows.flip_rows`).
    """

    summary: ComparisonSummary
    arms: Sequence[ArmResult]
    ledger: Ledger
    front: tuple[str, ...]
    front_probability: Mapping[str, float]
    reliability: tuple[ArmReliability, ...]
    errors: ErrorAnalysis
    recommendations: Mapping[str, Any]
    slices: Sequence[Row]
    flips: Sequence[Row]


def derive(data: ReportData, summary: ComparisonSummary, arms: Sequence[ArmResult]) -> Findings:
    """Costs, front, calibration, errors and recommendations."""
    from medalign.evaluation.error_analysis import analyse_errors
    from medalign.reporting.reliability import all_reliabilities

    errors = analyse_errors(arms, data.questions)
    ledger = make_ledger(data.trials, arms, summary, data.price)
    front, probability = _front(ledger, arms)
    return Findings(
        summary=summary,
        arms=arms,
        ledger=ledger,
        front=front,
        front_probability=probability,
        reliability=all_reliabilities(arms, data.scoring, data.validation),
        errors=errors,
        recommendations=training_recommendations(summary, data.card),
        slices=slice_rows(errors, arms),
        flips=flip_rows(data, arms),
    )


def _front(ledger: Ledger, arms: Sequence[ArmResult]) -> tuple[tuple[str, ...], dict[str, float]]:
    import numpy as np

    from medalign.stats.pareto import front_probabilities, is_on_front

    names = [arm.arm for arm in arms]
    costs_A = [ledger.on_axis(ledger.arms[name].total) for name in names]
    scored = [number for number, p in enumerate(arms[0].predictions[0]) if p.correct is not None]
    correct_AQ = np.array([_share_right(arm, scored) for arm in arms])
    questions = [arms[0].predictions[0][number] for number in scored]
    groups_Q = [(p.group, "") if p.group else ("", p.question_id) for p in questions]
    on_front_A = is_on_front(costs_A, correct_AQ.mean(axis=1))
    probability_A = front_probabilities(correct_AQ, costs_A, groups_Q=groups_Q)
    front = tuple(name for name, is_on in zip(names, on_front_A, strict=True) if is_on)
    return front, dict(zip(names, probability_A.tolist(), strict=True))


def _share_right(arm: ArmResult, scored: Sequence[int]) -> Any:
    import numpy as np

    right_SQ = [[bool(of_seed[number].correct) for number in scored] for of_seed in arm.predictions]
    return np.array(right_SQ, dtype=np.float64).mean(axis=0)
