"""Which searched settings mattered, out of a comparison's Optuna studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from medalign.errors import StorageError
from medalign.scheduling.stored_study import STORE_NAME

MIN_TRIALS = 8  # below it a forest of regression trees tells noise


@dataclass(frozen=True, kw_only=True)
class Importance:
    """How much of the spread in validation scores each searched setting explains.

    Attributes:
        shares: Largest first, adding up to 1; empty where `why_not` says why there are none.
        num_trials: Completed trials that it rests on.
    """

    shares: Mapping[str, float] = field(default_factory=dict)
    num_trials: int = 0
    why_not: str = ""


def importances(folder: Path, methods: tuple[str, ...]) -> dict[str, Importance]:
    """For each method that was searched, by functional ANOVA (Hutter et al. 2014) over its completed trials.

    Trials that were stopped early are left out: their scores come from less training. The studies are only read.

    Raises:
        StorageError: The store is there but cannot be read.
    """
    path = folder.resolve() / STORE_NAME
    if not path.is_file():
        return {}
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        names = set(optuna.get_all_study_names(storage))
        return {
            name: _importance(optuna.load_study(study_name=name, storage=storage))
            for name in methods
            if name in names
        }
    except (sqlalchemy.exc.SQLAlchemyError, RuntimeError, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        raise StorageError(f"{path}: cannot be read as Optuna store: {first_line}; restore it") from error


def _importance(study) -> Importance:  # type: ignore[no-untyped-def]
    import optuna
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    completed = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    number = len(completed)
    searched = {
        name for trial in completed for name, held in trial.distributions.items() if not held.single()
    }
    if number < MIN_TRIALS:
        return Importance(
            num_trials=number, why_not=f"needs {MIN_TRIALS} completed trials, there are {number}"
        )
    if not searched:
        return Importance(num_trials=number, why_not="no setting was searched over")
    if len({trial.value for trial in completed}) < 2:
        return Importance(num_trials=number, why_not="all trials scored the same")
    found = get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))
    return Importance(shares=dict(found), num_trials=number)
