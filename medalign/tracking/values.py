"""What is written to the tracker, as plain names and numbers: pure functions that know no MLflow."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medalign.records import BASE, ArmResult, Cost, Progress, TrialResult

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

# Longest that MLflow stores; it refuses longer names and cuts longer values.
_NAME_CHARS = 250
_PARAM_CHARS = 6000
_FORBIDDEN = re.compile(r"[^\w./\- :]", flags=re.ASCII)

FULL_BUDGET_STEPS = 1000


def metric_name(name: str) -> str:
    """The name with everything that MLflow refuses replaced by an underscore."""
    return _FORBIDDEN.sub("_", name)[:_NAME_CHARS]


def metric_values(numbers: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among the values under names that MLflow takes; what is undefined is left out."""
    kept: dict[str, float] = {}
    for name, value in numbers.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            kept[metric_name(name)] = number
    return kept


def param_values(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """The settings as texts, nested ones under names joined by dots; sequences become JSON."""
    texts: dict[str, str] = {}
    for name, value in settings.items():
        full_name = f"{prefix}{name}"
        if isinstance(value, Mapping):
            texts |= param_values(value, f"{full_name}.")
        else:
            texts[metric_name(full_name)] = _param_text(value)[:_PARAM_CHARS]
    return texts


def _param_text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return json.dumps(value, default=str)
    return str(value)


def step_of(progress: Progress) -> int:
    """The share of the budget in thousandths, the time axis that all methods have in common."""
    return round(progress.budget_share * FULL_BUDGET_STEPS)


def progress_metrics(progress: Progress) -> dict[str, float]:
    """One point of a trial's learning curve."""
    numbers = {**progress.metrics, "validation_accuracy": progress.score, **_cost_numbers(progress.cost)}
    return metric_values(numbers)


def result_metrics(result: TrialResult) -> dict[str, float]:
    """The final numbers of a trial, its cost among them."""
    numbers = {
        **result.metrics,
        "validation_accuracy": result.score,
        "validation_gold_probability": result.tie_break,
        **_cost_numbers(result.cost),
    }
    return metric_values(numbers)


def learning_curve(result: TrialResult) -> list[tuple[int, float]]:
    """Step and training loss of every optimisation step; a loss that is not finite is left out."""
    return [
        (round(share * FULL_BUDGET_STEPS), loss)
        for share, loss in result.learning_curve
        if math.isfinite(loss)
    ]


def result_step(result: TrialResult) -> int:
    """Where on the time axis a trial ended."""
    if result.status == "completed":
        return FULL_BUDGET_STEPS
    return step_of(result.history[-1]) if result.history else 0


def _cost_numbers(cost: Cost) -> dict[str, Any]:
    return {
        **dataclasses.asdict(cost),
        "train_tokens_per_second": cost.train_tokens_per_second,
        "train_flops_utilisation": cost.train_flops_utilisation,
    }


def arm_metrics(arm: ArmResult, summary: ComparisonSummary) -> dict[str, float]:
    """What the tracker's compare view needs to answer the comparison's question, for one arm."""
    found = next(item for item in summary.arms if item.arm == arm.arm)
    numbers: dict[str, Any] = {
        "test_accuracy": found.accuracy,
        "test_accuracy_low": found.accuracy_interval.low,
        "test_accuracy_high": found.accuracy_interval.high,
        "test_macro_f1": found.macro_f1,
        "test_token_f1": found.token_f1,
        "test_exact_match": found.exact_match,
        "num_questions": found.num_questions,
        "num_seeds": found.num_seeds,
        "validation_accuracy": arm.validation_score,
        "train_seconds": arm.cost.train_seconds,
        "score_seconds": arm.cost.score_seconds,
        "tokens_trained": arm.cost.tokens_trained,
        "peak_gib": arm.cost.peak_gib,
        "search_wall_seconds": arm.search_cost.wall_seconds,
        "search_tokens_trained": arm.search_cost.tokens_trained,
        "num_trials": arm.num_trials,
        "num_stopped": arm.num_stopped,
        "num_failed": arm.num_failed,
        **_base_numbers(arm.arm, summary),
    }
    return metric_values(numbers)


def _base_numbers(arm: str, summary: ComparisonSummary) -> dict[str, float]:
    for pair in summary.pairs:
        if (pair.first, pair.second) == (arm, BASE):
            return {
                "difference_to_base": pair.difference,
                "difference_to_base_low": pair.interval.low,
                "difference_to_base_high": pair.interval.high,
                "p_corrected": pair.p_corrected,
            }
    return {}


def parent_metrics(summary: ComparisonSummary) -> dict[str, float]:
    """The comparison's own numbers, so that comparisons can be set side by side too."""
    numbers: dict[str, Any] = {f"{arm.arm}/test_accuracy": arm.accuracy for arm in summary.arms}
    numbers["num_questions"] = summary.num_questions
    numbers["majority_baseline"] = summary.majority_baseline
    numbers["minimum_detectable_difference"] = summary.minimum_detectable_difference
    return metric_values(numbers)


def note(summary: ComparisonSummary) -> str:
    """The description that the tracker's page shows for the comparison, in Markdown."""
    level = next((f"{arm.accuracy_interval.level:.0%}" for arm in summary.arms), "95%")
    lines = [
        f"**{summary.verdict}**",
        "",
        f"| arm | test accuracy | {level} interval |",
        "| --- | --- | --- |",
    ]
    for arm in summary.arms:
        low, high = arm.accuracy_interval.low, arm.accuracy_interval.high
        lines.append(f"| {arm.arm} | {arm.accuracy:.1%} | {low:.1%} to {high:.1%} |")
    lines += [
        "",
        "The whole answer is in the artifact `report.html`; select the method runs to compare them.",
    ]
    return "\n".join(lines)
