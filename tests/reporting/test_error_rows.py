"""Rows of the error analysis: intervals where there are enough questions, and the reason where there are not."""

from __future__ import annotations

import json

import pytest

from medalign.evaluation.error_analysis import ErrorAnalysis, analyse_errors
from medalign.records import ArmResult
from medalign.reporting.error_rows import (
    confident_error_rows,
    error_text,
    oracle_row,
    pattern_rows,
    slice_rows,
)
from medalign.stats.intervals import paired_bootstrap_interval, wilson_interval
from tests.evaluation.samples import arm, by_id, choice, take

QUESTIONS = [
    choice(f"q{i}", i % 4, specialty="cardiology" if i < 40 else "neurology", group=f"g{i // 2}")
    for i in range(44)
]


@pytest.fixture(scope="module")
def arms() -> list[ArmResult]:
    """An arm that always takes the first option, and one that has most cardiology right."""
    base = [take(q, 0) for q in QUESTIONS]
    sft = [take(q, (q.answer_index or 0) if i < 36 else 1, sure=1.0) for i, q in enumerate(QUESTIONS)]
    return [arm("base", base, base), arm("sft", sft)]


@pytest.fixture(scope="module")
def analysis(arms: list[ArmResult]) -> ErrorAnalysis:
    return analyse_errors(arms, by_id(QUESTIONS))


def test_a_slice_has_the_paired_interval_over_its_groups(
    analysis: ErrorAnalysis, arms: list[ArmResult]
) -> None:
    rows = {row["value"]: row for row in slice_rows(analysis, arms) if row["feature"] == "specialty"}
    pair = analysis.pairs[0]
    expected = paired_bootstrap_interval(
        [pair.difference_by_question[f"q{i}"] for i in range(40)],
        num_resamples=2000,
        groups_Q=[f"g{i // 2}" for i in range(40)],
    )
    found = rows["cardiology"]
    assert (found["low"], found["high"]) == (expected.low, expected.high)
    assert found["difference"] == pytest.approx(found["first_accuracy"] - found["second_accuracy"])
    assert rows["neurology"]["low"] is None
    assert rows["neurology"]["undefined"] == "2 independent question(s); an interval needs 10"


def test_a_pattern_has_wilsons_interval_over_different_questions(analysis: ErrorAnalysis) -> None:
    rows = {(row["arm"], row["pattern"]): row for row in pattern_rows(analysis)}
    found = rows["base", "option_position_bias"]
    assert (found["num_found"], found["num_answers"], found["num_questions"]) == (66, 66, 33)
    assert (found["low"], found["high"]) == wilson_interval(33, 33)[:2]
    assert found["is_shown"] and found["expected"] == pytest.approx(1 / 3)
    absent = rows["base", "refusal"]
    assert (absent["share"], absent["is_shown"], absent["undefined"]) == (
        None,
        False,
        "no answer could show it",
    )
    assert pattern_rows(analysis)[0]["pattern"] == "option_position_bias"


def test_the_oracle_and_confident_errors_are_rows_that_json_takes(
    analysis: ErrorAnalysis, arms: list[ArmResult]
) -> None:
    oracle = oracle_row(analysis)
    assert oracle["low"] <= oracle["accuracy"] <= oracle["high"]
    assert oracle["only_sft"] == len(analysis.oracle.only["sft"])
    rows = confident_error_rows(analysis)
    assert [row["confidence"] for row in rows] == sorted((row["confidence"] for row in rows), reverse=True)
    json.dumps([oracle, rows, pattern_rows(analysis), slice_rows(analysis, arms)], allow_nan=False)


def test_the_text_names_arms_oracle_and_shown_patterns_alone(
    analysis: ErrorAnalysis, arms: list[ArmResult]
) -> None:
    shown = error_text(analysis, arms)
    assert f"sft against base: fixes {len(analysis.pairs[0].fixed)}, breaks" in shown
    assert "on specialty = cardiology (40 questions): +" in shown
    assert "base: option_position_bias in 66 of 66 answers (100% [90%, 100%], 33% expected)" in shown
    assert "refusal" not in shown
    assert "best arm for every question" in shown
    assert "best arm" not in error_text(analyse_errors(arms[:1]), arms[:1])
