"""Answers of a stored model outside a comparison: to questions, to their variants, and on running text."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from medalign.data.fingerprints import stable_hash
from medalign.data.variants import variants
from medalign.errors import DataError
from medalign.evaluation.perplexity import Perplexity, perplexity
from medalign.methods.running import answer_questions
from medalign.modeling.adapters import stored_adapter
from medalign.modeling.base_models import BaseModel, Precision, load_base
from medalign.modeling.chat import Chat
from medalign.modeling.metering import Meter
from medalign.modeling.perplexity import text_logprobs
from medalign.modeling.predictor import Predictor
from medalign.records import Prediction, Question

MAX_NEW_TOKENS = 64


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What a model said.

    Attributes:
        variants: To the questions' variants, in their order; empty where none were asked for.
        num_too_long: Questions left out because they do not fit the model's window.
    """

    predictions: tuple[Prediction, ...]
    variants: tuple[Prediction, ...]
    num_too_long: int


class StoredModel:
    """A base model, with a stored adapter where there is one, ready to answer.

    Args:
        name: As `base_models.load_base` takes it.
        adapter: Folder of a LoRA adapter that PEFT wrote, such as a refit's `adapter`.
    """

    def __init__(self, name: str, *, precision: Precision = "auto", adapter: str | None = None) -> None:
        self._base = load_base(name, precision)
        self._adapter = adapter

    def answer(
        self,
        questions: Sequence[Question],
        *,
        scoring: Literal["raw", "normalised"] = "normalised",
        num_orders: int = 0,
    ) -> Answers:
        """Answers to questions, without demonstrations.

        Args:
            num_orders: Variants of each question with its options in another order; where above 0, each question is
                also put in other words.

        Raises:
            DataError: No question fits the model's window.
        """
        chat = Chat(self._base.tokenizer)
        fitting = [
            question
            for question in questions
            if chat.longest_row_tokens(question, written_tokens=MAX_NEW_TOKENS) <= self._base.window_tokens
        ]
        if not fitting:
            raise DataError(
                f"--data: none of {len(questions)} questions fits the model's {self._base.window_tokens} tokens"
            )
        others = variants(fitting, num_orders=num_orders) if num_orders else []
        with self._adapted() as base:
            predictor = Predictor(base, Meter(), max_new_tokens=MAX_NEW_TOKENS)
            return Answers(
                predictions=answer_questions(predictor, fitting, scoring),
                variants=answer_questions(predictor, others, scoring),
                num_too_long=len(questions) - len(fitting),
            )

    def perplexity(self, texts: Sequence[str]) -> Perplexity:
        """Perplexity on running text.

        Raises:
            ValueError: The texts hold no token to be predicted.
        """
        with self._adapted() as base:
            return perplexity(text_logprobs(base, texts), texts)

    @contextlib.contextmanager
    def _adapted(self) -> Iterator[BaseModel]:
        if self._adapter is None:
            yield self._base
            return
        with stored_adapter(self._base, self._adapter):
            yield self._base


def pick_questions(questions: Sequence[Question], limit: int | None, *, seed: int = 0) -> list[Question]:
    """Test questions where there are any, else validation, else all; at most `limit`, drawn by a hash of their ids."""
    for split in ("test", "validation"):
        held = [question for question in questions if question.split == split]
        if held:
            break
    else:
        held = list(questions)
    if limit is None or len(held) <= limit:
        return held
    drawn = sorted(held, key=lambda question: stable_hash(seed, question.id))[:limit]
    kept = {question.id for question in drawn}
    return [question for question in held if question.id in kept]
