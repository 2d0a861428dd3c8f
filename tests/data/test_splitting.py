from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medalign.data.assignment import group_key
from medalign.data.catalog import load_source
from medalign.data.similarity import Similarity
from medalign.data.splitting import SplitPlan, Splits, split_questions
from medalign.errors import DataError
from medalign.records import Question, Split
from tests.data.examples import choice, decision, free_text

# How many questions each group has.
GROUPS = st.lists(st.integers(1, 4), min_size=60, max_size=90)


def make_questions(sizes: list[int], prefix: str = "") -> list[Question]:
    makers = (choice, decision, free_text)
    return [
        makers[number % 3](
            f"{prefix}{group}-{number}", group=f"{prefix}{group}", specialty=f"field {group % 4}"
        )
        for group, size in enumerate(sizes)
        for number in range(size)
    ]


def split_by_id(splits: Splits) -> dict[str, str]:
    named: Mapping[str, tuple[Question, ...]] = {
        "train": splits.train,
        "validation": splits.validation,
        "test": splits.test,
    }
    return {question.id: name for name, held in named.items() for question in held}


def split(
    questions: list[Question], train: int, validation: int, test: int, seed: int = 0, **more: Any
) -> Splits:
    plan = SplitPlan(train_size=train, validation_size=validation, test_size=test, seed=seed)
    return split_questions(questions, plan, **more)


SHARES: Mapping[Split, float] = {"train": 0.5, "validation": 0.2, "test": 0.2}


def split_by_shares(questions: list[Question], seed: int = 0, **more: Any) -> Splits:
    plan = SplitPlan(train_size=None, validation_size=None, test_size=None, seed=seed, shares=SHARES, **more)
    return split_questions(questions, plan)


@settings(max_examples=30, deadline=None)
@given(sizes=GROUPS, seed=st.integers(0, 5))
def test_no_group_crosses_splits_and_sizes_are_exact(sizes: list[int], seed: int) -> None:
    splits = split(make_questions(sizes), 20, 10, 15, seed)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (20, 10, 15)
    groups = [{group_key(q) for q in held} for held in (splits.train, splits.validation, splits.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]
    assert not {group_key(question) for question in splits.pool} & (groups[1] | groups[2])


@pytest.mark.parametrize("seed", range(6))
def test_no_group_crosses_splits_when_groups_are_borrowed(seed: int) -> None:
    splits = split(make_questions([4] * 9), 9, 9, 9, seed)
    groups = [{group_key(q) for q in held} for held in (splits.train, splits.validation, splits.test)]
    assert not groups[0] & groups[1] and not groups[0] & groups[2] and not groups[1] & groups[2]


@settings(max_examples=30, deadline=None)
@given(sizes=GROUPS, position=st.integers(0, 50), is_new_group=st.booleans())
def test_adding_a_question_moves_no_other_to_another_split(
    sizes: list[int], position: int, is_new_group: bool
) -> None:
    questions = make_questions(sizes)
    added = choice("new", group="new" if is_new_group else questions[0].group)
    before = split_by_id(split(questions, 6, 5, 5))
    after = split_by_id(split([*questions[:position], added, *questions[position:]], 6, 5, 5))
    assert all(after.get(name, home) == home for name, home in before.items())


def test_adding_a_question_changes_little_of_a_split() -> None:
    questions = make_questions([3] * 200)
    before = {question.id for question in split(questions, 60, 30, 60).test}
    changed = []
    for number in range(10):
        after = {question.id for question in split([*questions, choice(f"new {number}")], 60, 30, 60).test}
        changed.append(len(before - after))
    assert sum(changed) / len(changed) < 6


def test_splits_depend_on_the_seed_and_not_on_the_order_of_questions() -> None:
    questions = make_questions([2] * 60)
    assert split(questions, 20, 10, 15) == split(questions, 20, 10, 15)
    assert split_by_id(split(questions, 20, 10, 15)) == split_by_id(split(questions[::-1], 20, 10, 15))
    assert split_by_id(split(questions, 20, 10, 15)) != split_by_id(split(questions, 20, 10, 15, seed=1))


def test_every_question_can_be_used_when_groups_are_single() -> None:
    splits = split(make_questions([1] * 50), 23, 7, 20)
    assert len(split_by_id(splits)) == 50 and splits.pool == ()


def test_official_splits_are_respected_and_validation_is_drawn_from_train() -> None:
    official = [choice(f"t{n}", split="train") for n in range(30)]
    official += [choice(f"e{n}", split="test") for n in range(20)]
    splits = split(official, 15, 10, 12)
    assert {question.split for question in splits.test} == {"test"}
    assert {question.split for question in (*splits.train, *splits.validation, *splits.pool)} == {"train"}
    with_validation = [*official, *(choice(f"v{n}", split="validation") for n in range(9))]
    assert {question.split for question in split(with_validation, 15, 9, 12).validation} == {"validation"}


def test_a_group_with_an_official_test_question_stays_out_of_train() -> None:
    questions = [choice(f"t{n}", split="train") for n in range(9)]
    questions += [choice("x", group="t0", split="test")]
    splits = split(questions, 8, 0, 1)
    assert "s-t0" not in {question.id for question in splits.train}
    assert splits.drops == {"same group as a question of another official split": 1}


def test_near_duplicates_of_test_questions_are_kept_out_of_train_and_counted() -> None:
    words = "a man of sixty has had chest pain on effort for two weeks and asks what to take"
    train = [choice(f"t{n}", split="train") for n in range(5)]
    copy = choice("copy", text=f"Now {words} today?", split="train")
    test = [choice("e", text=f"{words}?", split="test")]
    splits = split([*train, copy, *test], 5, 0, 1)
    assert "s-copy" not in {question.id for question in splits.train}
    with pytest.raises(DataError, match="1 nearly the same as a question of another split"):
        split([*train, copy, *test], 6, 0, 1)


def test_kinds_and_labels_keep_their_proportions() -> None:
    splits = split(load_source("embedded"), 96, 48, 120)
    for held, size in ((splits.train, 96), (splits.validation, 48), (splits.test, 120)):
        labels = Counter(question.answer for question in held if question.kind == "decision")
        kinds = Counter(question.kind for question in held)
        assert all(abs(labels[label] - size / 6) <= 2 for label in ("yes", "no", "maybe"))
        assert abs(kinds["choice"] - size / 3) <= 2 and abs(kinds["free_text"] - size / 6) <= 2
        assert len({question.specialty for question in held}) >= 12


def test_sources_take_turns() -> None:
    large = [choice(f"a{n}", source="large") for n in range(200)]
    small = [choice(f"b{n}", source="small", id=f"b{n}") for n in range(40)]
    assert Counter(question.source for question in split([*large, *small], 10, 6, 8).test) == {
        "large": 4,
        "small": 4,
    }


def test_refused_questions_are_not_used_and_counted_once() -> None:
    questions = make_questions([1] * 30)
    splits = split(questions, 8, 4, 8, keep=lambda q: q.kind != "decision")
    with pytest.raises(DataError, match="8 over the token limit"):
        split(
            [*questions[:8], *(decision(f"d{n}") for n in range(8))],
            11,
            0,
            0,
            keep=lambda q: q.kind != "decision",
        )
    assert "decision" not in {question.kind for question in (*splits.train, *splits.validation, *splits.test)}


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        (
            (100, 10, 20),
            r"train_size: 100 questions asked for, 33 available .63 questions in all, 20 of them for",
        ),
        ((0, 0, 64), r"test_size: 64 questions asked for, 63 available .*; ask for fewer or add a source"),
        ((-1, 0, 0), "train_size: holds -1; 0 or more is wanted"),
    ],
)
def test_too_few_questions_are_told_with_what_would_do(sizes: tuple[int, int, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(make_questions([1] * 63), *sizes)


def test_default_embedded_splits_share_no_fact_and_shared_facts_share_most() -> None:
    apart = split(load_source("embedded"), 100, 60, 120)
    shared = split(load_source("embedded:shared-facts"), 400, 60, 120)
    assert not facts_of(apart.train) & facts_of(apart.test)
    assert len(facts_of(shared.test) - facts_of(shared.train)) <= 0.05 * len(facts_of(shared.test))
    assert not {question.text for question in shared.test} & {question.text for question in shared.train}


def facts_of(questions: tuple[Question, ...]) -> set[str]:
    return {"-".join(question.id.split("-")[1:3]) for question in questions}


@settings(max_examples=25, deadline=None)
@given(sizes=GROUPS, position=st.integers(0, 50), is_new_group=st.booleans(), seed=st.integers(0, 3))
def test_with_shares_every_question_is_used_and_adding_one_moves_no_other(
    sizes: list[int], position: int, is_new_group: bool, seed: int
) -> None:
    questions = make_questions(sizes)
    added = choice("new", group="new" if is_new_group else questions[0].group)
    before = split_by_shares(questions, seed)
    after = split_by_shares([*questions[:position], added, *questions[position:]], seed)
    assert len(split_by_id(before)) + len(before.pool) == len(questions)
    homes = split_by_id(after)
    assert all(homes[name] == home for name, home in split_by_id(before).items())
    assert {question.id for question in before.pool} <= {question.id for question in after.pool}


@settings(max_examples=25, deadline=None)
@given(sizes=GROUPS, seed=st.integers(0, 3))
def test_the_holdout_has_no_more_than_so_many_of_each_specialty_and_nothing_moves(
    sizes: list[int], seed: int
) -> None:
    questions = make_questions(sizes)
    splits = split_by_shares(questions, seed, holdout_per_specialty=3)
    counts = Counter(question.specialty for question in splits.test)
    assert all(
        counts[f"field {n}"] == 3 or splits.short[f"field {n}"] == counts[f"field {n}"] for n in range(4)
    )
    after = split_by_id(split_by_shares([*questions, choice("new")], seed, holdout_per_specialty=3))
    before = split_by_id(splits)
    assert all(after.get(name, home) == home for name, home in before.items())


def test_a_named_holdout_stays_whatever_is_added() -> None:
    questions = make_questions([2] * 40)
    first = split_by_shares(questions, holdout_per_specialty=3)
    ids = frozenset(question.id for question in first.test)
    more = make_questions([2] * 40, "more-")
    again = split_by_shares([*more, *questions], holdout_per_specialty=3, holdout_ids=ids)
    assert {question.id for question in again.test} == ids
    groups = {group_key(question) for question in again.test}
    assert not groups & {group_key(question) for question in (*again.train, *again.validation, *again.pool)}


def test_an_empty_split_is_refused_where_shares_are_given() -> None:
    with pytest.raises(DataError, match="train_size: some questions asked for, 0 available"):
        split_by_shares([choice(f"e{n}", split="test") for n in range(9)] + [choice("v", split="validation")])


def test_sources_are_drawn_by_their_weights() -> None:
    questions = [choice(f"a{n}", source="a", id=f"a-{n}") for n in range(90)]
    questions += [choice(f"b{n}", source="b", id=f"b-{n}") for n in range(90)]
    plan = SplitPlan(train_size=40, validation_size=0, test_size=0, seed=0, weights={"a": 3.0})
    drawn = Counter(question.source for question in split_questions(questions, plan).train)
    assert drawn == {"a": 30, "b": 10}


def test_near_duplicates_are_kept_out_of_the_pool_too_and_are_named() -> None:
    words = "a man of sixty has had chest pain on effort for two weeks and asks what to take"
    questions = [choice(f"t{n}", split="train") for n in range(9)]
    questions += [
        choice("copy", text=f"Now {words} today?", split="train"),
        choice("e", text=f"{words}?", split="test"),
    ]
    splits = split(questions, 2, 0, 1)
    assert "s-copy" not in {question.id for question in (*splits.train, *splits.pool)}
    assert [(leak.first.id, leak.second.id) for leak in splits.leaks] == [("s-e", "s-copy")]


def test_the_similarity_can_be_given() -> None:
    questions = make_questions([1] * 30)
    assert split(questions, 9, 5, 5, similarity=Similarity(questions)) == split(questions, 9, 5, 5)
