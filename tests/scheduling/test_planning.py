from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from medalign.config.search_space import FloatRange, SearchSpace
from medalign.errors import StorageError
from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.scheduling.planning import MethodPlan, Plan
from medalign.scheduling.stored_study import CUT_OFF
from medalign.scheduling.suggestion import KnownTrial
from tests.scheduling.fakes import completed, rank_space, score_of, searched, space

METHODS = (searched("dpo"), searched("sft"), searched("icl"), MethodPlan(method="base", seed=7))


def _failed(spec: TrialSpec) -> TrialResult:
    return TrialResult(spec=spec, status="failed", reason="OutOfMemoryError: 31 GiB")


def _finish(plan: Plan) -> list[TrialSpec]:
    return list(_one_by_one(plan))


def _one_by_one(plan: Plan) -> Iterator[TrialSpec]:
    while spec := plan.next_trial():
        yield spec
        plan.on_progress(spec.trial_id, Progress(budget_share=0.5, score=score_of(spec) / 2))
        plan.on_result(completed(spec))


def _rows(folder: Path, method: str) -> list[Any]:
    return optuna.load_study(study_name=method, storage=f"sqlite:///{folder}/optuna.db").trials


def test_every_method_gets_its_trials_then_refits_of_its_best_setting(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 4, num_seeds=2), searched("icl", 4, num_seeds=2)], tmp_path)
    specs = _finish(plan)
    assert plan.is_finished
    assert plan.num_trials == len(specs) == 12
    for method in ("sft", "icl"):
        search = [spec for spec in specs if spec.method == method and spec.stage == "search"]
        refits = [spec for spec in specs if spec.method == method and spec.stage == "refit"]
        assert [spec.trial_id for spec in search] == [f"{method}-search-00{number}" for number in range(4)]
        assert [spec.trial_id for spec in refits] == [f"{method}-refit-000", f"{method}-refit-001"]
        assert [spec.seed for spec in refits] == [7, 8]
        best = max(search, key=score_of)
        assert all(spec.setting == best.setting for spec in refits)
        assert all(spec.setting["epochs"] == 1 for spec in search)


def test_base_is_one_refit_without_setting_and_comes_last(tmp_path: Path) -> None:
    spec = _finish(Plan(METHODS, tmp_path))[-1]
    assert spec == TrialSpec(trial_id="base-refit-000", method="base", stage="refit", setting={}, seed=7)


def test_a_setting_that_ignores_the_seed_is_refitted_once(tmp_path: Path) -> None:
    plan = Plan(
        [searched("icl", 1, num_seeds=3, depends_on_seed=lambda setting: "x" not in setting)], tmp_path
    )
    assert [spec.trial_id for spec in _finish(plan)] == ["icl-search-000", "icl-refit-000"]
    assert plan.is_finished
    assert plan.num_trials == 2


def test_equal_scores_are_ordered_by_tie_break_then_number(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 4)], tmp_path)
    for tie_break in (0.4, 0.6, 0.6, None):
        spec = plan.next_trial()
        assert spec is not None
        plan.on_result(TrialResult(spec=spec, status="completed", score=0.5, tie_break=tie_break))
    best = plan.best("sft")
    assert best is not None
    assert best.spec.number == 1


def test_a_stopped_trial_is_not_the_best_while_a_completed_one_exists(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 2)], tmp_path)
    first, second = _two(plan)
    plan.on_result(TrialResult(spec=first, status="stopped", score=0.9))
    plan.on_result(TrialResult(spec=second, status="completed", score=0.2))
    best = plan.best("sft")
    assert best is not None
    assert best.spec.number == 1


def _two(plan: Plan) -> tuple[TrialSpec, TrialSpec]:
    plan.max_concurrent_per_method = 2
    first, second = plan.next_trial(), plan.next_trial()
    assert first is not None
    assert second is not None
    return first, second


def test_slots_are_shared_between_methods_and_base_fills_the_one_left_over(tmp_path: Path) -> None:
    plan = Plan([searched("dpo"), searched("sft"), MethodPlan(method="base")], tmp_path, num_slots=3)
    specs = [plan.next_trial() for _ in range(4)]
    assert [spec and spec.trial_id for spec in specs] == [
        "dpo-search-000",
        "sft-search-000",
        "base-refit-000",
        None,
    ]


def test_refits_of_one_method_wait_for_the_searches_of_others(tmp_path: Path) -> None:
    plan = Plan([searched("dpo", 1), searched("sft", 1)], tmp_path, num_slots=1)
    assert [spec.trial_id for spec in _finish(plan)] == [
        "dpo-search-000",
        "sft-search-000",
        "dpo-refit-000",
        "sft-refit-000",
    ]


def test_refits_wait_for_the_last_search_trial(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 2)], tmp_path)
    first, second = _two(plan)
    plan.on_result(completed(second))
    assert plan.next_trial() is None
    assert not plan.is_finished
    plan.on_result(completed(first))
    spec = plan.next_trial()
    assert spec is not None
    assert spec.stage == "refit"


def test_same_seed_gives_the_same_trials_whatever_the_slots_and_other_methods(tmp_path: Path) -> None:
    alone = _finish(Plan([searched("sft", 5)], _made(tmp_path / "1"), num_slots=1))
    plan = Plan([searched("icl", 5), searched("sft", 5)], _made(tmp_path / "2"), num_slots=2)
    together = []
    running: list[TrialSpec] = []
    while not plan.is_finished:
        while spec := plan.next_trial():
            running.append(spec)
        together.append(running[-1])
        plan.on_result(completed(running.pop()))
    of_sft = sorted((spec for spec in together if spec.method == "sft"), key=lambda spec: spec.trial_id)
    assert of_sft == sorted(alone, key=lambda spec: spec.trial_id)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_another_seed_gives_other_trials(tmp_path: Path) -> None:
    first = _finish(Plan([searched("sft", 3, seed=1)], _made(tmp_path / "1")))
    second = _finish(Plan([searched("sft", 3, seed=2)], _made(tmp_path / "2")))
    assert {spec.setting["x"] for spec in first}.isdisjoint({spec.setting["x"] for spec in second})


def test_first_setting_comes_first_without_what_is_not_searched(tmp_path: Path) -> None:
    plan = Plan([searched("sft", first_setting={"x": 0.25, "batch_size": 4, "epochs": 3})], tmp_path)
    spec = plan.next_trial()
    assert spec is not None
    assert spec.setting == {"x": 0.25, "epochs": 1}


@pytest.mark.parametrize("first_setting", [{"x": 1.5}, {"y": 0.5}, {}])
def test_first_setting_outside_the_space_is_not_tried(tmp_path: Path, first_setting: dict[str, Any]) -> None:
    given = Plan([searched("sft", first_setting=first_setting)], _made(tmp_path / "1")).next_trial()
    without = Plan([searched("sft")], _made(tmp_path / "2")).next_trial()
    assert given == without


def test_a_small_space_is_searched_once_and_not_again(tmp_path: Path) -> None:
    plan = Plan([searched("icl", 20, space=rank_space("icl"))], tmp_path)
    search = [spec for spec in _finish(plan) if spec.stage == "search"]
    assert len(search) == 6
    assert len({tuple(sorted(spec.setting.items())) for spec in search}) == 6


def test_method_whose_every_search_trial_failed_has_no_refit_but_a_reason(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 2), searched("icl", 2)], tmp_path)
    while spec := plan.next_trial():
        plan.on_result(_failed(spec) if spec.method == "sft" else completed(spec))
    assert plan.is_finished
    assert plan.without_refit == {
        "sft": "all 2 search trials failed, the last with: OutOfMemoryError: 31 GiB"
    }
    assert [result.spec.trial_id for result in plan.results() if result.spec.stage == "refit"] == [
        "icl-refit-000"
    ]


def test_optuna_store_tells_complete_pruned_and_failed_apart(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 3)], tmp_path)
    curve = (Progress(budget_share=0.5, score=0.1),)
    for status, score in (("completed", 0.8), ("stopped", 0.1), ("failed", None)):
        spec = plan.next_trial()
        assert spec is not None
        plan.on_progress(spec.trial_id, curve[0])
        result = TrialResult(spec=spec, status=status, score=score, history=curve, reason=f"why {status}")  # type: ignore[arg-type]
        plan.on_result(result)
    rows = _rows(tmp_path, "sft")
    assert [row.state for row in rows] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL]
    assert [row.user_attrs["trial_id"] for row in rows] == [f"sft-search-00{number}" for number in range(3)]
    assert [row.user_attrs["status"] for row in rows] == ["completed", "stopped", "failed"]
    assert rows[2].user_attrs["reason"] == "why failed"
    assert [row.intermediate_values for row in rows] == [{500: 0.1}] * 3
    assert rows[0].value == 0.8


def test_a_completed_trial_without_a_finite_score_is_never_best(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 2)], tmp_path)
    first, second = _two(plan)
    plan.on_result(completed(first, float("nan")))
    plan.on_result(completed(second, 0.1))
    best = plan.best("sft")
    assert best is not None
    assert best.spec.number == 1
    assert _rows(tmp_path, "sft")[0].state == TrialState.FAIL


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[TrialSpec]:
    return _finish(Plan(METHODS, tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize(
    ("num_before_kill", "is_running"), [(0, True), (4, True), (5, False), (8, True), (10, True), (12, True)]
)
def test_a_plan_killed_anywhere_goes_on_as_if_it_had_not_been(
    tmp_path: Path, uninterrupted: list[TrialSpec], num_before_kill: int, is_running: bool
) -> None:
    killed = Plan(METHODS, tmp_path)
    finished = []
    for _ in range(num_before_kill):
        spec = killed.next_trial()
        assert spec is not None
        finished.append(completed(spec))
        killed.on_result(finished[-1])
    if is_running and (spec := killed.next_trial()):
        killed.on_progress(spec.trial_id, Progress(budget_share=0.75, score=0.1))
    del killed

    resumed = Plan(METHODS, tmp_path, finished=finished)
    assert [result.spec for result in finished] + _finish(resumed) == uninterrupted
    assert {result.spec.trial_id for result in resumed.results()} == {spec.trial_id for spec in uninterrupted}


def test_several_trials_running_at_the_kill_come_again_with_their_settings(tmp_path: Path) -> None:
    methods = [searched("sft", 4)]
    killed = Plan(methods, tmp_path, max_concurrent_per_method=3)
    running = [killed.next_trial() for _ in range(3)]
    assert all(running)
    finished = [completed(running[1])] if running[1] else []
    killed.on_result(finished[0])
    resumed = Plan(methods, tmp_path, max_concurrent_per_method=3, finished=finished)
    assert [resumed.next_trial(), resumed.next_trial()] == [running[0], running[2]]
    rows = _rows(tmp_path, "sft")
    cut_off = [row for row in rows if row.user_attrs.get("reason") == CUT_OFF]
    assert [row.state for row in cut_off] == [TrialState.FAIL] * 2
    assert [row.state for row in rows[3:]] == [TrialState.RUNNING] * 2


def test_an_interrupted_trial_keeps_its_setting_though_more_is_known_by_now(tmp_path: Path) -> None:
    methods = [searched("sft", 6)]
    killed = Plan(methods, tmp_path, max_concurrent_per_method=2)
    finished = []
    for _ in range(3):
        spec = killed.next_trial()
        assert spec is not None
        killed.on_result(completed(spec))
        finished.append(completed(spec))
    left, ended = _two(killed)
    finished.append(completed(ended, score=9.0))
    killed.on_result(finished[-1])
    assert Plan(methods, tmp_path, finished=finished).next_trial() == left
    # Without its row in the store it would be drawn anew, by then with four results to learn from.
    (tmp_path / "optuna.db").unlink()
    assert Plan(methods, tmp_path, finished=finished).next_trial() != left


def test_a_trial_that_was_cut_off_twice_ends_like_any_other(tmp_path: Path) -> None:
    for _ in range(2):
        assert Plan([searched("sft", 1)], tmp_path).next_trial() is not None
    plan = Plan([searched("sft", 1)], tmp_path)
    spec = plan.next_trial()
    assert spec is not None
    plan.on_result(completed(spec))
    states = [row.state for row in _rows(tmp_path, "sft")]
    assert states == [TrialState.FAIL, TrialState.FAIL, TrialState.COMPLETE]


def test_a_lost_result_that_is_lost_again_while_it_runs_can_still_end(tmp_path: Path) -> None:
    _finish(Plan([searched("sft", 1)], tmp_path))
    assert Plan([searched("sft", 1)], tmp_path).next_trial() is not None
    spec = Plan([searched("sft", 1)], tmp_path).next_trial()
    assert spec is not None
    Plan([searched("sft", 1)], tmp_path, finished=[completed(spec)])
    # The second row was left running by one plan, closed by the next; the third got the result.
    states = [row.state for row in _rows(tmp_path, "sft")]
    assert states == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]


def test_a_result_on_disk_that_optuna_was_not_told_is_told(tmp_path: Path) -> None:
    spec = Plan([searched("sft", 2)], tmp_path).next_trial()
    assert spec is not None
    Plan([searched("sft", 2)], tmp_path, finished=[completed(spec)])
    assert [row.state for row in _rows(tmp_path, "sft")] == [TrialState.COMPLETE]


def test_results_are_enough_to_continue_when_the_store_is_lost(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 3)], tmp_path)
    specs = _one_by_one(plan)
    next(specs), next(specs)
    results = plan.results()
    (tmp_path / "optuna.db").unlink()
    resumed = Plan([searched("sft", 3)], tmp_path, finished=results)
    spec = resumed.next_trial()
    assert spec is not None
    assert spec.trial_id == "sft-search-001"
    assert [row.state for row in _rows(tmp_path, "sft")] == [TrialState.COMPLETE, TrialState.RUNNING]


def test_a_trial_whose_result_is_lost_is_run_again_with_its_setting(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 2)], tmp_path)
    before = _finish(plan)
    again = Plan([searched("sft", 2)], tmp_path).next_trial()
    assert again == before[0]


def test_another_search_space_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    Plan([searched("sft")], tmp_path).next_trial()
    wider = SearchSpace(method="sft", parameters={"x": FloatRange(low=0.0, high=2.0)})
    with pytest.raises(StorageError, match="sft trials of another search space"):
        Plan([searched("sft", space=wider)], tmp_path)


def test_a_store_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "optuna.db").write_text(
        "not a database, but long enough to look like a file of something else\n" * 9
    )
    with pytest.raises(StorageError, match=r"optuna\.db: cannot be used as Optuna store"):
        Plan([searched("sft")], tmp_path)


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be used as Optuna store"):
        Plan([searched("sft")], tmp_path / "missing")


def test_the_setting_handed_out_outlives_a_runner_that_changes_it(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 1)], tmp_path)
    spec = plan.next_trial()
    assert spec is not None
    plan.on_result(completed(dataclasses.replace(spec, setting={"x": 9.0})))
    best = plan.best("sft")
    assert best is not None
    assert best.spec == spec


def test_a_result_of_a_trial_that_is_not_running_is_refused(tmp_path: Path) -> None:
    plan = Plan([searched("sft")], tmp_path)
    with pytest.raises(ValueError, match="sft-search-009 is not running"):
        plan.on_result(completed(TrialSpec(trial_id="sft-search-009", method="sft", stage="search")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_trials": 0}, "num_trials: 0 for sft; a search needs at least 1"),
        ({"space": None}, "num_trials: 3 for sft, which has no search space"),
        ({"space": space("icl")}, "space: is of icl, but the method is sft"),
        ({"num_seeds": 0}, "num_seeds: 0 for sft"),
    ],
)
def test_impossible_method_plan_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        searched("sft", **changes)


def test_a_method_named_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="names one twice"):
        Plan([searched("sft"), searched("sft")], tmp_path)


def _side_by_side(plan: Plan, num_slots: int, seed: int) -> list[TrialSpec]:
    """Runs a plan with several trials at once, which end in a random order."""
    generator = random.Random(seed)
    running: list[TrialSpec] = []
    specs = []
    while True:
        while len(running) < num_slots and (spec := plan.next_trial()):
            running.append(spec)
            specs.append(spec)
        if not running:
            return specs
        plan.on_result(completed(running.pop(generator.randrange(len(running)))))


def test_by_generations_trials_do_not_depend_on_what_runs_side_by_side(tmp_path: Path) -> None:
    settings = []
    for round_number, num_slots in enumerate((1, 3, 12, 12)):
        folder = tmp_path / str(round_number)
        folder.mkdir()
        methods = [searched("sft", 10, num_seeds=2), searched("icl", 10, num_seeds=2)]
        plan = Plan(methods, folder, num_slots=num_slots, generation=4)
        specs = _side_by_side(plan, num_slots, round_number)
        assert len(specs) == 24
        settings.append({spec.trial_id: spec.setting for spec in specs})
    assert settings[0] == settings[1] == settings[2] == settings[3]


def test_by_generations_no_setting_is_tried_twice(tmp_path: Path) -> None:
    plan = Plan([MethodPlan(method="sft", space=rank_space("sft"), num_trials=6)], tmp_path, generation=4)
    search = [spec for spec in _side_by_side(plan, 4, 0) if spec.stage == "search"]
    assert len({tuple(sorted(spec.setting.items())) for spec in search}) == 6


def test_without_generations_trials_do_depend_on_it(tmp_path: Path) -> None:
    settings = []
    for seed in range(2):
        (tmp_path / str(seed)).mkdir()
        specs = _side_by_side(Plan([searched("sft", 16)], tmp_path / str(seed), num_slots=6), 6, seed)
        settings.append({spec.trial_id: spec.setting for spec in specs})
    assert settings[0] != settings[1]


def _cost(spec: TrialSpec, seconds: float) -> TrialResult:
    return dataclasses.replace(completed(spec), cost=Cost(wall_seconds=seconds))


def test_a_budget_is_kept_to_with_what_the_refits_need(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 10, num_seeds=2, budget_seconds=60.0), searched("icl", 3)], tmp_path)
    spent = 0.0
    search = []
    while spec := plan.next_trial():
        if spec.method == "sft":
            spent += 10.0
            search += [spec] if spec.stage == "search" else []
        plan.on_result(_cost(spec, 10.0))
    assert plan.is_finished
    assert (spent, len(search)) == (60.0, 4)
    assert plan.cut_short == {
        "sft": "4 of 10 settings tried and 2 of 2 seeds run: its share of the budget is spent"
    }


def test_a_budget_too_small_still_gives_one_trial_and_one_refit(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 10, num_seeds=3, budget_seconds=5.0)], tmp_path)
    specs = []
    while spec := plan.next_trial():
        specs.append(spec.trial_id)
        plan.on_result(_cost(spec, 10.0))
    assert specs == ["sft-search-000", "sft-refit-000"]
    assert "1 of 10 settings tried and 1 of 3 seeds run" in plan.cut_short["sft"]


def test_until_a_trial_has_ended_a_budget_lets_one_run_at_a_time(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 10, budget_seconds=100.0)], tmp_path, num_slots=4)
    first = plan.next_trial()
    assert first is not None
    assert plan.next_trial() is None
    plan.on_result(_cost(first, 30.0))
    second = plan.next_trial()
    # 30 s are spent, 30 s go to the second and 30 s to the refit: a third would not leave it enough.
    assert second is not None
    assert plan.next_trial() is None


def test_a_trial_that_outruns_the_budget_is_told(tmp_path: Path) -> None:
    plan = Plan([searched("sft", 10, budget_seconds=100.0)], tmp_path)
    spec = plan.next_trial()
    assert spec is not None
    for seconds, goes_on in ((50.0, True), (101.0, False)):
        plan.on_progress(
            spec.trial_id, Progress(budget_share=0.5, score=0.1, cost=Cost(wall_seconds=seconds))
        )
        assert plan.affords(spec.trial_id) == goes_on


def test_an_earlier_best_setting_is_tried_second_and_the_sampler_learns_from_earlier_trials(
    tmp_path: Path,
) -> None:
    first, best = {"x": 0.9}, {"x": 0.31}
    earlier = tuple(
        KnownTrial(
            params={"x": x},
            result=completed(TrialSpec(trial_id=f"{x}", method="sft", stage="search", setting={"x": x})),
        )
        for x in (0.05, 0.1, 0.2, 0.25, 0.31, 0.35, 0.5, 0.7, 0.9)
    )
    suggested = []
    for number, known in enumerate([(), earlier]):
        (tmp_path / str(number)).mkdir()
        method = searched("sft", 8, first_setting=first, second_setting=best, earlier=known)
        specs = _finish(Plan([method], tmp_path / str(number)))
        assert [spec.setting["x"] for spec in specs[:2]] == [0.9, 0.31]
        suggested.append([spec.setting["x"] for spec in specs[2:8]])
    assert suggested[0] != suggested[1]
    misses = [sum(abs(x - 0.3) for x in xs) for xs in suggested]
    assert misses[1] < misses[0]


def test_the_first_method_gets_most_slots_and_those_of_a_search_that_has_ended_go_to_the_others(
    tmp_path: Path,
) -> None:
    plan = Plan([searched("sft", 30), searched("icl", 3)], tmp_path, num_slots=8)
    begun = [spec for _ in range(8) if (spec := plan.next_trial())]
    assert sorted(spec.method for spec in begun) == ["icl"] * 3 + ["sft"] * 5
    for spec in begun:
        if spec.method == "icl":
            plan.on_result(completed(spec))
    more = [spec.trial_id for _ in range(4) if (spec := plan.next_trial())]
    # All slots go to the search that goes on; the refit of the other fills what is left.
    assert more == ["sft-search-005", "sft-search-006", "sft-search-007", "icl-refit-000"]
