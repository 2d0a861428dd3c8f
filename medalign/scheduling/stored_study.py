"""The record of one method's search that Optuna's own tools open: `optuna-dashboard sqlite:///.../optuna.db`.

Only written to, except for the settings of trials that a killed driver left behind: what decides the search is
`suggestion.suggest` on the results. States are honest: COMPLETE for a full trial, PRUNED for one that early stopping
ended, FAIL for one that failed or was cut off, whose `reason` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medalign.config.disk import disk_faults
from medalign.config.search_space import SearchSpace
from medalign.errors import StorageError
from medalign.records import OUT_OF_MEMORY_RETRIES, Progress, TrialResult
from medalign.scheduling.search_space import to_optuna
from medalign.scheduling.suggestion import has_failed, step_of
from medalign.scheduling.trial_run import OUT_OF_MEMORY

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial, TrialState

T = TypeVar("T")

STORE_NAME = "optuna.db"
CUT_OFF = "cut off: the comparison was interrupted while this trial ran; it was run again"


def open_store(folder: Path) -> RDBStorage:
    """The Optuna store of a comparison's folder, made if it is not there.

    Raises:
        StorageError: The store cannot be written or is no Optuna store of this version.
    """
    from optuna.storages import RDBStorage

    path = folder.resolve() / STORE_NAME
    return _stored(path, lambda: RDBStorage(f"sqlite:///{path}"))


class StoredStudy:
    """One method's study in a store; the study's name is the method.

    Args:
        store: Of `open_store`; all methods of a comparison share it.
        space: What the method's trials are drawn from.

    Attributes:
        params: Searched values of every trial ever started here, by trial id.

    Raises:
        StorageError: The study holds trials of another search space, or the store refuses to be read or written.
    """

    def __init__(self, store: RDBStorage, space: SearchSpace) -> None:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._store = store
        self._distributions = to_optuna(space)
        self._row_ids: dict[str, int] = {}
        self._ended: set[str] = set()
        self.params: dict[str, Mapping[str, Any]] = {}
        study = _stored(
            store.url,
            lambda: optuna.create_study(
                storage=store, study_name=space.method, direction="maximize", load_if_exists=True
            ),
        )
        self._study_id = store.get_study_id_from_name(space.method)
        for row in study.get_trials(deepcopy=False):
            self._read(row, space.method)

    def start(self, trial_id: str, params: Mapping[str, Any]) -> None:
        """Writes a trial down as running, in one transaction with its settings and its id.

        A row of the same trial that an interrupted driver left running is closed first.
        """
        from optuna.trial import TrialState, create_trial

        if trial_id in self._row_ids and trial_id not in self._ended:
            self._close(trial_id, TrialState.FAIL, {"status": "failed", "reason": CUT_OFF})
        template = create_trial(
            state=TrialState.RUNNING,
            params=dict(params),
            distributions=self._distributions,
            user_attrs={"trial_id": trial_id},
        )
        self._row_ids[trial_id] = _stored(
            self._store.url, lambda: self._store.create_new_trial(self._study_id, template_trial=template)
        )
        self._ended.discard(trial_id)
        self.params[trial_id] = dict(params)

    def report(self, trial_id: str, progress: Progress) -> None:
        """Adds one point to a running trial's curve."""
        row_id, step = self._row_ids[trial_id], step_of(progress)
        _stored(
            self._store.url, lambda: self._store.set_trial_intermediate_value(row_id, step, progress.score)
        )

    def end(self, result: TrialResult, params: Mapping[str, Any]) -> None:
        """Writes down how a trial ended; one that is not known yet is added, one that has ended is left alone."""
        from optuna.trial import TrialState

        trial_id = result.spec.trial_id
        if trial_id in self._ended:
            return
        if trial_id not in self._row_ids:
            self.start(trial_id, params)
        for progress in result.history:
            self.report(trial_id, progress)
        attributes = {"status": result.status, "reason": result.reason}
        if OUT_OF_MEMORY_RETRIES in result.metrics:
            attributes["out_of_memory"] = "at first; it then ran with less of its batch at once"
        elif result.remedy == OUT_OF_MEMORY:
            attributes["out_of_memory"] = "to the end"
        if has_failed(result):
            self._close(trial_id, TrialState.FAIL, attributes)
        else:
            state = TrialState.PRUNED if result.status == "stopped" else TrialState.COMPLETE
            self._close(trial_id, state, attributes, result.score)

    def _close(
        self, trial_id: str, state: TrialState, attributes: Mapping[str, str], value: float | None = None
    ) -> None:
        row_id = self._row_ids[trial_id]

        def write() -> None:
            for name, text in attributes.items():
                self._store.set_trial_user_attr(row_id, name, text)
            self._store.set_trial_state_values(row_id, state, None if value is None else [value])

        _stored(self._store.url, write)
        self._ended.add(trial_id)

    def _read(self, row: FrozenTrial, method: str) -> None:
        trial_id = row.user_attrs.get("trial_id")
        if trial_id is None:
            # Somebody's own row, enqueued with Optuna's tools: not ours to run.
            return
        if row.distributions != self._distributions:
            raise StorageError(
                f"{self._store.url}: holds {method} trials of another search space; "
                "restore the search space file, or start a new comparison"
            )
        self.params[trial_id] = dict(row.params)
        if row.user_attrs.get("reason") == CUT_OFF:
            return
        # A later row of the same trial is the one that counts.
        self._row_ids[trial_id] = row._trial_id
        (self._ended.add if row.state.is_finished() else self._ended.discard)(trial_id)


def _stored(where: Path | str, action: Callable[[], T]) -> T:
    """The action's value, a full disk and a foreign library's refusal as our StorageError."""
    import sqlalchemy
    from optuna.exceptions import OptunaError

    try:
        with disk_faults(Path(str(where).removeprefix("sqlite:///")).parent):
            return action()
    except (OSError, RuntimeError, sqlalchemy.exc.SQLAlchemyError, OptunaError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise StorageError(
            f"{where}: cannot be used as Optuna store: {type(error).__name__}: {first_line}; "
            "choose a folder that can be written, or start a new comparison"
        ) from error
