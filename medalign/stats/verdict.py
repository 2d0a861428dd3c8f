"""The answer of a comparison in one sentence."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from medalign.records import BASE
from medalign.stats.ranks import tie_groups

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary, PairSummary


class _Win(NamedTuple):
    winner: str
    loser: str
    text: str


def verdict_sentence(summary: ComparisonSummary) -> str:
    """Who beats whom by how much, who is equivalent, and who cannot be told apart.

    Only what the corrected p carries is claimed; "beats" wins over "equivalent" where both are shown, and then says
    that the difference is smaller than the margin. Differences are in percentage points, with the
    interval of that pair alone.
    """
    arms = [arm.arm for arm in sorted(summary.arms, key=lambda arm: -arm.accuracy)]
    if len(arms) < 2:
        return f"{arms[0]} was the only arm; there is nothing to compare it with"
    wins = [_win(pair, summary.margin) for pair in summary.pairs if pair.verdict in ("better", "worse")]
    clauses = list(_win_clauses(arms, wins))
    if BASE in arms and all(win.loser != BASE for win in wins):
        clauses.insert(0, "no method is shown to beat base")
    clauses += _equivalence_clauses(arms, summary)
    if ties := _tie_clause(arms, summary):
        clauses.append(ties)
    return "; ".join(clauses)


def _win(pair: PairSummary, margin: float) -> _Win:
    if pair.verdict == "better":
        winner, loser, low, high = pair.first, pair.second, pair.interval.low, pair.interval.high
    else:
        winner, loser, low, high = pair.second, pair.first, -pair.interval.high, -pair.interval.low
    p = "p < 0.001" if pair.p_corrected < 0.001 else f"p = {pair.p_corrected:.3f}"
    text = f"{loser} by {_points(abs(pair.difference))} points [{_points(low)}, {_points(high)}], {p}"
    if -margin < low and high < margin:
        text += f", less than the {100 * margin:g} points that matter"
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


def _equivalence_clauses(arms: Sequence[str], summary: ComparisonSummary) -> Iterator[str]:
    alike = [(pair.first, pair.second) for pair in summary.pairs if pair.verdict == "equivalent within m"]
    for group in tie_groups(arms, alike):
        yield f"{_listed(group)} are equivalent within {100 * summary.margin:g} points"


def _tie_clause(arms: Sequence[str], summary: ComparisonSummary) -> str:
    """Which arms cannot be told apart; empty if all can."""
    groups = tie_groups(
        arms, [(pair.first, pair.second) for pair in summary.pairs if pair.verdict == "not enough data"]
    )
    if not groups:
        return ""
    num_questions = summary.num_questions
    questions = "1 question" if num_questions == 1 else f"{num_questions} questions"
    first, *others = map(_listed, groups)
    return f"{first} cannot be told apart with {questions}" + "".join(
        f", nor can {other}" for other in others
    )


def _listed(texts: Sequence[str], comma: str = " and ") -> str:
    *head, last = texts
    return f"{', '.join(head)}{comma}{last}" if head else last
