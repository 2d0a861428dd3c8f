"""The tables of a report as lists of rows: raw numbers under fixed names, None where undefined."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from medalign.records import BASE, ArmResult, Prediction, Question, TrialResult
from medalign.reporting.report_data import ReportData

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

Row = dict[str, Any]

# Below so many questions the accuracy of one specialty says next to nothing: the interval spans 35 points.
FEW_QUESTIONS = 30


def base_first(arms: Sequence[ArmResult]) -> list[ArmResult]:
    """The arms with the untouched model in front, else in their order."""
    return sorted(arms, key=lambda arm: arm.arm != BASE)


def arm_rows(summary: ComparisonSummary, arms: Sequence[ArmResult]) -> list[Row]:
    """One row an arm, the base first: accuracy, difference to the base, cost and best setting."""
    found = {item.arm: item for item in summary.arms}
    rows = []
    for arm in base_first(arms):
        item = found[arm.arm]
        rows.append(
            {
                "arm": arm.arm,
                "accuracy": item.accuracy,
                "accuracy_low": item.accuracy_interval.low,
                "accuracy_high": item.accuracy_interval.high,
                "level": item.accuracy_interval.level,
                **_against_base(arm.arm, summary),
                "macro_f1": item.macro_f1,
                "token_f1": item.token_f1,
                "exact_match": item.exact_match,
                "train_seconds": arm.cost.train_seconds,
                "score_seconds": arm.cost.score_seconds,
                "tokens_trained": arm.cost.tokens_trained,
                "peak_gib": max(arm.cost.peak_gib, arm.search_cost.peak_gib),
                "search_wall_seconds": arm.search_cost.wall_seconds,
                "validation_accuracy": arm.validation_score,
                "num_questions": item.num_questions,
                "num_seeds": len(arm.seeds),
                "num_trials": arm.num_trials,
                "num_stopped": arm.num_stopped,
                "num_failed": arm.num_failed,
                "best_setting": json.dumps(dict(arm.setting), default=str),
            }
        )
    return rows


def _against_base(arm: str, summary: ComparisonSummary) -> Row:
    for pair in summary.pairs:
        if (pair.first, pair.second) == (arm, BASE):
            return {
                "difference_to_base": pair.difference,
                "difference_low": pair.interval.low,
                "difference_high": pair.interval.high,
                "p_corrected": pair.p_corrected,
                "verdict": pair.verdict,
            }
    names = ("difference_to_base", "difference_low", "difference_high", "p_corrected", "verdict")
    return dict.fromkeys(names)


def pair_rows(summary: ComparisonSummary) -> list[Row]:
    """One row a pair of arms, pairs with the base first; differences are first minus second."""
    return [
        {
            "first": pair.first,
            "second": pair.second,
            "difference": pair.difference,
            "difference_low": pair.interval.low,
            "difference_high": pair.interval.high,
            "p": pair.p,
            "p_corrected": pair.p_corrected,
            "p_equivalence_corrected": pair.p_equivalence_corrected,
            "num_questions": pair.num_questions,
            "num_first_only": pair.num_first_only,
            "num_second_only": pair.num_second_only,
            "verdict": pair.verdict,
        }
        for pair in sorted(summary.pairs, key=lambda pair: pair.second != BASE)
    ]


def trial_rows(trials: Sequence[TrialResult]) -> list[Row]:
    """One row a trial, failed ones with reason and remedy."""
    return [
        {
            "trial_id": trial.spec.trial_id,
            "method": trial.spec.method,
            "stage": trial.spec.stage,
            "status": trial.status,
            "score": trial.score,
            "setting": dict(trial.spec.setting),
            "seed": trial.spec.seed,
            "train_seconds": trial.cost.train_seconds,
            "wall_seconds": trial.cost.wall_seconds,
            "peak_gib": trial.cost.peak_gib,
            "reason": trial.reason,
            "remedy": trial.remedy,
        }
        for trial in trials
    ]


def missing_methods(trials: Sequence[TrialResult], arms: Sequence[ArmResult]) -> dict[str, str]:
    """The methods that were tried and have no arm, each with why; they must not vanish from a report."""
    names = dict.fromkeys(trial.spec.method for trial in trials)
    for arm in arms:
        names.pop(arm.arm, None)
    missing = {}
    for name in names:
        of_method = [trial for trial in trials if trial.spec.method == name]
        failed = [trial for trial in of_method if trial.status == "failed"]
        last = failed[-1] if failed else None
        share = "all" if len(failed) == len(of_method) else f"{len(failed)} of"
        why = f"{share} {len(of_method)} trials failed" if len(of_method) > 1 else "its only trial failed"
        missing[name] = f"{why} (last reason: {last.reason})" if last else "none of its trials was refitted"
    return missing


def specialty_rows(summary: ComparisonSummary) -> list[Row]:
    """One row a specialty, the largest first: its number of questions, and each arm's bare and pooled accuracy.

    With one specialty there is nothing to pool: its own accuracy and interval stand in both places.
    """
    by_specialty: dict[str, Row] = {}
    for arm in sorted(summary.arms, key=lambda item: item.arm != BASE):
        for specialty, (num_questions, accuracy, interval) in arm.by_specialty.items():
            row = by_specialty.setdefault(
                specialty, {"specialty": specialty, "num_questions": num_questions, "arms": {}}
            )
            pooled = arm.pooled_specialties.get(specialty)
            mean, around = (pooled.mean, pooled.interval) if pooled else (accuracy, interval)
            row["arms"][arm.arm] = {
                "accuracy": accuracy,
                "low": interval.low,
                "high": interval.high,
                "pooled": mean,
                "pooled_low": around.low,
                "pooled_high": around.high,
            }
    rows = sorted(by_specialty.values(), key=lambda row: (-row["num_questions"], row["specialty"]))
    return [{**row, "is_small": row["num_questions"] < FEW_QUESTIONS} for row in rows]


def specialty_performance(summary: ComparisonSummary) -> list[Row]:
    """One row a specialty and arm, with the test of its difference to the base."""
    against_base = {pair.first: pair.by_specialty for pair in summary.pairs if pair.second == BASE}
    rows = []
    for row in specialty_rows(summary):
        for arm, cell in row["arms"].items():
            found = against_base.get(arm, {}).get(row["specialty"])
            rows.append(
                {
                    "specialty": row["specialty"],
                    "arm": arm,
                    "num_questions": row["num_questions"],
                    "accuracy": cell["accuracy"],
                    "accuracy_low": cell["low"],
                    "accuracy_high": cell["high"],
                    "pooled_accuracy": cell["pooled"],
                    "pooled_low": cell["pooled_low"],
                    "pooled_high": cell["pooled_high"],
                    "difference_to_base": found.difference if found else None,
                    "p": found.p if found else None,
                    "p_benjamini_hochberg": found.p_corrected if found else None,
                }
            )
    return rows


def comparison_rows(summary: ComparisonSummary, arms: Sequence[ArmResult], costs: Sequence[Row]) -> list[Row]:
    """One row an arm with everything that a table for a paper could want; `model_comparison.csv`."""
    by_arm = {row["name"]: row for row in costs}
    places = {rank.arm: rank for rank in summary.ranks}
    totals = ["wall_seconds", "device_seconds", "cpu_seconds", "tokens_scored", "train_flops", "score_flops"]
    totals += ["energy_joules", "price"]
    others = ["currency", "cost_per_point", "cost_per_point_low", "cost_per_point_high", "flops_per_answer"]
    rows = []
    for row in arm_rows(summary, arms):
        place, cost = places.get(row["arm"]), by_arm[row["arm"]]
        rows.append(
            {
                **row,
                "best_place": place.best if place else None,
                "worst_place": place.worst if place else None,
                **{f"total_{name}": cost[name] for name in totals},
                **{name: cost[name] for name in others},
            }
        )
    return rows


def flip_rows(data: ReportData, arms: Sequence[ArmResult]) -> list[Row]:
    """The scored questions on which arms differ, those on which they differ most first.

    An arm refitted over several seeds is right on a share of them; arms differ where their shares do.
    """
    ordered = base_first(arms)
    answers = {arm.arm: _by_question(arm) for arm in ordered}
    rows = []
    for question_id in answers[ordered[0].arm] if ordered else ():
        said = {name: _said(by_id[question_id]) for name, by_id in answers.items()}
        shares = [item["share_right"] for item in said.values()]
        if None in shares or max(shares) == min(shares):
            continue
        question = data.questions.get(question_id)
        prediction = answers[ordered[0].arm][question_id][0]
        rows.append(
            {**_question_cells(question, prediction), "arms": said, "spread": max(shares) - min(shares)}
        )
    return sorted(rows, key=lambda row: (-row["spread"], row["question_id"]))


def _by_question(arm: ArmResult) -> dict[str, list[Prediction]]:
    by_question: dict[str, list[Prediction]] = {}
    for of_seed in arm.predictions:
        for prediction in of_seed:
            by_question.setdefault(prediction.question_id, []).append(prediction)
    return by_question


def _said(predictions: Sequence[Prediction]) -> Row:
    """What one arm answered over its seeds, and the share of them that was right."""
    scored = [prediction for prediction in predictions if prediction.correct is not None]
    num_right = sum(bool(prediction.correct) for prediction in scored)
    return {
        "answers": [prediction.said for prediction in predictions],
        "num_right": num_right,
        "share_right": num_right / len(scored) if scored else None,
    }


def _question_cells(question: Question | None, prediction: Prediction) -> Row:
    return {
        "question_id": prediction.question_id,
        "source": prediction.source,
        "specialty": prediction.specialty,
        "kind": prediction.kind,
        "question": question.text if question else "",
        "context": question.context if question else "",
        "options": list(question.options) if question else [],
        "answer": prediction.answer,
    }


def card_table(card: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """The counts of a data card as a table with a column for each split.

    Returns:
        The names of the splits, and rows that begin with what is counted.
    """
    splits = card.get("splits")
    if not isinstance(splits, Mapping):
        return [], []
    names = list(splits)
    flat = {name: _flat_counts(splits[name]) for name in names}
    labels = list(dict.fromkeys(label for name in names for label in flat[name]))
    kinds = list(dict.fromkeys(map(_kind_of_count, labels)))  # what one split alone has stands with its like
    labels.sort(key=lambda label: kinds.index(_kind_of_count(label)))
    return names, [[label, *(flat[name].get(label, 0) for name in names)] for label in labels]


def _kind_of_count(label: str) -> str:
    return label.partition(":")[0]


def _flat_counts(counts: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in counts.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}: {key}": number for key, number in value.items()}
        else:
            flat[name] = value
    return flat
