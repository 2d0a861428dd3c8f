"""The verdict for a reader who is no statistician: whole sentences, differences as questions out of 100."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medalign.records import BASE
from medalign.reporting import wording
from medalign.reporting.report_data import ReportData
from medalign.reporting.rows import Row

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary


def explain(data: ReportData, summary: ComparisonSummary, rows: Sequence[Row]) -> list[str]:
    """Sentences that say what was found, how large it is and how sure.

    Args:
        rows: From `rows.arm_rows`.
    """
    sentences = [_opening(summary, rows)]
    sentences += [_against_base(row) for row in rows if row["difference_to_base"] is not None]
    sentences += _baseline_sentences(summary, rows)
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


def _against_base(row: Row) -> str:
    arm, difference = row["arm"], row["difference_to_base"]
    low, high = row["difference_low"], row["difference_high"]
    fits = f"anything from {_signed(low)} to {_signed(high)} fits the data"
    if row["verdict"] in ("better", "worse"):
        return (
            f"{arm} is {row['verdict']} than the untouched model: out of 100 questions it answers about "
            f"{_signed(difference)} correctly; {fits}."
        )
    not_shown = f"Whether {arm} is better or worse than the untouched model is not shown: out of 100 questions, {fits}"
    if low > 0 or high < 0:
        # The interval is for one pair alone, the claim for all pairs: without a word it would read as a contradiction.
        return (
            f"{not_shown} if this pair is looked at alone, but among several pairs chance alone can do that."
        )
    return f"{not_shown}."


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


def _name(arm: str) -> str:
    return "the untouched model" if arm == BASE else arm


def _signed(fraction: float) -> str:
    return f"{wording.in_hundred(fraction)} {'more' if fraction >= 0 else 'fewer'}"
