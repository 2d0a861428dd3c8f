from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medalign.config.experiment import Experiment
from medalign.config.locations import find_file
from medalign.errors import StorageError
from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.tracking.folder import ComparisonFolder

RESULT = TrialResult(
    spec=TrialSpec(
        trial_id="sft-search-001", method="sft", stage="search", setting={"lora_rank": 8}, number=1
    ),
    status="completed",
    score=0.5,
    metrics={"accuracy": 0.5},
    cost=Cost(wall_seconds=1.5, tokens_trained=7),
    history=(Progress(budget_share=0.5, score=0.25, cost=Cost(tokens_trained=3)),),
    learning_curve=((0.5, 2.0), (1.0, 1.0)),
)


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(name="made", trials=3, results_folder=str(tmp_path / "results"))


def begun(experiment: Experiment, at: str, *, finished: bool = False) -> ComparisonFolder:
    """A comparison that was begun at a time, whatever its name says."""
    folder = ComparisonFolder.create(experiment, "make it")
    state = {**folder.state, "begun": at, "status": "finished" if finished else "running"}
    (folder.path / "state.json").write_text(json.dumps(state))
    return folder


def test_a_new_folder_holds_its_experiment_and_how_it_was_begun(experiment: Experiment) -> None:
    folder = ComparisonFolder.create(experiment, "python -m medalign.compare")
    assert folder.path.parent == Path(experiment.results_folder)
    assert folder.id.startswith("made-")
    assert folder.experiment == experiment
    assert folder.state["command"] == "python -m medalign.compare"
    assert (folder.contract, folder.results(), folder.is_finished) == (None, [], False)


def test_search_spaces_stay_as_they_were_begun_with(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun_with = (find_file("search_spaces", "sft") or Path()).read_text()
    (tmp_path / "mine.yaml").write_text(begun_with)
    monkeypatch.chdir(tmp_path)
    given = experiment.model_copy(update={"methods": ("mine",), "search_spaces": {"mine": "mine.yaml"}})
    folder = ComparisonFolder.create(given, "make it")
    (tmp_path / "mine.yaml").write_text("changed: since then")
    monkeypatch.chdir("/")
    assert folder.experiment == given
    assert folder.search_spaces["mine"].read_text() == begun_with


def test_two_comparisons_begun_at_once_get_folders_of_their_own(experiment: Experiment) -> None:
    folders = {ComparisonFolder.create(experiment, "").path for _ in range(5)}
    assert len(folders) == 5


def test_a_result_and_a_contract_come_back_as_they_were_written(experiment: Experiment) -> None:
    folder = ComparisonFolder.create(experiment, "")
    folder.write_result(RESULT)
    folder.write_contract({"base": {"model": "m"}, "scoring": "raw"})
    again = ComparisonFolder(folder.path)
    assert again.results() == [RESULT]
    assert again.contract == {"base": {"model": "m"}, "scoring": "raw"}


def test_results_come_in_the_order_in_which_they_ended(experiment: Experiment) -> None:
    folder = ComparisonFolder.create(experiment, "")
    for place, name in enumerate(("z", "a", "m")):
        spec = TrialSpec(trial_id=name, method="sft", stage="search", number=place)
        folder.write_result(TrialResult(spec=spec, status="failed", reason="made"))
        os.utime(folder.trial_folder(name) / "result.json", ns=(place, place))
    assert [result.spec.trial_id for result in folder.results()] == ["z", "a", "m"]


def test_a_trial_that_was_cut_off_before_its_result_has_none(experiment: Experiment) -> None:
    folder = ComparisonFolder.create(experiment, "")
    folder.trial_folder("sft-search-000").mkdir()
    (folder.trial_folder("sft-search-000") / "predictions.parquet").write_bytes(b"x")
    assert folder.results() == []


def test_a_write_that_is_cut_off_leaves_the_file_as_it_was(
    experiment: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = ComparisonFolder.create(experiment, "")
    folder.write_contract({"scoring": "raw"})
    before = sorted(folder.path.iterdir())

    def cut_off(*paths: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "replace", cut_off)
    with pytest.raises(OSError, match="the disk is full"):
        folder.write_contract({"scoring": "normalised"})
    with pytest.raises(OSError, match="the disk is full"):
        folder.mark_finished()
    assert folder.contract == {"scoring": "raw"} and not folder.is_finished
    assert sorted(folder.path.iterdir()) == before


def test_newest_is_the_one_begun_last_among_the_unfinished(experiment: Experiment) -> None:
    results = Path(experiment.results_folder)
    begun(experiment, "2026-01-01T10:00:00+00:00")
    wanted = begun(experiment.model_copy(update={"name": "a"}), "2026-01-02T10:00:00+00:00")
    begun(experiment, "2026-01-03T10:00:00+00:00", finished=True)
    assert ComparisonFolder.find(results, "newest").path == wanted.path
    wanted.mark_finished()
    assert wanted.is_finished and wanted.state["command"] == "make it"
    assert ComparisonFolder.find(results, "newest").state["begun"] == "2026-01-01T10:00:00+00:00"


def test_a_comparison_is_found_by_its_id(experiment: Experiment) -> None:
    begun(experiment, "2026-01-02T10:00:00+00:00")
    wanted = begun(experiment, "2026-01-01T10:00:00+00:00")
    assert ComparisonFolder.find(Path(experiment.results_folder), wanted.id).path == wanted.path


def test_an_unknown_id_is_answered_with_the_newest_there_are(experiment: Experiment) -> None:
    folders = [begun(experiment, f"2026-01-0{day}T10:00:00+00:00") for day in (4, 1, 3, 2)]
    newest = f"{folders[3].id}, {folders[2].id}, {folders[0].id}"
    with pytest.raises(StorageError, match=rf"^resume: no comparison 'x' in .*; the newest there: {newest}$"):
        ComparisonFolder.find(Path(experiment.results_folder), "x")


def test_a_finished_comparison_is_answered_with_its_report(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = begun(experiment, "2026-01-01T10:00:00+00:00", finished=True)
    monkeypatch.chdir(tmp_path)
    message = f"^resume: '{folder.id}' is finished; its report is results/{folder.id}/report.html$"
    with pytest.raises(StorageError, match=message):
        ComparisonFolder.find(Path("results"), folder.id)
    with pytest.raises(StorageError, match=r"^resume: no unfinished comparison in results"):
        ComparisonFolder.find(Path("results"), "newest")


def test_results_folder_below_a_file_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    experiment = Experiment(name="made", results_folder=str(tmp_path / "file" / "results"))
    message = (
        r"^results_folder: .*/file/results cannot be written \(Not a directory\); name another .* --results$"
    )
    with pytest.raises(StorageError, match=message):
        ComparisonFolder.create(experiment, "")


def test_a_file_that_somebody_broke_is_named(experiment: Experiment) -> None:
    folder = ComparisonFolder.create(experiment, "")
    folder.write_result(RESULT)
    file = folder.trial_folder(RESULT.spec.trial_id) / "result.json"
    file.write_text(file.read_text()[:50])
    with pytest.raises(
        StorageError, match=f"^{file}: cannot be read .*; restore it or start a new comparison$"
    ):
        folder.results()


HOLDER = """
import sys, time
from pathlib import Path
from medalign.tracking.folder import ComparisonFolder
with ComparisonFolder(Path(sys.argv[1])).held():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_told_who_the_first_is_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    first = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path.cwd()
    )
    try:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with (
            pytest.raises(StorageError, match=rf"is being run by process {first.pid} on \S+; wait for it"),
            folder.held(),
        ):
            pass
    finally:
        first.kill()
        first.wait()
    with folder.held():
        pass
