"""Probabilities and confidences out of stored predictions, and the temperature that mends them."""

# Q = questions

from __future__ import annotations

import math
from collections.abc import Sequence
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


def option_scores(prediction: Prediction, scoring: Scoring) -> FloatArray:
    """The scores out of which the largest is chosen: log-probabilities (nats), per character where so scored."""
    scores = np.asarray(prediction.option_logprobs, dtype=np.float64)
    if scoring == "normalised" and prediction.kind == "choice":
        scores = scores / np.asarray(prediction.option_chars, dtype=np.float64)
    return scores


def option_probabilities(
    prediction: Prediction, scoring: Scoring, *, temperature: float = 1.0
) -> tuple[float, ...]:
    """Probability of each option: a softmax over the scores that counted, divided by the temperature.

    Per-character scores lie close together, so that probabilities from them are far too even until a
    temperature is fitted.
    """
    scores = option_scores(prediction, scoring) / temperature
    weights = np.exp(scores - scores.max())
    return tuple((weights / weights.sum()).tolist())


def confidences(
    predictions: Sequence[Prediction], *, scoring: Scoring | None = None, temperature: float = 1.0
) -> FloatArray:
    """Probability of the chosen option of every scored question, in their order (Q).

    Args:
        scoring: The rule that counted; found from what was chosen where it is None.
    """
    rule = scoring or scoring_rule(predictions)
    return np.array(
        [
            option_probabilities(p, rule, temperature=temperature)[p.chosen or 0]
            for p in scored_only(predictions)
        ],
        dtype=np.float64,
    )


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
    scores = [option_scores(p, rule) for p in scored]
    right = [p.answer_index or 0 for p in scored]

    def slope(inverse: float) -> float:
        return sum(_expected(s, inverse) - s[r] for s, r in zip(scores, right, strict=True)) / len(scores)

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
        nll_before=_nll(scores, right, 1.0),
        nll_after=min(_nll(scores, right, inverse), _nll(scores, right, 1.0)),
        num_questions=len(scored),
        at_bound=at_bound,
    )


def _root(slope, low: float, high: float) -> float:  # type: ignore[no-untyped-def]
    from scipy import optimize

    return float(optimize.brentq(slope, low, high, xtol=1e-14, rtol=1e-14))


def _expected(scores: FloatArray, inverse: float) -> float:
    weights = np.exp(inverse * (scores - scores.max()))
    return float((weights * scores).sum() / weights.sum())


def _nll(scores: Sequence[FloatArray], right: Sequence[int], inverse: float) -> float:
    total = 0.0
    for of_options, index in zip(scores, right, strict=True):
        scaled = inverse * (of_options - of_options.max())
        total += math.log(np.exp(scaled).sum()) - float(scaled[index])
    return total / len(scores)
