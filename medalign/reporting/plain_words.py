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
    return sentences + _power_sentences(data.stated_detectable_difference, summary)


def _opening(summary: ComparisonSummary, rows: Sequence[Row]) -> str:
    shares = [
        f"{_name(row['arm'])} answered {wording.percent(row['accuracy'])} of them correctly" for row in rows
    ]
    listed = ", ".join(shares[:-1]) + (" and " if len(shares) > 1 else "") + shares[-1] if shares else ""
    return (
        f"Every arm was asked the same {summary.num_questions} test questions, none of them used for training or to "
        f"choose a setting: {listed}."
    )


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
    highest = {arm.arm: arm.accuracy_interval.high for arm in findings.summary.arms}
    overconfident = [item for item in findings.reliability if item.mean_confidence > highest[item.arm]]
    if not overconfident:
        return []
    listed = ", ".join(
        f"{_name(item.arm)} ({item.mean_confidence:.0%} sure on average, {item.accuracy:.0%} right)"
        for item in overconfident
    )
    others = [_name(item.arm) for item in findings.reliability if item not in overconfident]
    unproven = (
        f" That the confidence of {' or '.join(others)} may be trusted is not shown by that."
        if others
        else ""
    )
    return [f"Surer than they should be, so that their confidence must not be trusted: {listed}.{unproven}"]


def _power_sentences(stated: float | None, summary: ComparisonSummary) -> list[str]:
    """Which differences the test could find: as reckoned before it began, and with what was then seen."""
    from medalign.stats.power import ASSUMED_DISCORDANCE

    seen = summary.minimum_detectable_difference
    sentences = []
    if stated is not None:
        sentences.append(
            f"Before it began, {summary.num_questions} questions were reckoned to show a difference of "
            f"{wording.in_hundred(stated)} in 100 questions four times out of five, between two arms that differ on "
            f"{ASSUMED_DISCORDANCE:.0%} of them."
        )
    as_seen = "As much as the arms, and the seeds of their training, were then seen to differ,"
    if seen is not None:
        sentences.append(
            f"{as_seen} {summary.num_questions} questions show one of {wording.in_hundred(seen)} in 100 four times out "
            "of five, and smaller ones less often. What was not found may still be there."
        )
    elif summary.discordance > 0:
        sentences.append(f"{as_seen} {summary.num_questions} questions show none so reliably, however large.")
    return [" ".join(sentences)] if sentences else []


def _name(arm: str) -> str:
    return "the untouched model" if arm == BASE else arm


def _signed(fraction: float) -> str:
    return f"{wording.in_hundred(fraction)} {'more' if fraction >= 0 else 'fewer'}"
