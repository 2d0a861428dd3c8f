"""Predictions from what a model gave, and their way through a file."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from medalign.errors import StorageError
from medalign.evaluation.predictions import build_prediction, read_parquet, to_frame, write_parquet
from medalign.records import Prediction, Question

CHOICE = Question(
    id="made-1",
    source="made",
    kind="choice",
    text="Which?",
    answer="metoprolol",
    options=("iron", "metoprolol", "zinc", "salbutamol"),
    specialty="cardiology",
    group="fact-7",
)
WRITTEN = Question(id="made-2", source="made", kind="free_text", text="Which?", answer="oral iron")
LOGPROBS = (-1.0, -2.2, -3.0, -4.0)  # the first is likeliest, the second likeliest per character


def some_predictions() -> list[Prediction]:
    return [
        build_prediction(CHOICE, option_logprobs=LOGPROBS, scoring="raw"),
        build_prediction(CHOICE, option_logprobs=[-0.1, -1e-17, -1 / 3, -1e300], scoring="normalised"),
        build_prediction(WRITTEN, text="iron,\nby mouth \u00b5g", scoring="raw"),
        build_prediction(WRITTEN, text="", scoring="raw", demonstrated=["zinc", "by mouth"]),
    ]


def test_a_choice_keeps_both_picks_and_is_right_by_the_scoring_rule() -> None:
    raw = build_prediction(CHOICE, option_logprobs=LOGPROBS, scoring="raw")
    normalised = build_prediction(CHOICE, option_logprobs=LOGPROBS, scoring="normalised")
    assert (
        (raw.chosen_raw, raw.chosen_normalised)
        == (normalised.chosen_raw, normalised.chosen_normalised)
        == (0, 1)
    )
    assert raw.correct is False
    assert normalised.correct is True
    assert (raw.chosen, raw.said) == (0, CHOICE.options[0])
    assert (normalised.chosen, normalised.said) == (1, CHOICE.options[1])
    assert raw.option_logprobs == LOGPROBS
    assert raw.option_chars == (4, 10, 4, 10)
    assert (raw.answer_index, raw.group, raw.specialty) == (1, "fact-7", "cardiology")
    assert raw.token_f1 is None and raw.exact_match is None


def test_a_written_answer_is_compared_with_the_reference() -> None:
    found = build_prediction(WRITTEN, text="Iron.", scoring="raw")
    assert (found.said, found.token_f1, found.exact_match) == ("Iron.", pytest.approx(2 / 3), False)
    assert found.correct is None and found.chosen_raw is None and found.option_logprobs == ()


def test_an_alias_is_as_right_as_the_answer() -> None:
    question = dataclasses.replace(WRITTEN, aliases=("ferrous sulfate", "iron tablets by mouth"))
    found = build_prediction(question, text="Ferrous sulfate", scoring="raw")
    assert (found.token_f1, found.exact_match) == (1, True)
    assert build_prediction(question, text="iron by mouth", scoring="raw").token_f1 == pytest.approx(6 / 7)


def test_files_of_the_first_version_have_no_demonstrations(tmp_path: Path) -> None:
    from pyarrow import parquet

    write_parquet(tmp_path / "p.parquet", some_predictions())
    table = parquet.read_table(tmp_path / "p.parquet").drop_columns(["demonstrated"])
    parquet.write_table(table, tmp_path / "old.parquet")
    assert read_parquet(tmp_path / "old.parquet") == tuple(
        dataclasses.replace(prediction, demonstrated=()) for prediction in some_predictions()
    )


@pytest.mark.parametrize("logprobs", [None, [], [-1.0, -2.0], [-1.0] * 5])
def test_log_probabilities_must_be_one_for_each_option(logprobs: list[float] | None) -> None:
    with pytest.raises(ValueError, match=r"question made-1: 4 options but \d log-probabilities"):
        build_prediction(CHOICE, option_logprobs=logprobs, scoring="raw")


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), float("inf")])
def test_a_log_probability_that_is_not_finite_is_refused(logprob: float) -> None:
    with pytest.raises(ValueError, match="question made-1: a log-probability is not finite"):
        build_prediction(CHOICE, option_logprobs=[-1.0, logprob, -1.0, -1.0], scoring="raw")


def test_what_cannot_be_scored_is_refused() -> None:
    with pytest.raises(ValueError, match="question made-2: a free-text question needs the text"):
        build_prediction(WRITTEN, scoring="raw")
    with pytest.raises(ValueError, match="scoring must be 'raw' or 'normalised', got 'acc'"):
        build_prediction(CHOICE, option_logprobs=LOGPROBS, scoring="acc")  # type: ignore[arg-type]


def test_predictions_come_back_from_parquet_equal_in_every_field(tmp_path: Path) -> None:
    predictions = some_predictions()
    write_parquet(tmp_path / "p.parquet", predictions)
    found = read_parquet(tmp_path / "p.parquet")
    assert found == tuple(predictions)
    assert [repr(prediction) for prediction in found] == [repr(prediction) for prediction in predictions]


def test_no_predictions_come_back_as_none_at_all(tmp_path: Path) -> None:
    write_parquet(tmp_path / "p.parquet", [])
    assert read_parquet(tmp_path / "p.parquet") == ()


def test_predictions_of_one_kind_alone_come_back(tmp_path: Path) -> None:
    for prediction in some_predictions():
        write_parquet(tmp_path / "p.parquet", [prediction])
        assert read_parquet(tmp_path / "p.parquet") == (prediction,)


def test_a_write_that_is_broken_off_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.parquet"
    write_parquet(path, some_predictions())

    def fail(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StorageError, match=r"p.parquet: predictions cannot be written \(no space left\)"):
        write_parquet(path, [])
    assert read_parquet(path) == tuple(some_predictions())
    assert [file.name for file in tmp_path.iterdir()] == ["p.parquet"]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"gone/p.parquet: predictions cannot be written"):
        write_parquet(tmp_path / "gone" / "p.parquet", [])


def test_files_that_hold_no_predictions_are_named(tmp_path: Path) -> None:
    import pandas as pd

    with pytest.raises(StorageError, match=r"p.parquet: no predictions can be read"):
        read_parquet(tmp_path / "p.parquet")
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(StorageError, match=r"text.parquet: no predictions can be read"):
        read_parquet(tmp_path / "text.parquet")
    pd.DataFrame({"other": [1]}).to_parquet(tmp_path / "other.parquet")
    with pytest.raises(StorageError, match=r"other.parquet: no predictions can be read"):
        read_parquet(tmp_path / "other.parquet")


def test_a_frame_has_a_row_a_prediction_and_keeps_what_is_undefined_undefined() -> None:
    frame = to_frame(some_predictions())
    assert len(frame) == 4
    assert frame.loc[0, "option_logprobs"] == LOGPROBS
    assert frame["correct"].tolist() == [False, True, None, None]
    assert frame["answer_index"].tolist() == [1, 1, None, None]
    assert to_frame([]).columns.tolist() == frame.columns.tolist()
