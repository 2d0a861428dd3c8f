"""The driver's record of a comparison: parent, methods, trials and refits as nested runs.

Only the driver talks to the store, through explicit run ids: MLflow's stack of active runs belongs to one
process, and parallel trials in one process would write into each other's runs.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from medalign.records import (
    ArmResult,
    Progress,
    Question,
    Split,
    Status,
    TrialResult,
    TrialSpec,
    trial_result_from_json,
    trial_result_to_json,
)
from medalign.tracking import values
from medalign.tracking.location import without_password
from medalign.tracking.monitor import MachineMonitor
from medalign.tracking.outbox import Event, Outbox
from medalign.tracking.runs import Point, RunStatus, RunStore

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
# How long the end of a comparison waits for a store that is away.
_LAST_WAIT_SECONDS = 30.0
_PARENT = "comparison"
_LOCAL_SERVER = "http://127.0.0.1:5000"


@dataclass(slots=True)
class _Run:
    """A run as this session knows it.

    Attributes:
        points: Those that it is known to hold, by metric, so that none is written twice; what is held of a metric
            that is missing here must be asked for.
    """

    id: str
    is_open: bool
    is_recorded: bool = False
    is_new: bool = False
    points: dict[str, set[Point]] = field(default_factory=dict)


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
        self._comparison_id = comparison_id
        self._store = RunStore(uri, artifact_root, experiment)
        self._runs = self._known_runs()
        self._monitor: MachineMonitor | None = None
        self._outbox = Outbox(outbox, self._perform, self._store.answers)
        self._was_away = False
        self._is_catching_up = False

    @property
    def faults(self) -> tuple[str, ...]:
        """What could not be written, one line each."""
        return self._outbox.faults

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
        self._outbox.drain(_LAST_WAIT_SECONDS)  # what an earlier session could not write comes first
        run = self._open(_PARENT, self._comparison_id, {STAGE: "comparison"}, parent=None)
        self._store.set_tags(run.id, tags or {})
        texts = {name: without_password(text) for name, text in values.param_values(params).items()}
        self._store.log_params(run.id, texts)
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
        known = self._runs.get(_trial_key(result.spec))
        if known is None or not known.is_recorded:
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
            _dataset(split, questions, fingerprints[split], source)
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

    def _perform(self, event: Event) -> None:
        """Writes one event; a second time it changes nothing.

        Raises:
            StoreAwayError: Not now.
            StorageError: Never.
        """
        content = {name: value for name, value in event.items() if name != "do"}
        if self._is_catching_up:
            self._forget()
        self._is_catching_up = True
        getattr(self, f"_write_{event['do']}")(**content)
        self._is_catching_up = False

    def _forget(self) -> None:
        """After a request that may or may not have been carried out, only the store knows what it holds.

        One that was given up as lost may have made a run all the same, and its repetition a second one.
        """
        self._was_away = True
        for found in self._store.find(COMPARISON_ID, self._comparison_id):
            run = self._runs.setdefault(_key(found), _known_run(found))
            if run.id != found.info.run_id:
                self._store.delete(found.info.run_id)
        for run in self._runs.values():
            run.is_new = False
            run.points.clear()

    def _write_trial_started(self, spec: Mapping[str, Any], at_ms: int) -> None:
        trial = TrialSpec(**spec)
        run = self._trial_run(trial)
        self._reopen(run)
        self._store.log_params(run.id, values.param_values({**trial.setting, "seed": trial.seed}))

    def _write_progress(
        self, spec: Mapping[str, Any], metrics: Mapping[str, float], step: int, at_ms: int
    ) -> None:
        self._add(self._trial_run(TrialSpec(**spec)), metrics, step, at_ms, each_step_once=True)

    def _write_trial_finished(self, result: Mapping[str, Any], folder: str | None, at_ms: int) -> None:
        ended = trial_result_from_json(result)
        run = self._trial_run(ended.spec)
        if run.is_recorded:
            return
        # A trial that failed at once, or ended before this session, was never announced.
        self._store.log_params(run.id, values.param_values({**ended.spec.setting, "seed": ended.spec.seed}))
        curve = [Point("train_loss", step, value) for step, value in values.learning_curve(ended)]
        self._add_points(run, curve, at_ms)
        self._add(run, values.result_metrics(ended), values.result_step(ended), at_ms)
        for path in (Path(folder) / name for name in _TRIAL_ARTIFACTS) if folder else ():
            if path.exists():
                self._store.log_file(run.id, path)
        # The status comes last: a run that has one is complete.
        self._store.set_tags(run.id, _outcome_tags(ended))
        self._end(run, _RUN_STATUS[ended.status], at_ms)
        run.is_recorded = True

    def _write_datasets(self, datasets: Sequence[Mapping[str, str]], at_ms: int) -> None:
        self._store.log_inputs(self.parent_run_id, [_dataset_input(dataset) for dataset in datasets])

    def _write_contract(self, text: str, at_ms: int) -> None:
        digest = hashlib.sha256(text.encode()).hexdigest()[:16]
        self._store.log_json(self.parent_run_id, json.loads(text), "contract.json")
        self._store.set_tags(self.parent_run_id, {"medalign.contract": digest})

    def _write_answer(
        self,
        methods: Mapping[str, Any],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Sequence[tuple[str, str | None]],
        at_ms: int,
    ) -> None:
        for name, answer in methods.items():
            run = self._method_run(name)
            self._add(run, answer["metrics"], 0, at_ms)
            self._store.log_params(run.id, answer["params"])
            self._end(run, "FINISHED", at_ms)
        for key in self._runs.keys() - {f"method/{name}" for name in methods}:
            if key.startswith("method/"):
                self._end(self._runs[key], "FAILED", at_ms)  # none of its trials can be compared
        parent = self._runs[_PARENT]
        self._add(parent, metrics, 0, at_ms)
        self._store.set_tags(parent.id, tags)
        for path, folder in files:
            self._store.log_file(parent.id, Path(path), folder)

    def _write_closed(self, status: RunStatus, reason: str, at_ms: int) -> None:
        if self._was_away:
            self._forget()  # for runs that a late request has made
        parent = self._runs.get(_PARENT)
        for run in self._runs.values():
            if run.is_open and run is not parent:
                self._end(run, "KILLED", at_ms)
        if parent is None:
            return
        if reason:
            self._store.set_tags(parent.id, {REASON: reason})
        self._end(parent, status, at_ms)

    def _end(self, run: _Run, status: RunStatus, at_ms: int) -> None:
        self._store.set_status(run.id, status, at_ms)
        run.is_open = False

    def _add(
        self,
        run: _Run,
        metrics: Mapping[str, float],
        step: int,
        at_ms: int,
        *,
        each_step_once: bool = False,
    ) -> None:
        points = [Point(name, step, value) for name, value in metrics.items()]
        self._add_points(run, points, at_ms, each_step_once=each_step_once)

    def _add_points(
        self, run: _Run, points: Sequence[Point], at_ms: int, *, each_step_once: bool = False
    ) -> None:
        """Adds those points that the run does not hold.

        Args:
            each_step_once: A step that a metric holds is left as it is, whatever its value: a part of a trial that is
                run again has other seconds.
        """
        for metric in {point.metric for point in points}:
            if metric not in run.points:
                run.points[metric] = set() if run.is_new else set(self._store.points(run.id, metric))
        new = [
            point
            for point in points
            if point not in run.points[point.metric]
            and not (each_step_once and any(held.step == point.step for held in run.points[point.metric]))
        ]
        if new:
            self._store.log_points(run.id, new, at_ms)
        for point in new:
            run.points[point.metric].add(point)

    def _method_run(self, name: str) -> _Run:
        tags = {STAGE: "method", METHOD: name}
        return self._open(f"method/{name}", name, tags, parent=self.parent_run_id)

    def _trial_run(self, spec: TrialSpec) -> _Run:
        key = _trial_key(spec)
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
            run = _Run(id=self._store.create(name, all_tags, parent), is_open=True, is_new=True)
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
            runs.setdefault(_key(found), _known_run(found))
        return runs


def _key(found: Any) -> str:
    """Under which this session knows a run of the store."""
    tags = found.data.tags
    return {"comparison": _PARENT, "method": f"method/{tags.get(METHOD)}"}.get(
        tags.get(STAGE, ""), f"trial/{tags.get(TRIAL_ID)}"
    )


def _known_run(found: Any) -> _Run:
    is_open = found.info.status == "RUNNING"
    return _Run(found.info.run_id, is_open, not is_open and STATUS in found.data.tags)


def _outcome_tags(result: TrialResult) -> dict[str, str]:
    tags = {STATUS: result.status, REASON: result.reason, REMEDY: result.remedy}
    return {name: value for name, value in tags.items() if value}


def _folder_below(path: Path, root: Path | None) -> str | None:
    if root is None or not path.is_relative_to(root):
        return None
    folder = path.parent.relative_to(root).as_posix()
    return None if folder == "." else folder


def _dataset(split: Split, questions: Sequence[Question], fingerprint: str, source: str) -> dict[str, str]:
    columns = ("id", "source", "kind", "text", "context", "options", "answer", "specialty")
    schema = {"mlflow_colspec": [{"name": name, "type": "string", "required": True} for name in columns]}
    profile = {
        "num_rows": len(questions),
        "num_groups": len({question.group or question.id for question in questions}),
        "num_specialties": len({question.specialty for question in questions}),
    }
    return {
        "split": split,
        "digest": fingerprint[:_DIGEST_CHARS],
        "source": json.dumps({"sources": source}),
        "schema": json.dumps(schema),
        "profile": json.dumps(profile),
    }


def _dataset_input(described: Mapping[str, str]) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=f"{described['split']} questions",
        digest=described["digest"],
        source_type="medalign",
        source=described["source"],
        schema=described["schema"],
        profile=described["profile"],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", described["split"])])


def _trial_key(spec: TrialSpec) -> str:
    return f"trial/{spec.trial_id}"
