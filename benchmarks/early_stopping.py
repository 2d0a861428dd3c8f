"""What early stopping saves on real trials, and whether it changes the winner.

    python benchmarks/early_stopping.py [--methods sft,dpo] [--trials 8] [--data medmcqa:FOLDER] [--train-size 64]

Runs a search of each method in which every trial reports at the rungs and none is stopped. Then each rule is asked,
trial by trial in the same order, whom it would have stopped where: what is left of that trial's own measured time is
what it saves. (A search with early stopping may go on to try other settings; that is not in this.) Prints one JSON
object for each method and rule; `same_winner` is whether the best trial of all is still the best of those that were not
stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from medalign.config.experiment import load_experiment
from medalign.methods.running import TrialJob, TrialRunner
from medalign.preparing import prepared_data
from medalign.records import TrialResult
from medalign.scheduling.early_stopping import AshaSettings, StoppingRule, WilcoxonSettings, stopping_rule
from medalign.scheduling.local import run_local
from medalign.scheduling.planning import Plan
from medalign.searching import method_plans, search_spaces


def replay(rule: StoppingRule, results: list[TrialResult]) -> dict[str, object]:
    """What the rule would have done, asked about the trials in the order of their numbers."""
    spent = whole = 0.0
    kept: list[TrialResult] = []
    for result in sorted(results, key=lambda result: result.spec.number):
        whole += result.history[-1].cost.wall_seconds
        last = next((p for p in result.history if not rule.goes_on(result.spec, p)), None)
        spent += (last or result.history[-1]).cost.wall_seconds
        if last is None:
            kept.append(result)
    best = max(results, key=_rank)
    return {
        "trials": len(results),
        "stopped": len(results) - len(kept),
        "seconds": round(whole, 1),
        "saved_share": round(1 - spent / whole, 3),
        "same_winner": bool(kept) and max(kept, key=_rank) is best,
        "winner_score": best.score,
    }


def _rank(result: TrialResult) -> tuple[float, float]:
    return result.score or 0.0, result.tie_break or 0.0


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--methods", default="sft,dpo")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--train-size", type=int, default=64)
    parser.add_argument("--validation-size", type=int, default=60)
    parser.add_argument("--grace-share", type=float, default=0.25)
    given = parser.parse_args()
    experiment = load_experiment(
        None,
        {
            "methods": given.methods.split(","),
            "trials": given.trials,
            "data.sources": [given.data],
            "data.train_size": given.train_size,
            "data.validation_size": given.validation_size,
        },
    )
    data = prepared_data(experiment)
    rules = {
        "asha": AshaSettings(grace_share=given.grace_share),
        "wilcoxon": WilcoxonSettings(grace_share=given.grace_share),
    }
    with tempfile.TemporaryDirectory(prefix="early-stopping-") as scratch:
        job = TrialJob(
            model=experiment.model.name,
            precision=experiment.model.precision,
            train=data.train,
            validation=data.validation,
            test=data.test[:1],
            pairs=data.pairs,
            scoring=experiment.scoring,
            checkpoints=rules["asha"].rungs,
            folder=scratch,
        )
        plans = [plan for plan in method_plans(experiment, search_spaces(experiment, {})) if plan.space]
        plan = Plan(plans, Path(scratch))
        run_local(plan, lambda: TrialRunner(job))
        results = [r for r in plan.results() if r.spec.stage == "search" and r.status == "completed"]
    for method in experiment.methods:
        own = [result for result in results if result.spec.method == method]
        for name, settings in rules.items():
            rule = stopping_rule(settings)
            assert rule is not None
            print(json.dumps({"method": method, "rule": name, **replay(rule, own)}), flush=True)


if __name__ == "__main__":
    main()
