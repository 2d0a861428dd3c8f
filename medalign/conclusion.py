"""From a comparison's folder alone to its arms, its statistics and its report; no model, no data source.

`medalign compare` ends with it and `medalign report` does it again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.errors import ConfigError, MedalignError
from medalign.methods.catalog import METHODS
from medalign.methods.running import PREDICTIONS_FILE, VALIDATION_FILE
from medalign.records import BASE, ArmResult, Cost, Prediction, TrialResult
from medalign.tracking.folder import ComparisonFolder

if TYPE_CHECKING:
    from medalign.reporting.report_data import ReportData
    from medalign.stats.comparison import ComparisonSummary


@dataclass(frozen=True, kw_only=True)
class Conclusion:
    """What a comparison came to.

    Attributes:
        files: Of the report, report.html first.
    """

    summary: ComparisonSummary
    arms: tuple[ArmResult, ...]
    files: tuple[Path, ...]


def conclude(folder: ComparisonFolder, *, price: Mapping[str, Any] | None = None) -> Conclusion:
    """Compare the arms that a comparison has so far, and write its report.

    Args:
        price: Rates for machine time that win over those of the experiment.

    Raises:
        StorageError: The folder lacks what is needed, or cannot be written.
        MedalignError: Fewer than two arms are there.
    """
    from medalign.evaluation.summary import score_split
    from medalign.reporting.writing import write_report
    from medalign.stats.comparison import compare_arms
    from medalign.stats.summaries import MARGIN

    data = report_data(folder, price)
    arms = collect_arms(folder, data.trials, data.method_names)
    if len(arms) < 2:
        there = ", ".join(arm.arm for arm in arms) or "none"
        raise MedalignError(
            f"{folder.id}: a comparison needs two arms that answered the test questions (there: {there}); "
            "see why the others failed in trials/*/result.json"
        )
    summary = compare_arms(
        arms,
        score=score_split,
        seed=int(data.settings.get("seed", 0)),
        majority_baseline=data.majority_baseline,
        margin=float(data.settings.get("equivalence_margin", MARGIN)),
        seed_free=[arm.arm for arm in arms if not _depends_on_seed(arm)],
        num_validation=_num_scored(data.card, "validation"),
    )
    files = write_report(folder.path, data, summary, arms)
    return Conclusion(summary=summary, arms=tuple(arms), files=tuple(files))


def report_data(folder: ComparisonFolder, price: Mapping[str, Any] | None = None) -> ReportData:
    """What surrounds the numbers, read from the folder.

    Args:
        price: Rates that win over those of the experiment.
    """
    from medalign.reporting.ledger import Price
    from medalign.reporting.report_data import ReportData
    from medalign.reporting.stored import read_surroundings
    from medalign.scheduling.importance import importances

    stored = read_surroundings(folder.path)
    settings = stored.experiment
    names = (BASE, *settings["methods"])
    trials = _ordered(folder.results(), names)
    return ReportData(
        comparison_id=folder.id,
        experiment=settings["name"],
        command=stored.command,
        date=stored.begun,
        method_names=names,
        settings=settings,
        contract=folder.contract or {},
        card=stored.card,
        environment=stored.environment,
        trials=trials,
        validation=_validation(folder, trials, names),
        importances=importances(folder.path, names),
        price=Price(**{**settings.get("price", {}), **(price or {})}),
        is_finished=_has_ended(trials, names),
        questions={question.id: question for question in stored.questions},
        scoring=settings["scoring"],
        majority_baseline=stored.majority_baseline,
        stated_detectable_difference=stored.stated_detectable_difference,
    )


def collect_arms(
    folder: ComparisonFolder, results: Sequence[TrialResult], methods: Iterable[str]
) -> list[ArmResult]:
    """An arm for every method with at least one refit that ended well, in the order of the methods."""
    arms = []
    for method in methods:
        of_method = [result for result in results if result.spec.method == method]
        refits = [r for r in of_method if r.spec.stage == "refit" and r.status == "completed"]
        if refits:
            arms.append(_arm(folder, method, of_method, refits))
    return arms


def _arm(
    folder: ComparisonFolder, method: str, results: Sequence[TrialResult], refits: Sequence[TrialResult]
) -> ArmResult:
    from medalign.evaluation.predictions import read_parquet

    search = [result for result in results if result.spec.stage == "search"]
    return ArmResult(
        arm=method,
        setting=refits[0].spec.setting,
        seeds=tuple(refit.spec.seed for refit in refits),
        predictions=tuple(
            read_parquet(folder.trial_folder(refit.spec.trial_id) / PREDICTIONS_FILE) for refit in refits
        ),
        cost=_sum(refit.cost for refit in refits),
        search_cost=_sum(result.cost for result in search),
        validation_score=_validation_score(search, refits[0]),
        num_trials=len(search),
        num_stopped=sum(result.status == "stopped" for result in search),
        num_failed=sum(result.status == "failed" for result in results),
    )


def _depends_on_seed(arm: ArmResult) -> bool:
    """Whether another seed could have answered otherwise; so it is taken where this version knows not the setting."""
    try:
        return METHODS[arm.arm].depends_on_seed(arm.setting)
    except (KeyError, TypeError, ConfigError):
        return True


def _num_scored(card: Mapping[str, Any], split: str) -> int | None:
    """Questions of a split that have options; None if the card does not tell."""
    kinds = card.get("splits", {}).get(split, {}).get("kind")
    return None if kinds is None else sum(count for kind, count in kinds.items() if kind != "free_text")


def _validation(
    folder: ComparisonFolder, trials: Sequence[TrialResult], methods: Iterable[str]
) -> dict[str, tuple[Prediction, ...]]:
    """For each method what its best setting answered to the validation questions, where it was kept."""
    from medalign.evaluation.predictions import read_parquet

    kept = {}
    for method in methods:
        of_method = [trial for trial in trials if trial.spec.method == method]
        refit = next((t for t in of_method if t.spec.stage == "refit" and t.status == "completed"), None)
        if refit is None:
            continue
        files = [folder.trial_folder(refit.spec.trial_id) / VALIDATION_FILE]
        files += [
            folder.trial_folder(trial.spec.trial_id) / PREDICTIONS_FILE
            for trial in of_method
            if trial.spec.stage == "search" and dict(trial.spec.setting) == dict(refit.spec.setting)
        ]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            kept[method] = read_parquet(file)
    return kept


def _has_ended(trials: Sequence[TrialResult], methods: Sequence[str]) -> bool:
    """Whether every method has answered the test questions, or nothing of it is left that could."""

    def ended(method: str) -> bool:
        of_method = [trial for trial in trials if trial.spec.method == method]
        failed = bool(of_method) and all(trial.status == "failed" for trial in of_method)
        return failed or any(trial.spec.stage == "refit" for trial in of_method)

    return all(map(ended, methods))


def _validation_score(search: Sequence[TrialResult], refit: TrialResult) -> float | None:
    """That of the search trial whose setting was trained again; of the base its own."""
    chosen = [result for result in search if dict(result.spec.setting) == dict(refit.spec.setting)]
    scores = [result.score for result in chosen if result.score is not None]
    return max(scores, default=refit.score)


def _ordered(results: Iterable[TrialResult], methods: Sequence[str]) -> list[TrialResult]:
    """By method in the given order, search before refits, then by number."""
    place: dict[str, Any] = {name: number for number, name in enumerate(methods)}
    return sorted(
        results,
        key=lambda r: (place.get(r.spec.method, len(place)), r.spec.stage == "refit", r.spec.number),
    )


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, start=Cost())
