"""Ranks that say what is known of an order, and no more: a range for each arm, and who is tied with whom."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple


class ArmRank(NamedTuple):
    """The best and the worst place that an arm may hold, 1 being first."""

    arm: str
    best: int
    worst: int


def rank_ranges(arms: Sequence[str], wins: Collection[tuple[str, str]]) -> tuple[ArmRank, ...]:
    """The places that each arm may hold, given who is shown to be better than whom.

    An arm is behind every arm that is shown to be better, and ahead of every arm that it is shown to beat. If the
    wins are claimed with a family-wise error of 5 % (Holm), then all ranges hold together with 95 %.

    Args:
        arms: All arms.
        wins: (better, worse) for each pair that is told apart.

    Source: Holm (2012), Confidence intervals for ranks; Mohamad, Goeman and van Zwet (2019), arXiv:1708.02428.
    """
    return tuple(
        ArmRank(
            arm,
            1 + len({better for better, worse in wins if worse == arm}),
            len(arms) - len({worse for better, worse in wins if better == arm}),
        )
        for arm in arms
    )


def tie_groups(arms: Sequence[str], ties: Collection[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The largest sets of arms of which no two are told apart; sets may overlap, and a lone arm is none.

    Args:
        arms: All arms, in the order in which they are to be named.
        ties: The pairs that are not told apart, in either order.
    """
    among = {frozenset(pair) for pair in ties}
    tied = {a: {b for b in arms if b != a and frozenset((a, b)) in among} for a in arms}
    found = [sorted(group, key=arms.index) for group in _cliques(tied, set(), set(arms), set())]
    ordered = sorted(found, key=lambda group: [arms.index(arm) for arm in group])
    return tuple(tuple(group) for group in ordered if len(group) > 1)


def _cliques(
    tied: Mapping[str, set[str]], chosen: set[str], open_arms: set[str], closed: set[str]
) -> Iterator[set[str]]:
    """Every largest set of arms that are all tied with each other (Bron and Kerbosch, 1973)."""
    if not open_arms and not closed:
        yield chosen
    for arm in sorted(open_arms):
        yield from _cliques(tied, chosen | {arm}, open_arms & tied[arm], closed & tied[arm])
        open_arms = open_arms - {arm}
        closed = closed | {arm}
