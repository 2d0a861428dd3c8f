"""What a trial costs beside its own work: suggest, start, report, write down, log.

    python benchmarks/orchestration.py [--trials 1000] [--slots 2] [--methods 3]

Trials do nothing but report once. Everything else is what a comparison has: Optuna's sampler over a real search
space and its stored study, Ray Tune with its processes, results on disk, MLflow on SQLite. Prints the milliseconds per
trial over the whole run and over its last tenth, when the sampler knows most, and what the parts take in the driver.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medalign.config.search_space import Choice, FloatRange, IntRange, SearchSpace
from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.scheduling.early_stopping import AshaSettings
from medalign.scheduling.planning import MethodPlan, Plan
from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import Slots
from medalign.scheduling.trial_run import Report, Runner

METHODS = ("sft", "dpo", "icl", "a", "b", "c")


def make_idle() -> Runner:
    """Trials that do nothing but report, with a score that is a known function of the setting."""

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        score = 0.5 - (spec.setting.get("learning_rate", 1e-3) - 2e-3) ** 2
        progress = Progress(
            budget_share=0.5, score=score, metrics={"accuracy": score}, cost=Cost(wall_seconds=0.01)
        )
        report(progress)
        return TrialResult(
            spec=spec, status="completed", score=score, metrics=progress.metrics, cost=progress.cost
        )

    return run


def space(method: str) -> SearchSpace:
    return SearchSpace(
        method=method,
        parameters={
            "learning_rate": FloatRange(low=1e-4, high=5e-3, log=True),
            "lora_rank": Choice(values=(8, 16, 32, 64)),
            "epochs": IntRange(low=1, high=3),
        },
    )


class Clock:
    """Adds up the time within calls, by name."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds[name] += time.perf_counter() - start

        return timed


class Ends:
    """When each trial ended."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def trial_started(self, spec: TrialSpec) -> None:
        """Nothing."""

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Nothing."""

    def trial_finished(self, result: TrialResult) -> None:
        self.seconds.append(time.perf_counter())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--methods", type=int, default=3)
    given = parser.parse_args()

    from medalign.comparison import _Keeper, _Recorder
    from medalign.config.experiment import load_experiment
    from medalign.tracking.folder import ComparisonFolder
    from medalign.tracking.store import Tracker

    with tempfile.TemporaryDirectory(prefix="orchestration-") as scratch:
        root = Path(scratch)
        experiment = load_experiment(None, {"results_folder": str(root / "results")})
        folder = ComparisonFolder.create(experiment, "benchmark")
        names = METHODS[: given.methods]
        plans = [MethodPlan(method=m, space=space(m), num_trials=given.trials // len(names)) for m in names]
        plan = Plan(plans, folder.path, num_slots=given.slots)
        tracker = Tracker(
            f"sqlite:///{root}/mlflow.db", root / "artifacts", "benchmark", folder.id, folder.outbox
        )
        tracker.start({"trials": given.trials})
        clock, ends = Clock(), Ends()
        plan.next_trial = clock.around("suggest and store", plan.next_trial)  # type: ignore[method-assign]
        plan.on_result = clock.around("store the end", plan.on_result)  # type: ignore[method-assign]
        observers = []
        for name, observer in (("results on disk", _Keeper(folder)), ("MLflow", _Recorder(tracker, folder))):
            for call in ("trial_started", "progress", "trial_finished"):
                setattr(observer, call, clock.around(name, getattr(observer, call)))
            observers.append(observer)
        slots = Slots(num_slots=given.slots)
        with ray_session(slots):
            start = time.perf_counter()
            run_ray(plan, make_idle, [*observers, ends], slots, AshaSettings(), storage=folder.path)
            seconds = time.perf_counter() - start
        tracker.interrupted()
        number = len(ends.seconds)
        tenth = max(1, number // 10)
        last = (ends.seconds[-1] - ends.seconds[-1 - tenth]) / tenth
        parts = {name: round(1000 * spent / number, 1) for name, spent in clock.seconds.items()}
        said = {"trials": number, "slots": given.slots, "ms_per_trial": round(1000 * seconds / number, 1)}
        print(
            json.dumps(
                {**said, "ms_per_trial_at_the_end": round(1000 * last, 1), "of_it_in_the_driver_ms": parts}
            )
        )


if __name__ == "__main__":
    main()
