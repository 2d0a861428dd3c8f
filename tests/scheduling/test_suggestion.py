from __future__ import annotations

from typing import Any

from medalign.config.search_space import Choice, FloatRange, SearchSpace
from medalign.records import Progress, TrialResult, TrialSpec
from medalign.scheduling.suggestion import KnownTrial, derived_seed, num_settings, suggest
from tests.scheduling.fakes import rank_space, space


def _known(params: dict[str, Any], score: float | None, status: Any = "completed") -> KnownTrial:
    spec = TrialSpec(trial_id="sft-search-000", method="sft", stage="search", setting=params)
    history = (Progress(budget_share=0.5, score=score),) if score is not None else ()
    return KnownTrial(
        params=params, result=TrialResult(spec=spec, status=status, score=score, history=history)
    )


def test_same_seed_number_and_results_give_the_same_setting() -> None:
    known = [_known({"x": value / 10}, -value) for value in range(8)]
    first, second = (suggest(space("sft"), known, number=8, seed=3, num_trials=12) for _ in range(2))
    assert first == second
    assert first != suggest(space("sft"), known, number=8, seed=4, num_trials=12)
    assert first != suggest(space("dpo"), known, number=8, seed=3, num_trials=12)
    assert first != suggest(space("sft"), known, number=9, seed=3, num_trials=12)


def test_scores_and_stopped_trials_steer_the_search() -> None:
    def mean(best: float, status: str) -> float:
        values = [index / 20 for index in range(20)]
        known = [_known({"x": value}, -abs(value - best), status) for value in values]
        drawn = [suggest(space("sft"), known, number=20, seed=seed, num_trials=30) for seed in range(10)]
        return sum(params["x"] for params in drawn if params) / 10

    assert mean(0.1, "completed") < 0.3 < 0.7 < mean(0.9, "completed")
    assert mean(0.1, "stopped") < 0.3 < 0.7 < mean(0.9, "stopped")


def test_a_choice_that_always_fails_is_avoided() -> None:
    mixed = SearchSpace(
        method="sft", parameters={"rank": Choice(values=(8, 16, 32)), "x": FloatRange(low=0.0, high=1.0)}
    )
    known = []
    for number in range(18):
        params = {"rank": (8, 16, 32)[number % 3], "x": number / 18}
        fails = params["rank"] == 32
        known.append(_known(params, None if fails else 0.5, "failed" if fails else "completed"))
    drawn = [suggest(mixed, known, number=18, seed=seed, num_trials=6) for seed in range(30)]
    # Told with Optuna's own FAIL, TPE does not see the failures and draws 32 more often than any other.
    assert sum(params["rank"] == 32 for params in drawn if params) < 3


def test_no_setting_comes_twice_until_the_space_is_exhausted() -> None:
    known: list[KnownTrial] = []
    for number in range(6):
        params = suggest(rank_space("icl"), known, number=number, seed=0, num_trials=6)
        assert params is not None
        known.append(_known(params, 0.5))
    assert len({tuple(sorted(trial.params.items())) for trial in known}) == 6
    assert suggest(rank_space("icl"), known, number=6, seed=0, num_trials=6) is None


def test_number_of_settings_counts_the_grid() -> None:
    assert num_settings(rank_space("icl")) == 6
    assert num_settings(space("sft")) == float("inf")


def test_derived_seed_is_the_same_in_every_process() -> None:
    assert derived_seed(0, "sft", 0) == 4218678557
    assert derived_seed(0, "sft", 1) != derived_seed(0, "sft", 0)
