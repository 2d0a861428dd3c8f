"""Metrics of arms as rows, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medalign.reporting.rows import Row

if TYPE_CHECKING:
    from medalign.evaluation.consistency import Consistency
    from medalign.evaluation.measuring import Measure


def metric_rows(measures: Mapping[str, Sequence[Measure]]) -> list[Row]:
    """One row an arm and metric: its value, unit and number of questions, or why it is undefined."""
    return [
        {
            "arm": arm,
            "metric": m.name,
            "title": m.info.title,
            "value": m.value,
            "unit": m.info.unit,
            "better": m.info.better,
            "num_questions": m.num_questions,
            "undefined": m.undefined,
        }
        for arm, of_arm in measures.items()
        for m in of_arm
    ]


def metric_text(measures: Mapping[str, Sequence[Measure]]) -> str:
    """A line a metric and a column an arm; below it those that are undefined for every arm, by reason.

    Args:
        measures: For each arm the same metrics in the same order.
    """
    arms = list(measures)
    columns = [measures[arm] for arm in arms]
    widths = [max(8, len(arm)) for arm in arms]
    lines = [
        f"{'metric':<26}"
        + "".join(f"{arm:>{width + 2}}" for arm, width in zip(arms, widths, strict=True))
        + "  questions  unit"
    ]
    reasons: dict[str, list[str]] = {}
    for of_arms in zip(*columns, strict=True):
        first = of_arms[0]
        if all(m.value is None for m in of_arms):
            reasons.setdefault(first.undefined, []).append(first.name)
            continue
        cells = [f"{_number(m):>{width + 2}}" for m, width in zip(of_arms, widths, strict=True)]
        better = {"higher": "", "lower": ", lower is better", "neither": ""}[first.info.better]
        lines.append(
            f"{first.name:<26}{''.join(cells)}  {max(m.num_questions for m in of_arms):>9}  {first.info.unit}{better}"
        )
    lines += [f"undefined: {', '.join(names)}: {reason}" for reason, names in reasons.items()]
    return "\n".join(lines)


def consistency_text(found: Consistency) -> str:
    """How far answers hold over variants, in two lines."""
    right = (
        ""
        if found.accuracy is None
        else f"; right as first put {found.accuracy:.1%}, in variants {found.variant_accuracy:.1%}, "
        f"as first put and in every variant {found.robust_accuracy:.1%}"
    )
    return (
        f"consistency: {found.num_variants} variants of {found.num_questions} questions; the same answer in "
        f"{found.agreement:.1%} of them, in all of them for {found.unanimous:.1%} of questions{right}"
    )


def _number(measure: Measure) -> str:
    return "undefined" if measure.value is None else f"{measure.value:.3f}"
