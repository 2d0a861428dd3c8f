"""The driver's record of a comparison: parent, methods, trials and refits as nested runs.

Only the driver talks to the store, through explicit run ids: MLflow's stack of active runs belongs to one
process, and parallel trials in one process would write into each other's runs.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from medalign.records import (
    ArmResult,
    Progress,
    Question,
    Split,
    TrialResult,
    TrialSpec,
    trial_result_to_json,
)
from medalign.tracking import values
from medalign.tracking.datasets import described_dataset
from medalign.tracking.event_writer import EventWriter
from medalign.tracking.location import without_password
from medalign.tracking.monitor import MachineMonitor
from medalign.tracking.outbox import Outbox
from medalign.tracking.run_book import RunBook
from medalign.tracking.runs import RunStatus, RunStore

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

# How long the end of a comparison waits for a store that is away.
_LAST_WAIT_SECONDS = 30.0
_LOCAL_SERVER = "http://127.0.0.1:5000"


@final
class Tracker:
    """Writes one comparison to MLflow, and finds its runs again when it is continued.

    Before the first trial a store that cannot be used is an error. From then on nothing that the store does
    ends the comparison, whose results lie in its own folder: while it is away, what is to be written waits in an outbox
    and is written in the same order, once, when it is back. What it refuses is kept in `faults`.

    Args:
        uri: Of an sqlite file (absolute) or a server; see `location.default_uri`.
        artifact_root: Where the artifacts of a new experiment go; None leaves it to the server.
        experiment: Name of the experiment that holds the comparison.
        comparison_id: Names the comparison; no quotation marks.
        outbox: File in which records wait while the store is away; None keeps them in memory alone.

    Raises:
        StorageError: One line that says why the store cannot be used.
    """

    def __init__(
        self,
        uri: str,
        artifact_root: Path | None,
        experiment: str,
        comparison_id: str,
        outbox: Path | None = None,
    ) -> None:
        self._uri = uri
        self._store = RunStore(uri, artifact_root, experiment)
        self._book = RunBook(self._store, comparison_id)
        self._outbox = Outbox(outbox, EventWriter(self._store, self._book).write, self._store.answers)
        self._monitor: MachineMonitor | None = None

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be written, one line each."""
        return self._outbox.faults

    @property
    def parent_run_id(self) -> str:
        """Of the comparison's run; there is one after `start`."""
        return self._book.comparison.id

    @property
    def page(self) -> str:
        """Address of the experiment's runs, for the server that `location.browse_command` starts or names.

        MLflow's own first page shows traces of agents instead, until the reader switches to model training.
        """
        server = without_password(self._uri).rstrip("/") if self._uri.startswith("http") else _LOCAL_SERVER
        return f"{server}/#/experiments/{self._store.experiment_id}/runs"

    def start(self, params: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
        """Opens the comparison's run, or reopens it where the comparison is continued.

        Args:
            params: Everything that was set, nested as it likes.
            tags: Further tags of the run.

        Returns:
            The id of the run.

        Raises:
            StorageError: The store cannot be written.
        """
        self._outbox.drain(_LAST_WAIT_SECONDS)  # what an earlier session could not write comes first
        run = self._book.open_comparison()
        self._store.set_tags(run.id, tags or {})
        texts = {name: without_password(text) for name, text in values.param_values(params).items()}
        self._book.set_params(run, texts)
        if self._monitor is None:
            self._monitor = MachineMonitor(self._uri, run.id)
        return run.id

    def method(self, name: str) -> str:
        """The id of a method's run, which is made when first asked for.

        Raises:
            StorageError: The store cannot be written.
        """
        return self._book.method(name).id

    def trial_started(self, spec: TrialSpec) -> None:
        """Opens a trial's run with its setting; the same trial again goes on in the same run."""
        self._tell("trial_started", spec=asdict(spec))

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Adds a point to a trial's learning curves."""
        self._tell(
            "progress",
            spec=asdict(spec),
            metrics=values.progress_metrics(progress),
            step=values.step_of(progress),
        )

    def trial_finished(self, result: TrialResult, folder: Path | None = None) -> None:
        """Ends a trial's run with its final numbers; a trial that is already recorded stays as it is.

        Args:
            result: How the trial ended.
            folder: Holds `predictions.parquet` and `adapter/`, each stored where it exists.
        """
        if not self._book.is_recorded(result.spec):
            self._tell(
                "trial_finished", result=trial_result_to_json(result), folder=str(folder) if folder else None
            )

    def log_datasets(
        self, splits: Mapping[Split, Sequence[Question]], fingerprints: Mapping[Split, str], source: str
    ) -> None:
        """Notes the splits on the comparison's run as its data sets.

        Args:
            splits: The questions of each split.
            fingerprints: For each split a hash of its content, the digest of the data set.
            source: The sources as they were named on the command line.
        """
        datasets = [
            described_dataset(split, questions, fingerprints[split], source)
            for split, questions in splits.items()
            if questions
        ]
        self._tell("datasets", datasets=datasets)

    def finish_data(self, files: Sequence[Path]) -> None:
        """Ends a run that holds prepared data alone, with its card.

        Args:
            files: Of the card, side by side.
        """
        self._tell(
            "answer", methods={}, metrics={}, tags={}, files=[[str(path.absolute()), None] for path in files]
        )
        self._close("FINISHED", "")

    def log_contract(self, contract: Mapping[str, Any]) -> None:
        """Keeps what all arms share: whole as an artifact, its hash as a tag by which runs can be searched."""
        self._tell("contract", text=json.dumps(contract, sort_keys=True, default=str))

    def finish(
        self,
        summary: ComparisonSummary,
        arms: Sequence[ArmResult],
        files: Sequence[Path],
        *,
        root: Path | None = None,
    ) -> None:
        """Writes the answer onto the runs of the methods and the comparison, and ends all runs.

        Args:
            summary: What the statistics found.
            arms: The arms, each on the run of its method.
            files: The report and the tables, stored with the comparison's run.
            root: Files below it keep their folder; others lie side by side.
        """
        methods = {
            arm.arm: {
                "metrics": values.arm_metrics(arm, summary),
                "params": values.param_values(arm.setting, "best_"),
            }
            for arm in arms
        }
        self._tell(
            "answer",
            methods=methods,
            metrics=values.parent_metrics(summary),
            tags={"medalign.verdict": summary.verdict, "mlflow.note.content": values.note(summary)},
            files=[[str(path), _folder_below(path, root)] for path in files],
        )
        self._close("FINISHED", "")

    def fail(self, reason: str) -> None:
        """Ends all runs; the comparison's as failed, for the reason."""
        self._close("FAILED", reason)

    def interrupted(self) -> None:
        """Ends all runs of a comparison that was broken off and may be continued."""
        self._close("KILLED", "interrupted")

    def catch_up(self, wait_seconds: float) -> bool:
        """Waits until everything is written, at most so many seconds.

        Returns:
            Whether nothing waits any more.
        """
        return self._outbox.drain(wait_seconds)

    def _close(self, status: RunStatus, reason: str) -> None:
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None
        self._tell("closed", status=status, reason=reason)
        self._outbox.drain(_LAST_WAIT_SECONDS if status == "FINISHED" else 0.0)
        self._outbox.close()

    def _tell(self, name: str, **content: Any) -> None:
        self._outbox.put({"do": name, "at_ms": int(time.time() * 1000), **content})


def _folder_below(path: Path, root: Path | None) -> str | None:
    if root is None or not path.is_relative_to(root):
        return None
    folder = path.parent.relative_to(root).as_posix()
    return None if folder == "." else folder
