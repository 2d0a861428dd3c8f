"""Small questions, settings and runs for the tests of this folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.data.preferences import build_pairs
from medalign.methods.base import MethodRun, TrainingData
from medalign.modeling.base_models import BaseModel, load_base
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.records import DECISIONS, Question

if TYPE_CHECKING:
    pass

AGENTS = ("iron", "zinc", "insulin", "vitamin C", "aspirin", "heparin")


def choice(number: int, **changes: Any) -> Question:
    """A question of four options; the right one is at another place for each number."""
    options = tuple(AGENTS[(number + step) % len(AGENTS)] for step in range(4))
    fields: dict[str, Any] = {
        "id": f"made-choice-{number}",
        "source": "made",
        "kind": "choice",
        "text": f"Which agent is meant by entry {number}?",
        "answer": options[number % 4],
        "options": options,
        "rationale": f"{options[number % 4]} is that of entry {number}.",
        "group": f"choice-{number}",
    }
    return Question(**(fields | changes))


def decision(number: int, **changes: Any) -> Question:
    """A yes-no-maybe question on a passage."""
    fields: dict[str, Any] = {
        "id": f"made-decision-{number}",
        "kind": "decision",
        "text": f"Does agent {number} help?",
        "context": f"The trial of agent {number} ended." * (1 + number % 3),
        "answer": DECISIONS[number % 3],
        "options": DECISIONS,
        "rationale": "" if number % 2 else "The trial says so.",
        "group": f"decision-{number}",
    }
    return choice(number, **(fields | changes))


def free_text(number: int, **changes: Any) -> Question:
    """A question without options."""
    fields: dict[str, Any] = {
        "id": f"made-free-{number}",
        "kind": "free_text",
        "text": f"Name the agent of entry {number}.",
        "options": (),
        "distractors": (AGENTS[(number + 1) % 4], AGENTS[(number + 2) % 4]),
        "group": f"free-{number}",
    }
    return choice(number, **(fields | changes))


def mixed(count: int, start: int = 0) -> tuple[Question, ...]:
    """Questions of all kinds by turns and of different lengths."""
    makers = (choice, decision, free_text)
    return tuple(makers[number % 3](number) for number in range(start, start + count))


def training_data(questions: Sequence[Question]) -> TrainingData:
    return TrainingData(questions=tuple(questions), pairs=tuple(build_pairs(questions, seed=0)))


def no_checkpoint(share: float, predictor: Predictor) -> None:
    """A scheduler that wants to know nothing."""


def make_run(
    base: BaseModel, questions: Sequence[Question], setting: Mapping[str, Any], **changes: Any
) -> MethodRun:
    fields: dict[str, Any] = {
        "base": base,
        "data": training_data(questions),
        "setting": setting,
        "seed": 0,
        "meter": Meter(),
        "checkpoint": no_checkpoint,
        "max_new_tokens": 4,
    }
    return MethodRun(**(fields | changes))


def tiny_base(folder: Path) -> BaseModel:
    return load_base(str(folder), "fp32", "cpu")


def quick_setting(method: str, **changes: Any) -> dict[str, Any]:
    """A setting under which a method is done soon and, if it trains, changes the answers."""
    quick: dict[str, dict[str, Any]] = {
        "icl": {"shots": 2},
        "sft": {"epochs": 2, "batch_size": 3, "learning_rate": 1e-2, "lora_rank": 4},
        "dpo": {"epochs": 2, "batch_size": 3, "learning_rate": 1e-2, "lora_rank": 4},
    }
    return quick.get(method, {}) | changes
