"""A comparison's own folder: its settings, its contract and every trial's result, so that it can be continued.

    results/<comparison id>/
        experiment.yaml   every setting, defaults included
        contract.json     what all arms share
        outbox.jsonl      what waits for the tracker's store to come back; else it is absent
        report_data.json, test_questions.jsonl   what else the report shows
        driver.lock       held by the driver that is at work on it
        state.json        when and with which command it was begun, and whether it is finished
        optuna.db         one Optuna study a method
        trials/<trial id>/result.json, predictions.parquet, adapter/
        checkpoints/<trial id>/   from which a running trial goes on when its process has died
        report.html, results.csv, ...

Every file is put in place whole. Nothing here needs the tracker's server: it is the truth after a crash.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from medalign.config.disk import disk_faults, write_whole
from medalign.config.experiment import Experiment, load_experiment
from medalign.config.loading import load_yaml
from medalign.config.locations import shown
from medalign.errors import StorageError
from medalign.records import CHECKPOINTS_FOLDER, TrialResult, trial_result_from_json, trial_result_to_json

Status = Literal["running", "finished"]

_EXPERIMENT, _SPACES, _CONTRACT, _STATE, _TRIALS, _RESULT = (
    "experiment.yaml",
    "search_spaces",
    "contract.json",
    "state.json",
    "trials",
    "result.json",
)
_REPORT = "report.html"
_OUTBOX = "outbox.jsonl"
_LOCK = "driver.lock"


class ComparisonFolder:
    """One comparison on disk; made by `create` or found again by `find`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def id(self) -> str:
        """The comparison's id: the folder's name."""
        return self.path.name

    @property
    def experiment(self) -> Experiment:
        """The settings that it was begun with, wherever its search spaces lay then."""
        file = self.path / _EXPERIMENT
        kept = {f"search_spaces.{method}": str(space) for method, space in self.search_spaces.items()}
        experiment = load_experiment(file, kept)
        return experiment.model_copy(update={"search_spaces": load_yaml(file).get("search_spaces", {})})

    @property
    def search_spaces(self) -> dict[str, Path]:
        """For each method the copy of its search space that was kept at the beginning."""
        return {file.stem: file for file in sorted((self.path / _SPACES).glob("*.yaml"))}

    @property
    def contract(self) -> dict[str, Any] | None:
        """The contract, once it is made."""
        file = self.path / _CONTRACT
        return _read(file) if file.is_file() else None

    @property
    def state(self) -> dict[str, Any]:
        return _read(self.path / _STATE)

    @property
    def is_finished(self) -> bool:
        """Whether its report is written."""
        return bool(self.state.get("status") == "finished")

    @property
    def outbox(self) -> Path:
        """The file in which records wait while the tracker's store is away."""
        return self.path / _OUTBOX

    @classmethod
    def create(cls, experiment: Experiment, command: str) -> ComparisonFolder:
        """A new folder for a comparison, with copies of its search spaces: a file that is changed or is not
        found from another working directory changes nothing for who goes on with it.

        Raises:
            ConfigError: A search space has no file.
            StorageError: The results folder cannot be written.
        """
        spaces = {name: experiment.search_space_path(name).read_text() for name in experiment.methods}
        now = datetime.datetime.now().astimezone()
        name = f"{experiment.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = Path(experiment.results_folder).absolute() / name
        try:
            (path / _TRIALS).mkdir(parents=True)
            folder = cls(path)
            write_whole(path / _EXPERIMENT, experiment.to_yaml())
            (path / _SPACES).mkdir()
            for name, text in spaces.items():
                write_whole(path / _SPACES / f"{name}.yaml", text)
            folder._write_state(status="running", command=command, begun=now.isoformat(timespec="seconds"))
        except OSError as error:
            raise StorageError(
                f"results_folder: {path.parent} cannot be written ({error.strerror}); "
                "name another folder with --results"
            ) from error
        return folder

    @classmethod
    def at(cls, path: Path) -> ComparisonFolder:
        """The comparison in a folder, finished or not.

        Raises:
            StorageError: The path is no comparison's folder.
        """
        path = path.absolute()
        if (path / _STATE).is_file():
            return cls(path)
        within = sorted(state.parent for state in path.glob(f"*/{_STATE}")) if path.is_dir() else []
        remedy = f"name one of those in it, such as {shown(within[-1])}" if within else "check the path"
        raise StorageError(f"{shown(path)}: is no folder of a comparison; {remedy}")

    @classmethod
    def find(cls, results: Path, wanted: str) -> ComparisonFolder:
        """An earlier comparison that is not finished: by its id, or with `newest` the newest.

        By its id also a finished one whose records still wait for the tracker's store.

        Raises:
            StorageError: There is none, the message lists what there is; or it is finished.
        """
        # In the order in which they were begun; names of different experiments do not sort by time.
        known = sorted(
            (cls(state.parent) for state in results.absolute().glob(f"*/{_STATE}")),
            key=lambda folder: str(folder.state.get("begun", "")),
        )
        unfinished = [folder for folder in known if not folder.is_finished]
        if wanted == "newest":
            if unfinished:
                return unfinished[-1]
            raise StorageError(
                f"resume: no unfinished comparison in {results}; leave --resume out to start one"
            )
        for folder in known:
            if folder.id == wanted and folder.is_finished and not folder.outbox.exists():
                raise StorageError(
                    f"resume: '{wanted}' is finished; its report is {shown(folder.path / _REPORT)}"
                )
            if folder.id == wanted:
                return folder
        there = ", ".join(folder.id for folder in known[-3:]) or "none"
        raise StorageError(f"resume: no comparison '{wanted}' in {results}; the newest there: {there}")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other drivers away for the time of the block; a driver that dies holds nothing.

        Raises:
            StorageError: Another driver is at work on this comparison.
        """
        import fcntl

        with (self.path / _LOCK).open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                raise StorageError(
                    f"resume: {self.id} is being run by {file.read() or 'another driver'}; wait for it, or end it"
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}")
            file.flush()
            yield

    def write_contract(self, contract: Mapping[str, Any]) -> None:
        write_whole(self.path / _CONTRACT, json.dumps(contract, indent=2, sort_keys=True) + "\n")

    def write_result(self, result: TrialResult) -> None:
        """Keep how a trial ended; from then on it is not repeated."""
        folder = self.trial_folder(result.spec.trial_id)
        with disk_faults(folder):
            folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / _RESULT, json.dumps(trial_result_to_json(result), indent=2) + "\n")
        shutil.rmtree(self.path / CHECKPOINTS_FOLDER / result.spec.trial_id, ignore_errors=True)

    def results(self) -> list[TrialResult]:
        """Every trial that ended, in the order in which they did."""
        files = sorted((self.path / _TRIALS).glob(f"*/{_RESULT}"), key=lambda file: file.stat().st_mtime_ns)
        return [trial_result_from_json(_read(file)) for file in files]

    def trial_folder(self, trial_id: str) -> Path:
        return self.path / _TRIALS / trial_id

    def mark_finished(self) -> None:
        self._write_state(**{**self.state, "status": "finished"})
        shutil.rmtree(self.path / CHECKPOINTS_FOLDER, ignore_errors=True)

    def _write_state(self, **state: Any) -> None:
        write_whole(self.path / _STATE, json.dumps(state, indent=2) + "\n")


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError(
            f"{file}: cannot be read ({error}); restore it or start a new comparison"
        ) from error
