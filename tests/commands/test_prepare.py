from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from medalign.commands import compare, prepare
from medalign.commands.exit_codes import BAD_INPUT, OK
from medalign.data import store
from medalign.data.store import read_prepared
from medalign.records import Question
from tests.data.test_sampled_pairs import own_questions
from tests.markers import slow
from tests.tiny_models import make_tiny

MEDMCQA = Path(__file__).parents[1] / "data" / "fixtures" / "medmcqa"
SIZES = ("--train-size", "20", "--validation-size", "6", "--test-size", "12")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIGN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_tiny(tmp_path_factory.mktemp("models") / "llama", "llama", window=1024))


def test_prepare_writes_questions_and_card_and_compare_finds_them_again(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "set"
    arguments = ["--data", "embedded", "--data", f"medmcqa:{MEDMCQA}", *SIZES, "--model", model]
    assert prepare.main([*arguments, "--out", str(out)]) == OK
    printed = capsys.readouterr().out
    assert "train      20 questions out of" in printed and "leaks      0 between the splits" in printed
    card = json.loads((out / "card.json").read_text())
    assert card["fingerprint"] == read_prepared(out).fingerprint
    assert (out / "card.html").read_text().startswith("<!doctype html>")
    monkeypatch.setattr(
        "medalign.data.preparation.prepare_data", None
    )  # what is in the cache is not made again
    assert compare.main([*arguments, "--dry-run"]) == OK
    assert "20 to learn from, 6 for validation, 12 for the test" in capsys.readouterr().out


@slow
def test_the_model_writes_wrong_answers_of_its_own_where_there_are_none(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "questions.json").write_text(json.dumps(own_questions(40)))
    arguments = ["--data", "embedded", "--data", f"plain:{own}", *SIZES, "--model", model]
    assert prepare.main([*arguments, "--out", str(tmp_path / "set")]) == OK
    assert "writing 4 answer(s) to each of" in capsys.readouterr().out
    card = json.loads((tmp_path / "set" / "card.json").read_text())
    counts = card["sampled_answers"]
    given = ("pairs", "all_answers_good", "none_of_like_length", "reference_too_long")
    assert counts["questions"] == sum(counts[name] for name in given) > 0
    assert counts["cost"]["tokens_generated"] > 0
    assert "answer(s) at temperature 0.7" in (tmp_path / "set" / "card.html").read_text()
    monkeypatch.setattr(
        "medalign.scheduling.slot_task.run_in_slot", None
    )  # what is there is not written again
    assert prepare.main([*arguments, "--out", str(tmp_path / "again")]) == OK
    assert json.loads((tmp_path / "again" / "card.json").read_text()) == card


def test_compare_takes_a_prepared_folder_and_refuses_one_with_a_planted_leak(
    tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    assert prepare.main([*SIZES, "--model", model, "--out", str(out)]) == OK
    taken = ["--prepared", str(out), "--model", model, "--dry-run"]
    assert compare.main(taken) == OK
    data = read_prepared(out)
    leaked = data.test[1]
    planted = dataclasses.replace(leaked, id=data.train[0].id, group="planted", text=f"Now: {leaked.text}")
    store._write((planted, *data.train[1:]), out / "train.parquet", Question)
    capsys.readouterr()
    assert compare.main(taken) == BAD_INPUT
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{leaked.id} (test) and {planted.id} (train) are nearly the same" in line


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--train-size", "all"], "--train-size: 'all'; give shares too, or write a number"),
        (["--leaks", "keep"], "--leaks: 'keep'; use one of drop, refuse"),
        (["--data", "medmqa"], "data: no source named 'medmqa'; did you mean medmcqa"),
        (["--config", "absent"], "experiment: 'absent' is not a file and not in experiments/"),
        (["--data", "medmcqa:/absent"], "data: no file or folder '/absent'; give an existing one"),
        (["--prepard", "x"], "--prepard: not an option"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], line: str, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main([*arguments, "--model", model, "--out", str(tmp_path / "set")]) == BAD_INPUT
    error = capsys.readouterr().err
    assert error.startswith(f"medalign: {line}") and error.count("\n") == 1
    assert not (tmp_path / "set").exists()


@slow
def test_the_splits_and_the_card_are_tracked_when_asked(tmp_path: Path, model: str) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path / 'store.db'}"
    arguments = [*SIZES, "--model", model, "--out", str(tmp_path / "set"), "--track", "--tracking-uri", uri]
    assert prepare.main(arguments) == OK
    client = mlflow.MlflowClient(tracking_uri=uri)
    (experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
    (run,) = client.search_runs([experiment.experiment_id])
    assert {each.dataset.name for each in run.inputs.dataset_inputs} == {
        "train questions",
        "validation questions",
        "test questions",
    }
    assert {file.path for file in client.list_artifacts(run.info.run_id)} >= {"card.html", "card.json"}
    assert run.info.status == "FINISHED"
