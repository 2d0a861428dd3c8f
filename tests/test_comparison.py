"""One comparison from the command line to its report: real processes, Ray, Optuna and MLflow, a tiny random model.

One run that nobody disturbs serves most tests. Beside it a second one with the same seed is killed, continued,
interrupted and continued to its end; it must come out as the first.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from medalign.commands import compare
from medalign.tracking.folder import ComparisonFolder
from tests.sessions import ROOT, Session, answers_of, table_of
from tests.tiny_models import make_tiny

MEDMCQA = ROOT / "tests" / "data" / "fixtures" / "medmcqa"
NAME = "tiny"
SETTINGS = (
    *("--name", NAME, "--model", "model", "--data", f"embedded,medmcqa:{MEDMCQA}"),
    *("--train-size", "12", "--validation-size", "8", "--test-size", "18", "--trials", "2", "--seeds", "2"),
    *("--search-space", "sft=sft.yaml", "--search-space", "dpo=dpo.yaml"),
)
# One of the two settings of sft diverges. The others are so large that training moves even a random model.
SFT = """\
method: sft
space:
  learning_rate: {type: choice, values: [0.05, 1.0e+30]}
fixed: {batch_size: 2}
"""
DPO = """\
method: dpo
space:
  learning_rate: {type: float, low: 0.02, high: 0.08}
fixed: {batch_size: 4}
"""
METHODS = ("base", "sft", "icl", "dpo")
TRIAL_ENDED = r"\] \S+ (done|stopped early|failed)"
TRIAL_STARTS = r"\] \S+-\d{3} starts"


@dataclass(frozen=True)
class Ended:
    """A comparison and what its last session said."""

    out: str
    err: str
    code: int | None
    folder: ComparisonFolder

    def table(self) -> list[dict[str, str]]:
        return table_of(self.folder)

    def answers(self) -> dict[str, Any]:
        return answers_of(self.folder)


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    make_tiny(folder / "model", "llama", window=1024)
    (folder / "sft.yaml").write_text(SFT)
    (folder / "dpo.yaml").write_text(DPO)
    return folder


@pytest.fixture(scope="module")
def undisturbed(workplace: Path) -> Iterator[Session]:
    """The run that nobody disturbs, under way: a second one that goes on beside it must not disturb it either."""
    session = Session(workplace, "undisturbed", *SETTINGS, "--slots", "2")
    yield session
    session.end()


@pytest.fixture(scope="module")
def finished(undisturbed: Session) -> Ended:
    code = undisturbed.wait()
    return Ended(undisturbed.out, undisturbed.err, code, undisturbed.comparison)


class Store:
    """The runs of one comparison, read back through a client of their own."""

    def __init__(self, workplace: Path, comparison_id: str) -> None:
        from mlflow import MlflowClient

        self.client = MlflowClient(tracking_uri=f"sqlite:///{workplace}/mlruns/mlflow.db")
        self.experiments = {each.name for each in self.client.search_experiments()}
        experiment = self.client.get_experiment_by_name(NAME)
        assert experiment is not None
        wanted = f"tags.`medalign.comparison_id` = '{comparison_id}'"
        runs = self.client.search_runs([experiment.experiment_id], filter_string=wanted)
        names = [run.info.run_name for run in runs]
        assert len(names) == len(set(names)), f"a run stands there twice: {sorted(names)}"
        self.runs = dict(zip(names, runs, strict=True))
        self.parent = self.runs[comparison_id]

    def curve(self, name: str, metric: str) -> list[tuple[int, float]]:
        points = self.client.get_metric_history(self.runs[name].info.run_id, metric)
        return [(point.step, point.value) for point in sorted(points, key=lambda point: point.step)]

    def artifacts(self, name: str) -> set[str]:
        return set(self._below(self.runs[name].info.run_id, None))

    def _below(self, run_id: str, folder: str | None) -> Iterator[str]:
        for item in self.client.list_artifacts(run_id, folder):
            if item.is_dir:
                yield from self._below(run_id, item.path)
            else:
                yield item.path


# ------------------------------------------------------------------------------------ broken off and continued


@dataclass(frozen=True)
class BrokenOff:
    """A comparison that was killed, continued, interrupted, and continued to its end.

    Attributes:
        kept: By trial, when its result was written, as it was after the kill.
        parent_run_id: After the kill.
        interrupted: Exit code, standard output and standard error of the session that Ctrl-C ended.
        left: Processes of trials that outlived the killed driver, and all that outlived the interrupted one.
    """

    ended: Ended
    kept: dict[str, int]
    parent_run_id: str
    interrupted: tuple[int | None, str, str]
    left: tuple[list[str], list[str]]


def written(folder: ComparisonFolder) -> dict[str, int]:
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.path.glob("trials/*/result.json")}


def outliving(processes: list[Any]) -> list[str]:
    """Names of those that have not ended a while later; one that nobody has buried yet has ended."""
    import psutil

    _, alive = psutil.wait_procs(processes, timeout=15)
    return [process.name() for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def broken_off(workplace: Path, undisturbed: Session) -> BrokenOff:
    first = Session(workplace, "killed", *SETTINGS, "--slots", "1")
    assert first.wait_for(lambda: first.num_lines(TRIAL_ENDED)), first.out + first.err
    time.sleep(random.Random(11).uniform(0, 1.5))
    trials_of_first = first.processes("Slot")
    first.process.kill()
    first.wait()
    folder = first.comparison
    kept, parent = written(folder), Store(workplace, folder.id).parent

    second = Session(workplace, "interrupted", "--resume", folder.id)
    assert second.wait_for(lambda: second.num_lines(TRIAL_STARTS)), second.out + second.err
    of_second = second.processes()
    os.killpg(second.process.pid, signal.SIGINT)  # as a terminal does it: to every process of the group
    code = second.wait()
    left = (outliving(trials_of_first), outliving(of_second))
    return BrokenOff(
        ended=continued_here(workplace, folder),
        kept=kept,
        parent_run_id=parent.info.run_id,
        interrupted=(code, second.out, second.err),
        left=left,
    )


def continued_here(workplace: Path, folder: ComparisonFolder) -> Ended:
    """The same command in this process, which has loaded the libraries already."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(workplace), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = compare.main(["--resume", folder.id])
    return Ended(out.getvalue(), err.getvalue(), code, folder)


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(broken_off: BrokenOff) -> None:
    code, out, err = broken_off.interrupted
    assert code == 130
    assert f"go on with --resume {broken_off.ended.folder.id}" in out.splitlines()[-1]
    assert err == "medalign: interrupted\n"


def test_no_process_outlives_a_driver_that_was_killed_or_interrupted(broken_off: BrokenOff) -> None:
    assert broken_off.left == ([], [])


def test_a_continued_comparison_does_not_repeat_what_was_finished(broken_off: BrokenOff) -> None:
    now = written(broken_off.ended.folder)
    assert 0 < len(broken_off.kept) < len(now) == 13
    assert {trial_id: now[trial_id] for trial_id in broken_off.kept} == broken_off.kept
    for said in (broken_off.interrupted[1], broken_off.ended.out):
        assert f"going on with {broken_off.ended.folder.id}" in said
        assert not [trial_id for trial_id in broken_off.kept if f"{trial_id} starts" in said]


def test_a_continued_comparison_goes_on_in_the_same_runs_of_the_store(
    workplace: Path, finished: Ended, broken_off: BrokenOff
) -> None:
    store = Store(workplace, broken_off.ended.folder.id)
    assert store.parent.info.run_id == broken_off.parent_run_id
    undisturbed = Store(workplace, finished.folder.id)
    statuses = {name: run.info.status for name, run in store.runs.items() if run is not store.parent}
    assert statuses == {
        name: run.info.status for name, run in undisturbed.runs.items() if run is not undisturbed.parent
    }
    assert store.parent.info.status == "FINISHED"


def test_a_continued_comparison_comes_out_as_one_that_nobody_disturbed(
    finished: Ended, broken_off: BrokenOff
) -> None:
    assert broken_off.ended.code == 0 and "medalign:" not in broken_off.ended.err
    assert broken_off.ended.table() == finished.table()
    assert broken_off.ended.answers() == finished.answers()


def test_optuna_holds_each_trial_once_beside_those_that_were_cut_off(broken_off: BrokenOff) -> None:
    import optuna

    for method in ("sft", "icl", "dpo"):
        storage = f"sqlite:///{broken_off.ended.folder.path}/optuna.db"
        trials = optuna.load_study(study_name=method, storage=storage).trials
        counted = [t for t in trials if not t.user_attrs.get("reason", "").startswith("cut off")]
        assert sorted(trial.user_attrs["trial_id"] for trial in counted) == [
            f"{method}-search-000",
            f"{method}-search-001",
        ]
        assert all(trial.state.is_finished() for trial in trials)


# ------------------------------------------------------------------------------------ what a run leaves


def test_a_comparison_ends_with_table_verdict_and_report(finished: Ended) -> None:
    assert (finished.code, finished.err) == (0, "")
    results = json.loads((finished.folder.path / "results.json").read_text())
    assert {row["arm"] for row in results["arms"]} == set(METHODS)
    assert results["num_questions"] == 16
    ending = finished.out[finished.out.index("\narm ") :]
    for row in results["arms"]:
        assert re.search(rf"^{row['arm']} .*{100 * row['accuracy']:.1f}%", ending, re.MULTILINE)
    verdict = results["verdict"]
    assert f"\n{verdict[0].upper()}{verdict[1:]}.\n" in ending or f"\n{verdict}.\n" in ending
    assert f"report     results/{finished.folder.id}/report.html" in ending
    assert "mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db" in ending
    assert verdict[1:] in (finished.folder.path / "report.html").read_text()
    assert finished.folder.is_finished


def test_the_plan_is_said_before_the_first_trial(finished: Ended) -> None:
    plan = finished.out[: re.search(TRIAL_STARTS, finished.out).start()]  # type: ignore[union-attr]
    assert re.search(r"^questions +12 to learn from, 8 for validation, 18 for the test", plan, re.MULTILINE)
    assert re.search(r"^detectable +nothing", plan, re.MULTILINE)
    assert f"--resume {finished.folder.id}" in plan


def test_search_trials_answer_validation_only_and_refits_the_test(finished: Ended) -> None:
    answers = finished.answers()
    results = {result.spec.trial_id: result for result in finished.folder.results()}
    test = {prediction.question_id for prediction in answers["base-refit-000"]}
    assert len(test) == 18
    for trial_id, predictions in answers.items():
        asked = {prediction.question_id for prediction in predictions}
        assert asked == test if results[trial_id].spec.stage == "refit" else not asked & test
    assert Counter(result.spec.stage for result in results.values()) == {"search": 6, "refit": 7}


def test_sources_are_mixed_in_every_split(finished: Ended) -> None:
    card = json.loads((finished.folder.path / "results.json").read_text())["card"]
    for split, num_questions in {"train": 12, "validation": 8, "test": 18}.items():
        by_source = card["splits"][split]["source"]
        assert set(by_source) == {"embedded", "medmcqa"} or split == "validation"
        assert sum(by_source.values()) == num_questions


def test_training_moves_the_model_and_the_base_is_as_before_afterwards(finished: Ended) -> None:
    answers = finished.answers()
    said = {name: [p.option_logprobs for p in answers[f"{name}-refit-000"]] for name in METHODS}
    assert said["sft"] != said["base"] and said["dpo"] != said["base"] and said["icl"] != said["base"]
    # The base is asked last, in a process that has trained before.
    by_base = next(r for r in finished.folder.results() if r.spec.trial_id == "base-refit-000")
    curve = next(r for r in finished.folder.results() if r.spec.trial_id == "sft-refit-000").learning_curve
    assert by_base.status == "completed" and len(curve) == 6


def test_a_trial_that_fails_is_shown_and_the_comparison_goes_on(finished: Ended) -> None:
    failed = [result for result in finished.folder.results() if result.status == "failed"]
    assert [result.spec.setting["learning_rate"] for result in failed] == [1e30]
    assert failed[0].remedy == "lower learning_rate"
    trial_id = failed[0].spec.trial_id
    assert re.search(rf"\] {trial_id} failed: .*what may help: lower learning_rate", finished.out)
    report = (finished.folder.path / "report.html").read_text()
    assert trial_id in report and "lower learning_rate" in report
    sft = next(row for row in finished.table() if row["arm"] == "sft")
    assert json.loads(sft["best_setting"])["learning_rate"] == 0.05


def test_optuna_opens_every_search_with_its_trials_and_how_they_ended(finished: Ended) -> None:
    import optuna

    state_of = {"completed": "COMPLETE", "stopped": "PRUNED", "failed": "FAIL"}
    results = finished.folder.results()
    for method in ("sft", "icl", "dpo"):
        study = optuna.load_study(study_name=method, storage=f"sqlite:///{finished.folder.path}/optuna.db")
        held = {trial.user_attrs["trial_id"]: trial for trial in study.trials}
        ended = {r.spec.trial_id: r for r in results if r.spec.method == method and r.spec.stage == "search"}
        assert len(study.trials) == 2 and held.keys() == ended.keys()
        for trial_id, result in ended.items():
            assert held[trial_id].state.name == state_of[result.status]
            assert held[trial_id].params.items() <= dict(result.spec.setting).items()
            assert held[trial_id].value == result.score


# ------------------------------------------------------------------------------------ what the store holds


@pytest.fixture(scope="module")
def store(workplace: Path, finished: Ended) -> Store:
    return Store(workplace, finished.folder.id)


def test_store_nests_trials_and_refits_in_methods_in_the_comparison(store: Store, finished: Ended) -> None:
    assert store.experiments == {"Default", NAME}
    trials = {result.spec.trial_id: result for result in finished.folder.results()}
    assert store.runs.keys() == {finished.folder.id, *METHODS, *trials}
    parent_of = {name: run.data.tags.get("mlflow.parentRunId") for name, run in store.runs.items()}
    assert parent_of.pop(finished.folder.id) is None
    id_of = {name: run.info.run_id for name, run in store.runs.items()}
    assert {parent_of.pop(method) for method in METHODS} == {store.parent.info.run_id}
    assert parent_of == {trial_id: id_of[result.spec.method] for trial_id, result in trials.items()}


def test_store_holds_settings_statuses_and_costs_of_every_trial(store: Store, finished: Ended) -> None:
    status_of = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    for result in finished.folder.results():
        run = store.runs[result.spec.trial_id]
        expected = {**result.spec.setting, "seed": result.spec.seed}
        assert run.data.params == {name: str(value) for name, value in expected.items()}
        assert run.info.status == status_of[result.status]
        metrics = run.data.metrics
        assert (
            metrics["wall_seconds"] == pytest.approx(result.cost.wall_seconds) and metrics["wall_seconds"] > 0
        )
        if result.status == "completed":
            assert metrics["peak_gib"] > 0 and metrics["tokens_scored"] > 0
            assert (metrics["tokens_trained"] > 0) == (result.spec.method in ("sft", "dpo"))
    params = store.parent.data.params
    assert (params["trials"], params["seeds"], params["data.train_size"]) == ("2", "2", "12")
    assert store.parent.data.tags["medalign.command"].startswith("python -m medalign.compare --name tiny")


def test_store_draws_the_curves_of_training_and_validation(store: Store, finished: Ended) -> None:
    for result in finished.folder.results():
        name = result.spec.trial_id
        losses = [(round(1000 * share), loss) for share, loss in result.learning_curve]
        assert store.curve(name, "train_loss") == [(step, pytest.approx(loss)) for step, loss in losses]
        if result.status == "completed" and result.spec.method in ("sft", "dpo"):
            num_steps = {"sft": 6, "dpo": 3}[result.spec.method]
            assert len(losses) == num_steps and losses[-1][0] == 1000
            if result.spec.stage == "search":
                steps = [step for step, _ in store.curve(name, "validation_accuracy")]
                assert 0 < min(steps) < 1000 == max(steps)


def test_store_keeps_predictions_adapters_contract_and_report(store: Store, finished: Ended) -> None:
    for result in finished.folder.results():
        kept, spec = store.artifacts(result.spec.trial_id), result.spec
        assert ("predictions.parquet" in kept) == (result.status == "completed")
        has_adapter = spec.stage == "refit" and spec.method in ("sft", "dpo")
        assert ("adapter/adapter_model.safetensors" in kept) == has_adapter
        assert ("adapter/adapter_config.json" in kept) == has_adapter
    kept = store.artifacts(finished.folder.id)
    assert {"contract.json", "report.html", "results.csv", "plots/accuracy.png"} <= kept


def test_store_has_the_answer_on_the_runs_of_the_methods(store: Store, finished: Ended) -> None:
    rows = {row["arm"]: row for row in finished.table()}
    for method in METHODS:
        run = store.runs[method]
        assert run.info.status == "FINISHED"
        assert run.data.metrics["test_accuracy"] == pytest.approx(float(rows[method]["accuracy"]))
        assert run.data.metrics["num_questions"] == 16
        best = {
            f"best_{name}": str(value) for name, value in json.loads(rows[method]["best_setting"]).items()
        }
        assert run.data.params == best
    assert "p_corrected" in store.runs["sft"].data.metrics
    assert store.parent.info.status == "FINISHED"
    assert store.parent.data.metrics["sft/test_accuracy"] == pytest.approx(float(rows["sft"]["accuracy"]))
    assert {item.dataset.name for item in store.parent.inputs.dataset_inputs} == {
        f"{split} questions" for split in ("train", "validation", "test")
    }


# ------------------------------------------------------------------------------------ continued in this process


@pytest.fixture
def copy(
    workplace: Path, finished: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ComparisonFolder:
    """The finished comparison as if it had been killed before it was marked as finished."""
    monkeypatch.chdir(workplace)
    folder = ComparisonFolder(tmp_path / finished.folder.id)
    shutil.copytree(finished.folder.path, folder.path)
    (folder.path / "state.json").write_text(json.dumps({**folder.state, "status": "running"}))
    return folder


def test_a_comparison_killed_at_its_last_step_is_concluded_without_a_trial(
    workplace: Path, copy: ComparisonFolder, finished: Ended, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compare.main(["--results", str(copy.path.parent), "--resume"]) == 0
    printed = capfd.readouterr()
    assert " starts" not in printed.out and "\narm " in printed.out
    assert Ended(printed.out, printed.err, 0, copy).table() == finished.table()
    assert Store(workplace, copy.id).runs.keys() == {copy.id, *METHODS, *written(copy)}
    assert copy.is_finished


def test_a_changed_contract_is_refused_with_one_line_that_names_the_change(
    copy: ComparisonFolder, capfd: pytest.CaptureFixture[str]
) -> None:
    contract = dict(copy.contract or {})
    contract["scoring"] = {**contract["scoring"], "rule": "raw"}
    copy.write_contract(contract)
    assert compare.main(["--results", str(copy.path.parent), "--resume", copy.id]) == 1
    assert capfd.readouterr().err.splitlines() == [
        "medalign: this comparison was begun under another contract (scoring.rule: raw, now normalised); "
        "put that back, or start a new comparison"
    ]


def test_a_finished_comparison_is_not_continued_but_shown(
    workplace: Path, finished: Ended, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(workplace)
    assert compare.main(["--resume", finished.folder.id]) == 2
    assert capfd.readouterr().err == (
        f"medalign: resume: '{finished.folder.id}' is finished; "
        f"its report is results/{finished.folder.id}/report.html\n"
    )


def test_the_report_is_built_again_from_a_copy_of_the_folder_alone(
    finished: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from medalign.commands import report

    moved = Path(shutil.copytree(finished.folder.path, tmp_path / "moved"))
    for file in (*moved.glob("*.csv"), moved / "report.html"):
        file.unlink()
    monkeypatch.chdir(tmp_path)
    assert report.main(["moved"]) == 0
    assert Ended("", "", 0, ComparisonFolder(moved)).table() == finished.table()
    assert "\narm " in "\n" + capfd.readouterr().out and (moved / "report.html").is_file()
