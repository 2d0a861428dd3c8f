"""Preference pairs whose rejected answer the base model itself wrote, in prepared data that have weaker ones.

The model and the grade come from the caller: nothing here knows either.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from medalign.data.augmentation import original_id
from medalign.data.fingerprints import fingerprint
from medalign.data.pair_statistics import pair_statistics
from medalign.data.preferences import OTHER_ANSWER, Grade, Refuses, pairs_from_samples
from medalign.data.preparation import PreparedData
from medalign.records import Question


def questions_to_sample(data: PreparedData) -> tuple[Question, ...]:
    """The training questions that nothing better than the answer to another question is rejected for, once each."""
    weak = {pair.question_id for pair in data.pairs if pair.origin == OTHER_ANSWER}
    found: dict[str, Question] = {}
    for question in data.train:
        if question.id in weak:
            found.setdefault(original_id(question), question)
    return tuple(found.values())


def with_sampled_pairs(
    data: PreparedData,
    samples: Mapping[str, Sequence[str]],
    grade: Grade,
    refuses: Refuses,
    *,
    seed: int,
    about: Mapping[str, Any],
) -> PreparedData:
    """The data with a pair of samples for each of `questions_to_sample` that has a usable one; the others keep theirs.

    Args:
        samples: Question id -> what the model wrote; a question that is missing was too long to be written to.
        about: What the card is to say of them beside the counts, as plain values.
    """
    asked = questions_to_sample(data)
    written = [question for question in asked if question.id in samples]
    found = pairs_from_samples(written, [samples[q.id] for q in written], grade, refuses, seed=seed)
    originals = {question.id: original_id(question) for question in data.train}
    by_original = {originals[pair.question_id]: pair for pair in found.pairs}
    pairs = tuple(
        dataclasses.replace(by_original[original], question_id=pair.question_id)
        if pair.origin == OTHER_ANSWER and (original := originals[pair.question_id]) in by_original
        else pair
        for pair in data.pairs
    )
    fingerprints = {**data.fingerprints, "pairs": fingerprint(pairs)}
    whole = hashlib.sha256("".join(fingerprints.values()).encode("ascii")).hexdigest()
    counts = {
        "questions": len(asked),
        "pairs": len(found.pairs),
        "all_answers_good": found.num_all_good,
        "none_of_like_length": found.num_of_other_length,
        "reference_too_long": len(asked) - len(written),
    }
    card = {
        **data.card,
        "fingerprint": whole,
        "pairs": pair_statistics(pairs),
        "sampled_answers": counts | dict(about),
    }
    return dataclasses.replace(data, pairs=pairs, fingerprint=whole, fingerprints=fingerprints, card=card)
