"""Questions that stand in one split and, nearly the same, in another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from medalign.data.assignment import FILL_ORDER, group_key
from medalign.data.drops import shown
from medalign.data.similarity import NearPair, Similarity
from medalign.errors import DataError
from medalign.records import Question

SAME_GROUP = "same group"


class Leak(NamedTuple):
    """One question that tells something of another one's answer, across splits.

    Attributes:
        first: The question of the split that is filled first (test, validation, train).
        second: The other one.
        measure: How it was found: a measure of `similarity.NearPair`, or `same group`.
        score: The measure's value, at most 1.
    """

    first: Question
    first_split: str
    second: Question
    second_split: str
    measure: str
    score: float

    def sentence(self) -> str:
        """Both questions, by id and words."""
        return (
            f"{self.first.id} ({self.first_split}) and {self.second.id} ({self.second_split}) are nearly the same "
            f"({self.measure}, {self.score:.2f}): {shown(self.first.text)!r} and {shown(self.second.text)!r}"
        )


def leak_of(pair: NearPair, questions: Sequence[Question], first_split: str, second_split: str) -> Leak:
    """The leak that a pair of places in `questions` is."""
    first, second = questions[pair.first], questions[pair.second]
    return Leak(first, first_split, second, second_split, pair.measure, pair.score)


def find_leaks(splits: Mapping[str, Sequence[Question]]) -> list[Leak]:
    """Every leak between two splits, the worst first.

    Args:
        splits: Questions by the name of their split. Demonstrations are drawn from `train` and need no
            part of their own.
    """
    names = sorted(splits, key=lambda name: FILL_ORDER.index(name) if name in FILL_ORDER else len(splits))
    questions = [question for name in names for question in splits[name]]
    similarity = Similarity(questions)
    starts: dict[str, int] = {}
    for name in names:
        starts[name] = sum(len(splits[other]) for other in starts)
    leaks = []
    for first, second in combinations(names, 2):
        rows, others = (range(starts[name], starts[name] + len(splits[name])) for name in (first, second))
        leaks += [leak_of(pair, questions, first, second) for pair in similarity.near_pairs(rows, others)]
        leaks += _of_one_group(splits, first, second)
    return sorted(leaks, key=lambda leak: (-leak.score, leak.first.id, leak.second.id))


def _of_one_group(splits: Mapping[str, Sequence[Question]], first: str, second: str) -> Iterator[Leak]:
    groups = {group_key(question): question for question in splits[first]}
    for question in splits[second]:
        if (known := groups.get(group_key(question))) is not None:
            yield Leak(known, first, question, second, SAME_GROUP, 1.0)


def refuse_leaks(leaks: Sequence[Leak], remedy: str) -> None:
    """Refuses splits between which there is a leak.

    Args:
        remedy: What would do.

    Raises:
        DataError: There is one; the worst is named.
    """
    if leaks:
        more = f" (and {len(leaks) - 1} more such pair(s))" if len(leaks) > 1 else ""
        raise DataError(f"data: leak between splits: {leaks[0].sentence()}{more}; {remedy}")
