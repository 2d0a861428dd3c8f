"""A small made-up comparison: four arms, two seeds, a stopped and a failed trial, one hostile question."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

from medalign.evaluation.predictions import write_parquet
from medalign.records import (
    ArmResult,
    Cost,
    Prediction,
    Progress,
    Question,
    TrialResult,
    TrialSpec,
)
from medalign.reporting.report_data import ReportData
from medalign.reporting.stored import Surroundings, write_surroundings
from medalign.tracking.folder import ComparisonFolder

HOSTILE_TEXT = "=cmd()</script><script>alert('x')</script><img src=x onerror=alert(1)> & \"quoted\" dose?"
SHARES = {"base": 0.45, "icl": 0.5, "sft": 0.75, "dpo": 0.55}
SETTINGS = {
    "base": {},
    "icl": {"shots": 4, "selection": "nearest", "order": "reversed"},
    "sft": {"learning_rate": 0.00031234567, "lora_rank": 16, "epochs": 2},
    "dpo": {"learning_rate": 0.0001, "beta": 0.1, "lora_rank": 8},
}
SPECIALTIES = ("cardiology", "nephrology", "obstetrics", "pediatrics")


def make_questions(number: int = 60) -> list[Question]:
    questions = []
    for index in range(number):
        is_choice = index % 2 == 0
        options = ("aspirin", "heparin", "warfarin", "insulin") if is_choice else ("yes", "no", "maybe")
        questions.append(
            Question(
                id=f"made-{index:03d}",
                source="made",
                kind="choice" if is_choice else "decision",
                text=f"Which drug lowers marker {index} in adults with the condition described?",
                answer=options[index % len(options)],
                options=options,
                context=""
                if is_choice
                else "In a trial of 120 adults the marker fell by a third within a week.",
                specialty=SPECIALTIES[min(index % 7, 3)],
                group=f"fact-{index // 2}",
            )
        )
    hostile = Question(
        id="made-hostile",
        source="made",
        kind="choice",
        text=HOSTILE_TEXT,
        answer="<b>right</b>",
        options=("<b>right</b>", "<i>wrong</i>"),
        specialty="<u>odd</u>",
        group="fact-hostile",
    )
    return [*questions, hostile]


def predict(question: Question, is_right: bool) -> Prediction:
    right = question.answer_index or 0
    chosen = right if is_right else (right + 1) % len(question.options)
    return Prediction(
        question_id=question.id,
        source=question.source,
        kind=question.kind,
        specialty=question.specialty,
        group=question.group,
        answer=question.answer,
        answer_index=right,
        option_logprobs=tuple(-1.0 if place == chosen else -3.0 for place in range(len(question.options))),
        option_chars=tuple(len(option) for option in question.options),
        chosen_raw=chosen,
        chosen_normalised=chosen,
        chosen=chosen,
        said=question.options[chosen],
        correct=is_right,
    )


def make_arms(questions: Sequence[Question], shares: dict[str, float] | None = None) -> list[ArmResult]:
    generator = random.Random(7)
    arms = []
    for name, share in (shares or SHARES).items():
        seeds = (0,) if name == "base" else (0, 1)
        answered = tuple(
            tuple(
                predict(
                    question, (question.id == "made-hostile" and name != "base") or generator.random() < share
                )
                for question in questions
            )
            for _ in seeds
        )
        trained = 0 if name in ("base", "icl") else 23_456
        arms.append(
            ArmResult(
                arm=name,
                setting=SETTINGS[name],
                seeds=seeds,
                predictions=answered,
                cost=Cost(
                    wall_seconds=10 + trained / 800,
                    cpu_seconds=8 + trained / 850,
                    train_seconds=trained / 900,
                    score_seconds=6.5,
                    tokens_trained=trained,
                    tokens_scored=9000,
                    train_flops=8.1e8 * trained,
                    score_flops=2.4e12,
                    peak_gib=1.25,
                ),
                search_cost=Cost(
                    wall_seconds=60, train_seconds=trained / 500, score_seconds=12.0, peak_gib=1.5
                ),
                validation_score=None if name == "base" else share + 0.03,
                num_trials=0 if name == "base" else 3,
                num_stopped=0 if name == "base" else 1,
                num_failed=1 if name == "dpo" else 0,
            )
        )
    return arms


def make_trials() -> list[TrialResult]:
    trials = []
    for method in ("icl", "sft", "dpo"):
        for number in range(3):
            spec = TrialSpec(
                trial_id=f"{method}-search-{number:03d}",
                method=method,
                stage="search",
                setting={**SETTINGS[method], "number": number},
                number=number,
            )
            end = 2 if number == 1 else 4
            history = tuple(
                Progress(
                    budget_share=(step + 1) / 4, score=SHARES[method] - 0.15 + 0.05 * step - 0.04 * number
                )
                for step in range(end)
            )
            status = "stopped" if number == 1 else "completed"
            reason = "behind the others at half of its budget" if number == 1 else ""
            trials.append(
                TrialResult(
                    spec=spec,
                    status=status,  # type: ignore[arg-type]
                    score=history[-1].score,
                    history=history,
                    reason=reason,
                    cost=Cost(
                        wall_seconds=20,
                        cpu_seconds=18,
                        train_seconds=12,
                        tokens_trained=900,
                        tokens_scored=4000,
                        train_flops=0 if method == "icl" else 7.3e11,
                        score_flops=1.1e12,
                        peak_gib=1.2,
                    ),
                    shared=_shared(number) if method == "dpo" else {},
                    learning_curve=()
                    if method == "icl"
                    else tuple(((step + 1) / 8, 2.0 - 0.1 * step) for step in range(2 * end)),
                )
            )
    failed = TrialSpec(
        trial_id="dpo-search-003", method="dpo", stage="search", setting={"beta": 0.5}, number=3
    )
    trials.append(
        TrialResult(spec=failed, status="failed", reason="out of memory", remedy="use a smaller batch_size")
    )
    lost = TrialSpec(trial_id="orpo-search-000", method="orpo", stage="search", setting={"lambda": 1.0})
    trials.append(
        TrialResult(spec=lost, status="failed", reason="the loss became NaN", remedy="lower the rate")
    )
    return trials


def _shared(number: int) -> dict[str, Cost]:
    """The first DPO trial computes the reference table, the others find it done."""
    spent = Cost(wall_seconds=9, cpu_seconds=8, score_seconds=9, tokens_scored=2500, score_flops=6e11)
    return {"reference log-probabilities": spent if number == 0 else Cost()}


def make_data(questions: Sequence[Question]) -> ReportData:
    counts = {"questions": 61, "groups": 31, "kind": {"choice": 31, "decision": 30}}
    return ReportData(
        comparison_id="made-20250101-120000",
        experiment="made",
        command="python -m medalign.compare --methods icl,sft,dpo --data made --seeds 2",
        date="2025-01-01 12:00",
        contract={
            "base model": {"name": "smollm2-135m", "weights": "sha256:" + "ab" * 32, "precision": "fp32"},
            "scoring": "normalised",
            "question ids": {"test": [question.id for question in questions]},
            "libraries": {"torch": "2.13.0", "trl": "1.16.0"},
        },
        card={
            "sources": ["made"],
            "drops": {"exact duplicate": 2},
            "splits": {"train": counts, "validation": counts, "test": counts},
        },
        environment={"python": "3.11.2", "cpu": "2 cores", "packages": {"torch": "2.13.0"}},
        trials=make_trials(),
        questions={question.id: question for question in questions},
        stated_detectable_difference=0.171,
    )


def make_folder(path: Path, arms: Sequence[ArmResult] | None = None) -> ComparisonFolder:
    """The made-up comparison as it lies on disk when its last trial has ended."""
    questions = make_questions()
    data = make_data(questions)
    path.mkdir(parents=True)
    (path / "state.json").write_text(
        json.dumps({"status": "running", "command": data.command, "begun": data.date})
    )
    folder = ComparisonFolder(path)
    folder.write_contract(data.contract)
    write_surroundings(
        path,
        Surroundings(
            experiment={"name": "made", "methods": ["icl", "sft", "dpo"], "scoring": "normalised", "seed": 0},
            command=data.command,
            begun=data.date,
            card=data.card,
            environment=data.environment,
            questions=questions,
            majority_baseline=0.38,
            stated_detectable_difference=data.stated_detectable_difference,
        ),
    )
    for trial in data.trials:
        folder.write_result(trial)
    for arm in make_arms(questions) if arms is None else arms:
        for number, (seed, predictions) in enumerate(zip(arm.seeds, arm.predictions, strict=True)):
            spec = TrialSpec(
                trial_id=f"{arm.arm}-refit-{number:03d}",
                method=arm.arm,
                stage="refit",
                setting=arm.setting if arm.arm == "base" else {**arm.setting, "number": 0},
                seed=seed,
                number=number,
            )
            score = 0.45 if arm.arm == "base" else None
            result = TrialResult(
                spec=spec,
                status="completed",
                score=score,
                cost=arm.cost,
                folder=f"trials/{spec.trial_id}",
                shared={"reference log-probabilities": Cost()} if arm.arm == "dpo" else {},
            )
            folder.write_result(result)
            write_parquet(folder.trial_folder(spec.trial_id) / "predictions.parquet", list(predictions))
    return folder
