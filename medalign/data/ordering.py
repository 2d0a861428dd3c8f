"""The order in which questions are drawn: sources by their weights, each in proportion to its strata."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from medalign.data.assignment import GroupKey, group_key
from medalign.data.fingerprints import stable_hash, unit_hash
from medalign.records import Question


def drawing_order(
    questions: Sequence[Question], *, seed: int, weights: Mapping[str, float]
) -> Iterator[Question]:
    """An order of which every beginning holds the sources by weight, and each source's strata in proportion.

    A source that has run out gives way to the others. Strata are kinds and answers (label, or place of the
    right option), and within these specialties.

    Args:
        weights: Of the sources; one that is not named has 1, one with 0 comes after all others.
    """
    by_source: dict[str, list[Question]] = {}
    for question in questions:
        by_source.setdefault(question.source, []).append(question)
    waiting: list[tuple[float, str, int]] = []
    for source in sorted(by_source):
        weight = weights.get(source, 1.0)
        waiting.append((0.0 if weight else float("inf"), source, 0))
    heapq.heapify(waiting)
    orders = {source: _in_proportion(held, seed) for source, held in by_source.items()}
    while waiting:
        _, source, number = heapq.heappop(waiting)
        drawn = next(orders[source], None)
        if drawn is not None:
            weight = weights.get(source, 1.0)
            turn = (number + 1) / weight if weight else float("inf")
            heapq.heappush(waiting, (turn, source, number + 1))
            yield drawn


def _in_proportion(questions: list[Question], seed: int) -> Iterator[Question]:
    """An order of which every beginning holds each kind and answer in its proportion among the questions.

    The next question comes from the stratum that is furthest behind, and there from a group that has
    given the fewest so far.
    """
    strata: dict[tuple[str, str], list[Question]] = {}
    for question in questions:
        strata.setdefault((question.kind, _answer_label(question)), []).append(question)
    waiting = {
        stratum: [(0, place, question) for place, question in enumerate(_by_specialty(held, seed))]
        for stratum, held in strata.items()
    }
    num_given: Counter[tuple[str, str]] = Counter()
    num_by_group: Counter[GroupKey] = Counter()
    for number in range(1, len(questions) + 1):
        behind = {name: number * len(strata[name]) / len(questions) - num_given[name] for name in waiting}
        stratum = max(behind, key=lambda name: (behind[name], stable_hash(seed, *name)))
        question = _pop_least_used(waiting[stratum], num_by_group)
        num_given[stratum] += 1
        num_by_group[group_key(question)] += 1
        if not waiting[stratum]:
            del waiting[stratum]
        yield question


def _pop_least_used(heap: list[tuple[int, int, Question]], num_by_group: Mapping[GroupKey, int]) -> Question:
    """Takes the question whose group has given the fewest, the first of them in the given order."""
    while True:
        num_used, place, question = heap[0]
        now = num_by_group[group_key(question)]
        if now == num_used:
            heapq.heappop(heap)
            return question
        # Its group has given questions since it was put here. Places differ, so questions are not compared.
        heapq.heapreplace(heap, (now, place, question))


def _answer_label(question: Question) -> str:
    """The label of a decision, the place of the right option of a choice, nothing for free text."""
    return question.answer if question.kind == "decision" else str(question.answer_index)


def _by_specialty(questions: list[Question], seed: int) -> list[Question]:
    """An order of which every beginning holds each specialty in proportion (systematic sampling).

    A specialty's questions lie at even distances on [0, 1), from a start set by hash, so that no
    specialty is favoured by its size in a short beginning.
    """
    by_specialty: dict[str, list[Question]] = {}
    for question in questions:
        by_specialty.setdefault(question.specialty, []).append(question)
    placed = []
    for specialty, held in by_specialty.items():
        start = unit_hash(seed, "specialty", specialty)
        held.sort(key=lambda question: stable_hash(seed, question.id))
        placed += [
            ((place + start) / len(held), question.id, question) for place, question in enumerate(held)
        ]
    return [question for _, _, question in sorted(placed, key=lambda item: item[:2])]
