"""The same trials as Ray Tune would run, one after another in this process: for tests and for debugging."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from medalign.errors import TrialStopped
from medalign.records import Progress, TrialSpec
from medalign.scheduling.early_stopping import AshaSettings, StoppingRule, stopping_rule
from medalign.scheduling.events import Observer, Observers
from medalign.scheduling.planning import Plan
from medalign.scheduling.trial_run import BUDGET_SPENT, MakeRunner, run_trial


def run_local(
    plan: Plan, make_runner: MakeRunner, observers: Sequence[Observer] = (), asha: AshaSettings | None = None
) -> None:
    """Runs every trial of the plan.

    Args:
        make_runner: Called once, before the first trial; its errors are the caller's.
        asha: How trials are stopped early, `WilcoxonSettings` among them; None stops none.
    """
    rule = stopping_rule(asha)
    if rule is not None:
        rule.recall(plan.finished)
    told = Observers(observers)
    runner = None
    while spec := plan.next_trial():
        runner = runner or make_runner()
        told.trial_started(spec)
        report = _Report(spec, plan, told, rule)
        result = run_trial(runner, spec, report)
        if result.status == "stopped" and report.is_over_budget:
            result = dataclasses.replace(result, reason=BUDGET_SPENT)
        told.trial_finished(result)
        plan.on_result(result)


class _Report:
    """What a trial calls to report."""

    def __init__(self, spec: TrialSpec, plan: Plan, observers: Observers, rule: StoppingRule | None) -> None:
        self._spec = spec
        self._plan = plan
        self._observers = observers
        self._rule = rule
        self.is_over_budget = False

    def __call__(self, progress: Progress) -> None:
        self._observers.progress(self._spec, progress)
        self._plan.on_progress(self._spec.trial_id, progress)
        goes_on = self._rule is None or self._rule.goes_on(self._spec, progress)
        self.is_over_budget = not self._plan.affords(self._spec.trial_id)
        if self.is_over_budget or not goes_on:
            raise TrialStopped
