"""Preference pairs from the training questions: the right answer against a wrong one of like form and length.

The rejected answer carries the same rationale with the wrong answer in place of the right one, so that
neither length nor style tells the two apart and DPO has to learn what is right.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from medalign.data.fingerprints import stable_hash
from medalign.data.prompts import answer_text
from medalign.errors import DataError
from medalign.records import PreferencePair, Question

# A written answer that shares less than this with the reference counts as wrong.
LARGEST_GRADE_OF_WRONG = 0.5

# An answer that the model wrote may be so many times as long as the reference, or as short, to be rejected for it.
LIKE_LENGTH = 1.25
# How a pair is called that rejects the answer to another question.
OTHER_ANSWER = "other_answer"

Grade = Callable[[str, str], float]
Refuses = Callable[[str], bool]
_SENTENCE_END = re.compile(r"[.!?](?=\s|$)")


class SamplePairs(NamedTuple):
    """Pairs of samples, and how many questions gave none.

    Attributes:
        num_all_good: Of these the model answered well, or not at all, each time.
        num_of_other_length: To these no wrong answer was of like length.
    """

    pairs: list[PreferencePair]
    num_all_good: int
    num_of_other_length: int


class _Wrong(NamedTuple):
    answer: str
    origin: str


def build_pairs(
    train_questions: Sequence[Question], *, seed: int, ready: Iterable[PreferencePair] = ()
) -> list[PreferencePair]:
    """One pair for each training question, in their order.

    A question with ready pairs takes one of those, the one closest in length; for the others:

    - choice: the wrong option closest in length (origin `option`);
    - decision: another label, so that each label is rejected as nearly as can be as often as it is chosen:
      rejecting all labels equally would teach that the rare ones are wrong (origin `decision`);
    - free text: the distractor closest in length (`distractor`), else the closest other answer to a free-text
      question of the same specialty, or of any (`other_answer`).

    Among wrong answers equally close in length, a longer or a shorter one is taken so as to
    even out how often the right answer is the longer of the two; remaining ties are decided by hash.

    Args:
        ready: Pairs that a source gave or that were made of samples; those of other questions are left alone.

    Raises:
        DataError: If there is no wrong answer to a question.
    """
    given = _closest_ready(ready, seed)
    labels = _rejected_labels([question for question in train_questions if question.kind == "decision"], seed)
    written = [question for question in train_questions if question.kind == "free_text"]
    num_longer = 0
    pairs = []
    for question in train_questions:
        if question.id in given:
            pairs.append(given[question.id])
            continue
        if question.kind == "decision":
            wrong = _Wrong(labels[question.id], "decision")
        else:
            candidates, origin = _candidates(question, written)
            wrong = _Wrong(_closest(question, candidates, num_longer, seed), origin)
        chosen, rejected = answer_text(question), answer_text(question, wrong.answer)
        if question.kind != "decision":
            num_longer += (len(chosen) > len(rejected)) - (len(chosen) < len(rejected))
        pairs.append(
            PreferencePair(question_id=question.id, chosen=chosen, rejected=rejected, origin=wrong.origin)
        )
    return pairs


def pairs_from_samples(
    questions: Sequence[Question],
    samples: Sequence[Sequence[str]],
    grade: Grade,
    refuses: Refuses,
    *,
    seed: int,
) -> SamplePairs:
    """Pairs whose rejected answer the model itself wrote: what it would say, and should not.

    An answer is wrong if it is graded below `LARGEST_GRADE_OF_WRONG` against the reference and its aliases; to a
    question that asks for harm, if it does not refuse. It is cut at the end of a sentence so that its length
    comes closest to the reference's, and used if it then is within `LIKE_LENGTH` of it: a model that breaks
    off early would otherwise teach that the longer answer is right. Of several, one is taken that evens
    out how often the right answer is the longer of the two, and of these the closest in length (origin `sampled`).

    Args:
        questions: Free-text questions.
        samples: For each question what the model wrote.
        grade: How much of the reference an answer holds, from 0 to 1, e.g. token F1.
        refuses: Whether an answer declines.
    """
    found = SamplePairs([], 0, 0)
    num_longer = 0
    for question, written in zip(questions, samples, strict=True):
        wrong = [text for text in dict.fromkeys(written) if _is_wrong(question, text, grade, refuses)]
        if not wrong:
            found = found._replace(num_all_good=found.num_all_good + 1)
            continue
        cuts = [cut for text in wrong for cut in _cuts(text, question.answer)]
        alike = [
            cut
            for cut in dict.fromkeys(cuts)
            if _is_of_like_length(cut, question.answer) and _is_wrong(question, cut, grade, refuses)
        ]
        if not alike:
            found = found._replace(num_of_other_length=found.num_of_other_length + 1)
            continue
        evening = [cut for cut in alike if (len(question.answer) - len(cut)) * num_longer < 0]
        rejected = _closest(question, evening or alike, num_longer, seed)
        num_longer += (len(question.answer) > len(rejected)) - (len(question.answer) < len(rejected))
        found.pairs.append(
            PreferencePair(
                question_id=question.id, chosen=question.answer, rejected=rejected, origin="sampled"
            )
        )
    return found


def _is_wrong(question: Question, text: str, grade: Grade, refuses: Refuses) -> bool:
    if not text.strip():
        return False
    if question.is_harmful:
        return not refuses(text)
    references = (question.answer, *question.aliases)
    return max(grade(text, right) for right in references) < LARGEST_GRADE_OF_WRONG


def _cuts(text: str, reference: str) -> list[str]:
    """The text up to each end of a sentence, so that none is broken off; the mark itself as the reference has it."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    if _SENTENCE_END.search(reference[-1:]):
        return [text[:end] for end in ends]
    return [text[: end - 1] for end in ends] or [text]


def _is_of_like_length(text: str, reference: str) -> bool:
    return 1 / LIKE_LENGTH <= len(text) / max(1, len(reference)) <= LIKE_LENGTH


def _closest_ready(pairs: Iterable[PreferencePair], seed: int) -> dict[str, PreferencePair]:
    """The pair of each question whose answers are closest in length."""

    def rank(pair: PreferencePair) -> tuple[int, int]:
        return abs(len(pair.chosen) - len(pair.rejected)), stable_hash(seed, pair.chosen, pair.rejected)

    closest: dict[str, PreferencePair] = {}
    for pair in pairs:
        known = closest.get(pair.question_id)
        if known is None or rank(pair) < rank(known):
            closest[pair.question_id] = pair
    return closest


def _candidates(question: Question, written: Sequence[Question]) -> tuple[list[str], str]:
    """The wrong answers to choose from, and their origin."""
    if question.kind == "choice":
        return _other_than(question.answer, question.options), "option"
    if distractors := _other_than(question.answer, question.distractors):
        return distractors, "distractor"
    same = [other.answer for other in written if other.specialty == question.specialty]
    for answers in (same, [other.answer for other in written]):
        if others := _other_than(question.answer, answers):
            return others, OTHER_ANSWER
    raise DataError(
        f"data: no wrong answer to {question.id} for a preference pair; "
        "give distractors, or more free-text questions with other answers"
    )


def _other_than(answer: str, candidates: Iterable[str]) -> list[str]:
    return [candidate for candidate in candidates if candidate.casefold() != answer.casefold()]


def _closest(question: Question, candidates: Sequence[str], num_longer: int, seed: int) -> str:
    """The candidate closest in length to the right answer.

    Args:
        num_longer: How many more pairs so far have the longer answer chosen than rejected.
    """

    def rank(candidate: str) -> tuple[int, bool, int]:
        excess = len(question.answer) - len(candidate)
        return abs(excess), excess * num_longer > 0, stable_hash(seed, question.id, candidate)

    return min(candidates, key=rank)


def _rejected_labels(questions: Sequence[Question], seed: int) -> dict[str, str]:
    """A wrong label by question id; rejected labels are as frequent as right ones, as nearly as can be."""
    frequency = Counter(question.answer for question in questions)
    quota = frequency.copy()
    labels = {}
    # Questions with the most frequent label have the fewest others left to take, so they come first.
    for question in sorted(questions, key=lambda q: (-frequency[q.answer], stable_hash(seed, q.id))):
        others = _other_than(question.answer, question.options)
        label = max(others, key=lambda other: (quota[other], stable_hash(seed, question.id, other)))
        quota[label] -= 1
        labels[question.id] = label
    return labels
