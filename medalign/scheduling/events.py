"""Who is told what happens to the trials, in the driver's process and in the order in which it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from medalign.records import Progress, TrialResult, TrialSpec


class Observer(Protocol):
    """Anything that wants to know: a tracker, a live view, the writer of results.

    An exception that an observer raises ends the comparison and reaches the caller of the runner unchanged.
    """

    def trial_started(self, spec: TrialSpec) -> None:
        """A process has taken the trial up."""

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """A running trial has reported."""

    def trial_finished(self, result: TrialResult) -> None:
        """A trial has ended, in whatever way; told before the plan learns of it, so that a result is on disk first."""


class Observers:
    """Several observers as one, told in the given order."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = tuple(observers)

    def trial_started(self, spec: TrialSpec) -> None:
        for observer in self._observers:
            observer.trial_started(spec)

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        for observer in self._observers:
            observer.progress(spec, progress)

    def trial_finished(self, result: TrialResult) -> None:
        for observer in self._observers:
            observer.trial_finished(result)
