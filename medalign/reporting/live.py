"""What a person sees while a comparison runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, TextIO

from medalign.records import Progress, TrialResult, TrialSpec
from medalign.reporting import wording

if TYPE_CHECKING:
    from rich.table import Table


class LiveView:
    """An observer of trials that shows method, trial, setting, progress, best so far and time left.

    Args:
        num_trials: Trials and refits in all.
        num_finished: Those of them that an earlier session has run.
        stream: Standard output by default.
    """

    def __init__(self, num_trials: int, *, num_finished: int = 0, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._num_trials = num_trials
        self._num_before = num_finished
        self._num_ended = num_finished
        self._start = time.monotonic()
        self._first_start: float | None = None
        self._running: dict[str, tuple[TrialSpec, float, Progress | None]] = {}
        self._best: dict[str, float] = {}
        self._live: Any = None
        self._is_terminal = self._stream.isatty()

    def __enter__(self) -> LiveView:
        if self._is_terminal:
            from rich.console import Console
            from rich.live import Live

            console = Console(file=self._stream)
            self._live = Live(
                console=console, get_renderable=self._table, refresh_per_second=2, transient=True
            )
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)
            self._live = None

    def say(self, text: str) -> None:
        """A line that stays, above the live table where there is one."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            print(text, file=self._stream, flush=True)

    def trial_started(self, spec: TrialSpec) -> None:
        again = spec.trial_id in self._running
        self._running[spec.trial_id] = (spec, time.monotonic(), None)
        self._first_start = self._first_start or time.monotonic()
        verb = "goes on in another process, its own has died" if again else "starts"
        self.say(f"{self._clock()} {spec.trial_id} {verb}{_with_setting(spec)}")

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        _, start, _ = self._running.get(spec.trial_id, (spec, time.monotonic(), None))
        self._running[spec.trial_id] = (spec, start, progress)
        if progress.budget_share < 1:
            self.say(
                f"{self._clock()} {spec.trial_id} at {progress.budget_share:.0%}: "
                f"validation accuracy {wording.percent(progress.score)}"
            )

    def trial_finished(self, result: TrialResult) -> None:
        self._running.pop(result.spec.trial_id, None)
        self._num_ended += 1
        method = result.spec.method
        if result.status == "completed" and result.score is not None:
            self._best[method] = max(result.score, self._best.get(method, 0.0))
        self.say(f"{self._clock()} {_outcome(result)}{self._left()}")

    def _left(self) -> str:
        """Ended of all, and a guess at the time left from the pace so far, running trials counted as half done."""
        left = self._num_trials - self._num_ended
        if left <= 0 or self._first_start is None:
            return f" ({self._num_ended} of {self._num_trials})"
        done = self._num_ended - self._num_before + len(self._running) / 2
        # Without the seconds before the first trial, which do not come again.
        seconds = (time.monotonic() - self._first_start) / done * (left - len(self._running) / 2)
        return f" ({self._num_ended} of {self._num_trials}, about {_duration(seconds)} left)"

    def _clock(self) -> str:
        return f"[{_duration(time.monotonic() - self._start):>7}]"

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(
            title=f"{self._num_ended} of {self._num_trials} trials ended, {_duration(time.monotonic() - self._start)}",
            title_justify="left",
        )
        for column in ("trial", "setting", "running", "done", "validation", "best of method"):
            table.add_column(column)
        for spec, start, progress in self._running.values():
            best = self._best.get(spec.method)
            table.add_row(
                spec.trial_id,
                wording.setting(spec.setting),
                _duration(time.monotonic() - start),
                f"{progress.budget_share:.0%}" if progress else "",
                wording.percent(progress.score) if progress else "",
                wording.percent(best) if best is not None else "",
            )
        return table


def _with_setting(spec: TrialSpec) -> str:
    return f": {wording.setting(spec.setting)}" if spec.setting else ""


def _outcome(result: TrialResult) -> str:
    name, cost = result.spec.trial_id, result.cost
    seconds = f"{cost.wall_seconds:.0f} s"
    if result.status == "failed":
        remedy = f"; what may help: {result.remedy}" if result.remedy else ""
        return f"{name} failed: {result.reason}{remedy}"
    score = f"validation accuracy {wording.percent(result.score)}" if result.score is not None else ""
    if result.spec.stage == "refit":
        score = "test questions answered"  # its accuracy is shown once, in the comparison
    verb = "stopped early" if result.status == "stopped" else "done"
    return f"{name} {verb} in {seconds}{': ' if score else ''}{score}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
