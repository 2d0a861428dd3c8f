"""The card of a prepared data set: what is in it, what was left out and why; plain types only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from medalign.data.assignment import group_key
from medalign.data.augmentation import is_copy
from medalign.data.catalog import find_source
from medalign.data.drops import EXAMPLES, DropLog, shown
from medalign.data.fingerprints import stable_hash
from medalign.data.leaks import Leak
from medalign.data.specialties import common_specialty
from medalign.records import Question

# Questions of a split whose tokens are counted, chosen by hash.
TOKEN_SAMPLE = 2000
_QUANTILES = {"shortest": 0.0, "median": 0.5, "95_percent_below": 0.95, "longest": 1.0}

CountTokens = Callable[[Question], int]
Baseline = Callable[[Sequence[Question], Sequence[Question]], float | None]


def source_cards(specs: Iterable[str]) -> list[dict[str, Any]]:
    """Licence, access and known faults of every source, as asked for."""
    cards = []
    for spec in specs:
        source, location = find_source(spec)
        cards.append(
            {
                "source": source.name,
                "location": location or "",
                "licence": source.licence,
                "access": source.access,
                "citation": source.citation,
                "known_faults": list(source.known_faults),
            }
        )
    return cards


def brief(card: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a card that a report shows; the rest is on the card's own page."""
    kept = {name: card[name] for name in ("sources", "splits", "drops", "pool") if name in card}
    for name, left_out in (("leaks", ("examples",)), ("pairs", ())):
        if isinstance(card.get(name), Mapping):
            kept[name] = {key: value for key, value in card[name].items() if key not in left_out}
    return kept


def split_counts(questions: Sequence[Question], count_tokens: CountTokens | None = None) -> dict[str, Any]:
    """Counts of one split by source, specialty, kind and answer, and how long its questions are in tokens."""
    counts: dict[str, Any] = {
        "questions": len(questions),
        "copies": sum(map(is_copy, questions)),
        "groups": len(set(map(group_key, questions))),
        "source": _tally(question.source for question in questions),
        "specialty": _tally(map(common_specialty, questions)),
        "kind": _tally(question.kind for question in questions),
        "answer": _tally(_answer_label(question) for question in questions),
    }
    if count_tokens is not None and questions:
        counts["tokens"] = _token_lengths(questions, count_tokens)
    return counts


def _token_lengths(questions: Sequence[Question], count_tokens: CountTokens) -> dict[str, Any]:
    sample = sorted(questions, key=lambda question: stable_hash("tokens", question.id))[:TOKEN_SAMPLE]
    lengths = sorted(map(count_tokens, sample))
    found = {name: lengths[round(share * (len(lengths) - 1))] for name, share in _QUANTILES.items()}
    return found | {"measured": len(lengths)}


def token_histograms(
    splits: Mapping[str, Sequence[Question]], count_tokens: CountTokens, bins: int = 24
) -> dict[str, Any]:
    """How many questions of each split have how many tokens, for a plot: `edges` and counts by split."""
    lengths = {
        name: [
            count_tokens(question)
            for question in sorted(held, key=lambda question: stable_hash("tokens", question.id))[
                :TOKEN_SAMPLE
            ]
        ]
        for name, held in splits.items()
    }
    longest = max((max(held) for held in lengths.values() if held), default=0)
    width = max(1, -(-(longest + 1) // bins))
    counts = {}
    for name, held in lengths.items():
        tally = Counter(length // width for length in held)
        counts[name] = [tally[number] for number in range(bins)]
    return {"edges": [width * number for number in range(bins + 1)], "questions": counts}


def drop_card(log: DropLog) -> tuple[dict[str, int], dict[str, list[dict[str, Any]]]]:
    """Number of questions by reason, most first; and examples."""
    counts = dict(sorted((+log.counts).items(), key=lambda item: (-item[1], item[0])))
    return counts, {reason: log.examples[reason] for reason in counts if log.examples.get(reason)}


def leak_card(
    passed_over: Sequence[Leak], between: Sequence[Leak], splits: Mapping[str, int]
) -> dict[str, Any]:
    """What was kept out because it would have leaked, and what the check of the finished splits found."""
    worst = sorted(passed_over, key=lambda leak: (-leak.score, leak.second.id))
    return {
        "compared": ", ".join(f"{name} ({number})" for name, number in splits.items()),
        "found_between_the_splits": len(between),
        "kept_out": len(passed_over),
        "kept_out_by_measure": _tally(leak.measure for leak in passed_over),
        "examples": [
            {
                "measure": leak.measure,
                "score": leak.score,
                "id": leak.first.id,
                "split": leak.first_split,
                "text": shown(leak.first.text),
                "kept_out_id": leak.second.id,
                "kept_out_text": shown(leak.second.text),
            }
            for leak in worst[: 2 * EXAMPLES]
        ],
    }


def _tally(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items()))


def _answer_label(question: Question) -> str:
    """The label of a decision, the place of the right option from 1, or `free text`."""
    if question.kind == "decision":
        return question.answer
    return "free text" if question.answer_index is None else f"option {question.answer_index + 1}"
