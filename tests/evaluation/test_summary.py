"""All metrics of a split, and which of them are defined."""

from __future__ import annotations

import pytest
from sklearn.metrics import f1_score

from medalign.evaluation.predictions import Scoring, build_prediction
from medalign.evaluation.summary import score_split
from medalign.records import DECISIONS, Prediction, Question

COUNTS = {"num_scored", "num_free_text"}
OF_CALIBRATION = {"ece_equal_width", "ece_equal_mass", "brier"}
OF_OPTIONS = {"accuracy", "accuracy_raw", "accuracy_normalised", "mean_gold_probability"} | OF_CALIBRATION
OF_TEXT = {"token_f1", "exact_match"}


def decided(
    answer: str, logprobs: dict[str, float], scoring: Scoring, options: tuple[str, ...] = DECISIONS
) -> Prediction:
    question = Question(id="d", source="made", kind="decision", text="?", answer=answer, options=options)
    return build_prediction(
        question, option_logprobs=[logprobs[option] for option in options], scoring=scoring
    )


def chosen(scoring: Scoring) -> Prediction:
    options = ("iron", "metoprolol")
    question = Question(id="c", source="made", kind="choice", text="?", answer="metoprolol", options=options)
    return build_prediction(question, option_logprobs=[-1.0, -2.0], scoring=scoring)


def written(text: str) -> Prediction:
    question = Question(id="f", source="made", kind="free_text", text="?", answer="oral iron")
    return build_prediction(question, text=text, scoring="raw")


@pytest.mark.parametrize(("scoring", "accuracy"), [("raw", 0.0), ("normalised", 1.0)])
def test_accuracy_follows_the_scoring_rule_and_both_rules_are_reported(
    scoring: Scoring, accuracy: float
) -> None:
    found = score_split([chosen(scoring), chosen(scoring)])
    assert found["accuracy"] == accuracy
    assert (found["accuracy_raw"], found["accuracy_normalised"]) == (0.0, 1.0)
    assert found["mean_gold_probability"] == pytest.approx(0.26894142)


@pytest.mark.parametrize("scoring", ["raw", "normalised"])
def test_decisions_are_scored_raw_whatever_the_rule_for_choices(scoring: Scoring) -> None:
    # Raw takes no, no, yes; per character it would take maybe, no, yes.
    answers = [
        decided("maybe", {"yes": -9.0, "no": -1.0, "maybe": -1.5}, scoring),
        decided("no", {"yes": -9.0, "no": -1.0, "maybe": -9.0}, scoring, ("no", "maybe", "yes")),
        decided("no", {"yes": -1.0, "no": -9.0, "maybe": -9.0}, scoring, ("maybe", "yes", "no")),
    ]
    found = score_split(answers)
    expected = f1_score(
        ["maybe", "no", "no"], ["no", "no", "yes"], labels=["maybe", "no"], average="macro", zero_division=0
    )
    assert found["macro_f1"] == pytest.approx(expected)
    assert found["accuracy"] == pytest.approx(1 / 3)
    assert found["accuracy_normalised"] == pytest.approx(2 / 3)


def test_written_answers_are_averaged_apart() -> None:
    found = score_split([written("oral iron"), written("iron"), chosen("normalised")])
    assert found["token_f1"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["exact_match"] == 0.5
    assert found["accuracy"] == 1
    assert (found["num_scored"], found["num_free_text"]) == (1, 2)


def test_undefined_metrics_are_left_out() -> None:
    assert set(score_split([])) == COUNTS
    assert set(score_split([written("iron")])) == COUNTS | OF_TEXT
    assert set(score_split([chosen("raw")])) == COUNTS | OF_OPTIONS
    decision = decided("no", {"yes": -1.0, "no": -2.0, "maybe": -3.0}, "raw")
    assert set(score_split([decision])) == COUNTS | OF_OPTIONS | {"macro_f1"}
