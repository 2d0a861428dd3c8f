"""The same trials as Ray Tune would run, one after another in this process: for tests and for debugging."""

from __future__ import annotations

from collections.abc import Sequence

from medalign.errors import TrialStopped
from medalign.records import Progress, TrialSpec
from medalign.scheduling.early_stopping import Asha, AshaSettings
from medalign.scheduling.events import Observer, Observers
from medalign.scheduling.planning import Plan
from medalign.scheduling.trial_run import MakeRunner, run_trial


def run_local(
    plan: Plan, make_runner: MakeRunner, observers: Sequence[Observer] = (), asha: AshaSettings | None = None
) -> None:
    """Runs every trial of the plan.

    Args:
        make_runner: Called once, before the first trial; its errors are the caller's.
        asha: None stops no trial early.
    """
    rule = Asha(asha) if asha is not None else None
    if rule is not None:
        rule.recall(plan.finished)
    told = Observers(observers)
    runner = None
    while spec := plan.next_trial():
        runner = runner or make_runner()
        told.trial_started(spec)
        result = run_trial(runner, spec, _Report(spec, plan, told, rule))
        told.trial_finished(result)
        plan.on_result(result)


class _Report:
    """What a trial calls to report."""

    def __init__(self, spec: TrialSpec, plan: Plan, observers: Observers, asha: Asha | None) -> None:
        self._spec = spec
        self._plan = plan
        self._observers = observers
        self._asha = asha

    def __call__(self, progress: Progress) -> None:
        self._observers.progress(self._spec, progress)
        self._plan.on_progress(self._spec.trial_id, progress)
        if self._asha is not None and not self._asha.goes_on(self._spec, progress):
            raise TrialStopped
