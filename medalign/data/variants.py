"""Other ways of putting the same question, for consistency: its options in another order, or other words around it.

A variant has the right answer of its question and an id that leads back to it. What is asked is not changed: the
rewordings touch only stock phrases and the frame, whose meaning is the same; a paraphrase by a person or a model can
be given in their place.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from medalign.data.fingerprints import stable_hash
from medalign.records import Question

_MARK = "~"

# Stock phrases of exam questions and what may stand in their place; the first that is found is replaced.
REWORDINGS: tuple[tuple[str, str], ...] = (
    (r"^Which of the following (is|are|was|were)\b", r"Which of these \1"),
    (r"^Which one of the following\b", "Which one of these"),
    (r"^Which of the following\b", "Which of these"),
    (r"\ball of the following\b", "all of these"),
)


def original_id(variant_id: str) -> str:
    """The id of the question that a variant was made from; of a question that is none, its own."""
    return variant_id.rpartition(_MARK)[0] or variant_id


def permuted(question: Question, *, number: int = 1, seed: int = 0) -> Question:
    """The question with its options shifted by some places, so that every option stands elsewhere.

    All numbers together put every option into every place once. Decision questions change too: "yes, no or maybe"
    stands in the prompt in the order of the options.

    Args:
        number: From 1, below the number of options; which shift comes first depends on the seed and the id.

    Raises:
        ValueError: The question has fewer than two options, or the number is out of its range.

    Source: circular evaluation of MMBench, Liu et al. (2023), arXiv:2307.06281, sec. 4.3.
    """
    num_options = len(question.options)
    if num_options < 2 or not 1 <= number < num_options:
        raise ValueError(
            f"question {question.id}: number must be 1 to {num_options - 1} for {num_options} options, got {number}"
        )
    turn = stable_hash(seed, question.id) % (num_options - 1)
    shift = 1 + (turn + number - 1) % (num_options - 1)
    options = question.options[shift:] + question.options[:shift]
    return dataclasses.replace(question, id=f"{question.id}{_MARK}options-{number}", options=options)


def reworded(question: Question, paraphrase: str | None = None) -> Question:
    """The question in other words.

    Args:
        paraphrase: Its text; by default a stock phrase is replaced, or, where none occurs, the question is framed
            ("Please answer this: ...").
    """
    text = _reworded_text(question.text) if paraphrase is None else paraphrase
    return dataclasses.replace(question, id=f"{question.id}{_MARK}words", text=text)


def variants(
    questions: Sequence[Question],
    *,
    num_orders: int = 1,
    paraphrases: Mapping[str, str] | None = None,
    seed: int = 0,
) -> list[Question]:
    """All variants of all questions: as many orders of the options as there are, and other words.

    Args:
        num_orders: Of each question with options; fewer where it has fewer options.
        paraphrases: Question id -> text, where a person or a model wrote one.
    """
    found = []
    for question in questions:
        orders = min(num_orders, max(0, len(question.options) - 1))
        found += [permuted(question, number=number, seed=seed) for number in range(1, orders + 1)]
        found.append(reworded(question, (paraphrases or {}).get(question.id)))
    return found


def _reworded_text(text: str) -> str:
    for phrase, instead in REWORDINGS:
        changed, number = re.subn(phrase, instead, text, count=1, flags=re.IGNORECASE)
        if number:
            return changed
    return f"Please answer this: {text}"
