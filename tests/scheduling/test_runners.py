"""What both runners promise: the trials of a plan, whatever happens to them."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from medalign.errors import ModelError
from medalign.scheduling.early_stopping import AshaSettings
from medalign.scheduling.events import Observer
from medalign.scheduling.local import run_local
from medalign.scheduling.planning import MethodPlan, Plan
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import Slots
from medalign.scheduling.trial_run import MakeRunner
from tests.scheduling import fakes

Run = Callable[[Plan, MakeRunner, Sequence[Observer], AshaSettings | None], None]


class RunnerContract:
    """A new runner adds a class with the fixture `run`."""

    @pytest.fixture(scope="class")
    @classmethod
    def whole(cls, run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, fakes.Diary, Path]:
        """One run in which sft climbs, icl wants its own last word and dpo meets trouble."""
        folder = tmp_path_factory.mktemp("whole")
        methods = [
            fakes.searched("sft", 4, num_seeds=2),
            fakes.searched("icl", 2),
            fakes.searched("dpo", 5),
            MethodPlan(method="base"),
        ]
        plan, diary = Plan(methods, folder, num_slots=2), fakes.Diary()
        run(plan, fakes.make_mixed, [diary], AshaSettings())
        return plan, diary, folder

    def test_every_method_gets_its_number_of_trials(self, whole: tuple[Plan, fakes.Diary, Path]) -> None:
        plan, diary, _ = whole
        assert plan.is_finished
        counts = collections.Counter((result.spec.method, result.spec.stage) for result in diary.results)
        assert counts == {
            ("sft", "search"): 4,
            ("sft", "refit"): 2,
            ("icl", "search"): 2,
            ("icl", "refit"): 1,
            ("dpo", "search"): 5,
            ("dpo", "refit"): 1,
            ("base", "refit"): 1,
        }

    def test_observers_hear_start_reports_and_end_of_each_trial_in_order(
        self, whole: tuple[Plan, fakes.Diary, Path]
    ) -> None:
        _, diary, _ = whole
        assert [line for line in diary.lines if "base" in line] == [
            "start base-refit-000",
            *(f"base-refit-000 {share}" for share in fakes.SHARES),
            "end base-refit-000 completed",
        ]

    def test_settings_are_those_that_the_seed_gives(
        self, whole: tuple[Plan, fakes.Diary, Path], tmp_path: Path
    ) -> None:
        _, diary, _ = whole
        local = fakes.Diary()
        plan = Plan([fakes.searched("sft", 4)], tmp_path)
        run_local(plan, fakes.make_hill_climber, [local], AshaSettings())
        for result in local.results:
            assert diary.result(result.spec.trial_id).spec == result.spec
            assert diary.result(result.spec.trial_id).status == result.status

    def test_trials_below_the_cutoff_are_stopped_and_told_pruned(
        self, whole: tuple[Plan, fakes.Diary, Path]
    ) -> None:
        _, diary, folder = whole
        stopped = {result.spec.trial_id for result in diary.results if result.status == "stopped"}
        assert any(trial_id.startswith("sft") for trial_id in stopped)
        assert all(diary.result(trial_id).history[-1].budget_share == 0.5 for trial_id in stopped)
        rows = [row for method in ("sft", "icl", "dpo") for row in _rows(folder, method)]
        assert {row.user_attrs["trial_id"] for row in rows if row.state == TrialState.PRUNED} == stopped

    def test_a_stopped_trial_has_its_own_last_word(self, whole: tuple[Plan, fakes.Diary, Path]) -> None:
        result = whole[1].result("icl-search-001")
        assert (result.status, result.reason, result.folder) == ("stopped", "was told to", "trials/mine")

    def test_failed_trials_are_results_and_the_comparison_goes_on(
        self, whole: tuple[Plan, fakes.Diary, Path]
    ) -> None:
        _, diary, folder = whole
        reasons = {
            result.spec.trial_id: result.reason for result in diary.results if result.status == "failed"
        }
        assert reasons == {
            "dpo-search-000": "ValueError: lora_rank must divide 576",
            "dpo-search-001": "MemoryError: unable to allocate 31.0 GiB",
            "dpo-search-002": "validation score is nan",
            "dpo-search-003": "SystemExit: 3",
        }
        assert diary.result("dpo-search-001").remedy == "smaller batch_size or a larger slot"
        assert diary.result("dpo-refit-000").status == "completed"
        states = [row.state for row in _rows(folder, "dpo")]
        assert states == [TrialState.FAIL] * 4 + [TrialState.COMPLETE]

    def test_refits_use_the_best_setting_and_are_never_stopped(
        self, whole: tuple[Plan, fakes.Diary, Path]
    ) -> None:
        _, diary, _ = whole
        search = [
            result
            for result in diary.results
            if result.spec.method == "sft" and result.spec.stage == "search" and result.status == "completed"
        ]
        best = max(search, key=lambda result: result.score or 0.0)
        for number in (0, 1):
            refit = diary.result(f"sft-refit-00{number}")
            assert refit.spec.setting == best.spec.setting
            assert refit.status == "completed"
            assert len(refit.history) == 4

    def test_a_finished_plan_runs_nothing(self, run: Run, whole: tuple[Plan, fakes.Diary, Path]) -> None:
        plan, _, _ = whole
        diary = fakes.Diary()
        run(plan, fakes.make_nothing, [diary], None)
        assert diary.lines == []

    def test_a_continued_plan_runs_only_what_is_missing_and_stops_nothing_unasked(
        self, run: Run, tmp_path: Path
    ) -> None:
        methods = [fakes.searched("icl", 3)]
        spec = Plan(methods, tmp_path).next_trial()
        assert spec is not None
        diary = fakes.Diary()
        plan = Plan(methods, tmp_path, finished=[fakes.completed(spec)])
        run(plan, fakes.make_stop_aware, [diary], None)
        assert [spec.trial_id for spec in diary.started] == [
            "icl-search-001",
            "icl-search-002",
            "icl-refit-000",
        ]
        assert {result.status for result in diary.results} == {"completed"}

    def test_an_observers_exception_reaches_the_caller(self, run: Run, tmp_path: Path) -> None:
        observer = fakes.Spoilsport(LookupError("the tracker lost its run"))
        with pytest.raises(LookupError, match="lost its run"):
            run(Plan([fakes.searched("sft", 3)], tmp_path), fakes.make_hill_climber, [observer], None)
        assert len(observer.started) == 1

    def test_ctrl_c_reaches_the_caller(self, run: Run, tmp_path: Path) -> None:
        observer = fakes.Spoilsport(KeyboardInterrupt("by the person"))
        with pytest.raises(KeyboardInterrupt, match="by the person"):
            run(Plan([fakes.searched("sft", 3)], tmp_path), fakes.make_hill_climber, [observer], None)
        assert len(observer.started) == 1

    def test_bad_input_found_by_make_runner_ends_the_run(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="smollm2-135m cannot be found"):
            run(Plan([fakes.searched("sft", 3)], tmp_path), fakes.make_nothing, [], None)


class TestLocalRunner(RunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def run(cls) -> Run:
        return run_local


class TestRayRunner(RunnerContract):
    @pytest.fixture(scope="class")
    @classmethod
    def run(cls, two_slots: Slots, tmp_path_factory: pytest.TempPathFactory) -> Run:
        def run(
            plan: Plan, make_runner: MakeRunner, observers: Sequence[Observer], asha: AshaSettings | None
        ) -> None:
            run_ray(plan, make_runner, observers, two_slots, asha, storage=tmp_path_factory.mktemp("tune"))

        return run


def _rows(folder: Path, method: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name=method, storage=f"sqlite:///{folder}/optuna.db").trials
