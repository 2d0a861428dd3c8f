"""A real store that goes away and comes back, within requests too: nothing is missing, nothing stands twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.tracking import outbox
from medalign.tracking.location import default_artifact_root, default_uri
from medalign.tracking.run_book import COMPARISON_ID
from medalign.tracking.store import Tracker
from tests.markers import slow

EXPERIMENT = "made"
SHARES = (0.25, 0.5, 1.0)
CONTRACT = {"scoring": "raw"}


class Unsteady:
    """MLflow's client behind a line that breaks: before a request, or after it was carried out."""

    def __init__(self, client: Any, generator: random.Random | None = None) -> None:
        self._client = client
        self._generator = generator
        self.is_away = False
        self.num_broken = 0

    def __getattr__(self, name: str) -> Any:
        action = getattr(self._client, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            if self.is_away:
                raise ConnectionError(f"{name}: connection refused")
            place = self._generator.random() if self._generator is not None else 1.0
            if place < 0.15:
                self.num_broken += 1
                raise ConnectionError(f"{name}: connection refused")
            value = action(*args, **kwargs)
            if place < 0.3:
                self.num_broken += 1
                raise TimeoutError(f"{name}: no answer in 10 s")
            return value

        return call


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(outbox, "LONGEST_WAIT_SECONDS", 0.02)
    monkeypatch.setattr(outbox, "_MAX_REFUSALS", 1000)  # each answer here may break off


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    return default_uri(tmp_path_factory.mktemp("store"))


@pytest.fixture
def open_tracker(uri: str, tmp_path: Path) -> Iterator[Callable[..., Tracker]]:
    opened = []

    def open_it(name: str, generator: random.Random | None = None) -> Tracker:
        file = tmp_path / f"{name}.jsonl"
        tracker = Tracker(uri, default_artifact_root(uri), EXPERIMENT, name, file)
        tracker.start({"trials": 2}, {"medalign.command": "compare"})
        tracker.method("sft")
        tracker._store._client = Unsteady(tracker._store._client, generator)
        opened.append(tracker)
        return tracker

    yield open_it
    for tracker in opened:
        tracker._outbox.close()
        if tracker._monitor is not None:
            tracker._monitor.stop()


def spec(number: int) -> TrialSpec:
    return TrialSpec(
        trial_id=f"sft-search-{number:03d}", method="sft", stage="search", setting={"lr": number}
    )


def reports(number: int) -> tuple[Progress, ...]:
    return tuple(
        Progress(budget_share=share, score=number + share, cost=Cost(wall_seconds=10 * share))
        for share in SHARES
    )


def result(number: int, folder: Path) -> TrialResult:
    (folder / "adapter").mkdir(parents=True, exist_ok=True)
    (folder / "adapter" / "adapter_config.json").write_text("{}")
    return TrialResult(
        spec=spec(number),
        status="completed" if number else "stopped",
        score=number + 0.5,
        history=reports(number),
        learning_curve=((0.1, 2.0), (0.2, 1.0)),
        reason="" if number else "behind the others",
    )


def run_comparison(tracker: Tracker, folder: Path) -> None:
    tracker.log_contract(CONTRACT)
    for number in range(2):
        tracker.trial_started(spec(number))
        for progress in reports(number):
            tracker.progress(spec(number), progress)
        tracker.trial_finished(result(number, folder), folder)


def stored(uri: str, comparison_id: str) -> dict[str, Any]:
    """Everything that the runs of a comparison hold, by run; two runs of one name would be a fault."""
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    wanted = f"tags.`{COMPARISON_ID}` = '{comparison_id}'"
    runs = client.search_runs([experiment.experiment_id], filter_string=wanted)
    names = {run.info.run_id: run.info.run_name.replace(comparison_id, "comparison") for run in runs}
    assert len(names) == len(set(names.values())), sorted(names.values())
    return {names[run.info.run_id]: _content(client, run, names, comparison_id) for run in runs}


def _content(client: Any, run: Any, names: dict[str, str], comparison_id: str) -> dict[str, Any]:
    tags = {name: value for name, value in run.data.tags.items() if not name.startswith("mlflow.source")}
    tags["mlflow.parentRunId"] = names.get(tags.get("mlflow.parentRunId", ""), "")
    metrics = [name for name in run.data.metrics if not name.startswith("system/")]
    return {
        "status": run.info.status,
        "params": run.data.params,
        "tags": {name: value.replace(comparison_id, "comparison") for name, value in tags.items()},
        "points": {
            name: sorted((p.step, p.value) for p in client.get_metric_history(run.info.run_id, name))
            for name in metrics
        },
        "artifacts": sorted(item.path for item in client.list_artifacts(run.info.run_id)),
    }


@pytest.fixture
def expected(open_tracker: Callable[..., Tracker], uri: str, tmp_path: Path) -> dict[str, Any]:
    tracker = open_tracker("steady")
    run_comparison(tracker, tmp_path / "trial")
    tracker.interrupted()
    held = stored(uri, "steady")
    assert held["sft-search-001"]["points"]["validation_accuracy"] == [
        (250, 1.25),
        (500, 1.5),
        (1000, 1.5),
        (1000, 2.0),
    ]
    return held


@slow
@pytest.mark.parametrize("seed", range(2))
def test_a_line_that_breaks_again_and_again_leaves_what_a_steady_one_leaves(
    open_tracker: Callable[..., Tracker], uri: str, tmp_path: Path, expected: dict[str, Any], seed: int
) -> None:
    tracker = open_tracker(f"unsteady-{seed}", random.Random(seed))
    run_comparison(tracker, tmp_path / "trial")
    tracker.interrupted()
    tracker._outbox._is_over.clear()
    assert tracker.catch_up(600.0)
    assert tracker._store._client.num_broken > 5  # type: ignore[attr-defined]
    assert stored(uri, f"unsteady-{seed}") == expected
    assert tracker.faults == ()


def test_what_an_outage_left_unwritten_is_written_by_the_next_session(
    open_tracker: Callable[..., Tracker], uri: str, tmp_path: Path, expected: dict[str, Any]
) -> None:
    tracker = open_tracker("outage")
    tracker._store._client.is_away = True  # type: ignore[attr-defined]
    run_comparison(tracker, tmp_path / "trial")
    tracker.interrupted()
    assert set(stored(uri, "outage")) == {"comparison", "sft"}
    assert tracker.faults and "record(s) wait in" in tracker.faults[0]

    again = Tracker(uri, default_artifact_root(uri), EXPERIMENT, "outage", tmp_path / "outage.jsonl")
    assert again.catch_up(600.0)
    assert stored(uri, "outage") == expected
    assert not (tmp_path / "outage.jsonl").exists()


def test_a_trial_that_goes_on_in_another_session_does_not_write_its_reports_twice(
    open_tracker: Callable[..., Tracker], uri: str, tmp_path: Path, expected: dict[str, Any]
) -> None:
    killed = open_tracker("killed")
    killed.log_contract(CONTRACT)
    killed.trial_started(spec(0))
    for progress in reports(0)[:2]:
        killed.progress(spec(0), progress)
    tracker = open_tracker("killed")  # the first has said nothing of its end
    run_comparison(tracker, tmp_path / "trial")
    tracker.interrupted()
    assert stored(uri, "killed") == expected
