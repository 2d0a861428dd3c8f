"""The check that arms answered the same questions, without which no difference means anything."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence

from medalign.errors import ContractError, DataError
from medalign.records import ArmResult, Prediction

_NUM_NAMED = 3  # questions named in an error


def check_same_questions(arms: Sequence[ArmResult]) -> None:
    """Passes if all refits of all arms answered the same questions in the same order, each once and with numbers.

    Raises:
        DataError: They did not; a question is answered twice, a score is not a number, an arm has no
            predictions or two arms have one name. Names the arm, the refit and the questions.
        ContractError: Two records of one question differ in what belongs to the question.
    """
    if not arms:
        raise DataError("arms: there is no arm to compare; give at least one")
    names = [arm.arm for arm in arms]
    if len(set(names)) < len(names):
        raise DataError(f"arms: a name occurs twice ({', '.join(names)}); give every arm its own")
    for arm in arms:
        if not arm.predictions:
            raise DataError(f"arm {arm.arm!r} has no predictions; refit it with at least one seed")
        for number, predictions in enumerate(arm.predictions):
            check_records(predictions, f"arm {arm.arm!r} (refit {number})")
    reference = arms[0].predictions[0]
    for arm in arms:
        for number, predictions in enumerate(arm.predictions):
            between = f"arm {arms[0].arm!r} (refit 0) and arm {arm.arm!r} (refit {number})"
            _check_refit(reference, predictions, between)


def check_records(predictions: Sequence[Prediction], whose: str) -> None:
    """Passes if every question is answered once and every score is a finite number.

    Args:
        whose: How an error calls the predictions.

    Raises:
        DataError: Names the questions.
    """
    counts = Counter(prediction.question_id for prediction in predictions)
    if len(counts) < len(predictions):
        twice = [question_id for question_id, count in counts.items() if count > 1]
        raise DataError(f"{whose} holds two records for {_named(twice)}; keep one for each question")
    for prediction in predictions:
        token_f1 = prediction.token_f1
        if (token_f1 is not None and not math.isfinite(token_f1)) or not all(
            map(math.isfinite, prediction.option_logprobs)
        ):
            raise DataError(
                f"{whose} holds a score that is not a number for {prediction.question_id!r}; score it again"
            )


def _check_refit(reference: Sequence[Prediction], predictions: Sequence[Prediction], between: str) -> None:
    expected_ids = [prediction.question_id for prediction in reference]
    found_ids = [prediction.question_id for prediction in predictions]
    if expected_ids != found_ids:
        raise DataError(f"{between} {_mismatch(expected_ids, found_ids)}")
    for expected, found in zip(reference, predictions, strict=True):
        if _fixed(expected) != _fixed(found):
            raise ContractError(
                f"{between} hold different answers, groups or kinds for {found.question_id!r}"
            )


def _mismatch(expected: Sequence[str], found: Sequence[str]) -> str:
    in_expected, in_found = set(expected), set(found)
    if only := [
        question_id for question_id in [*expected, *found] if question_id not in in_expected & in_found
    ]:
        return (
            f"did not answer the same questions: {len(expected)} and {len(found)}; "
            f"only one of them {_named(only)}; score the same test split with both"
        )
    position = next(i for i, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
    return (
        "did not answer the same questions in the same order: "
        f"question {position} is {expected[position]!r} for one and {found[position]!r} for the other"
    )


def _named(question_ids: Collection[str]) -> str:
    first = ", ".join(repr(question_id) for question_id in list(question_ids)[:_NUM_NAMED])
    more = len(question_ids) - _NUM_NAMED
    return f"{first} and {more} more" if more > 0 else first


def _fixed(prediction: Prediction) -> tuple[object, ...]:
    """What belongs to the question and not to who answers it."""
    return (
        prediction.kind,
        prediction.specialty,
        prediction.group,
        prediction.answer,
        prediction.answer_index,
        prediction.option_chars,
        prediction.correct is None,
    )
