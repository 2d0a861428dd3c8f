"""One trial from its start to a TrialResult, whatever the runner does."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from medalign.errors import StorageError, TrialStopped
from medalign.modeling.out_of_memory import is_out_of_memory, release
from medalign.records import Cost, Progress, TrialResult, TrialSpec, spent_until
from medalign.scheduling.suggestion import has_failed

Report = Callable[[Progress], None]
Runner = Callable[[TrialSpec, Report], TrialResult]
MakeRunner = Callable[[], Runner]

OUT_OF_MEMORY = "smaller batch_size or a larger slot"
DIVERGED = "lower learning_rate"
BUDGET_SPENT = "stopped: its method's share of the budget was spent"
STOPPED_EARLY = "stopped early: others of its method scored higher at the same share of their budget"

_logger = logging.getLogger(__name__)


def run_trial(runner: Runner, spec: TrialSpec, report: Report) -> TrialResult:
    """Runs one trial; what it raises becomes a failed result with a reason and a remedy, Ctrl-C excepted.

    Args:
        runner: Reports through its second argument, which may raise TrialStopped: the runner then returns a
            result with status "stopped", or lets the exception through.
        report: Takes each report; raises TrialStopped to end the trial.

    Raises:
        StorageError: The results cannot be written: no fault of this trial, and no other would fare better.
    """
    history: list[Progress] = []
    start = time.monotonic()

    def keep_and_report(progress: Progress) -> None:
        history.append(progress)
        report(progress)

    try:
        result = runner(spec, keep_and_report)
    except TrialStopped:
        return stopped_result(spec, history)
    except StorageError:
        raise
    except (Exception, SystemExit) as error:
        _logger.info("trial %s failed", spec.trial_id, exc_info=True)
        result = failed_result(
            spec, describe(error), remedy_of(error), history, wall_seconds=time.monotonic() - start
        )
        if spent := spent_until(error):
            result = dataclasses.replace(result, cost=spent.cost, shared=spent.shared)
        release(error)
        return result
    result = dataclasses.replace(result, spec=spec, history=result.history or tuple(history))
    if spec.stage == "search" and result.status == "completed" and has_failed(result):
        reason = f"validation score is {result.score}"
        return dataclasses.replace(result, status="failed", score=None, reason=reason, remedy=DIVERGED)
    return result


def failed_result(
    spec: TrialSpec,
    reason: str,
    remedy: str = "",
    history: Sequence[Progress] = (),
    wall_seconds: float = 0.0,
) -> TrialResult:
    """A failed trial with what it had reported and spent by then."""
    cost = history[-1].cost if history else Cost()
    cost = dataclasses.replace(cost, wall_seconds=max(wall_seconds, cost.wall_seconds))
    return TrialResult(
        spec=spec, status="failed", cost=cost, history=tuple(history), reason=reason, remedy=remedy
    )


def stopped_result(spec: TrialSpec, history: Sequence[Progress]) -> TrialResult:
    """A trial that early stopping ended, with the last score that it reported."""
    last = history[-1] if history else None
    return TrialResult(
        spec=spec,
        status="stopped",
        score=last.score if last else None,
        metrics=last.metrics if last else {},
        cost=last.cost if last else Cost(),
        history=tuple(history),
        reason=STOPPED_EARLY,
    )


def describe(error: BaseException) -> str:
    """The exception's type and the first line of its text."""
    first_line = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first_line}" if first_line else type(error).__name__


def remedy_of(error: BaseException) -> str:
    """What the person can do about it, where we know; else empty."""
    if is_out_of_memory(error):
        return OUT_OF_MEMORY
    if isinstance(error, FloatingPointError):
        return DIVERGED
    return ""
