"""Finding questions that are nearly the same, by the runs of words that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from medalign.data.cleaning import words_of
from medalign.records import Question

RUN_WORDS = 8
LARGEST_SHARE = 0.5


class _Units(NamedTuple):
    """What a question is compared by: the runs of words of its text (a short text whole) and its options."""

    runs: frozenset[str]
    options: frozenset[str]


class NearDuplicateIndex:
    """Tells whether a question nearly repeats one that was added.

    Two questions are near-duplicates if they share at least half of the 8-word runs of the shorter text,
    and at least half of runs and options together; a text of fewer than 8 words must be equal. Passages
    are not compared: questions on one abstract are kept together by their group. Rewording that leaves no
    8 words in a row is not found.
    """

    def __init__(self) -> None:
        self._units: list[_Units] = []
        self._numbers_by_run: dict[str, list[int]] = {}

    def add(self, questions: Iterable[Question]) -> None:
        """Adds the questions to those that later ones are compared with."""
        for question in questions:
            units = _units(question)
            for run in units.runs:
                self._numbers_by_run.setdefault(run, []).append(len(self._units))
            self._units.append(units)

    def holds_near(self, question: Question) -> bool:
        """Whether a question that was added is nearly the same."""
        units = _units(question)
        shared = Counter(number for run in units.runs for number in self._numbers_by_run.get(run, ()))
        return any(self._is_near(units, self._units[number], count) for number, count in shared.items())

    @staticmethod
    def _is_near(one: _Units, other: _Units, shared_runs: int) -> bool:
        runs = min(len(one.runs), len(other.runs))
        options = min(len(one.options), len(other.options))
        shared = shared_runs + len(one.options & other.options)
        return shared_runs >= LARGEST_SHARE * runs and shared >= LARGEST_SHARE * (runs + options)


def _units(question: Question) -> _Units:
    words = words_of(question.text)
    starts = range(max(1, len(words) - RUN_WORDS + 1))
    runs = frozenset(" ".join(words[start : start + RUN_WORDS]) for start in starts)
    # Yes, no and maybe are the same for every decision question and tell nothing.
    options = (
        frozenset(option.casefold() for option in question.options)
        if question.kind == "choice"
        else frozenset()
    )
    return _Units(runs, options)
