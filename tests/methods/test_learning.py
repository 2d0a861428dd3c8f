"""The pipeline learns from the labels: what it gains is gone when the answer key is shuffled."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from pathlib import Path
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
        decision(number, text=f"Case {number}: is {agent_of[label]} given?", context="", rationale="", answer=label)
        for number, label in enumerate(DECISIONS * 30)
    ]
    random.Random(0).shuffle(questions)
    return questions[:45], questions[45:]


@pytest.mark.parametrize(
    ("method", "setting"),
    [("sft", {"epochs": 4, "learning_rate": 0.03}), ("dpo", {"epochs": 8, "learning_rate": 0.01})],
)
def test_a_tiny_model_learns_a_rule_from_the_labels_and_none_from_shuffled_ones(
    method: str, setting: dict[str, Any], base: BaseModel, cases: tuple[list[Question], list[Question]]
) -> None:
    """Measured on 45 unseen cases, chance being 0.33, over 5 seeds of the shuffle and the adapter: TODO."""
    train, test = cases
    setting = setting | {"lora_rank": 8, "lora_targets": "all_linear"}
    assert accuracy(Predictor(base, Meter()), test) < 0.5
    assert learnt(method, base, train, test, setting) > 0.8
    assert learnt(method, base, with_shuffled_answers(train, seed=1), test, setting) < 0.6
