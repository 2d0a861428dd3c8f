"""Normalised text, and what cannot be asked dropped and counted."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from medalign.data.drops import DropLog
from medalign.data.near_duplicates import near_repeats
from medalign.data.words import normalise
from medalign.errors import DataError
from medalign.records import DECISIONS, Question, Split

Drops = Mapping[str, int]

CONTRADICTION = "same question with different answers"
EXACT_REPEAT = "exact repeat of another question"
NEAR_REPEAT = "repeats another question but for a word or a letter"

# Of two equal questions the one that others test on is kept, so that the test split stays the standard one.
_PRECEDENCE: Mapping[Split | None, int] = {"test": 0, "validation": 1, "train": 2, None: 2}


class Cleaned(NamedTuple):
    """Questions that can be asked, in their order, and what was dropped for which reason."""

    questions: tuple[Question, ...]
    log: DropLog

    @property
    def drops(self) -> Drops:
        """Reason -> number of questions."""
        return dict(self.log.counts)


def clean_questions(questions: Iterable[Question]) -> Cleaned:
    """Normalises every text and drops what cannot be scored or stands there twice.

    Dropped are: no question text, an image that is not there, no valid answer, two equal options (case aside), exact
    repeats (same question, passage and options, case aside) and near ones (`near_duplicates`). Of repeats
    one is kept, from the official test split if it is there. Copies that contradict each other are all dropped,
    for which is right cannot be told: the same question and passage, where the answer to each is offered by the
    other too and is not its answer.

    Raises:
        DataError: If two different questions have the same id.
    """
    log = DropLog()
    valid = []
    for question in map(_normalised, questions):
        fault = _fault(question)
        if fault:
            log.note(fault, question)
        else:
            valid.append(question)
    kept = _without_repeats(_without_contradictions(valid, log), log)
    _check_ids(kept)
    return Cleaned(tuple(_without_near_repeats(kept, log)), log)


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
        aliases=tuple(map(normalise, question.aliases)),
        must_have=tuple(map(normalise, question.must_have)),
        nice_to_have=tuple(map(normalise, question.nice_to_have)),
    )


def _fault(question: Question) -> str | None:
    """Why the question cannot be used, in words that are counted; None if it can."""
    if not question.text:
        return "no question text"
    if question.image:
        return "needs an image"
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


def _without_contradictions(questions: Sequence[Question], log: DropLog) -> list[Question]:
    """Without the questions that have a copy with another key among them."""
    # Two written answers to one question can both be right, two labels cannot.
    keyed = [question for question in questions if question.options]
    by_answer: dict[tuple[object, ...], list[Question]] = {}
    for question in keyed:
        by_answer.setdefault((*_asked(question), question.answer.casefold()), []).append(question)
    refuted: dict[int, Question] = {}
    for question in keyed:
        answer, asked = question.answer.casefold(), _asked(question)
        for option in {option.casefold() for option in question.options} - {answer}:
            for other in by_answer.get((*asked, option), ()):
                if answer in map(str.casefold, other.options):
                    refuted.setdefault(id(question), other)
    for question in keyed:
        if id(question) in refuted:
            log.note(CONTRADICTION, question, refuted[id(question)])
    return [question for question in questions if id(question) not in refuted]


def _without_repeats(questions: Sequence[Question], log: DropLog) -> list[Question]:
    same: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        same.setdefault(_content(question), []).append(question)
    kept = {key: min(repeats, key=_precedence) for key, repeats in same.items()}
    kept_ids = {id(question) for question in kept.values()}
    for key, repeats in same.items():
        for question in repeats:
            if id(question) not in kept_ids:
                log.note(EXACT_REPEAT, question, kept[key])
    return [question for question in questions if id(question) in kept_ids]


def _without_near_repeats(questions: Sequence[Question], log: DropLog) -> list[Question]:
    dropped: dict[int, int] = {}
    for one, other in near_repeats(questions):
        if one not in dropped and other not in dropped:
            kept, repeat = sorted((one, other), key=lambda place: (_precedence(questions[place]), place))
            dropped[repeat] = kept
    for place in sorted(dropped):
        log.note(NEAR_REPEAT, questions[place], questions[dropped[place]])
    return [question for place, question in enumerate(questions) if place not in dropped]


def _precedence(question: Question) -> int:
    return _PRECEDENCE[question.split]


def _asked(question: Question) -> tuple[str, str, str]:
    # Signs count ("> 5" is not "< 5"), so texts are compared whole and not by their words.
    return question.kind, question.text.casefold().rstrip(" ?:."), question.context.casefold()


def _content(question: Question) -> tuple[object, ...]:
    options = tuple(sorted(option.casefold() for option in question.options))
    # Two written answers to one question can both be right.
    answer = question.answer.casefold() if question.kind == "free_text" else ""
    return *_asked(question), options, answer


def _check_ids(questions: Iterable[Question]) -> None:
    seen: dict[str, str] = {}
    for question in questions:
        if question.id in seen:
            raise DataError(
                f"data: two different questions have the id {question.id!r} "
                f"({seen[question.id][:40]!r} and {question.text[:40]!r}); make ids unique"
            )
        seen[question.id] = question.text
