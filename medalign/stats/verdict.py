"""The answer of a comparison in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from medalign.records import BASE

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary, PairSummary


class _Win(NamedTuple):
    winner: str
    loser: str
    text: str


def verdict_sentence(summary: ComparisonSummary) -> str:
    """Who beats whom by how much, and who cannot be told apart.

    Only what the corrected p carries is claimed. Differences are in percentage points, with the
    interval of that pair alone.
    """
    arms = [arm.arm for arm in sorted(summary.arms, key=lambda arm: -arm.accuracy)]
    if len(arms) < 2:
        return f"{arms[0]} was the only arm; there is nothing to compare it with"
    wins = [_win(pair) for pair in summary.pairs if pair.verdict != "not enough data"]
    clauses = list(_win_clauses(arms, wins))
    if BASE in arms and all(win.loser != BASE for win in wins):
        clauses.insert(0, "no method is shown to beat base")
    if ties := _tie_clause(arms, wins, summary.num_questions):
        clauses.append(ties)
    return "; ".join(clauses)


def _win(pair: PairSummary) -> _Win:
    if pair.verdict == "better":
        winner, loser, low, high = pair.first, pair.second, pair.interval.low, pair.interval.high
    else:
        winner, loser, low, high = pair.second, pair.first, -pair.interval.high, -pair.interval.low
    p = "p < 0.001" if pair.p_corrected < 0.001 else f"p = {pair.p_corrected:.3f}"
    text = f"{loser} by {_points(abs(pair.difference))} points [{_points(low)}, {_points(high)}], {p}"
    return _Win(winner, loser, text)


def _points(fraction: float) -> str:
    # Adding 0.0 turns a negative zero into a plain one.
    return f"{round(100 * fraction, 1) + 0.0:.1f}"


def _win_clauses(arms: Sequence[str], wins: Sequence[_Win]) -> Iterator[str]:
    """One clause for each arm that beats another, best arm first."""
    for arm in arms:
        found = {win.loser: win.text for win in wins if win.winner == arm}
        texts = [found[loser] for loser in reversed(arms) if loser in found][::-1]
        if texts:
            yield f"{arm} beats {_listed(texts, comma=', and ')} (Holm-corrected)"


def _tie_clause(arms: Sequence[str], wins: Sequence[_Win], num_questions: int) -> str:
    """Which arms cannot be told apart; empty if all can."""
    apart = {frozenset((win.winner, win.loser)) for win in wins}
    tied = {a: {b for b in arms if b != a and frozenset((a, b)) not in apart} for a in arms}
    sets = sorted(
        (
            sorted(found, key=arms.index)
            for found in _cliques(tied, set(), set(arms), set())
            if len(found) > 1
        ),
        key=lambda found: [arms.index(arm) for arm in found],
    )
    if not sets:
        return ""
    questions = "1 question" if num_questions == 1 else f"{num_questions} questions"
    first, *others = map(_listed, sets)
    return f"{first} cannot be told apart with {questions}" + "".join(
        f", nor can {other}" for other in others
    )


def _cliques(
    tied: Mapping[str, set[str]], chosen: set[str], open_arms: set[str], closed: set[str]
) -> Iterator[set[str]]:
    """The largest sets of arms of which no two can be told apart (Bron and Kerbosch, 1973)."""
    if not open_arms and not closed:
        yield chosen
    for arm in sorted(open_arms):
        yield from _cliques(tied, chosen | {arm}, open_arms & tied[arm], closed & tied[arm])
        open_arms = open_arms - {arm}
        closed = closed | {arm}


def _listed(texts: Sequence[str], comma: str = " and ") -> str:
    *head, last = texts
    return f"{', '.join(head)}{comma}{last}" if head else last
