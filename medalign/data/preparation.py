"""From the names of sources to the questions and pairs that all methods share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medalign.data.catalog import load_source
from medalign.data.cleaning import Drops, clean_questions
from medalign.data.fingerprints import fingerprint, stable_hash
from medalign.data.preferences import build_pairs
from medalign.data.splitting import split_questions
from medalign.errors import DataError
from medalign.records import PreferencePair, Question


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """What every method is given, and the proof that it was the same.

    Attributes:
        pairs: One preference pair for each training question, in their order.
        pool: Training questions left over, not examined for length and near-duplicates.
        drops: Reason -> number of questions that were dropped.
        fingerprint: SHA-256 over the splits and the pairs.
        fingerprints: SHA-256 over each split's questions, and over the pairs.
        card: Counts for each split by source, specialty, kind and answer, plus the sources asked for; plain
            types only.
    """

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    pairs: tuple[PreferencePair, ...]
    pool: tuple[Question, ...]
    drops: Drops
    fingerprint: str
    fingerprints: Mapping[str, str]
    card: Mapping[str, Any]


def prepare(
    sources: Sequence[str],
    *,
    train_size: int,
    validation_size: int,
    test_size: int,
    seed: int,
    keep: Callable[[Question], bool] | None = None,
) -> PreparedData:
    """Loads, cleans and splits the questions, and builds the preference pairs.

    Args:
        sources: `name` or `name:location` each; several are mixed in equal shares as far as they last.
        keep: Whether a question may be used (the token limit); the same rule for every method and split.

    Raises:
        DataError: If a source cannot be used or holds too few questions.
    """
    if not sources:
        raise DataError("data: no source given; name one, such as embedded")
    cleaned = clean_questions(question for spec in dict.fromkeys(sources) for question in load_source(spec))
    splits = split_questions(
        cleaned.questions,
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
        seed=seed,
        keep=keep,
    )
    pairs = tuple(build_pairs(splits.train, seed=seed))
    by_split = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    fingerprints = {name: fingerprint(held) for name, held in by_split.items()} | {
        "pairs": fingerprint(pairs)
    }
    drops = dict(Counter(cleaned.drops) + Counter(splits.drops))
    return PreparedData(
        train=splits.train,
        validation=splits.validation,
        test=splits.test,
        pairs=pairs,
        pool=splits.pool,
        drops=drops,
        fingerprint=hashlib.sha256("".join(fingerprints.values()).encode("ascii")).hexdigest(),
        fingerprints=fingerprints,
        card={
            "sources": list(sources),
            "drops": drops,
            "splits": {k: _counts(v) for k, v in by_split.items()},
        },
    )


def _counts(questions: Sequence[Question]) -> dict[str, Any]:
    return {
        "questions": len(questions),
        "groups": len({(question.source, question.group or question.id) for question in questions}),
        "source": _tally(question.source for question in questions),
        "specialty": _tally(question.specialty for question in questions),
        "kind": _tally(question.kind for question in questions),
        "answer": _tally(_answer_label(question) for question in questions),
    }


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _answer_label(question: Question) -> str:
    """The label of a decision, the place of the right option from 1, or `free text`."""
    if question.kind == "decision":
        return question.answer
    return "free text" if question.answer_index is None else f"option {question.answer_index + 1}"


def with_shuffled_answers(questions: Sequence[Question], *, seed: int) -> list[Question]:
    """The same questions with the answer key permuted within each kind, to test that labels are learnt from.

    Positions of right options are permuted among choice questions with as many options, labels among decision
    questions with the same options, answers among free-text questions. By chance some keep
    their answer (of four options a quarter), so the key then tells nothing, rather than
    the contrary of the truth. Rationales would give the truth away and are dropped.
    """
    key_of = {}
    for members in _alike(questions).values():
        order = sorted(members, key=lambda question: stable_hash(seed, "shuffled answers", question.id))
        for question, giver in zip(members, order, strict=True):
            key_of[question.id] = giver
    return [_with_answer_of(question, key_of[question.id]) for question in questions]


def _alike(questions: Iterable[Question]) -> dict[tuple[object, ...], list[Question]]:
    alike: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        shown = question.options if question.kind == "decision" else len(question.options)
        alike.setdefault((question.kind, shown), []).append(question)
    return alike


def _with_answer_of(question: Question, giver: Question) -> Question:
    if giver.answer_index is not None:
        return dataclasses.replace(question, answer=question.options[giver.answer_index], rationale="")
    wrong = (*question.distractors, question.answer)
    distractors = tuple(dict.fromkeys(text for text in wrong if text.casefold() != giver.answer.casefold()))
    return dataclasses.replace(question, answer=giver.answer, distractors=distractors, rationale="")
