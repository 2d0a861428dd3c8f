"""MLflow's client as the tracker uses it: explicit run ids, batches within its limits, one kind of error."""

from __future__ import annotations

import getpass
import logging
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from medalign.errors import StorageError
from medalign.tracking.location import check_store, only_opener, without_password


class StoreAwayError(StorageError):
    """The store does not answer, or not now; the same may well succeed later."""


class Point(NamedTuple):
    """One value of one metric of a run."""

    metric: str
    step: int
    value: float


RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]

# Limits of one request to MLflow's log_batch.
_PARAMS_A_REQUEST = 100
_METRICS_A_REQUEST = 1000
_TAG_CHARS = 8000
_RUNS_A_PAGE = 1000
_MESSAGE_CHARS = 240
# What a store that answers says of a request that it will never accept.
_REFUSALS = frozenset(
    (
        "INVALID_PARAMETER_VALUE",
        "INVALID_STATE",
        "RESOURCE_DOES_NOT_EXIST",
        "RESOURCE_ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "ENDPOINT_NOT_FOUND",
        "NOT_IMPLEMENTED",
    )
)
_LASTING_FAULTS: tuple[type[Exception], ...] = (
    PermissionError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
    IsADirectoryError,
    ImportError,
)
# Whose errors have no ancestor in common with others.
_NETWORK_LIBRARIES = frozenset(("requests", "urllib3", "botocore", "boto3"))


class RunStore:
    """One experiment of one MLflow store.

    Opening it makes the store's tables, which must be done before a second process uses them.

    Args:
        uri: Of an sqlite file or a server.
        artifact_root: Where the artifacts of a new experiment go; None leaves it to the server.
        experiment: Its name.

    Raises:
        StorageError: The store cannot be reached or written, or the experiment was deleted.
    """

    def __init__(self, uri: str, artifact_root: Path | None, experiment: str) -> None:
        check_store(uri, artifact_root)
        _quieten()
        self._uri = uri
        with (
            _translated(f"tracking_uri: {uri} cannot be used (is it running? else name another store)"),
            only_opener(uri),
        ):
            from mlflow import MlflowClient

            self._client = MlflowClient(tracking_uri=uri)
            self._experiment_id = self._open_experiment(experiment, artifact_root)

    def _open_experiment(self, name: str, artifact_root: Path | None) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is None:
            location = artifact_root.resolve().as_uri() if artifact_root else None
            return str(self._client.create_experiment(name, artifact_location=location))
        if found.lifecycle_stage == "deleted":
            raise StorageError(
                f"name: the experiment '{name}' is deleted in {self._uri}; choose another name or run "
                f"mlflow experiments restore --experiment-id {found.experiment_id}"
            )
        return str(found.experiment_id)

    @property
    def experiment_id(self) -> str:
        """Of the experiment in the store."""
        return self._experiment_id

    def find(self, tag: str, value: str) -> list[Any]:
        """All runs with that tag, oldest first, deleted ones left out."""
        runs: list[Any] = []
        token: str | None = None
        with _translated("cannot look for runs"):
            while True:
                page = self._client.search_runs(
                    [self._experiment_id],
                    filter_string=f"tags.`{tag}` = '{value}'",
                    max_results=_RUNS_A_PAGE,
                    order_by=["attributes.start_time ASC"],
                    page_token=token,
                )
                runs += page
                token = page.token
                if not token:
                    return runs

    def create(self, name: str, tags: Mapping[str, str], parent: str | None = None) -> str:
        """Opens a new run, under a parent where there is one, and returns its id."""
        own_tags = {"mlflow.user": _user(), "mlflow.source.name": "medalign", "mlflow.source.type": "LOCAL"}
        if parent is not None:
            own_tags["mlflow.parentRunId"] = parent
        with _translated(f"cannot make the run {name}"):
            run = self._client.create_run(self._experiment_id, run_name=name, tags={**own_tags, **tags})
        return str(run.info.run_id)

    def delete(self, run_id: str) -> None:
        """Puts a run among the deleted ones."""
        with _translated("cannot delete a run"):
            self._client.delete_run(run_id)

    def answers(self) -> bool:
        """Whether the store can be reached and read."""
        try:
            with _translated("cannot be read"):
                self._client.get_experiment(self._experiment_id)
        except StorageError:
            return False
        return True

    def set_status(self, run_id: str, status: RunStatus, at_ms: int | None = None) -> None:
        """Reopens a run, or ends it with the time of its end (milliseconds since 1970; None is now)."""
        with _translated("cannot change a run"):
            if status == "RUNNING":
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status=status, end_time=at_ms)

    def points(self, run_id: str, metric: str) -> list[Point]:
        """All points of one metric."""
        with _translated(f"cannot read {metric}"):
            history = self._client.get_metric_history(run_id, metric)
        return [Point(metric, point.step, point.value) for point in history]

    def log_points(
        self, run_id: str, named: Sequence[Point], at_ms: int, tags: Mapping[str, str] | None = None
    ) -> None:
        """Adds points to metrics, all with one time (milliseconds since 1970), and sets tags after them."""
        from mlflow.entities import Metric

        points = [Metric(point.metric, point.value, at_ms, point.step) for point in named]
        entries = _run_tags(tags or {})
        with _translated("cannot write metrics"):
            for start in range(0, len(points) or bool(entries), _METRICS_A_REQUEST):
                batch = points[start : start + _METRICS_A_REQUEST]
                is_last = start + len(batch) == len(points)
                self._client.log_batch(run_id, metrics=batch, tags=entries if is_last else ())

    def log_params(
        self, run_id: str, params: Mapping[str, str], held: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """Writes the parameters that the run does not have yet.

        MLflow never changes a parameter; one that differs from what the run holds becomes the tag
        `medalign.changed.NAME`.

        Args:
            held: What the run is known to hold; None asks for it.

        Returns:
            What it holds now.
        """
        from mlflow.entities import Param

        with _translated("cannot write parameters"):
            known = dict(self._client.get_run(run_id).data.params if held is None else held)
            new = [Param(name, value) for name, value in params.items() if name not in known]
            for start in range(0, len(new), _PARAMS_A_REQUEST):
                self._client.log_batch(run_id, params=new[start : start + _PARAMS_A_REQUEST])
        self.set_tags(
            run_id,
            {
                f"medalign.changed.{name}": value
                for name, value in params.items()
                if known.get(name, value) != value
            },
        )
        return {**params, **known}

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets or replaces tags."""
        entries = _run_tags(tags)
        with _translated("cannot write tags"):
            for start in range(0, len(entries), _PARAMS_A_REQUEST):
                self._client.log_batch(run_id, tags=entries[start : start + _PARAMS_A_REQUEST])

    def delete_tags(self, run_id: str, names: Collection[str]) -> None:
        """Takes away those of the tags that the run has."""
        with _translated("cannot delete tags"):
            held = self._client.get_run(run_id).data.tags
            for name in names:
                if name in held:
                    self._client.delete_tag(run_id, name)

    def log_file(self, run_id: str, path: Path, folder: str | None = None) -> None:
        """Copies a file, or a folder under its own name, to the run's artifacts."""
        with _translated(f"cannot store {path.name}"):
            if path.is_dir():
                self._client.log_artifacts(run_id, str(path), artifact_path=folder or path.name)
            else:
                self._client.log_artifact(run_id, str(path), artifact_path=folder)

    def log_json(self, run_id: str, content: Mapping[str, Any], name: str) -> None:
        """Writes a mapping of JSON values as an artifact."""
        with _translated(f"cannot store {name}"):
            self._client.log_dict(run_id, dict(content), name)

    def log_inputs(self, run_id: str, inputs: list[Any]) -> None:
        """Notes data sets (`mlflow.entities.DatasetInput`) as what the run used."""
        with _translated("cannot note the data sets"):
            self._client.log_inputs(run_id, datasets=inputs)


def _run_tags(tags: Mapping[str, str]) -> list[Any]:
    from mlflow.entities import RunTag

    return [RunTag(name, value[:_TAG_CHARS]) for name, value in tags.items()]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container whose user has no name
        return "unknown"


def _quieten() -> None:
    """Leaves of MLflow's messages only warnings, and sends nothing to its makers."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("DO_NOT_TRACK", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    # By default MLflow tries an unreachable server for several minutes, during which nothing is scheduled.
    # What waits for it is kept on disk (outbox.py), so that one more attempt is enough.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    logging.getLogger("alembic").setLevel(logging.WARNING)


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """Turns what MLflow and the file system raise into one line."""
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except Exception as error:
        # ImportError: the driver of a database that the URI names is not installed.
        known = isinstance(error, MlflowException | SQLAlchemyError | OSError | ImportError)
        if not known and type(error).__module__.partition(".")[0] not in _NETWORK_LIBRARIES:
            raise
        why = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        kind = StorageError if _is_refusal(error) else StoreAwayError
        raise kind(without_password(f"{what}: {why[:_MESSAGE_CHARS]}")) from error


def _is_refusal(error: Exception) -> bool:
    return getattr(error, "error_code", None) in _REFUSALS or isinstance(error, _LASTING_FAULTS)
