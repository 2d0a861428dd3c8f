"""Probabilities and confidences out of stored predictions, and the temperature that mends them."""

# Q = questions, O = options, N = questions with O options each

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from medalign.evaluation.calibration import FloatArray
from medalign.evaluation.predictions import Scoring
from medalign.records import Prediction

COLDEST, HOTTEST = 0.01, 100.0


class Temperature(NamedTuple):
    """A temperature fitted on validation.

    Attributes:
        value: What log-probabilities are divided by before the softmax: above 1 confidences fall, below 1 they rise.
        nll_before: Mean negative log-probability (nats) of the right option at temperature 1.
        nll_after: The same at this temperature; never larger.
        num_questions: Fitted on.
        at_bound: Whether the likelihood still rises beyond 0.01 or 100: the fit questions are all right or say nothing.
    """

    value: float
    nll_before: float
    nll_after: float
    num_questions: int
    at_bound: bool


def scored_only(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Those with options to choose from."""
    return [prediction for prediction in predictions if prediction.correct is not None]


def scoring_rule(predictions: Sequence[Prediction]) -> Scoring:
    """The rule by which the options of choice questions were chosen; raw where both rules chose the same."""
    choices = [p for p in scored_only(predictions) if p.kind == "choice"]
    return "raw" if all(p.chosen == p.chosen_raw for p in choices) else "normalised"


def option_scores(prediction: Prediction, scoring: Scoring) -> tuple[float, ...]:
    """The scores out of which the largest is chosen: log-probabilities (nats), per character where so scored."""
    if scoring == "normalised" and prediction.kind == "choice":
        pairs = zip(prediction.option_logprobs, prediction.option_chars, strict=True)
        return tuple(logprob / chars for logprob, chars in pairs)
    return prediction.option_logprobs


def option_probabilities(
    prediction: Prediction, scoring: Scoring, *, temperature: float = 1.0
) -> tuple[float, ...]:
    """Probability of each option: a softmax over the scores that counted, divided by the temperature.

    Per-character scores lie close together, so that probabilities from them are far too even until a
    temperature is fitted.
    """
    scores = option_scores(prediction, scoring)
    highest = max(scores)
    # A question has a handful of options: NumPy would take ten times as long.
    weights = [math.exp((score - highest) / temperature) for score in scores]
    total = sum(weights)
    return tuple(weight / total for weight in weights)


def confidences(
    predictions: Sequence[Prediction], *, scoring: Scoring | None = None, temperature: float = 1.0
) -> FloatArray:
    """Probability of the chosen option of every scored question, in their order (Q).

    Args:
        scoring: The rule that counted; found from what was chosen where it is None.
    """
    rule = scoring or scoring_rule(predictions)
    scored = scored_only(predictions)
    of_width: dict[int, list[int]] = {}  # questions by their number of options: hundreds of thousands at once
    for place, prediction in enumerate(scored):
        of_width.setdefault(len(prediction.option_logprobs), []).append(place)
    confidence_Q = np.empty(len(scored), dtype=np.float64)
    for places in of_width.values():
        scores_NO = np.array([option_scores(scored[place], rule) for place in places])
        weights_NO = np.exp((scores_NO - scores_NO.max(axis=1, keepdims=True)) / temperature)
        chosen_N = [scored[place].chosen or 0 for place in places]
        confidence_Q[places] = weights_NO[np.arange(len(places)), chosen_N] / weights_NO.sum(axis=1)
    return confidence_Q


def fit_temperature(validation: Sequence[Prediction], *, scoring: Scoring | None = None) -> Temperature:
    """The temperature under which the right options of validation questions are likeliest.

    One number for all questions; it changes no choice. The mean negative log-likelihood is convex in the
    inverse temperature, whose slope is the mean expected score less the mean right score; its root is bracketed
    and bisected, so the result is the same on every machine. Never fit it on the questions that it is judged on.

    Raises:
        ValueError: No validation question has options.

    Source: Guo et al. (2017), arXiv:1706.04599, sec. 4.2; Platt (1999).
    """
    scored = scored_only(validation)
    if not scored:
        raise ValueError("a temperature needs validation questions with options, got none")
    rule = scoring or scoring_rule(scored)
    scores_QO, offered_QO = _padded([option_scores(p, rule) for p in scored])
    right_Q = scores_QO[np.arange(len(scored)), [p.answer_index or 0 for p in scored]]

    def slope(inverse: float) -> float:
        weights_QO = np.exp(inverse * scores_QO) * offered_QO
        expected_Q = (weights_QO * scores_QO).sum(axis=1) / weights_QO.sum(axis=1)
        return float((expected_Q - right_Q).mean())

    def nll(inverse: float) -> float:
        total_Q = (np.exp(inverse * scores_QO) * offered_QO).sum(axis=1)
        return float((np.log(total_Q) - inverse * right_Q).mean())

    low, high = 1 / HOTTEST, 1 / COLDEST
    at_bound = True
    if slope(low) >= 0:
        inverse = low
    elif slope(high) <= 0:
        inverse = high
    else:
        inverse, at_bound = _root(slope, low, high), False
    return Temperature(
        value=1 / inverse,
        nll_before=nll(1.0),
        nll_after=nll(inverse),
        num_questions=len(scored),
        at_bound=at_bound,
    )


def _root(slope: Callable[[float], float], low: float, high: float) -> float:
    from scipy import optimize

    return float(optimize.brentq(slope, low, high, xtol=1e-14, rtol=1e-14))


def _padded(scores: Sequence[tuple[float, ...]]) -> tuple[FloatArray, FloatArray]:
    """Scores less the largest of their question (Q, O), 0 where there is no option, and 1 where there is one."""
    width = max(map(len, scores))
    scores_QO, offered_QO = np.zeros((len(scores), width)), np.zeros((len(scores), width))
    for number, of_options in enumerate(scores):
        scores_QO[number, : len(of_options)] = np.array(of_options) - max(of_options)
        offered_QO[number, : len(of_options)] = 1.0
    return scores_QO, offered_QO
