"""Normalised text, and what cannot be asked dropped and counted."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from medalign.errors import DataError
from medalign.records import DECISIONS, Question, Split

Drops = Mapping[str, int]

_INVISIBLE = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff\x00-\x08\x0e-\x1f\x7f]")
_WORD = re.compile(r"\w+")
# Of two equal questions the one that others test on is kept, so that the test split stays the standard one.
_PRECEDENCE: Mapping[Split | None, int] = {"test": 0, "validation": 1, "train": 2, None: 2}


class Cleaned(NamedTuple):
    """Questions that can be asked, in their order, and how many were dropped for which reason."""

    questions: tuple[Question, ...]
    drops: Drops


def normalise(text: str) -> str:
    """NFC form, without invisible characters, each run of blanks one space.

    NFKC is not used: it would turn 10 with a superscript 2 into 102.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return " ".join(_INVISIBLE.sub("", text).split())


def words_of(text: str) -> tuple[str, ...]:
    """Words in lower case without punctuation: what two texts are compared by."""
    return tuple(_WORD.findall(text.casefold()))


def clean_questions(questions: Iterable[Question]) -> Cleaned:
    """Normalises every text and drops what cannot be scored or stands there twice.

    Dropped are: no question text, no valid answer, two equal options (case aside), and exact
    repeats (same question, passage and options, case aside). Of repeats one is kept, from the official
    test split if it is there. Repeats whose answers differ are all dropped: which is right cannot be told.

    Raises:
        DataError: If two different questions have the same id.
    """
    drops: Counter[str] = Counter()
    valid = []
    for question in map(_normalised, questions):
        fault = _fault(question)
        if fault:
            drops[fault] += 1
        else:
            valid.append(question)
    kept = _without_repeats(valid, drops)
    _check_ids(kept)
    return Cleaned(tuple(kept), dict(drops))


def _normalised(question: Question) -> Question:
    return dataclasses.replace(
        question,
        text=normalise(question.text),
        answer=normalise(question.answer),
        options=tuple(map(normalise, question.options)),
        context=normalise(question.context),
        rationale=normalise(question.rationale),
        distractors=tuple(map(normalise, question.distractors)),
        specialty=normalise(question.specialty) or "unspecified",
    )


def _fault(question: Question) -> str | None:
    """Why the question cannot be used, in words that are counted; None if it can."""
    if not question.text:
        return "no question text"
    if not question.answer or (question.options and question.answer not in question.options):
        return "no valid answer"
    if question.kind == "free_text":
        return "options on a free-text question" if question.options else None
    if question.kind == "decision" and not set(question.options) <= set(DECISIONS):
        return "options other than yes, no and maybe"
    if len(question.options) < 2 or not all(question.options):
        return "fewer than two options or an empty one"
    if len({option.casefold() for option in question.options}) < len(question.options):
        return "two equal options"
    return None


def _without_repeats(questions: list[Question], drops: Counter[str]) -> list[Question]:
    same: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        same.setdefault(_content(question), []).append(question)
    kept_ids = set()
    for repeats in same.values():
        if len({question.answer.casefold() for question in repeats}) > 1:
            drops["same question with different answers"] += len(repeats)
            continue
        kept_ids.add(id(min(repeats, key=lambda question: _PRECEDENCE[question.split])))
        if len(repeats) > 1:
            drops["exact repeat of another question"] += len(repeats) - 1
    return [question for question in questions if id(question) in kept_ids]


def _content(question: Question) -> tuple[object, ...]:
    # Signs count ("> 5" is not "< 5"), so texts are compared whole and not by their words.
    text = question.text.casefold().rstrip(" ?:.")
    options = tuple(sorted(option.casefold() for option in question.options))
    # Two written answers to one question can both be right, two labels cannot.
    answer = question.answer.casefold() if question.kind == "free_text" else ""
    return question.kind, text, question.context.casefold(), options, answer


def _check_ids(questions: Iterable[Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        if question.id in seen:
            raise DataError(
                f"data: two different questions have the id {question.id!r} "
                f"({seen[question.id][:40]!r} and {question.text[:40]!r}); make ids unique"
            )
        seen[question.id] = question.text
