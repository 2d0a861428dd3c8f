"""The verdict for a reader who is no statistician: whole sentences, differences as questions out of 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medalign.records import BASE
from medalign.reporting import wording
from medalign.reporting.report_data import ReportData
from medalign.reporting.rows import Row

if TYPE_CHECKING:
    from medalign.reporting.findings import Findings
    from medalign.stats.comparison import ComparisonSummary


def explain(data: ReportData, findings: Findings, rows: Sequence[Row]) -> list[str]:
    """Sentences that say what was found, how large it is and how sure.

    Args:
        rows: From `rows.arm_rows`.
    """
    summary = findings.summary
    sentences = [_opening(summary, rows)]
    against = [row for row in rows if row["difference_to_base"] is not None]
    open_rows = [row for row in against if _is_open(row)]
    sentences += [_against_base(row, summary.margin) for row in against if row not in open_rows]
    sentences += _open_sentences(open_rows)
    sentences += _baseline_sentences(summary, rows)
    sentences += _confidence_sentences(findings)
    detectable = data.stated_detectable_difference or summary.minimum_detectable_difference
    if detectable is not None:
        size = wording.in_hundred(detectable)
        sentences.append(
            f"With {summary.num_questions} questions a comparison like this finds a difference of {size} in 100 "
            "questions four times out of five, and smaller ones less often. What it did not find may still be there."
        )
    return sentences


def _opening(summary: ComparisonSummary, rows: Sequence[Row]) -> str:
    shares = [
        f"{_name(row['arm'])} answered {wording.percent(row['accuracy'])} of them correctly" for row in rows
    ]
    listed = ", ".join(shares[:-1]) + (" and " if len(shares) > 1 else "") + shares[-1] if shares else ""
    return f"Every arm was asked the same {summary.num_questions} test questions, none seen in training: {listed}."


def _against_base(row: Row, margin: float) -> str:
    arm, difference = row["arm"], row["difference_to_base"]
    low, high = row["difference_low"], row["difference_high"]
    fits = f"anything from {_signed(low)} to {_signed(high)} fits the data"
    if row["verdict"] in ("better", "worse"):
        return (
            f"{arm} is {row['verdict']} than the untouched model: out of 100 questions it answers about "
            f"{_signed(difference)} correctly; {fits}."
        )
    if row["verdict"].startswith("equivalent"):
        size = wording.in_hundred(margin)
        return (
            f"{arm} and the untouched model are as good as each other for practical purposes: the difference is "
            f"shown to be less than {size} in 100 questions; {fits}."
        )
    # The interval is for one pair alone, the claim for all pairs: without a word it would read as a contradiction.
    return (
        f"Whether {arm} is better or worse than the untouched model is not shown: out of 100 questions, {fits} "
        "if this pair is looked at alone, but among several pairs, or with another training seed, chance alone can do "
        "that."
    )


def _is_open(row: Row) -> bool:
    """Whether neither direction of the difference is even suggested."""
    return bool(row["verdict"] == "not enough data" and row["difference_low"] <= 0 <= row["difference_high"])


def _open_sentences(rows: Sequence[Row]) -> list[str]:
    if not rows:
        return []
    names = [row["arm"] for row in rows]
    listed = ", ".join(names[:-1]) + (" or " if len(names) > 1 else "") + names[-1]
    ranges = [f"{_signed(row['difference_low'])} to {_signed(row['difference_high'])}" for row in rows]
    if len(rows) > 1:
        ranges = [f"{found} for {name}" for found, name in zip(ranges, names, strict=True)]
    return [
        f"Whether {listed} is better or worse than the untouched model is not shown. Out of 100 questions, anything "
        f"from {', '.join(ranges)} fits the data."
    ]


def _baseline_sentences(summary: ComparisonSummary, rows: Sequence[Row]) -> list[str]:
    if summary.majority_baseline is None:
        return []
    share = wording.percent(summary.majority_baseline)
    clear = [row["arm"] for row in rows if row["accuracy_low"] > summary.majority_baseline]
    if clear:
        return [
            f"Always giving the most frequent answer would score {share}; clearly above it: {', '.join(clear)}."
        ]
    return [f"Always giving the most frequent answer would score {share}, and no arm is clearly above that."]


def _confidence_sentences(findings: Findings) -> list[str]:
    """For which arms a stated probability must not be read as one."""
    overconfident = [
        f"{_name(item.arm)} ({item.mean_confidence:.0%} sure on average, {item.accuracy:.0%} right)"
        for item in findings.reliability
        if item.mean_confidence - item.accuracy > 0.1
    ]
    if not overconfident:
        return []
    return [
        f"Surer than they should be, so that their confidence must not be trusted: {', '.join(overconfident)}."
    ]


def _name(arm: str) -> str:
    return "the untouched model" if arm == BASE else arm


def _signed(fraction: float) -> str:
    return f"{wording.in_hundred(fraction)} {'more' if fraction >= 0 else 'fewer'}"
