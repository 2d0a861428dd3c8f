"""Which wrong options are shown and where the right one stands, so that neither gives it away."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from medalign.data.fingerprints import stable_hash

NUM_OPTIONS = 4
_POSITION_SEED = "embedded answer positions"
_DISTRACTOR_SEED = "embedded distractors"


class ChoiceKey(NamedTuple):
    """What the options of one choice question are made of."""

    question_id: str
    specialty: str
    answer: str
    distractors: tuple[str, ...]


class _LengthShare(NamedTuple):
    """Chance that a guesser who picks the longest or the shortest option is right, ties broken at random."""

    longest: float
    shortest: float


def lay_out_options(keys: Sequence[ChoiceKey]) -> dict[str, tuple[str, ...]]:
    """The options of each choice question, in the order shown.

    Every position holds the right answer equally often, up to rounding, within each specialty and
    overall. Distractors are chosen so that the right answer is the longest, and the shortest, of
    the four about as often as chance has it. Both depend on the keys alone.

    Returns:
        Options by question id.
    """
    positions = answer_positions(keys)
    wrong = _balanced_distractors(keys)
    laid_out = {}
    for key in keys:
        options = sorted(wrong[key.question_id], key=lambda text: stable_hash(key.question_id, text))
        options.insert(positions[key.question_id], key.answer)
        laid_out[key.question_id] = tuple(options)
    return laid_out


def answer_positions(keys: Sequence[ChoiceKey]) -> dict[str, int]:
    """Position of the right answer by question id: 0, 1, 2, 3, 0, ... over all questions of a specialty
    in an order set by hash, each specialty going on where the one before it stopped."""
    order = sorted(keys, key=lambda key: (key.specialty, stable_hash(_POSITION_SEED, key.question_id)))
    return {key.question_id: number % NUM_OPTIONS for number, key in enumerate(order)}


def _balanced_distractors(keys: Sequence[ChoiceKey]) -> dict[str, tuple[str, ...]]:
    """The wrong options by question id, chosen one question after the other.

    The questions with the least freedom come first; each takes the distractors that bring both
    length shares nearest to chance.
    """
    order = sorted(keys, key=lambda key: (len(set(_shares(key).values())), key.question_id))
    chosen: dict[str, tuple[str, ...]] = {}
    longest = shortest = 0.0
    for key in order:
        # What is still missing for the shares to be at chance after this question.
        wanted = _LengthShare(
            longest=(len(chosen) + 1) / NUM_OPTIONS - longest,
            shortest=(len(chosen) + 1) / NUM_OPTIONS - shortest,
        )
        best, share = _nearest(key, wanted)
        chosen[key.question_id] = best
        longest += share.longest
        shortest += share.shortest
    return chosen


def _shares(key: ChoiceKey) -> dict[tuple[str, ...], _LengthShare]:
    """Every choice of wrong options, with what it gives away."""
    return {
        wrong: _length_share(key.answer, wrong) for wrong in combinations(key.distractors, NUM_OPTIONS - 1)
    }


def _nearest(key: ChoiceKey, wanted: _LengthShare) -> tuple[tuple[str, ...], _LengthShare]:
    def miss(item: tuple[tuple[str, ...], _LengthShare]) -> tuple[float, int]:
        wrong, share = item
        squares = (share.longest - wanted.longest) ** 2 + (share.shortest - wanted.shortest) ** 2
        return round(squares, 9), stable_hash(_DISTRACTOR_SEED, key.question_id, *wrong)

    return min(_shares(key).items(), key=miss)


def _length_share(answer: str, wrong: Sequence[str]) -> _LengthShare:
    lengths = [len(answer), *map(len, wrong)]
    return _LengthShare(
        longest=(len(answer) == max(lengths)) / lengths.count(max(lengths)),
        shortest=(len(answer) == min(lengths)) / lengths.count(min(lengths)),
    )
