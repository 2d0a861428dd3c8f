"""What a base model itself writes to questions, drawn at random: the wrong answers among it are its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from medalign.modeling.base_models import BaseModel, Precision, load_base
from medalign.modeling.chat import Chat
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.records import Cost, Question

# A longer answer is not worth its time: writing takes most of it.
LONGEST_TOKENS = 256
# So much longer than the reference an answer may get, for one of like length to be cut out of it.
ROOM = 1.5
_SHORTEST_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class SampledAnswers:
    """What was written, and what it took.

    Attributes:
        texts: By question id; a question whose reference is too long to be matched is not among them.
    """

    texts: Mapping[str, tuple[str, ...]]
    cost: Cost


def load_and_sample(
    model: str,
    precision: Precision,
    questions: Sequence[Question],
    *,
    number: int,
    temperature: float,
    seed: int,
) -> SampledAnswers:
    """`sample_answers` of a model by its name, for a process that does nothing else."""
    base = load_base(model, precision)
    return sample_answers(base, questions, number=number, temperature=temperature, seed=seed)


def sample_answers(
    base: BaseModel, questions: Sequence[Question], *, number: int, temperature: float, seed: int
) -> SampledAnswers:
    """So many answers to each question, with room for the length of its reference.

    The same seed gives the same answers on the same machine. Tokens are drawn from the whole distribution.

    Args:
        temperature: Above 0; the logits are divided by it.
    """
    from transformers import set_seed

    meter, chat = Meter(), Chat(base.tokenizer)
    by_length: dict[int, list[Question]] = {}
    for question in questions:
        if room := _room(base, chat, question):
            by_length.setdefault(room, []).append(question)
    texts: dict[str, tuple[str, ...]] = {}
    for room in sorted(by_length):
        held = sorted(by_length[room], key=lambda question: question.id)
        predictor = Predictor(base, meter, max_new_tokens=room)
        set_seed(seed)
        written = predictor.continue_prompts(
            [chat.prompt_ids(question) for question in held for _ in range(number)],
            ends=chat.answer_end_ids(),
            temperature=temperature,
        )
        decoded = [base.tokenizer.decode(ids, skip_special_tokens=True).strip() for ids in written]
        for place, question in enumerate(held):
            texts[question.id] = tuple(decoded[number * place : number * (place + 1)])
    return SampledAnswers(texts=texts, cost=meter.cost())


def _room(base: BaseModel, chat: Chat, question: Question) -> int:
    """Tokens that may be written, in steps of doubling so that many are written at once; 0 if that is too few."""
    wanted = math.ceil(ROOM * len(chat.option_ids(question.answer)))
    room = _SHORTEST_TOKENS
    while room < wanted:
        room *= 2
    fits = len(chat.prompt_ids(question)) + room <= base.window_tokens
    return room if room <= LONGEST_TOKENS and fits else 0
