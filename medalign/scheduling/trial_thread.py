"""Trials in a background thread that waits at every report until it is told whether to go on.

Ray Tune pulls one report at a time out of a process (`Trainable.step`), but a runner is one blocking call; this joins
the two. All trials of a process run in one thread, so that thread pools which belong to a thread (OpenMP's) and the
loaded base model last from trial to trial.
"""

from __future__ import annotations

import queue
import threading

from medalign.errors import ContractError, InputError, StorageError, TrialStopped
from medalign.records import Progress, TrialResult, TrialSpec
from medalign.scheduling.trial_run import MakeRunner, Runner, describe, failed_result, remedy_of, run_trial


class TrialThread:
    """Runs trials one after another; makes the runner once, before the first of them.

    Args:
        make_runner: Called in the thread; called again for the next trial only if it failed.
    """

    def __init__(self, make_runner: MakeRunner) -> None:
        self._make_runner = make_runner
        self._specs: queue.SimpleQueue[TrialSpec] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Progress | TrialResult | Exception] = queue.SimpleQueue()
        self._verdicts: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._is_busy = False
        self._awaits_verdict = False
        threading.Thread(target=self._work, name="trials", daemon=True).start()

    @property
    def is_busy(self) -> bool:
        """Whether a trial was started whose result was not taken yet."""
        return self._is_busy

    def start(self, spec: TrialSpec) -> None:
        """Begins a trial; the one before it must have given its result."""
        if self._is_busy:
            raise AssertionError("a trial is still running in this process")
        self._is_busy = True
        self._specs.put(spec)

    def advance(
        self, goes_on: bool = True, *, wait_seconds: float | None = None
    ) -> Progress | TrialResult | None:
        """Answers the report that the trial waits at, then waits for its next report or its result.

        Args:
            wait_seconds: The longest that it waits; None for ever.

        Returns:
            None if nothing came in that time.

        Raises:
            InputError, ContractError: By which `make_runner` says that no trial can be run at all.
            StorageError: A trial met a full disk, as every other would.
        """
        if self._awaits_verdict:
            self._awaits_verdict = False
            self._verdicts.put(goes_on)
        try:
            event = self._events.get(timeout=wait_seconds)
        except queue.Empty:
            return None
        self._awaits_verdict = isinstance(event, Progress)
        self._is_busy = self._awaits_verdict
        if isinstance(event, Exception):
            raise event
        return event

    def _work(self) -> None:
        runner: Runner | None = None
        while True:
            spec = self._specs.get()
            try:
                runner = runner or self._make_runner()
            except (InputError, ContractError) as error:
                self._events.put(error)
                continue
            except BaseException as error:
                reason = f"the trial's process could not be set up: {describe(error)}"
                self._events.put(failed_result(spec, reason, remedy_of(error)))
                continue
            try:
                result = run_trial(runner, spec, self._report)
            except StorageError as error:
                self._events.put(error)
                continue
            except BaseException as error:
                # Were the thread to end here, `advance` would wait for ever.
                result = failed_result(spec, describe(error))
            self._events.put(result)

    def _report(self, progress: Progress) -> None:
        self._events.put(progress)
        if not self._verdicts.get():
            raise TrialStopped
