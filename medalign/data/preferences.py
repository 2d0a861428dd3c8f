"""Preference pairs from the training questions: the right answer against a wrong one of like form and length.

The rejected answer carries the same rationale with the wrong answer in place of the right one, so that
neither length nor style tells the two apart and DPO has to learn what is right.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from medalign.data.fingerprints import stable_hash
from medalign.data.prompts import answer_text
from medalign.errors import DataError
from medalign.records import PreferencePair, Question

# A written answer that shares less than this with the reference counts as wrong.
LARGEST_GRADE_OF_WRONG = 0.5

Grade = Callable[[str, str], float]


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
    questions: Sequence[Question], samples: Sequence[Sequence[str]], grade: Grade, *, seed: int
) -> list[PreferencePair]:
    """Pairs whose rejected answer the model itself wrote: what it would say, and should not.

    Of the samples that are graded as wrong the one closest in length to the reference is rejected (origin
    `sampled`). A question gives no pair if the model answered it well each time.

    Args:
        questions: Free-text questions.
        samples: For each question what the model wrote.
        grade: How much of the reference an answer holds, from 0 to 1, e.g. token F1.
    """
    pairs = []
    for question, written in zip(questions, samples, strict=True):
        references = (question.answer, *question.aliases)
        wrong = [
            text
            for text in dict.fromkeys(written)
            if text.strip() and max(grade(text, right) for right in references) < LARGEST_GRADE_OF_WRONG
        ]
        if wrong:
            rejected = _closest(question, wrong, 0, seed)
            pairs.append(
                PreferencePair(
                    question_id=question.id, chosen=question.answer, rejected=rejected, origin="sampled"
                )
            )
    return pairs


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
            return others, "other_answer"
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
