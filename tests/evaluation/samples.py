"""Questions and predictions that the tests of metrics share."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from medalign.evaluation.predictions import Scoring, build_prediction
from medalign.records import DECISIONS, ArmResult, Cost, Prediction, Question


def choice(
    name: str, right: int = 0, *, options: Sequence[str] = ("iron", "zinc", "copper", "folate"), **more: str
) -> Question:
    """A choice question whose right answer is the option at a position."""
    return Question(
        id=name,
        source=more.pop("source", "made"),
        kind="choice",
        text=more.pop("text", "Which?"),
        answer=options[right],
        options=tuple(options),
        specialty=more.pop("specialty", "hematology"),
        **more,  # type: ignore[arg-type]
    )


def decision(name: str, answer: str, **more: str) -> Question:
    return Question(
        id=name, source="made", kind="decision", text="Does it?", answer=answer, options=DECISIONS, **more
    )  # type: ignore[arg-type]


def written(name: str, answer: str = "oral iron", text: str = "What is given?") -> Question:
    return Question(id=name, source="made", kind="free_text", text=text, answer=answer)


def take(question: Question, position: int, *, sure: float = 3.0, scoring: Scoring = "raw") -> Prediction:
    """The prediction that takes one option, by a margin in nats over the others."""
    logprobs = [-8.0 + (sure if index == position else 0.0) for index in range(len(question.options))]
    return build_prediction(question, option_logprobs=logprobs, scoring=scoring)


def say(question: Question, text: str, demonstrated: Sequence[str] = ()) -> Prediction:
    return build_prediction(question, text=text, scoring="raw", demonstrated=demonstrated)


def random_predictions(number: int, seed: int, scoring: Scoring = "raw") -> list[Prediction]:
    """Choices and decisions with random log-probabilities; some of the right options are made likelier."""
    rng = random.Random(seed)
    found = []
    for index in range(number):
        if index % 3 == 2:
            question = decision(f"q{index}", rng.choice(DECISIONS))
        else:
            options = tuple("x" * rng.randint(3, 30) + str(o) for o in range(rng.randint(2, 5)))
            question = choice(f"q{index}", rng.randrange(len(options)), options=options)
        logprobs = [rng.uniform(-9, -1) for _ in question.options]
        logprobs[question.answer_index or 0] += rng.choice([0, 3])
        found.append(build_prediction(question, option_logprobs=logprobs, scoring=scoring))
    return found


def arm(name: str, *by_seed: Sequence[Prediction], seeds: Sequence[int] | None = None) -> ArmResult:
    return ArmResult(
        arm=name,
        setting={},
        seeds=tuple(range(len(by_seed)) if seeds is None else seeds),
        predictions=tuple(tuple(predictions) for predictions in by_seed),
        cost=Cost(),
        search_cost=Cost(),
    )


def by_id(questions: Sequence[Question]) -> Mapping[str, Question]:
    return {question.id: question for question in questions}
