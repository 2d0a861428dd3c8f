"""The check that arms answered the same questions, without which no difference means anything."""

from __future__ import annotations

from collections.abc import Sequence

from medalign.errors import ContractError
from medalign.records import ArmResult, Prediction


def check_same_questions(arms: Sequence[ArmResult]) -> None:
    """Passes if all refits of all arms answered the same questions in the same order.

    Raises:
        ContractError: They did not, an arm has no predictions or two have one name.
    """
    if not arms:
        raise ContractError("there is no arm to compare")
    names = [arm.arm for arm in arms]
    if len(set(names)) < len(names):
        raise ContractError(f"arms: a name occurs twice ({', '.join(names)}); give every arm its own")
    for arm in arms:
        if not arm.predictions:
            raise ContractError(f"arm {arm.arm!r} has no predictions; refit it with at least one seed")
    reference = arms[0].predictions[0]
    for arm in arms:
        for number, predictions in enumerate(arm.predictions):
            between = f"arm {arms[0].arm!r} (refit 0) and arm {arm.arm!r} (refit {number})"
            _check_refit(reference, predictions, between)


def _check_refit(reference: Sequence[Prediction], predictions: Sequence[Prediction], between: str) -> None:
    for position, (expected, found) in enumerate(zip(reference, predictions, strict=False)):
        if expected.question_id != found.question_id:
            raise ContractError(
                f"{between} did not answer the same questions in the same order: "
                f"question {position} is {expected.question_id!r} for one and {found.question_id!r} for the other"
            )
        if _fixed(expected) != _fixed(found):
            raise ContractError(
                f"{between} hold different answers, groups or kinds for {found.question_id!r}"
            )
    shorter, longer = sorted((reference, predictions), key=len)
    if len(shorter) < len(longer):
        raise ContractError(
            f"{between} answered {len(reference)} and {len(predictions)} questions; "
            f"only one of them {longer[len(shorter)].question_id!r}"
        )


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
