"""The words in which a question is put and an answer is given: the same for every method.

The answer to a choice or decision question is the option in words, never a letter: small models
do not learn which letter stands for which option from a hundred examples, and the order of the
options then cannot be mistaken for knowledge (docs/decisions/0004-answers-in-words.md).
The first line of an answer is the answer; the rationale, if there is one, follows on the next.
"""

from __future__ import annotations

import re

from medalign.records import Question

SYSTEM_TEXT = "Answer the medical question."


def prompt_text(question: Question) -> str:
    """What is asked, with the evidence passage and the options where there are any."""
    if question.kind == "decision":
        ask = f"{question.text} ({', '.join(question.options[:-1])} or {question.options[-1]})"
        return f"{question.context}\n{ask}" if question.context else ask
    passage = f"{question.context}\n" if question.context else ""
    options = "".join(f"\n- {option}" for option in question.options)
    return f"{passage}{question.text}{options}"


def option_texts(question: Question) -> tuple[str, ...]:
    """What is scored for each option; the text that `answer_text` begins with."""
    return question.options


def answer_text(question: Question, answer: str | None = None, *, with_rationale: bool = True) -> str:
    """The answer with its rationale on the next line.

    Args:
        answer: Stands in for the right answer, also wherever the rationale mentions it, so that a
            wrong answer has the same form and nearly the same length.
        with_rationale: Leave the rationale out where False.
    """
    chosen = question.answer if answer is None else answer
    if not (question.rationale and with_rationale):
        return chosen
    rationale = question.rationale
    if answer is not None and question.kind != "decision":
        mention = re.compile(rf"(?<!\w){re.escape(question.answer)}(?!\w)", re.IGNORECASE)
        rationale = mention.sub(lambda _: answer, rationale)
    return f"{chosen}\n{rationale}"


def first_line(text: str) -> str:
    """The answer in a generated text: its first line that is not blank."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")
