"""The splits: by group, within official splits, stable, stratified and of exact sizes."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from medalign.data.fingerprints import stable_hash, unit_hash
from medalign.data.near_duplicates import NearDuplicateIndex
from medalign.errors import DataError
from medalign.records import Question, Split

# The order in which splits are filled: what is in an earlier one is kept out of the later ones.
FILL_ORDER: tuple[Split, ...] = ("test", "validation", "train")
REFUSED = "over the token limit"
NEAR_DUPLICATE = "nearly the same as a question of another split"
OTHER_OFFICIAL = "same group as a question of another official split"

GroupKey = tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Questions by split.

    Attributes:
        pool: Training questions left over: no group of theirs is in validation or test. They were not
            examined for length and near-duplicates.
        drops: Reason -> number of questions that were passed over for it, of those looked at.
    """

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    pool: tuple[Question, ...]
    drops: Mapping[str, int]


@dataclass(kw_only=True, slots=True)
class _Groups:
    """The groups of questions, where each may go and where its hash puts it."""

    members: dict[GroupKey, list[Question]]
    allowed: dict[GroupKey, tuple[Split, ...]]
    home: dict[GroupKey, Split]
    drops: Counter[str] = field(default_factory=Counter)


def split_questions(
    questions: Sequence[Question],
    *,
    train_size: int,
    validation_size: int,
    test_size: int,
    seed: int,
    keep: Callable[[Question], bool] | None = None,
) -> Splits:
    """Draws the three splits.

    - No group crosses splits. Of a group only some questions may be used; different groups come first.
    - A question of an official test or validation split goes nowhere else; official training questions give
      train, and validation too where the source has no validation split of its own.
    - Each group is put by a hash of seed and group into the range of one split (ranges in proportion to
      the sizes), so adding a question moves no other from one split to another. Only if a range holds too
      few are groups borrowed from another's range; then it can. If all that does not do, groups are used up
      one after the other, and the strata are left as they fall.
    - Sources take turns; within a source the splits keep its proportions of kinds, answers (label, or place
      of the right option) and specialties as nearly as the sizes allow.
    - Near-duplicates of test questions are kept out of validation and train, those of validation
      questions out of train (`near_duplicates`).

    Args:
        keep: Whether a question may be used at all (a token limit); asked only of questions looked at.

    Raises:
        DataError: If a size is negative, or a split cannot be filled.
    """
    sizes: dict[Split, int] = {"test": test_size, "validation": validation_size, "train": train_size}
    for split, size in sizes.items():
        if size < 0:
            raise DataError(f"{split}_size: holds {size}; 0 or more is wanted")
    groups = _group(questions, sizes, seed)
    draw = _Draw(groups=groups, seed=seed, keep=keep, is_compact=False)
    if draw.fill_all(sizes) is not None:
        # Spreading over many groups leaves fewer for the splits that come later; try again with as few as will do.
        draw = _Draw(groups=groups, seed=seed, keep=keep, is_compact=True)
        if (short := draw.fill_all(sizes)) is not None:
            raise DataError(_shortage(short, sizes, draw, len(questions)))
    return Splits(
        train=tuple(draw.chosen["train"]),
        validation=tuple(draw.chosen["validation"]),
        test=tuple(draw.chosen["test"]),
        pool=draw.left_over(),
        drops=dict(+(groups.drops + draw.drops)),
    )


def group_key(question: Question) -> GroupKey:
    """What keeps questions together: source and group, or the question alone if it has no group."""
    return question.source, question.group or question.id


def _group(questions: Sequence[Question], sizes: Mapping[Split, int], seed: int) -> _Groups:
    members: dict[GroupKey, list[Question]] = {}
    for question in questions:
        members.setdefault(group_key(question), []).append(question)
    groups = _Groups(members=members, allowed={}, home={})
    with_validation = {question.source for question in questions if question.split == "validation"}
    for key, held in members.items():
        official = next((split for split in FILL_ORDER if any(q.split == split for q in held)), None)
        if official is not None:
            members[key] = [question for question in held if question.split in (official, None)]
            groups.drops[OTHER_OFFICIAL] += len(held) - len(members[key])
        groups.allowed[key] = _allowed(official, key[0] in with_validation)
        groups.home[key] = home_split(key, groups.allowed[key], sizes, seed)
    return groups


def _allowed(official: Split | None, has_validation: bool) -> tuple[Split, ...]:
    if official is None:
        return FILL_ORDER
    if official == "train" and not has_validation:
        return ("validation", "train")
    return (official,)


def home_split(key: GroupKey, allowed: Sequence[Split], sizes: Mapping[Split, int], seed: int) -> Split:
    """The split in whose range the group's hash falls; depends on nothing else that is in the data."""
    total = sum(sizes[split] for split in allowed)
    at = unit_hash(seed, "split", *key) * total
    for split in allowed:
        if at < sizes[split]:
            return split
        at -= sizes[split]
    return allowed[-1]


@dataclass(kw_only=True, slots=True)
class _Draw:
    """One attempt at filling the splits.

    Attributes:
        is_compact: Use groups up one after the other, rather than one question of each first.
        owner: The split that has taken questions of a group.
        refused: Ids of questions that `keep` refused.
    """

    groups: _Groups
    seed: int
    keep: Callable[[Question], bool] | None
    is_compact: bool
    chosen: dict[Split, list[Question]] = field(default_factory=dict)
    owner: dict[GroupKey, Split] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    drops: Counter[str] = field(default_factory=Counter)
    index: NearDuplicateIndex = field(default_factory=NearDuplicateIndex)

    def fill_all(self, sizes: Mapping[Split, int]) -> Split | None:
        """Fills the splits in their order; the first that could not be filled, or None."""
        for split in FILL_ORDER:
            self._fill(split, sizes[split])
            if len(self.chosen[split]) < sizes[split]:
                return split
            self.index.add(self.chosen[split])
        return None

    def _fill(self, split: Split, size: int) -> None:
        taken = self.chosen[split] = []
        for question in self._candidates(split):
            if len(taken) == size:
                return
            key = group_key(question)
            if self.owner.get(key, split) != split or question.id in self.refused:
                continue
            if self.keep is not None and not self.keep(question):
                self.refused.add(question.id)
                self.drops[REFUSED] += 1
            elif self.index.holds_near(question):
                self.drops[NEAR_DUPLICATE] += 1
            else:
                self.owner[key] = split
                taken.append(question)

    def _candidates(self, split: Split) -> Iterator[Question]:
        """The questions of the split's own range, then those of groups that can be borrowed from another's."""
        homes = self.groups.home
        own = [key for key, home in homes.items() if home == split and key not in self.owner]
        if self.is_compact:
            yield from self._one_by_one(own)
        else:
            yield from _ordered(list(chain.from_iterable(self.groups.members[key] for key in own)), self.seed)
        allowed = self.groups.allowed
        yield from self._one_by_one([key for key in homes if homes[key] != split and split in allowed[key]])

    def _one_by_one(self, keys: Iterable[GroupKey]) -> Iterator[Question]:
        for key in sorted(keys, key=lambda key: stable_hash(self.seed, "one by one", *key)):
            yield from sorted(
                self.groups.members[key], key=lambda question: stable_hash(self.seed, question.id)
            )

    def left_over(self) -> tuple[Question, ...]:
        """Questions that may still be used for training."""
        used = {question.id for held in self.chosen.values() for question in held} | self.refused
        return tuple(
            question
            for key, held in self.groups.members.items()
            if "train" in self.groups.allowed[key] and self.owner.get(key, "train") == "train"
            for question in held
            if question.id not in used
        )


def _ordered(questions: list[Question], seed: int) -> Iterator[Question]:
    """The order in which questions are taken: sources in turn, each in proportion to its strata."""
    by_source: dict[str, list[Question]] = {}
    for question in questions:
        by_source.setdefault(question.source, []).append(question)
    orders = [list(_in_proportion(by_source[source], seed)) for source in sorted(by_source)]
    for turn in zip_longest(*orders):
        yield from (question for question in turn if question is not None)


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


def _shortage(split: Split, sizes: Mapping[Split, int], draw: _Draw, num_read: int) -> str:
    earlier = [name for name in FILL_ORDER[: FILL_ORDER.index(split)] if sizes[name]]
    taken = "".join(f", {sizes[name]} of them for {name}" for name in earlier)
    lost = "".join(f"; {count} {reason}" for reason, count in (draw.groups.drops + draw.drops).items())
    return (
        f"{split}_size: {sizes[split]} questions asked for, {len(draw.chosen[split])} available "
        f"({num_read} questions in all{taken}{lost}; questions of one group stay in one split); "
        "ask for fewer or add a source"
    )
