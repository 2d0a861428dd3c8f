"""Small questions for the tests of this folder."""

from __future__ import annotations

import random
from typing import Any

from medalign.records import Question


def _words(name: str) -> str:
    """Four words that are no others', so that two questions are not nearly the same."""
    letters = random.Random(name)
    return " ".join("".join(letters.choices("abcdefghijklmnop", k=7)) for _ in range(4))


def choice(name: str, **changes: Any) -> Question:
    fields: dict[str, Any] = {
        "id": f"s-{name}",
        "source": "s",
        "kind": "choice",
        "text": f"Which agent is meant by {_words(name)}, entry {name}?",
        "answer": "right",
        "options": ("wrong", "right", "other", "false one"),
        "group": name,
    }
    return Question(**(fields | changes))


def decision(name: str, answer: str = "yes", **changes: Any) -> Question:
    fields: dict[str, Any] = {"kind": "decision", "options": ("yes", "no", "maybe"), "answer": answer}
    return choice(name, **(fields | changes))


def free_text(name: str, **changes: Any) -> Question:
    return choice(name, **({"kind": "free_text", "options": ()} | changes))
