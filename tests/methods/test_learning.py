"""The pipeline learns from the labels: what it gains is gone when the answer key is shuffled."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from typing import Any

import pytest

from medalign.data.catalog import load_source
from medalign.data.fingerprints import stable_hash
from medalign.data.preparation import with_shuffled_answers
from medalign.methods.catalog import method_named
from medalign.methods.running import answer_questions
from medalign.modeling.base_models import BaseModel
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.records import DECISIONS, Question
from tests.markers import slow
from tests.methods.examples import AGENTS, decision, make_run


def accuracy(predictor: Predictor, questions: Sequence[Question]) -> float:
    predictions = answer_questions(predictor, questions, "raw")
    return sum(bool(p.correct) for p in predictions) / len(predictions)


def learnt(
    method: str, base: BaseModel, train: Sequence[Question], test: Sequence[Question], setting: dict[str, Any]
) -> float:
    """Accuracy after training."""
    with method_named(method).adapted(make_run(base, train, setting)) as adapted:
        return accuracy(adapted.predictor, test)


@pytest.fixture(scope="module")
def cases() -> tuple[list[Question], list[Question]]:
    """Which agent is named decides the label; the numbers of the cases to be tested on were never seen."""
    agent_of = dict(zip(DECISIONS, AGENTS, strict=False))
    questions = [
        decision(
            number, text=f"Case {number}: is {agent_of[label]} given?", context="", rationale="", answer=label
        )
        for number, label in enumerate(DECISIONS * 30)
    ]
    random.Random(0).shuffle(questions)
    return questions[:45], questions[45:]


@pytest.mark.parametrize(
    ("method", "setting", "least"),
    [("sft", {"epochs": 6, "learning_rate": 0.03}, 0.9), ("dpo", {"epochs": 8, "learning_rate": 0.015}, 0.6)],
)
def test_a_tiny_model_learns_a_rule_from_the_labels_and_nothing_from_shuffled_ones(
    method: str,
    setting: dict[str, Any],
    least: float,
    base: BaseModel,
    cases: tuple[list[Question], list[Question]],
) -> None:
    """Measured on 45 unseen cases over five seeds of shuffle and adapter: the base 0.40, chance 0.33.

    - sft: 1.00 with the true labels (all five), 0.27 with shuffled ones (all five).
    - dpo: 0.67, 0.67, 0.67, 0.67 and 0.98 with the true labels, 0.33 to 0.40 with shuffled ones.
    """
    train, test = cases
    setting = setting | {"lora_rank": 8, "lora_targets": "all_linear", "tokens_at_once": 4096}
    assert accuracy(Predictor(base, Meter()), test) < 0.5
    assert learnt(method, base, train, test, setting) > least
    assert learnt(method, base, with_shuffled_answers(train, seed=0), test, setting) < 0.5


def shared_facts(num_facts: int) -> tuple[list[Question], list[Question]]:
    """The two choice questions of each fact: one to learn from and the other to be tested on.

    Without their rationale, which a shuffled key cannot have either: the key is then all that differs.
    """
    by_fact: dict[str, list[Question]] = {}
    for question in load_source("embedded:shared-facts"):
        if question.kind == "choice":
            by_fact.setdefault(question.id.rpartition("-choice-")[0], []).append(question)
    chosen = [
        by_fact[fact] for fact in sorted(by_fact, key=lambda fact: stable_hash("learn", fact))[:num_facts]
    ]
    pairs = [sorted(questions, key=lambda question: question.id) for questions in chosen]
    return [dataclasses.replace(first, rationale="") for first, _ in pairs], [second for _, second in pairs]


@slow
def test_the_embedded_model_learns_facts_from_the_labels_and_nothing_from_shuffled_ones(
    embedded_base: BaseModel,
) -> None:
    """Measured on 48 facts, each learnt in one wording and asked in another: base 0.23, chance 0.25.

    0.77 with the true labels, 0.29 with shuffled ones.
    """
    train, test = shared_facts(48)
    setting = {"epochs": 6, "learning_rate": 2e-3}
    before = accuracy(Predictor(embedded_base, Meter()), test)
    assert learnt("sft", embedded_base, train, test, setting) > before + 0.3
    assert learnt("sft", embedded_base, with_shuffled_answers(train, seed=1), test, setting) < before + 0.15
