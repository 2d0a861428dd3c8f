"""What tells chosen from rejected answers apart besides being right: length, and words in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from medalign.data.words import words_of
from medalign.records import PreferencePair


def length_auc(pairs: Sequence[PreferencePair]) -> float | None:
    """How well length alone tells chosen from rejected answers: 0.5 is not at all, 1 always the longer is chosen.

    The area under the ROC curve of the number of characters over all answers; as scikit-learn's
    `roc_auc_score`. None without pairs.
    """
    if not pairs:
        return None
    from scipy.stats import mannwhitneyu

    chosen, rejected = ([len(getattr(pair, side)) for pair in pairs] for side in ("chosen", "rejected"))
    wins = mannwhitneyu(chosen, rejected, method="asymptotic").statistic
    return float(wins) / len(pairs) ** 2


def pair_statistics(pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    """Counts by origin, and for each origin and all together how chosen and rejected answers differ.

    Lengths are in characters; `overlap` is the mean share of different words that both answers have (Jaccard).
    """
    by_origin: dict[str, list[PreferencePair]] = {}
    for pair in pairs:
        by_origin.setdefault(pair.origin, []).append(pair)
    return {"all": _statistics(pairs)} | {
        origin: _statistics(by_origin[origin]) for origin in sorted(by_origin)
    }


def _statistics(pairs: Sequence[PreferencePair]) -> dict[str, Any]:
    if not pairs:
        return {"pairs": 0}
    order = Counter(
        (len(pair.chosen) > len(pair.rejected)) - (len(pair.chosen) < len(pair.rejected)) for pair in pairs
    )
    auc = length_auc(pairs)
    return {
        "pairs": len(pairs),
        "length_auc": None if auc is None else round(auc, 4),
        "chosen_chars": _mean([len(pair.chosen) for pair in pairs]),
        "rejected_chars": _mean([len(pair.rejected) for pair in pairs]),
        "chosen_longer": order[1],
        "rejected_longer": order[-1],
        "overlap": round(sum(map(_overlap, pairs)) / len(pairs), 4),
    }


def _mean(values: Sequence[int]) -> float:
    return round(sum(values) / len(values), 1)


def _overlap(pair: PreferencePair) -> float:
    chosen, rejected = set(words_of(pair.chosen)), set(words_of(pair.rejected))
    return len(chosen & rejected) / max(1, len(chosen | rejected))
