"""The splits: by group, within official splits, stable, stratified, and free of near-duplicates of each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from medalign.data.assignment import FILL_ORDER, GroupKey, Groups, Range, assign_groups, group_key
from medalign.data.drops import DropLog
from medalign.data.fingerprints import stable_hash
from medalign.data.leaks import Leak, leak_of
from medalign.data.ordering import drawing_order
from medalign.data.similarity import Similarity
from medalign.data.specialties import common_specialty
from medalign.errors import DataError
from medalign.records import Question, Split

REFUSED = "over the token limit"
NEAR_DUPLICATE = "nearly the same as a question of another split"


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPlan:
    """How large the splits are to be.

    Attributes:
        train_size: Questions; None takes all of the range, which needs shares.
        shares: Share of each split among the groups that can go anywhere; what is left to 1 is the pool. None
            makes ranges in proportion to the sizes.
        holdout_per_specialty: The test split is so many questions of every specialty, by the names that sources
            share, in place of `test_size`.
        holdout_ids: The test split is these questions, whatever else there is.
        seed: Seeds every hash.
        weights: Of the sources in a draw; 1 where none is given.
    """

    train_size: int | None
    validation_size: int | None
    test_size: int | None
    seed: int
    shares: Mapping[Split, float] | None = None
    holdout_per_specialty: int | None = None
    holdout_ids: frozenset[str] = frozenset()
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split, size in self.sizes.items():
            if size is not None and size < 0:
                raise DataError(f"{split}_size: holds {size}; 0 or more is wanted")
            if size is None and self.shares is None:
                raise DataError(f"{split}_size: all; give shares, or a number")

    @property
    def sizes(self) -> dict[Split, int | None]:
        return {"test": self.test_size, "validation": self.validation_size, "train": self.train_size}

    @property
    def widths(self) -> dict[Range, float]:
        """Of each range on the hash."""
        if self.shares is None:
            return {split: float(size or 0) for split, size in self.sizes.items()}
        widths: dict[Range, float] = {split: self.shares.get(split, 0.0) for split in FILL_ORDER}
        return widths | {"pool": max(0.0, 1 - sum(widths.values()))}


@dataclass(frozen=True, kw_only=True, slots=True)
class Splits:
    """Questions by split.

    Attributes:
        pool: Training questions left for later rounds: neither their groups nor near-duplicates of them are in
            validation or test. They were not examined for length.
        reserve: Number of questions in the ranges of validation and test that were not drawn; they are never
            trained on.
        log: What was passed over for which reason, of the questions looked at and the pool.
        leaks: Questions passed over because they nearly repeat one of an earlier split.
        short: Specialty -> how many questions the holdout has of it, where it has too few.
    """

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    pool: tuple[Question, ...]
    reserve: int
    log: DropLog
    leaks: tuple[Leak, ...]
    short: Mapping[str, int]

    @property
    def drops(self) -> Mapping[str, int]:
        """Reason -> number of questions that were passed over for it."""
        return dict(+self.log.counts)


def split_questions(
    questions: Sequence[Question],
    plan: SplitPlan,
    *,
    keep: Callable[[Question], bool] | None = None,
    similarity: Similarity | None = None,
) -> Splits:
    """Draws the three splits.

    - No group crosses splits. Of a group only some questions may be used; different groups come first.
    - A question of an official test or validation split goes nowhere else; official training questions give
      train and the pool, and validation too where the source has no validation split of its own.
    - Each group is put by a hash of seed and group into the range of one split (ranges in proportion to
      the sizes, or by the shares), so adding a question moves no other from one split to another. Only without shares,
      and if a range holds too few, are groups borrowed from another's range; then it can. If all that does not do,
      groups are used up one after the other, and the strata are left as they fall.
    - Sources take turns by their weights; within a source the splits keep its proportions of kinds, answers (label,
      or place of the right option) and specialties as nearly as the sizes allow.
    - Near-duplicates of test questions are kept out of validation, train and pool, those of validation
      questions out of train and pool (`similarity`).

    Args:
        keep: Whether a question may be used at all (a token limit); asked only of questions looked at.
        similarity: Of these very questions, in their order; made here if it is not given.

    Raises:
        DataError: If a split cannot be filled, or is empty where shares are given.
    """
    groups = assign_groups(questions, plan.widths, plan.seed)
    similarity = similarity or Similarity(questions)
    draw = _Draw(
        groups=groups, plan=plan, keep=keep, similarity=similarity, questions=questions, is_compact=False
    )
    if draw.fill_all() is not None:
        # Spreading over many groups leaves fewer for the splits that come later; try again with as few as will do.
        draw = _Draw(
            groups=groups, plan=plan, keep=keep, similarity=similarity, questions=questions, is_compact=True
        )
        if (short := draw.fill_all()) is not None:
            raise DataError(_shortage(short, draw))
    pool = draw.left_over()
    return Splits(
        train=tuple(draw.chosen["train"]),
        validation=tuple(draw.chosen["validation"]),
        test=tuple(draw.chosen["test"]),
        pool=pool,
        reserve=draw.num_reserved(),
        log=draw.whole_log(),
        leaks=tuple(draw.leaks.values()),
        short=draw.short,
    )


@dataclass(kw_only=True, slots=True)
class _Draw:
    """One attempt at filling the splits.

    Attributes:
        is_compact: Use groups up one after the other, rather than one question of each first.
        owner: The split that has taken questions of a group.
        refused: Ids of questions that `keep` refused.
        near: Id of a question -> the leak there would be if it were used after the splits filled so far.
        leaks: The same for the questions that were passed over for it.
        short: Specialties of which the holdout has too few.
    """

    groups: Groups
    plan: SplitPlan
    keep: Callable[[Question], bool] | None
    similarity: Similarity
    questions: Sequence[Question]
    is_compact: bool
    chosen: dict[Split, list[Question]] = field(default_factory=dict)
    owner: dict[GroupKey, Split] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    near: dict[str, Leak] = field(default_factory=dict)
    leaks: dict[str, Leak] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    log: DropLog = field(default_factory=DropLog)

    def fill_all(self) -> Split | None:
        """Fills the splits in their order; the first that could not be filled, or None."""
        for split in FILL_ORDER:
            if split == "test" and (self.plan.holdout_per_specialty or self.plan.holdout_ids):
                self._hold_out()
            else:
                self._fill(split, self.plan.sizes[split])
            if self._is_short(split):
                return split
            if split != "train":
                self._look_for_near_duplicates(split)
        return None

    def _is_short(self, split: Split) -> bool:
        size, num_chosen = self.plan.sizes[split], len(self.chosen[split])
        if split == "test" and (self.plan.holdout_per_specialty or self.plan.holdout_ids):
            return not num_chosen
        if self.plan.shares is not None:
            return not num_chosen and size != 0
        return size is not None and num_chosen < size

    def _fill(self, split: Split, size: int | None) -> None:
        taken = self.chosen[split] = []
        for question in self._candidates(split):
            if len(taken) == size:
                return
            if self._may_take(question, split):
                self.owner[group_key(question)] = split
                taken.append(question)

    def _may_take(self, question: Question, split: Split) -> bool:
        if self.owner.get(group_key(question), split) != split or question.id in self.refused:
            return False
        if self.keep is not None and not self.keep(question):
            self.refused.add(question.id)
            self.log.note(REFUSED, question)
            return False
        return not self._passes_over(question)

    def _passes_over(self, question: Question) -> bool:
        leak = self.near.get(question.id)
        if leak is not None and question.id not in self.leaks:
            self.leaks[question.id] = leak
            self.log.note(
                NEAR_DUPLICATE,
                question,
                leak.first,
                split=leak.first_split,
                measure=leak.measure,
                score=leak.score,
            )
        return leak is not None

    def _hold_out(self) -> None:
        """Takes the questions that were named, or of every specialty as many as are asked for, in order of hash."""
        taken = self.chosen["test"] = []
        num_by_specialty: Counter[str] = Counter()
        own = [key for key, home in self.groups.home.items() if home == "test"]
        if self.plan.holdout_ids:
            own = [group_key(question) for question in self.questions if question.id in self.plan.holdout_ids]
        members = {q.id: q for key in own for q in self.groups.members[key]}
        limit = self.plan.holdout_per_specialty or 0
        for question in sorted(members.values(), key=lambda q: stable_hash(self.plan.seed, q.id)):
            named = question.id in self.plan.holdout_ids
            specialty = common_specialty(question)
            wanted = named or (not self.plan.holdout_ids and num_by_specialty[specialty] < limit)
            if wanted and self._may_take(question, "test"):
                self.owner[group_key(question)] = "test"
                num_by_specialty[specialty] += 1
                taken.append(question)
        if limit:
            specialties = set(map(common_specialty, self.questions))
            self.short = {s: num_by_specialty[s] for s in sorted(specialties) if num_by_specialty[s] < limit}

    def _look_for_near_duplicates(self, split: Split) -> None:
        """Notes which questions would leak if they went into a later split than the one just filled."""
        places = {question.id: place for place, question in enumerate(self.questions)}
        chosen = [places[question.id] for question in self.chosen[split]]
        done = {id(question) for held in self.chosen.values() for question in held}
        others = [place for place, question in enumerate(self.questions) if id(question) not in done]
        for pair in self.similarity.near_pairs(chosen, others):
            leak = leak_of(pair, self.questions, split, self.questions[pair.second].split or "train")
            self.near.setdefault(leak.second.id, leak)

    def _candidates(self, split: Split) -> Iterator[Question]:
        """The questions of the split's own range, then those of groups that can be borrowed from another's."""
        homes = self.groups.home
        own = [key for key, home in homes.items() if home == split and key not in self.owner]
        if self.is_compact:
            yield from self._one_by_one(own)
        else:
            held = list(chain.from_iterable(self.groups.members[key] for key in own))
            yield from drawing_order(held, seed=self.plan.seed, weights=self.plan.weights)
        if self.plan.shares is None:
            allowed = self.groups.allowed
            yield from self._one_by_one(
                [key for key in homes if homes[key] != split and split in allowed[key]]
            )

    def _one_by_one(self, keys: Iterable[GroupKey]) -> Iterator[Question]:
        seed = self.plan.seed
        for key in sorted(keys, key=lambda key: stable_hash(seed, "one by one", *key)):
            yield from sorted(self.groups.members[key], key=lambda question: stable_hash(seed, question.id))

    def left_over(self) -> tuple[Question, ...]:
        """Questions that may still be used for training."""
        used = self._used()
        return tuple(
            question
            for key, held in self.groups.members.items()
            if self._may_still_train(key)
            for question in held
            if question.id not in used and not self._passes_over(question)
        )

    def num_reserved(self) -> int:
        """Questions that were not drawn and may not be trained on."""
        used = self._used()
        return sum(
            question.id not in used and question.id not in self.leaks
            for key, held in self.groups.members.items()
            if not self._may_still_train(key)
            for question in held
        )

    def _may_still_train(self, key: GroupKey) -> bool:
        if "train" not in self.groups.allowed[key] or self.owner.get(key, "train") != "train":
            return False
        # Without shares a range is only a preference.
        return self.plan.shares is None or self.groups.home[key] in ("train", "pool")

    def _used(self) -> set[str]:
        return {question.id for held in self.chosen.values() for question in held} | self.refused

    def whole_log(self) -> DropLog:
        """With what was left out when groups were made."""
        log = DropLog()
        log.note_examples(self.groups.log)
        log.note_examples(self.log)
        return log


def _shortage(split: Split, draw: _Draw) -> str:
    sizes = draw.plan.sizes
    wanted = "some" if sizes[split] is None or draw.plan.shares else sizes[split]
    earlier = [name for name in FILL_ORDER[: FILL_ORDER.index(split)] if draw.chosen[name]]
    taken = "".join(f", {len(draw.chosen[name])} of them for {name}" for name in earlier)
    log = draw.whole_log()
    lost = "".join(f"; {count} {reason}{_for_example(log, reason)}" for reason, count in log.counts.items())
    return (
        f"{split}_size: {wanted} questions asked for, {len(draw.chosen[split])} available "
        f"({len(draw.questions)} questions in all{taken}{lost}; questions of one group stay in one split); "
        "ask for fewer or add a source"
    )


def _for_example(log: DropLog, reason: str) -> str:
    example = log.examples[reason][0] if log.examples.get(reason) else {}
    return f", such as {example['id']} and {example['like_id']}" if "like_id" in example else ""
