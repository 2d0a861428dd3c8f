"""The error analysis as lists of rows with intervals: where `evaluation` counts and `stats` says how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from medalign.records import ArmResult
from medalign.reporting.rows import Row

if TYPE_CHECKING:
    from medalign.evaluation.error_analysis import ErrorAnalysis, Slice
    from medalign.evaluation.patterns import Pattern

NUM_RESAMPLES = 2_000
MIN_GROUPS = 10  # below so many independent questions a bootstrap interval covers too little to be shown


def slice_rows(analysis: ErrorAnalysis, arms: Sequence[ArmResult], *, seed: int = 0) -> list[Row]:
    """One row a pair and part of the questions: what the first arm fixes and breaks there, and the difference.

    The interval of the difference is a paired bootstrap over groups, for this part alone: with so many parts some
    exclude 0 by chance. `undefined` says why there is none.

    Args:
        arms: Those that were analysed; their predictions name the groups.
    """
    groups = {p.question_id: p.group or f"\0{p.question_id}" for p in arms[0].predictions[0]}
    rows = []
    for pair in analysis.pairs:
        for part in pair.slices:
            rows.append(
                {
                    "first": pair.first,
                    "second": pair.second,
                    "feature": part.feature,
                    "value": part.value,
                    "num_questions": part.num_questions,
                    "num_fixed": part.num_fixed,
                    "num_broken": part.num_broken,
                    "first_accuracy": part.first_accuracy,
                    "second_accuracy": part.second_accuracy,
                    "difference": part.difference,
                    **_interval_of(part, pair.difference_by_question, groups, seed),
                }
            )
    return rows


def _interval_of(part: Slice, differences: Mapping[str, float], groups: Mapping[str, str], seed: int) -> Row:
    from medalign.stats.intervals import paired_bootstrap_interval

    labels = [groups[name] for name in part.question_ids]
    num_groups = len(set(labels))
    if num_groups < MIN_GROUPS:
        reason = f"{num_groups} independent question(s); an interval needs {MIN_GROUPS}"
        return {"low": None, "high": None, "undefined": reason}
    interval = paired_bootstrap_interval(
        [differences[name] for name in part.question_ids],
        num_resamples=NUM_RESAMPLES,
        seed=seed,
        groups_Q=labels,
    )
    return {"low": interval.low, "high": interval.high, "undefined": ""}


def pattern_rows(analysis: ErrorAnalysis) -> list[Row]:
    """One row an arm and pattern, the most frequent beyond what is expected first.

    The interval of the share is Wilson's over different questions: the seeds of an arm answer the same
    questions, so they add no independent ones. `is_shown` says that the interval lies above what is expected
    without the habit; the favoured option of a bias is picked by looking, so one that barely does so is weak.
    """
    return sorted(
        (_pattern_row(pattern) for pattern in analysis.patterns),
        key=lambda row: (-((row["share"] or 0.0) - (row["expected"] or 0.0)), row["pattern"], row["arm"]),
    )


def _pattern_row(pattern: Pattern) -> Row:
    from medalign.stats.intervals import wilson_interval

    share = pattern.share
    interval = None
    if share is not None:
        interval = wilson_interval(share * pattern.num_questions, pattern.num_questions)
    return {
        "arm": pattern.arm,
        "pattern": pattern.name,
        "num_found": pattern.num_found,
        "num_answers": pattern.num_answers,
        "num_questions": pattern.num_questions,
        "share": share,
        "low": interval.low if interval else None,
        "high": interval.high if interval else None,
        "expected": pattern.expected,
        "is_shown": bool(pattern.num_found and interval and interval.low > (pattern.expected or 0.0)),
        "undefined": "" if share is not None else "no answer could show it",
        "definition": pattern.definition,
        "suggestion": pattern.suggestion,
        "examples": [example._asdict() for example in pattern.examples],
    }


def oracle_row(analysis: ErrorAnalysis) -> Row:
    """What all arms together would reach, with Wilson's interval."""
    from medalign.stats.intervals import wilson_interval

    oracle = analysis.oracle
    interval = wilson_interval(oracle.accuracy * oracle.num_questions, oracle.num_questions)
    return {
        "accuracy": oracle.accuracy,
        "low": interval.low,
        "high": interval.high,
        "independent": oracle.independent,
        "best_arm": oracle.best_arm,
        "best_accuracy": oracle.best_accuracy,
        "num_questions": oracle.num_questions,
        "num_none": oracle.num_none,
        "num_all": oracle.num_all,
        **{f"only_{arm}": len(names) for arm, names in oracle.only.items()},
    }


def confident_error_rows(analysis: ErrorAnalysis) -> list[Row]:
    """One row a wrong answer that was given with a high probability, the most confident first."""
    return [error._asdict() for error in analysis.confident_errors]


def error_text(analysis: ErrorAnalysis, arms: Sequence[ArmResult]) -> str:
    """The error analysis in lines for a terminal: confident errors, pairs, the oracle, and patterns that are shown."""
    lines = []
    for arm, number in analysis.num_confident_errors.items():
        lines.append(f"{arm}: {number} of {analysis.num_answers[arm]} answers confidently wrong")
    for pair in analysis.pairs:
        lines.append(
            f"{pair.first} against {pair.second}: fixes {len(pair.fixed)}, breaks {len(pair.broken)}, "
            f"both right {pair.both_right}, both wrong {pair.both_wrong}"
        )
    for row in slice_rows(analysis, arms):
        if not row["undefined"] and (row["low"] > 0 or row["high"] < 0):
            lines.append(
                f"  {row['first']} against {row['second']} on {row['feature']} = {row['value']} "
                f"({row['num_questions']} questions): {_points(row['difference'])} "
                f"[{_points(row['low'])}, {_points(row['high'])}] points, uncorrected"
            )
    oracle = oracle_row(analysis)
    if len(arms) > 1:
        lines.append(
            f"best arm for every question: {oracle['accuracy']:.1%} "
            f"(best single arm {oracle['best_arm']} {oracle['best_accuracy']:.1%}; with independent errors "
            f"{oracle['independent']:.1%}); no arm has {oracle['num_none']} of {oracle['num_questions']} right"
        )
    for row in pattern_rows(analysis):
        if row["is_shown"]:
            expected = "" if row["expected"] is None else f", {row['expected']:.0%} expected"
            lines.append(
                f"{row['arm']}: {row['pattern']} in {row['num_found']} of {row['num_answers']} answers "
                f"({row['share']:.0%} [{row['low']:.0%}, {row['high']:.0%}]{expected}): {row['suggestion']}"
            )
    return "\n".join(lines)


def _points(fraction: float) -> str:
    """A difference in percentage points with its sign, 0.0 without one."""
    points = round(100 * fraction, 1)
    return f"{points:+.1f}" if points and math.isfinite(points) else "0.0"
