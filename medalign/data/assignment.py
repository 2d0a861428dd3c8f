"""Which part of the data a group of questions belongs to: told by its name alone, whatever else is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from medalign.data.drops import DropLog
from medalign.data.fingerprints import unit_hash
from medalign.records import Question, Split

# The pool is what is left for later rounds of training.
Range = Literal["test", "validation", "train", "pool"]
GroupKey = tuple[str, str]

# The order in which splits are filled: what is in an earlier one is kept out of the later ones.
FILL_ORDER: tuple[Split, ...] = ("test", "validation", "train")
OTHER_OFFICIAL = "same group as a question of another official split"


@dataclass(kw_only=True, slots=True)
class Groups:
    """The groups of questions, where each may go and where its hash puts it.

    Attributes:
        members: Questions of each group; without those of a group's other official splits.
        allowed: Where a group may go, official splits respected.
        home: The range in which its hash falls.
        log: What was left out.
    """

    members: dict[GroupKey, list[Question]]
    allowed: dict[GroupKey, tuple[Range, ...]]
    home: dict[GroupKey, Range]
    log: DropLog = field(default_factory=DropLog)


def group_key(question: Question) -> GroupKey:
    """What keeps questions together: source and group, or the question alone if it has no group."""
    return question.source, question.group or question.id


def assign_groups(questions: Sequence[Question], widths: Mapping[Range, float], seed: int) -> Groups:
    """Puts every group of questions where its official split or else its hash says.

    Args:
        widths: Width of each range; a range that is not named has none.
    """
    members: dict[GroupKey, list[Question]] = {}
    for question in questions:
        members.setdefault(group_key(question), []).append(question)
    groups = Groups(members=members, allowed={}, home={})
    with_validation = {question.source for question in questions if question.split == "validation"}
    for key, held in members.items():
        official = next((split for split in FILL_ORDER if any(q.split == split for q in held)), None)
        if official is not None:
            members[key] = [question for question in held if question.split in (official, None)]
            for question in held:
                if question.split not in (official, None):
                    groups.log.note(OTHER_OFFICIAL, question, members[key][0])
        groups.allowed[key] = _allowed(official, key[0] in with_validation, has_pool="pool" in widths)
        groups.home[key] = home_range(key, groups.allowed[key], widths, seed)
    return groups


def _allowed(official: Split | None, has_validation: bool, *, has_pool: bool) -> tuple[Range, ...]:
    pool: tuple[Range, ...] = ("pool",) if has_pool else ()
    if official is None:
        return (*FILL_ORDER, *pool)
    if official == "train":
        return ("train", *pool) if has_validation else ("validation", "train", *pool)
    return (official,)


def home_range(key: GroupKey, allowed: Sequence[Range], widths: Mapping[Range, float], seed: int) -> Range:
    """The range in which the group's hash falls; depends on nothing else that is in the data."""
    at = unit_hash(seed, "split", *key) * sum(widths.get(name, 0) for name in allowed)
    for name in allowed:
        if at < widths.get(name, 0):
            return name
        at -= widths.get(name, 0)
    return allowed[-1]
