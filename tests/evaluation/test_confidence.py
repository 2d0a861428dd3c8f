"""Confidences out of predictions, and the temperature fitted to them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, special

from medalign.evaluation.confidence import (
    confidences,
    fit_temperature,
    option_probabilities,
    scoring_rule,
)
from medalign.evaluation.predictions import Scoring, build_prediction
from medalign.records import Prediction
from tests.evaluation.samples import choice, decision, random_predictions, say, take, written


def slow_nll(predictions: list[Prediction], scoring: Scoring, temperature: float) -> float:
    total = 0.0
    for p in predictions:
        scores = np.array(p.option_logprobs)
        if scoring == "normalised" and p.kind == "choice":
            scores = scores / np.array(p.option_chars)
        total -= special.log_softmax(scores / temperature)[p.answer_index]
    return total / len(predictions)


@pytest.mark.parametrize("scoring", ["raw", "normalised"])
def test_probabilities_are_a_softmax_over_the_scores_that_counted(scoring: Scoring) -> None:
    for prediction in random_predictions(30, 1, scoring):
        scores = np.array(prediction.option_logprobs)
        if scoring == "normalised" and prediction.kind == "choice":
            scores = scores / np.array(prediction.option_chars)
        found = option_probabilities(prediction, scoring, temperature=2.0)
        assert found == pytest.approx(special.softmax(scores / 2).tolist(), abs=1e-12)
        assert int(np.argmax(found)) == prediction.chosen


def test_confidence_is_that_of_the_chosen_option_and_written_answers_have_none() -> None:
    predictions = [take(choice("a"), 1, sure=2.0), say(written("b"), "iron"), take(decision("c", "no"), 0)]
    expected = [np.exp(2) / (np.exp(2) + 3), np.exp(3) / (np.exp(3) + 2)]
    assert confidences(predictions).tolist() == pytest.approx(expected)


def test_the_scoring_rule_is_found_from_what_was_chosen() -> None:
    assert scoring_rule(random_predictions(30, 2, "raw")) == "raw"
    assert scoring_rule(random_predictions(30, 2, "normalised")) == "normalised"


@pytest.mark.parametrize("scoring", ["raw", "normalised"])
def test_temperature_minimises_the_negative_log_likelihood(scoring: Scoring) -> None:
    predictions = random_predictions(200, 3, scoring)
    found = fit_temperature(predictions)
    best = optimize.minimize_scalar(
        lambda log: slow_nll(predictions, scoring, np.exp(log)), bounds=(-4, 4), method="bounded"
    )
    assert found.value == pytest.approx(np.exp(best.x), rel=1e-3)
    assert found.nll_after == pytest.approx(slow_nll(predictions, scoring, found.value), abs=1e-12)
    assert found.nll_before == pytest.approx(slow_nll(predictions, scoring, 1.0), abs=1e-12)
    assert found.nll_after < found.nll_before
    assert (found.num_questions, found.at_bound) == (200, False)


def test_a_temperature_that_was_planted_is_found_again() -> None:
    rng = np.random.default_rng(0)
    predictions = []
    for index in range(1500):
        scores = special.log_softmax(rng.normal(0, 2, 4))
        right = int(rng.choice(4, p=special.softmax(scores / 1.7)))
        predictions.append(
            build_prediction(choice(f"q{index}", right), option_logprobs=scores.tolist(), scoring="raw")
        )
    assert fit_temperature(predictions, scoring="raw").value == pytest.approx(1.7, abs=0.15)


def test_a_temperature_at_its_bound_is_said_to_be() -> None:
    all_right = [take(choice(str(index), 2), 2) for index in range(5)]
    none_right = [take(choice(str(index), 2), 1) for index in range(5)]
    assert fit_temperature(all_right)[::4] == (pytest.approx(0.01), True)
    assert fit_temperature(none_right)[::4] == (pytest.approx(100), True)


def test_a_temperature_needs_questions_with_options() -> None:
    with pytest.raises(ValueError, match="needs validation questions with options"):
        fit_temperature([say(written("a"), "iron")])
