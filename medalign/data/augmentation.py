"""Further copies of training questions: options in another order, the question in other words around it.

A copy has the id of its original with a mark behind it, its group and its split; nothing is ever made of
validation or test questions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from medalign.data.fingerprints import stable_hash
from medalign.records import Kind, Question

# {text} stands for the question. What is asked stays word for word: a paraphrase by rule must not change the key.
TEMPLATES: dict[Kind, tuple[str, ...]] = {
    "choice": (
        "Choose the best answer. {text}",
        "{text} Which of these is right?",
        "A colleague asks: {text}",
        "Consider the following. {text} Pick one option.",
    ),
    "decision": (
        "Judge by the passage: {text}",
        "{text} Decide by the evidence given.",
        "A reader of this passage asks: {text}",
    ),
    "free_text": (
        "Please answer briefly: {text}",
        "A patient asks: {text}",
        "{text} Answer in a few words.",
    ),
}
MARK = "~"


def augment(questions: Sequence[Question], *, shuffles: int, paraphrases: int, seed: int) -> list[Question]:
    """The questions, each followed by its copies.

    Args:
        shuffles: Copies of each choice question with its options in another order; no more than there are orders.
        paraphrases: Copies of each question with other words around it; no more than there are templates.
    """
    return [copy for question in questions for copy in _copies(question, shuffles, paraphrases, seed)]


def is_copy(question: Question) -> bool:
    """Whether a question was made of another one."""
    return MARK in question.id


def original_id(question: Question) -> str:
    """The id of the question that it was made of, or its own."""
    return question.id.partition(MARK)[0]


def _copies(question: Question, shuffles: int, paraphrases: int, seed: int) -> Iterator[Question]:
    yield question
    if question.kind == "choice":
        for number, options in enumerate(_other_orders(question, shuffles, seed), start=1):
            yield dataclasses.replace(question, id=f"{question.id}{MARK}order{number}", options=options)
    templates = sorted(TEMPLATES[question.kind], key=lambda text: stable_hash(seed, question.id, text))
    for number, template in enumerate(templates[:paraphrases], start=1):
        # Not str.format: a question may hold braces.
        text = template.replace("{text}", question.text)
        yield dataclasses.replace(question, id=f"{question.id}{MARK}words{number}", text=text)


def _other_orders(question: Question, count: int, seed: int) -> list[tuple[str, ...]]:
    """Orders that differ from the question's own and from each other, as many as there are, at most `count`."""
    found: dict[tuple[str, ...], None] = {question.options: None}
    # Tries are bounded: of two options there is but one other order.
    for number in range(20 * count):
        if len(found) > count:
            break
        order = sorted(
            question.options, key=lambda option: stable_hash(seed, question.id, "order", number, option)
        )
        found.setdefault(tuple(order))
    return list(found)[1:]
