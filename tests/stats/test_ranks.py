"""Ranks and ties from what is shown, and from nothing else."""

from __future__ import annotations

import itertools
import random

from medalign.stats.ranks import rank_ranges, tie_groups


def test_an_arm_may_hold_every_place_that_no_win_excludes() -> None:
    found = rank_ranges(["a", "b", "c", "d"], [("a", "c"), ("a", "d"), ("b", "d")])
    assert [(rank.best, rank.worst) for rank in found] == [(1, 2), (1, 3), (2, 4), (3, 4)]


def test_without_a_win_every_arm_may_hold_every_place() -> None:
    assert {(rank.best, rank.worst) for rank in rank_ranges(["a", "b", "c"], [])} == {(1, 3)}


def test_no_order_that_agrees_with_the_wins_leaves_the_ranges() -> None:
    rng = random.Random(1)
    for _ in range(50):
        true = rng.sample("abcde", 5)
        wins = [(x, y) for x, y in itertools.combinations(true, 2) if rng.random() < 0.5]
        for rank in rank_ranges("abcde", wins):
            assert rank.best <= 1 + true.index(rank.arm) <= rank.worst


def test_tie_groups_are_the_largest_sets_and_may_overlap() -> None:
    assert tie_groups(["a", "b", "c"], [("b", "a"), ("b", "c")]) == (("a", "b"), ("b", "c"))
    assert tie_groups(["a", "b", "c", "d"], [("a", "b"), ("c", "b"), ("a", "c")]) == (("a", "b", "c"),)
    assert tie_groups(["a", "b"], []) == ()
