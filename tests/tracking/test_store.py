from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medalign.errors import StorageError
from medalign.records import ArmResult, Cost, Prediction, Progress, Question, TrialResult, TrialSpec
from medalign.stats.comparison import compare_arms
from medalign.tracking.location import default_artifact_root, default_uri
from medalign.tracking.store import Tracker

EXPERIMENT = "made"
SPEC = TrialSpec(
    trial_id="sft-search-000", method="sft", stage="search", setting={"learning_rate": 1e-4}, seed=3
)
OTHER = TrialSpec(trial_id="sft-search-001", method="sft", stage="search", setting={"learning_rate": 1e-3})


@pytest.fixture(scope="module")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with its tables, which takes MLflow seconds to make."""
    folder = tmp_path_factory.mktemp("store")
    uri = default_uri(folder)
    Tracker(uri, None, "other", "unused")
    return folder / "mlruns" / "mlflow.db"


@pytest.fixture
def uri(tmp_path: Path, empty_store: Path) -> str:
    uri = default_uri(tmp_path)
    shutil.copy(empty_store, tmp_path / "mlruns" / "mlflow.db")
    return uri


@pytest.fixture
def open_tracker(uri: str) -> Callable[..., Tracker]:
    def open_it(comparison_id: str = "made-1") -> Tracker:
        return Tracker(uri, default_artifact_root(uri), EXPERIMENT, comparison_id)

    return open_it


@pytest.fixture
def tracker(open_tracker: Callable[..., Tracker]) -> Any:
    tracker = open_tracker()
    tracker.start({"methods": ["sft"], "data": {"train_size": 100}}, {"medalign.version": "0.1"})
    yield tracker
    tracker.interrupted()


def read_runs(uri: str) -> dict[str, Any]:
    """All runs by name through a client of their own; two runs of one name would be a fault."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id])
    names = [run.info.run_name for run in runs]
    assert len(names) == len(set(names)), f"a run stands there twice: {names}"
    return dict(zip(names, runs, strict=True))


def history(uri: str, run_id: str, metric: str) -> list[tuple[int, float]]:
    from mlflow import MlflowClient

    points = MlflowClient(tracking_uri=uri).get_metric_history(run_id, metric)
    return sorted((point.step, point.value) for point in points)


def artifacts(uri: str, run_id: str) -> set[str]:
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    found = [client.list_artifacts(run_id)]
    found += [client.list_artifacts(run_id, item.path) for item in found[0] if item.is_dir]
    return {item.path for items in found for item in items if not item.is_dir}


def make_arms() -> list[ArmResult]:
    def answered(pattern: str) -> tuple[Prediction, ...]:
        return tuple(
            Prediction(
                question_id=f"q{place}",
                source="made",
                kind="decision",
                specialty="cardiology",
                group="",
                answer="yes",
                answer_index=0,
                correct=letter == "1",
            )
            for place, letter in enumerate(pattern)
        )

    cost = Cost(train_seconds=12.5, tokens_trained=4000, peak_gib=1.5)
    shared: dict[str, Any] = {"seeds": (0,), "cost": cost, "search_cost": cost}
    return [
        ArmResult(arm="base", setting={}, predictions=(answered("1000" * 5),), **shared),
        ArmResult(arm="sft", setting={"learning_rate": 2e-4}, predictions=(answered("1110" * 5),), **shared),
    ]


def summarise(arms: list[ArmResult]) -> Any:
    return compare_arms(arms, score=lambda predictions: {}, num_resamples=100, majority_baseline=0.4)


def test_runs_are_nested_comparison_over_method_over_trial(tracker, uri):
    tracker.trial_started(SPEC)
    runs = read_runs(uri)
    assert runs["sft-search-000"].data.tags["mlflow.parentRunId"] == runs["sft"].info.run_id
    assert runs["sft"].data.tags["mlflow.parentRunId"] == runs["made-1"].info.run_id == tracker.parent_run_id
    assert "mlflow.parentRunId" not in runs["made-1"].data.tags
    stages = {name: run.data.tags["medalign.stage"] for name, run in runs.items()}
    assert stages == {"made-1": "comparison", "sft": "method", "sft-search-000": "search"}
    assert {run.data.tags["medalign.comparison_id"] for run in runs.values()} == {"made-1"}
    assert {run.info.status for run in runs.values()} == {"RUNNING"}


def test_page_is_that_of_the_experiments_runs(tracker, uri):
    experiment_id = read_runs(uri)["made-1"].info.experiment_id
    assert tracker.page == f"http://127.0.0.1:5000/#/experiments/{experiment_id}/runs"


def test_parameters_are_flat_and_a_trial_has_its_setting_and_seed(tracker, uri):
    tracker.trial_started(SPEC)
    runs = read_runs(uri)
    assert runs["made-1"].data.params == {"methods": '["sft"]', "data.train_size": "100"}
    assert runs["sft-search-000"].data.params == {"learning_rate": "0.0001", "seed": "3"}


def test_learning_curve_has_the_share_of_the_budget_as_its_step(tracker, uri):
    tracker.trial_started(SPEC)
    for share in (0.25, 0.5):
        tracker.progress(
            SPEC, Progress(budget_share=share, score=share / 2, metrics={"train loss (nats)": 2.0})
        )
    run_id = read_runs(uri)["sft-search-000"].info.run_id
    assert history(uri, run_id, "validation_accuracy") == [(250, 0.125), (500, 0.25)]
    assert history(uri, run_id, "train loss _nats_") == [(250, 2.0), (500, 2.0)]


def test_trials_end_as_they_ended_with_the_reason(tracker, uri):
    failed = TrialSpec(trial_id="dpo-search-000", method="dpo", stage="search")
    tracker.trial_finished(
        TrialResult(spec=SPEC, status="completed", score=0.5, cost=Cost(train_seconds=7.0))
    )
    tracker.trial_finished(TrialResult(spec=OTHER, status="stopped", score=0.25, reason="behind the others"))
    tracker.trial_finished(
        TrialResult(spec=failed, status="failed", reason="out of memory", remedy="smaller batch")
    )
    runs = read_runs(uri)
    ends = {name: runs[name].info.status for name in ("sft-search-000", "sft-search-001", "dpo-search-000")}
    assert list(ends.values()) == ["FINISHED", "KILLED", "FAILED"]
    tags = runs["dpo-search-000"].data.tags
    assert tags["medalign.reason"] == "out of memory" and tags["medalign.remedy"] == "smaller batch"
    assert "validation_accuracy" not in runs["dpo-search-000"].data.metrics
    assert runs["sft-search-000"].data.metrics["train_seconds"] == 7.0
    assert runs["sft-search-000"].data.tags["medalign.status"] == "completed"


def test_predictions_and_adapter_of_a_trial_are_stored_and_nothing_else(tracker, uri, tmp_path):
    folder = tmp_path / "trial"
    (folder / "adapter").mkdir(parents=True)
    for name in ("predictions.parquet", "adapter/adapter_config.json", "scratch.bin"):
        (folder / name).write_text("x")
    tracker.trial_finished(TrialResult(spec=SPEC, status="completed", score=0.5), folder)
    run = read_runs(uri)["sft-search-000"]
    assert artifacts(uri, run.info.run_id) == {"predictions.parquet", "adapter/adapter_config.json"}
    assert run.info.artifact_uri.startswith((tmp_path / "mlruns" / "artifacts").as_uri())


def test_continued_comparison_goes_on_in_the_same_runs(open_tracker, tracker, uri):
    tracker.trial_finished(TrialResult(spec=SPEC, status="completed", score=0.5))
    tracker.trial_started(OTHER)
    tracker.interrupted()
    before = read_runs(uri)
    assert before["made-1"].info.status == before["sft-search-001"].info.status == "KILLED"
    assert before["made-1"].data.tags["medalign.reason"] == "interrupted"

    again = open_tracker()
    assert again.start({"methods": ["sft"], "data": {"train_size": 100}}) == before["made-1"].info.run_id
    again.trial_started(OTHER)
    after = read_runs(uri)
    assert {name: run.info.run_id for name, run in after.items()} == {
        name: run.info.run_id for name, run in before.items()
    }
    assert after["made-1"].info.status == after["sft-search-001"].info.status == "RUNNING"
    assert "medalign.reason" not in after["made-1"].data.tags
    assert after["sft-search-000"].info.status == "FINISHED"
    assert again.faults == ()
    again.interrupted()


def test_comparison_left_behind_by_a_killed_process_is_found_again(open_tracker, tracker, uri):
    tracker.trial_started(SPEC)
    again = open_tracker()
    assert again.start({}) == tracker.parent_run_id
    again.trial_started(SPEC)
    assert len(read_runs(uri)) == 3
    again.fail("the disk is full")
    runs = read_runs(uri)
    assert runs["made-1"].info.status == "FAILED" and runs["sft-search-000"].info.status == "KILLED"
    assert runs["made-1"].data.tags["medalign.reason"] == "the disk is full"


def test_finished_trial_that_is_reported_again_is_not_written_twice(open_tracker, tracker, uri):
    result = TrialResult(spec=SPEC, status="completed", score=0.5)
    tracker.trial_finished(result)
    tracker.interrupted()
    again = open_tracker()
    again.start({})
    again.trial_finished(result)
    run = read_runs(uri)["sft-search-000"]
    assert history(uri, run.info.run_id, "validation_accuracy") == [(1000, 0.5)]
    assert run.info.status == "FINISHED"
    again.interrupted()


def test_parameter_that_changed_between_sessions_becomes_a_tag(open_tracker, tracker, uri):
    tracker.interrupted()
    again = open_tracker()
    again.start({"data": {"train_size": 50}, "new": 1})
    parent = read_runs(uri)["made-1"]
    assert parent.data.params["data.train_size"] == "100" and parent.data.params["new"] == "1"
    assert parent.data.tags["medalign.changed.data.train_size"] == "50"
    again.interrupted()


def test_another_comparison_in_the_same_experiment_gets_runs_of_its_own(open_tracker, tracker):
    other = open_tracker("made-2")
    assert other.start({}) != tracker.parent_run_id
    assert other.method("sft") != tracker.method("sft")
    other.interrupted()


def test_splits_are_inputs_of_the_comparison_with_their_fingerprints(open_tracker, tracker, uri):
    question = Question(id="q", source="made", kind="free_text", text="?", answer="iron")
    splits = {"train": (question,), "test": (question, question), "validation": ()}
    prints = {"train": "a" * 64, "test": "b" * 64, "validation": "c" * 64}
    for session in (tracker, open_tracker()):
        session.start({})
        session.log_datasets(splits, prints, "made:folder")
        session.interrupted()
    inputs = read_runs(uri)["made-1"].inputs.dataset_inputs
    found = {item.dataset.name: item.dataset for item in inputs}
    assert len(inputs) == 2 and set(found) == {"train questions", "test questions"}
    assert found["test questions"].digest == "b" * 16
    assert json.loads(found["test questions"].profile)["num_rows"] == 2
    assert tracker.faults == ()


def test_contract_is_an_artifact_and_its_hash_a_tag(tracker, uri):
    tracker.log_contract({"b": {"tokenizer": "x"}, "a": 1})
    parent = read_runs(uri)["made-1"]
    assert artifacts(uri, parent.info.run_id) == {"contract.json"}
    first = parent.data.tags["medalign.contract"]
    tracker.log_contract({"a": 1, "b": {"tokenizer": "x"}})
    assert read_runs(uri)["made-1"].data.tags["medalign.contract"] == first
    tracker.log_contract({"a": 2})
    assert read_runs(uri)["made-1"].data.tags["medalign.contract"] != first


def test_answer_stands_on_the_runs_of_the_methods_and_the_comparison(tracker, uri, tmp_path):
    tracker.trial_started(SPEC)
    tracker.trial_finished(
        TrialResult(spec=TrialSpec(trial_id="dpo-search-000", method="dpo", stage="search"), status="failed")
    )
    (tmp_path / "out" / "plots").mkdir(parents=True)
    files = [tmp_path / "out" / "report.html", tmp_path / "out" / "plots" / "cost.png"]
    for file in files:
        file.write_text("x")
    arms = make_arms()
    summary = summarise(arms)
    tracker.finish(summary, arms, files, root=tmp_path / "out")

    runs = read_runs(uri)
    sft = runs["sft"].data
    assert sft.metrics["test_accuracy"] == pytest.approx(0.75)
    assert sft.metrics["difference_to_base"] == pytest.approx(0.5)
    assert sft.metrics["test_accuracy_low"] < 0.75 < sft.metrics["test_accuracy_high"]
    assert sft.metrics["p_corrected"] == pytest.approx(summary.pairs[0].p_corrected)
    assert (sft.metrics["train_seconds"], sft.metrics["tokens_trained"], sft.metrics["peak_gib"]) == (
        12.5,
        4000,
        1.5,
    )
    assert sft.params == {"best_learning_rate": "0.0002"}
    assert "difference_to_base" not in runs["base"].data.metrics
    assert "test_macro_f1" not in sft.metrics

    parent = runs["made-1"]
    assert parent.data.tags["medalign.verdict"] == summary.verdict
    assert summary.verdict in parent.data.tags["mlflow.note.content"]
    assert parent.data.metrics["sft/test_accuracy"] == pytest.approx(0.75)
    assert artifacts(uri, parent.info.run_id) == {"report.html", "plots/cost.png"}
    assert {name: run.info.status for name, run in runs.items()} == {
        "made-1": "FINISHED",
        "base": "FINISHED",
        "sft": "FINISHED",
        "dpo": "FAILED",
        "dpo-search-000": "FAILED",
        "sft-search-000": "KILLED",
    }
    assert tracker.faults == ()


def test_machine_is_watched_on_the_run_of_the_comparison(open_tracker, uri, monkeypatch):
    monkeypatch.setenv("MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL", "0.05")
    tracker = open_tracker()
    run_id = tracker.start({})
    pause = threading.Event()
    for _ in range(200):
        if history(uri, run_id, "system/cpu_utilization_percentage"):
            break
        pause.wait(0.05)
    tracker.interrupted()
    assert history(uri, run_id, "system/cpu_utilization_percentage")


def test_store_that_goes_away_does_not_end_the_comparison(tracker, tmp_path):
    shutil.rmtree(tmp_path / "mlruns" / "artifacts")
    (tmp_path / "mlruns" / "artifacts").write_text("in the way")
    tracker.log_contract({"a": 1})
    assert len(tracker.faults) == 1 and "cannot store contract.json" in tracker.faults[0]
    tracker.trial_started(SPEC)
    assert len(tracker.faults) == 1


def test_deleted_experiment_is_one_line_with_the_command_that_restores_it(tracker, open_tracker, uri):
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    tracker.interrupted()
    client.delete_experiment(experiment.experiment_id)
    with pytest.raises(
        StorageError, match=f"mlflow experiments restore --experiment-id {experiment.experiment_id}"
    ):
        open_tracker()


def test_unreachable_server_is_one_line_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StorageError, match=r"^tracking_uri: http://localhost:9 cannot be used") as caught:
        Tracker("http://someone:secret@localhost:9", None, EXPERIMENT, "made-1")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
