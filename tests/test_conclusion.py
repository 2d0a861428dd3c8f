"""A report out of a comparison's folder alone: the command, and what it does when something is missing."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medalign.commands import report
from medalign.conclusion import conclude, report_data
from medalign.errors import MedalignError, StorageError
from medalign.reporting.stored import read_surroundings
from medalign.tracking.folder import ComparisonFolder
from tests.reporting import samples


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.make_folder(tmp_path_factory.mktemp("results") / "made-1").path


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "made-1"))


def test_the_command_builds_report_and_tables_from_the_folder_alone(
    copy: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(copy)  # where no search space and no experiment file is found
    assert report.main([str(copy)]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "\nreport     report.html\n" in printed.out
    with open(copy / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["arm"] for row in rows] == ["base", "icl", "sft", "dpo"]
    assert samples.HOSTILE_TEXT.split("<")[0] in (copy / "report.html").read_text()


def test_building_again_gives_the_same_tables(copy: Path) -> None:
    conclude(ComparisonFolder.at(copy))
    first = {file.name: file.read_bytes() for file in copy.glob("*.csv")}
    conclude(ComparisonFolder.at(copy))
    assert first and {file.name: file.read_bytes() for file in copy.glob("*.csv")} == first


def test_no_model_library_is_loaded(copy: Path) -> None:
    script = (
        "import sys\nfrom medalign.commands import report\n"
        f"assert report.main([{str(copy)!r}]) == 0\n"
        "print('loaded:', *{'torch', 'transformers', 'ray', 'mlflow', 'trl', 'peft', 'datasets'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_arms_are_what_the_trials_say(made: Path) -> None:
    conclusion = conclude(ComparisonFolder.at(made))
    sft = next(arm for arm in conclusion.arms if arm.arm == "sft")
    assert sft.seeds == (0, 1) and len(sft.predictions) == 2
    assert (sft.num_trials, sft.num_stopped, sft.num_failed) == (3, 1, 0)
    assert sft.validation_score == pytest.approx(0.75)  # of the search trial with the setting of the refits
    dpo = next(arm for arm in conclusion.arms if arm.arm == "dpo")
    assert (dpo.num_trials, dpo.num_failed) == (4, 1)


def test_questions_and_settings_come_back_as_they_were(made: Path) -> None:
    data = report_data(ComparisonFolder.at(made))
    assert list(data.questions.values()) == samples.make_questions()
    assert data.method_names == ("base", "icl", "sft", "dpo") and data.majority_baseline == 0.38


def test_a_folder_of_comparisons_is_answered_with_one_of_them(
    made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([str(made.parent)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "is no folder of a comparison; name one of those in it" in error


def test_a_missing_folder_is_one_clear_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main([str(tmp_path / "none")]) == 2
    assert "is no folder of a comparison; check the path" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("report_data.json", None, "holds no report_data.json"),
        ("report_data.json", "{", "cannot be read"),
        ("report_data.json", json.dumps({"format": 99}), "is of format 99, this medalign reads 1"),
        ("test_questions.jsonl", "{}\n", "cannot be read"),
    ],
)
def test_a_broken_folder_says_what_is_wrong(copy: Path, name: str, content: str | None, message: str) -> None:
    if content is None:
        (copy / name).unlink()
    else:
        (copy / name).write_text(content)
    with pytest.raises(StorageError, match=message):
        read_surroundings(copy)


def test_one_arm_alone_is_no_comparison(copy: Path) -> None:
    for name in ("icl", "sft", "dpo"):
        for folder in (copy / "trials").glob(f"{name}-refit-*"):
            shutil.rmtree(folder)
    with pytest.raises(
        MedalignError, match=r"needs two arms that answered the test questions \(there: base\)"
    ):
        conclude(ComparisonFolder.at(copy))
