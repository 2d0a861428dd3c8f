from __future__ import annotations

from pathlib import Path

import pytest

from medalign.errors import StorageError
from medalign.scheduling.importance import MIN_TRIALS, importances


def make_study(folder: Path, method: str, number: int, score) -> None:  # type: ignore[no-untyped-def]
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        storage=f"sqlite:///{folder}/optuna.db",
        study_name=method,
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def objective(trial) -> float:  # type: ignore[no-untyped-def]
        rate = trial.suggest_float("learning_rate", 1e-5, 1e-2, log=True)
        rank = trial.suggest_categorical("lora_rank", [4, 8, 16])
        return float(score(rate, rank))

    study.optimize(objective, n_trials=number)


def test_the_setting_that_decides_the_score_comes_first(tmp_path: Path) -> None:
    make_study(tmp_path, "sft", 24, lambda rate, rank: 10 * rate + 1e-6 * rank)
    found = importances(tmp_path, ("sft", "dpo"))
    assert list(found) == ["sft"] and found["sft"].num_trials == 24
    assert next(iter(found["sft"].shares)) == "learning_rate"
    assert found["sft"].shares["learning_rate"] > 0.9
    assert sum(found["sft"].shares.values()) == pytest.approx(1)


def test_few_trials_and_equal_scores_say_why_there_is_none(tmp_path: Path) -> None:
    make_study(tmp_path, "sft", 2, lambda rate, rank: rate)
    make_study(tmp_path, "dpo", MIN_TRIALS, lambda rate, rank: 0.5)
    found = importances(tmp_path, ("sft", "dpo"))
    assert found["sft"].why_not == f"needs {MIN_TRIALS} completed trials, there are 2"
    assert found["dpo"].why_not == "all trials scored the same"
    assert not found["sft"].shares and not found["dpo"].shares


def test_without_a_store_there_is_nothing(tmp_path: Path) -> None:
    assert importances(tmp_path, ("sft",)) == {}


def test_a_broken_store_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(StorageError, match="cannot be read as Optuna store"):
        importances(tmp_path, ("sft",))
