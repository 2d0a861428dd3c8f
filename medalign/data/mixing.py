"""The order of training questions in stages, and general text that is mixed in so that little is forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from medalign.data.fingerprints import stable_hash
from medalign.errors import DataError
from medalign.records import Question


def in_stages(
    questions: Sequence[Question], stages: Sequence[Sequence[str]]
) -> tuple[tuple[Question, ...], tuple[int, ...]]:
    """The questions in the order of a curriculum, and how many each stage has.

    Args:
        stages: Names of sources for each stage, or `source/specialty`; what no stage names comes last, as a stage of
            its own. Without stages everything is one.

    Raises:
        DataError: If a stage has no question.
    """
    if not stages:
        return tuple(questions), (len(questions),)
    stage_by_name = {name: number for number, names in reversed(list(enumerate(stages))) for name in names}
    held: list[list[Question]] = [[] for _ in range(len(stages) + 1)]
    for question in questions:
        by_source = stage_by_name.get(question.source, len(stages))
        held[stage_by_name.get(f"{question.source}/{question.specialty}", by_source)].append(question)
    for number, members in enumerate(held[:-1]):
        if not members:
            named = ", ".join(stages[number])
            raise DataError(
                f"data.stages[{number}]: no training question of {named}; name sources of the mix, or "
                "source/specialty"
            )
    ordered = tuple(question for members in held for question in members)
    return ordered, tuple(len(members) for members in held if members)


def replay_size(train_size: int, share: float) -> int:
    """How many of so many training questions are general text."""
    return round(train_size * share)


def replayed(questions: Sequence[Question], size: int, *, seed: int) -> list[Question]:
    """General questions for training, drawn by hash.

    Raises:
        DataError: If there are too few.
    """
    usable = [question for question in questions if question.split in ("train", None)]
    if len(usable) < size:
        raise DataError(
            f"data.replay: {size} questions of general text asked for, {len(usable)} available; "
            "lower replay.share or give a larger file"
        )
    return sorted(usable, key=lambda question: stable_hash(seed, "replay", question.id))[:size]


def stages_with_replay(stages: Sequence[int], num_general: int) -> tuple[int, ...]:
    """How many questions each stage has, once so many general ones are `spread` among all of them."""
    size, ends, done = sum(stages), [0], 0
    for held in stages:
        done += held
        ends.append(done + sum((place + 0.5) / num_general < done / size for place in range(num_general)))
    return tuple(end - start for start, end in pairwise(ends))


def spread(questions: Sequence[Question], among: Sequence[Question]) -> list[Question]:
    """The questions at even distances among the others, both in their order."""
    placed = [((place + 0.5) / len(questions), 1, place) for place in range(len(questions))]
    placed += [((place + 0.5) / len(among), 0, place) for place in range(len(among))]
    return [questions[place] if is_first else among[place] for _, is_first, place in sorted(placed)]
