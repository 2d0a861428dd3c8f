"""Predictions that must not be compared are refused, by name, before any number is made of them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from medalign.errors import DataError
from medalign.records import ArmResult, Prediction

MIN_QUESTIONS = 2
_NAMED = 3  # ids named in a message, so that it stays one line


def check_predictions(
    predictions: Sequence[Prediction], where: str, *, at_least: int = MIN_QUESTIONS
) -> None:
    """Passes if these are the answers of one predictor to at least two questions, each answered once.

    Args:
        where: Names the predictions in the message: a file, or an arm and its seed.

    Raises:
        DataError: There are fewer questions, one is answered twice, or a number in a prediction is not finite.
    """
    if len(predictions) < at_least:
        raise DataError(
            f"{where}: {len(predictions)} question(s) answered; nothing can be said of fewer than {at_least}"
        )
    twice = [name for name, number in Counter(p.question_id for p in predictions).items() if number > 1]
    if twice:
        raise DataError(
            f"{where}: {_ids(twice)} answered more than once; keep one prediction a question (a second seed is a "
            "second file)"
        )
    for prediction in predictions:
        fault = _fault(prediction)
        if fault:
            raise DataError(f"{where}: question {prediction.question_id!r}: {fault}")


def check_arms(arms: Sequence[ArmResult]) -> None:
    """Passes if every arm has seeds, and all answered the same questions, at least two of them.

    Raises:
        DataError: It is not so; the message names the arm, the seed and the questions.
    """
    if not arms:
        raise DataError("arms: none is given; give at least one with its predictions")
    names = [arm.arm for arm in arms]
    if len(set(names)) < len(names):
        raise DataError(f"arms: a name occurs twice ({', '.join(names)}); give every arm its own")
    for arm in arms:
        if not arm.predictions or len(arm.seeds) != len(arm.predictions):
            raise DataError(
                f"arm {arm.arm!r}: {len(arm.seeds)} seed(s) and predictions of {len(arm.predictions)}; every arm "
                "needs at least one seed with its predictions"
            )
    first = arms[0]
    expected = {p.question_id: p for p in first.predictions[0]}
    for arm in arms:
        for seed, predictions in zip(arm.seeds, arm.predictions, strict=True):
            where = f"arm {arm.arm!r}, seed {seed}"
            check_predictions(predictions, where)
            _check_coverage(expected, predictions, where, f"arm {first.arm!r}, seed {first.seeds[0]}")


def _check_coverage(
    expected: dict[str, Prediction], predictions: Sequence[Prediction], where: str, other: str
) -> None:
    found = {p.question_id for p in predictions}
    for missing, has, lacks in (
        (expected.keys() - found, other, where),
        (found - expected.keys(), where, other),
    ):
        if missing:
            raise DataError(
                f"{lacks}: {_ids(sorted(missing))} not answered but by {has}; compare arms on the same questions"
            )
    for prediction in predictions:
        twin = expected[prediction.question_id]
        if (prediction.kind, prediction.answer) != (twin.kind, twin.answer):
            raise DataError(
                f"{where}: question {prediction.question_id!r} has another right answer or kind than for {other} "
                f"({prediction.answer!r}, {twin.answer!r}); answer one version of the questions"
            )


def _fault(prediction: Prediction) -> str:
    """What is wrong with the numbers of a prediction, or nothing."""
    for number in (*prediction.option_logprobs, prediction.token_f1):
        if number is not None and not math.isfinite(number):
            return f"a score is {number}; the model diverged or the file is damaged: answer it again"
    if prediction.correct is None:
        return ""
    num_options = len(prediction.option_logprobs)
    for name in ("answer_index", "chosen", "chosen_raw", "chosen_normalised"):
        position = getattr(prediction, name)
        if position is None or not 0 <= position < num_options:
            return f"{name} is {position!r}, but there are {num_options} options; write the predictions again"
    return ""


def _ids(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_NAMED])
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"question {shown}{more}" if len(names) == 1 else f"questions {shown}{more}"
