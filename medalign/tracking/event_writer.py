"""Writes the events of a comparison to the store: each of them, once more after a break, changes nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medalign.records import Status, TrialResult, TrialSpec, trial_result_from_json
from medalign.tracking import values
from medalign.tracking.datasets import dataset_input
from medalign.tracking.outbox import Event
from medalign.tracking.run_book import REASON, REMEDY, STATUS, RunBook
from medalign.tracking.runs import Point, RunStatus, RunStore

_RUN_STATUS: dict[Status, RunStatus] = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_TRIAL_ARTIFACTS = ("predictions.parquet", "adapter")


class EventWriter:
    """Carries out what the tracker was told, in the order in which it was told."""

    def __init__(self, store: RunStore, book: RunBook) -> None:
        self._store = store
        self._book = book
        self._was_away = False
        self._is_catching_up = False

    def write(self, event: Event) -> None:
        """Writes one event; a second time it changes nothing.

        Raises:
            StoreAwayError: Not now.
            StorageError: Never.
        """
        content = {name: value for name, value in event.items() if name != "do"}
        if self._is_catching_up:
            self._lost()
        self._is_catching_up = True
        getattr(self, f"_write_{event['do']}")(**content)
        self._is_catching_up = False

    def _write_trial_started(self, spec: Mapping[str, Any], at_ms: int) -> None:
        trial = TrialSpec(**spec)
        run = self._book.trial(trial)
        self._book.reopen(run)
        self._book.set_params(run, values.param_values({**trial.setting, "seed": trial.seed}))

    def _write_progress(
        self, spec: Mapping[str, Any], metrics: Mapping[str, float], step: int, at_ms: int
    ) -> None:
        self._book.add(self._book.trial(TrialSpec(**spec)), metrics, step, at_ms, each_step_once=True)

    def _write_trial_finished(self, result: Mapping[str, Any], folder: str | None, at_ms: int) -> None:
        ended = trial_result_from_json(result)
        run = self._book.trial(ended.spec)
        if run.is_recorded:
            return
        # A trial that failed at once, or ended before this session, was never announced.
        self._book.set_params(run, values.param_values({**ended.spec.setting, "seed": ended.spec.seed}))
        for path in (Path(folder) / name for name in _TRIAL_ARTIFACTS) if folder else ():
            if path.exists():
                self._store.log_file(run.id, path)
        step = values.result_step(ended)
        points = [Point("train_loss", at, value) for at, value in values.learning_curve(ended)]
        points += [Point(name, step, value) for name, value in values.result_metrics(ended).items()]
        # The status comes last: a run that has one is complete.
        self._book.add_points(run, points, at_ms, tags=_outcome_tags(ended))
        self._book.end(run, _RUN_STATUS[ended.status], at_ms)
        run.is_recorded = True

    def _write_datasets(self, datasets: Sequence[Mapping[str, str]], at_ms: int) -> None:
        self._store.log_inputs(self._book.comparison.id, [dataset_input(dataset) for dataset in datasets])

    def _write_contract(self, text: str, at_ms: int) -> None:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._store.log_json(self._book.comparison.id, json.loads(text), "contract.json")
        self._store.set_tags(self._book.comparison.id, {"medalign.contract": digest})

    def _write_answer(
        self,
        methods: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Sequence[tuple[str, str | None]],
        at_ms: int,
    ) -> None:
        for name, answer in methods.items():
            run = self._book.method(name)
            self._book.add(run, answer["metrics"], 0, at_ms)
            self._book.set_params(run, answer["params"])
            self._book.end(run, "FINISHED", at_ms)
        for name, run in self._book.methods().items():
            if name not in methods:
                self._book.end(run, "FAILED", at_ms)  # none of its trials can be compared
        parent = self._book.comparison
        self._book.add(parent, metrics, 0, at_ms)
        self._store.set_tags(parent.id, tags)
        for path, folder in files:
            self._store.log_file(parent.id, Path(path), folder)

    def _write_closed(self, status: RunStatus, reason: str, at_ms: int) -> None:
        if self._was_away:
            self._lost()  # for runs that a late request has made
        parent = self._book.comparison if self._book.has_comparison else None
        for run in self._book:
            if run.is_open and run is not parent:
                self._book.end(run, "KILLED", at_ms)
        if parent is None:
            return
        if reason:
            self._store.set_tags(parent.id, {REASON: reason})
        self._book.end(parent, status, at_ms)

    def _lost(self) -> None:
        """A request may or may not have been carried out."""
        self._was_away = True
        self._book.forget()


def _outcome_tags(result: TrialResult) -> dict[str, str]:
    tags = {STATUS: result.status, REASON: result.reason, REMEDY: result.remedy}
    return {name: value for name, value in tags.items() if value}
