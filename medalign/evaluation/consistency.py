"""Consistency: does a model say the same when a question is put in another way?

The variants of a question (its options in another order, its words changed) are answered like any other question
and have their own predictions; `data/variants.py` makes them. An answer is compared by what was said, not by the
position of the option, so that a model which always takes the second option is not called consistent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medalign.errors import DataError
from medalign.evaluation.metrics import normalise_answer
from medalign.records import Prediction


@dataclass(frozen=True, kw_only=True, slots=True)
class Consistency:
    """How answers hold over the variants of a question; every share is a mean over questions.

    Attributes:
        num_questions: With at least one variant.
        num_variants: Answered variants, the questions as first put not counted.
        agreement: Share of a question's variants that are answered as the question itself was.
        unanimous: Share of questions whose variants are all answered alike.
        accuracy: On the questions as first put; None where none has options.
        variant_accuracy: On the variants.
        robust_accuracy: Share of questions that are right as first put and in every variant; None likewise.
        changed: Ids of questions with at least one variant answered otherwise, most often changed first.
    """

    num_questions: int
    num_variants: int
    agreement: float
    unanimous: float
    accuracy: float | None
    variant_accuracy: float | None
    robust_accuracy: float | None
    changed: tuple[str, ...]


def consistency(
    original: Sequence[Prediction], variants: Sequence[Prediction], of_question: Mapping[str, str]
) -> Consistency:
    """Compares the answers to variants with those to the questions that they were made from.

    Assumes that a variant has the same right answer. Where a model answers at random among n options, agreement is
    near 1 / n, so compare it with that.

    Args:
        original: Answers to the questions as first put.
        variants: Answers to variants, any number a question; questions without one are left out.
        of_question: Variant id -> id of its question.

    Raises:
        DataError: There are no variants, one is not in `of_question`, its question was not answered, or two
            predictions answer one variant.

    Source: option order: Pezeshkpour and Hruschka (2024), arXiv:2308.11483; paraphrase: Elazar et al. (2021),
    arXiv:2102.01017.
    """
    by_id = {prediction.question_id: prediction for prediction in original}
    groups: dict[str, dict[str, Prediction]] = {}
    for variant in variants:
        name = of_question.get(variant.question_id)
        if name is None or name not in by_id:
            raise DataError(
                f"variant {variant.question_id!r}: its question {name!r} was not answered; "
                "answer the questions themselves as well"
            )
        if variant.question_id in groups.setdefault(name, {}):
            raise DataError(f"variant {variant.question_id!r}: answered twice; keep one prediction a variant")
        groups[name][variant.question_id] = variant
    if not groups:
        raise DataError("variants: none was answered; make some with options permuted or with a paraphrase")
    kept = {
        name: [_said(v) == _said(by_id[name]) for v in answered.values()] for name, answered in groups.items()
    }
    scored = [name for name in groups if by_id[name].correct is not None]
    right = {name: [bool(v.correct) for v in groups[name].values()] for name in scored}
    shares = {name: sum(same) / len(same) for name, same in kept.items()}
    return Consistency(
        num_questions=len(groups),
        num_variants=sum(map(len, groups.values())),
        agreement=sum(shares.values()) / len(groups),
        unanimous=sum(all(same) for same in kept.values()) / len(groups),
        accuracy=_mean([float(bool(by_id[name].correct)) for name in scored]),
        variant_accuracy=_mean([sum(right[name]) / len(right[name]) for name in scored]),
        robust_accuracy=_mean([float(bool(by_id[name].correct) and all(right[name])) for name in scored]),
        changed=tuple(sorted((n for n, share in shares.items() if share < 1), key=lambda n: (shares[n], n))),
    )


def _said(prediction: Prediction) -> str:
    return prediction.said if prediction.correct is not None else normalise_answer(prediction.said)


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
