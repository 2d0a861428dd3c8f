"""Calibration as the report shows it; the measures themselves are tested with `evaluation`."""

from __future__ import annotations

import dataclasses

import pytest

from medalign.evaluation.calibration import expected_calibration_error
from medalign.evaluation.confidence import confidences
from medalign.reporting.reliability import BINS, all_reliabilities, arm_reliability
from tests.reporting import samples


def test_bins_hold_every_answer_once_and_their_intervals_hold_the_accuracy() -> None:
    arm = samples.make_arms(samples.make_questions())[2]
    found = arm_reliability(arm, "raw")
    assert found is not None and len(found.bins) <= BINS
    assert sum(part.num_questions for part in found.bins) == 2 * 61
    assert all(part.low <= part.accuracy <= part.high for part in found.bins)


def test_measures_are_over_all_seeds() -> None:
    arm = samples.make_arms(samples.make_questions())[2]
    answers = [prediction for of_seed in arm.predictions for prediction in of_seed]
    found = arm_reliability(arm, "raw")
    assert found is not None
    assert found.accuracy == pytest.approx(sum(bool(p.correct) for p in answers) / len(answers))
    expected = expected_calibration_error(
        confidences(answers, scoring="raw"), [bool(p.correct) for p in answers], binning="equal_mass"
    )
    assert found.ece == pytest.approx(expected)


def test_the_surest_share_ends_at_the_error_rate() -> None:
    found = arm_reliability(samples.make_arms(samples.make_questions())[1], "raw")
    assert found is not None
    coverage, risk = found.coverage[-1]
    assert coverage == 1 and risk == pytest.approx(1 - found.accuracy)


def test_a_temperature_needs_validation_answers() -> None:
    questions = samples.make_questions()
    arm = samples.make_arms(questions)[1]
    without = arm_reliability(arm, "raw")
    assert without is not None and without.temperature is None
    assert without.why_no_temperature == "undefined: its answers to the validation questions were not kept"
    validation = [samples.predict(question, index % 2 == 0) for index, question in enumerate(questions)]
    (fitted,) = all_reliabilities([arm], "raw", {arm.arm: validation})
    assert fitted.temperature is not None and fitted.temperature > 1  # half right, but 70 to 80% sure
    assert fitted.ece_after is not None and fitted.why_no_temperature == ""


def test_written_answers_have_no_confidence() -> None:
    arm = samples.make_arms(samples.make_questions(4), {"base": 0.5})[0]
    written = [dataclasses.replace(p, correct=None, option_logprobs=()) for p in arm.predictions[0]]
    assert arm_reliability(dataclasses.replace(arm, predictions=(tuple(written),)), "raw") is None
