"""The driver's record of a comparison: parent, methods, trials and refits as nested runs.

Only the driver talks to the store, through explicit run ids: MLflow's stack of active runs belongs to one
process, and parallel trials in one process would write into each other's runs.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from medalign.errors import StorageError
from medalign.records import ArmResult, Progress, Question, Split, Status, TrialResult, TrialSpec
from medalign.tracking import values
from medalign.tracking.location import without_password
from medalign.tracking.monitor import MachineMonitor
from medalign.tracking.runs import RunStatus, RunStore

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

COMPARISON_ID = "medalign.comparison_id"
STAGE = "medalign.stage"
METHOD = "medalign.method"
TRIAL_ID = "medalign.trial_id"
STATUS = "medalign.status"
REASON = "medalign.reason"
REMEDY = "medalign.remedy"

_RUN_STATUS: dict[Status, RunStatus] = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_OUTCOME = (STATUS, REASON, REMEDY)
_TRIAL_ARTIFACTS = ("predictions.parquet", "adapter")
# MLflow takes up to 36; its pages show so many whole.
_DIGEST_CHARS = 16
# So many failures in a row, and learning curves are no longer worth the wait for an absent server.
_PATIENCE = 3
_PARENT = "comparison"
_LOCAL_SERVER = "http://127.0.0.1:5000"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Run:
    id: str
    is_open: bool
    is_recorded: bool = False


@final
class Tracker:
    """Writes one comparison to MLflow, and finds its runs again when it is continued.

    Before the first trial a store that cannot be used is an error. From then on nothing that the store does
    ends the comparison, whose results lie in its own folder: what could not be written is kept in `faults`.

    Args:
        uri: Of an sqlite file (absolute) or a server; see `location.default_uri`.
        artifact_root: Where the artifacts of a new experiment go; None leaves it to the server.
        experiment: Name of the experiment that holds the comparison.
        comparison_id: Names the comparison; no quotation marks.

    Raises:
        StorageError: One line that says why the store cannot be used.
    """

    def __init__(self, uri: str, artifact_root: Path | None, experiment: str, comparison_id: str) -> None:
        self._uri = uri
        self._comparison_id = comparison_id
        self._store = RunStore(uri, artifact_root, experiment)
        self._runs = self._known_runs()
        self._monitor: MachineMonitor | None = None
        self._faults: list[str] = []
        self._failures_in_row = 0

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be written, one line each."""
        return tuple(self._faults)

    @property
    def parent_run_id(self) -> str:
        """Of the comparison's run; there is one after `start`."""
        return self._runs[_PARENT].id

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
        run = self._open(_PARENT, self._comparison_id, {STAGE: "comparison"}, parent=None)
        self._store.set_tags(run.id, tags or {})
        self._store.log_params(run.id, values.param_values(params))
        if self._monitor is None:
            self._monitor = MachineMonitor(self._uri, run.id)
        return run.id

    def method(self, name: str) -> str:
        """The id of a method's run, which is made when first asked for.

        Raises:
            StorageError: The store cannot be written.
        """
        return self._method_run(name).id

    def trial_started(self, spec: TrialSpec) -> None:
        """Opens a trial's run with its setting; the same trial again goes on in the same run."""
        with self._going_on():
            run = self._trial_run(spec)
            self._reopen(run)
            self._store.log_params(run.id, values.param_values({**spec.setting, "seed": spec.seed}))

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Adds a point to a trial's learning curves."""
        if self._failures_in_row >= _PATIENCE:
            return
        with self._going_on():
            run = self._trial_run(spec)
            self._store.log_metrics(run.id, values.progress_metrics(progress), values.step_of(progress))

    def trial_finished(self, result: TrialResult, folder: Path | None = None) -> None:
        """Ends a trial's run with its final numbers; a trial that is already recorded stays as it is.

        Args:
            result: How the trial ended.
            folder: Holds `predictions.parquet` and `adapter/`, each stored where it exists.
        """
        with self._going_on():
            run = self._trial_run(result.spec)
            if run.is_recorded:
                return
            # A trial that failed at once, or ended before this session, was never announced.
            self._store.log_params(
                run.id, values.param_values({**result.spec.setting, "seed": result.spec.seed})
            )
            self._store.log_curve(run.id, "train_loss", values.learning_curve(result))
            self._store.log_metrics(run.id, values.result_metrics(result), values.result_step(result))
            for path in (folder / name for name in _TRIAL_ARTIFACTS) if folder else ():
                if path.exists():
                    self._store.log_file(run.id, path)
            # The status comes last: a run that has one is complete.
            self._store.set_tags(run.id, _outcome_tags(result))
            self._end(run, _RUN_STATUS[result.status])
            run.is_recorded = True

    def log_datasets(
        self, splits: Mapping[Split, Sequence[Question]], fingerprints: Mapping[Split, str], source: str
    ) -> None:
        """Notes the splits on the comparison's run as its data sets.

        Args:
            splits: The questions of each split.
            fingerprints: For each split a hash of its content, the digest of the data set.
            source: The sources as they were named on the command line.
        """
        with self._going_on():
            inputs = [
                _dataset_input(split, questions, fingerprints[split], source)
                for split, questions in splits.items()
                if questions
            ]
            self._store.log_inputs(self.parent_run_id, inputs)

    def log_contract(self, contract: Mapping[str, Any]) -> None:
        """Keeps what all arms share: whole as an artifact, its hash as a tag by which runs can be searched."""
        with self._going_on():
            text = json.dumps(contract, sort_keys=True, default=str)
            digest = hashlib.sha256(text.encode()).hexdigest()[:16]
            self._store.log_json(self.parent_run_id, json.loads(text), "contract.json")
            self._store.set_tags(self.parent_run_id, {"medalign.contract": digest})

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
        with self._going_on():
            for arm in arms:
                self._finish_method(arm, summary)
            for key in self._runs.keys() - {f"method/{arm.arm}" for arm in arms}:
                if key.startswith("method/"):
                    self._end(self._runs[key], "FAILED")  # none of its trials can be compared
            parent = self._runs[_PARENT]
            self._store.log_metrics(parent.id, values.parent_metrics(summary), 0)
            tags = {"medalign.verdict": summary.verdict, "mlflow.note.content": values.note(summary)}
            self._store.set_tags(parent.id, tags)
            for path in files:
                self._store.log_file(parent.id, path, _folder_below(path, root))
        self._close("FINISHED", "")

    def fail(self, reason: str) -> None:
        """Ends all runs; the comparison's as failed, for the reason."""
        self._close("FAILED", reason)

    def interrupted(self) -> None:
        """Ends all runs of a comparison that was broken off and may be continued."""
        self._close("KILLED", "interrupted")

    def _finish_method(self, arm: ArmResult, summary: ComparisonSummary) -> None:
        run = self._method_run(arm.arm)
        self._store.log_metrics(run.id, values.arm_metrics(arm, summary), 0)
        self._store.log_params(run.id, values.param_values(arm.setting, "best_"))
        self._end(run, "FINISHED")

    def _close(self, status: RunStatus, reason: str) -> None:
        if self._monitor is not None:
            self._monitor.stop()
            self._monitor = None
        parent = self._runs.get(_PARENT)
        for run in self._runs.values():
            if run.is_open and run is not parent:
                with self._going_on():
                    self._end(run, "KILLED")
        if parent is None:
            return
        with self._going_on():
            if reason:
                self._store.set_tags(parent.id, {REASON: reason})
            self._end(parent, status)

    def _end(self, run: _Run, status: RunStatus) -> None:
        self._store.set_status(run.id, status)
        run.is_open = False

    def _method_run(self, name: str) -> _Run:
        tags = {STAGE: "method", METHOD: name}
        return self._open(f"method/{name}", name, tags, parent=self.parent_run_id)

    def _trial_run(self, spec: TrialSpec) -> _Run:
        key = f"trial/{spec.trial_id}"
        if key in self._runs:
            return self._runs[key]
        parent = self._method_run(spec.method)
        tags = {
            STAGE: spec.stage,
            METHOD: spec.method,
            TRIAL_ID: spec.trial_id,
            "medalign.number": str(spec.number),
        }
        return self._open(key, spec.trial_id, tags, parent=parent.id)

    def _open(self, key: str, name: str, tags: Mapping[str, str], parent: str | None) -> _Run:
        run = self._runs.get(key)
        if run is None:
            all_tags = {COMPARISON_ID: self._comparison_id, **tags}
            run = _Run(id=self._store.create(name, all_tags, parent), is_open=True)
            self._runs[key] = run
        else:
            self._reopen(run)
        return run

    def _reopen(self, run: _Run) -> None:
        if not run.is_open:
            self._store.set_status(run.id, "RUNNING")
            self._store.delete_tags(run.id, _OUTCOME)
            run.is_open, run.is_recorded = True, False

    def _known_runs(self) -> dict[str, _Run]:
        """The runs of an earlier session of the same comparison, all of them closed or left behind by it."""
        runs: dict[str, _Run] = {}
        for found in self._store.find(COMPARISON_ID, self._comparison_id):
            tags = found.data.tags
            key = {"comparison": _PARENT, "method": f"method/{tags.get(METHOD)}"}.get(
                tags.get(STAGE, ""), f"trial/{tags.get(TRIAL_ID)}"
            )
            is_open = found.info.status == "RUNNING"
            runs.setdefault(key, _Run(found.info.run_id, is_open, not is_open and STATUS in tags))
        return runs

    @contextmanager
    def _going_on(self) -> Iterator[None]:
        """Keeps a failure of the store from ending the comparison."""
        try:
            yield
        except StorageError as error:
            self._failures_in_row += 1
            self._faults.append(str(error))
            if len(self._faults) == 1:
                _log.warning("tracker: %s", error)
        else:
            self._failures_in_row = 0


def _outcome_tags(result: TrialResult) -> dict[str, str]:
    tags = {STATUS: result.status, REASON: result.reason, REMEDY: result.remedy}
    return {name: value for name, value in tags.items() if value}


def _folder_below(path: Path, root: Path | None) -> str | None:
    if root is None or not path.is_relative_to(root):
        return None
    folder = path.parent.relative_to(root).as_posix()
    return None if folder == "." else folder


def _dataset_input(split: Split, questions: Sequence[Question], fingerprint: str, source: str) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = ("id", "source", "kind", "text", "context", "options", "answer", "specialty")
    schema = {"mlflow_colspec": [{"name": name, "type": "string", "required": True} for name in columns]}
    profile = {
        "num_rows": len(questions),
        "num_groups": len({question.group or question.id for question in questions}),
        "num_specialties": len({question.specialty for question in questions}),
    }
    dataset = Dataset(
        name=f"{split} questions",
        digest=fingerprint[:_DIGEST_CHARS],
        source_type="medalign",
        source=json.dumps({"sources": source}),
        schema=json.dumps(schema),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", split)])
