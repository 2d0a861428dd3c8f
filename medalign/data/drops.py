"""What was left out, for which reason: counted, with the first few as examples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medalign.data.sources import Drop
from medalign.records import Question

EXAMPLES = 3
_SHOWN_CHARS = 200


@dataclass(slots=True)
class DropLog:
    """Counts what is left out.

    Attributes:
        counts: Reason -> number.
        examples: Reason -> the first few, as plain types for the card.
    """

    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def note(
        self, reason: str, question: Question, like: Question | None = None, **details: str | float
    ) -> None:
        """Counts a question.

        Args:
            like: The question that it repeats.
            details: What else an example is to say.
        """
        example = {"id": question.id, "text": shown(question.text), **details}
        if like is not None:
            example |= {"like_id": like.id, "like_text": shown(like.text)}
        self._note(reason, example)

    def note_record(self, drop: Drop) -> None:
        """Counts a record that gave no question."""
        self._note(drop.reason, {"id": drop.place, "text": shown(drop.text)})

    def note_examples(self, log: DropLog) -> None:
        """Adds all that another one holds."""
        self.counts += log.counts
        for reason, held in log.examples.items():
            kept = self.examples.setdefault(reason, [])
            kept += held[: EXAMPLES - len(kept)]

    def _note(self, reason: str, example: Mapping[str, Any]) -> None:
        self.counts[reason] += 1
        kept = self.examples.setdefault(reason, [])
        if len(kept) < EXAMPLES:
            kept.append(dict(example))


def shown(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[: _SHOWN_CHARS - 3]}..."
