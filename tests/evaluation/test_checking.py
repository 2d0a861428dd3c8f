"""Predictions that must not be compared."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from medalign.errors import DataError
from medalign.evaluation.checking import check_arms, check_predictions
from medalign.evaluation.predictions import read_parquet, write_parquet
from medalign.records import Prediction
from tests.evaluation.samples import arm, choice, say, take, written

TWO = [take(choice("a"), 0), take(choice("b"), 1)]


def test_good_predictions_pass() -> None:
    check_predictions([*TWO, say(written("c"), "iron")], "here")
    check_arms([arm("base", TWO), arm("sft", TWO, list(reversed(TWO)))])


def test_fewer_than_two_questions_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"here: 1 question\(s\) answered; nothing can be said of fewer than 2"
    ):
        check_predictions(TWO[:1], "here")
    with pytest.raises(DataError, match=r"arm 'sft', seed 7: 0 question\(s\) answered"):
        check_arms([arm("sft", [], seeds=[7])])


def test_two_records_for_one_question_are_refused_by_name() -> None:
    with pytest.raises(DataError, match="here: question 'a' answered more than once; keep one"):
        check_predictions([*TWO, TWO[0]], "here")
    many = [take(choice(str(index)), 0) for index in range(5)]
    with pytest.raises(DataError, match="questions '0', '1', '2' and 2 more answered more than once"):
        check_predictions(many * 2, "here")


def test_scores_that_are_no_numbers_are_refused_by_name_even_from_a_file(tmp_path: Path) -> None:
    nan = float("nan")
    broken = dataclasses.replace(TWO[1], option_logprobs=(nan, -1.0, -1.0, -1.0))
    write_parquet(tmp_path / "p.parquet", [TWO[0], broken])
    with pytest.raises(DataError, match="here: question 'b': a score is nan; the model diverged"):
        check_predictions(read_parquet(tmp_path / "p.parquet"), "here")
    text = dataclasses.replace(say(written("c"), "iron"), token_f1=nan)
    with pytest.raises(DataError, match="question 'c': a score is nan"):
        check_predictions([*TWO, text], "here")


@pytest.mark.parametrize(("name", "value"), [("chosen", 4), ("answer_index", None), ("chosen_raw", -1)])
def test_positions_without_an_option_are_refused(name: str, value: int | None) -> None:
    broken = dataclasses.replace(TWO[1], **{name: value})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=f"question 'b': {name} is {value}, but there are 4 options"):
        check_predictions([TWO[0], broken], "here")


def other_answer(prediction: Prediction) -> Prediction:
    return dataclasses.replace(prediction, answer="zinc", answer_index=1)


def test_arms_on_other_questions_are_refused_by_name() -> None:
    third = take(choice("c"), 0)
    with pytest.raises(
        DataError, match="arm 'sft', seed 1: question 'b' not answered but by arm 'base', seed 0"
    ):
        check_arms([arm("base", TWO), arm("sft", TWO, [TWO[0], third])])
    with pytest.raises(
        DataError, match="arm 'base', seed 0: question 'c' not answered but by arm 'sft', seed 0"
    ):
        check_arms([arm("base", TWO), arm("sft", [*TWO, third])])
    with pytest.raises(DataError, match="arm 'sft', seed 0: question 'b' has another right answer or kind"):
        check_arms([arm("base", TWO), arm("sft", [TWO[0], other_answer(TWO[1])])])


def test_arms_without_seeds_or_with_one_name_are_refused() -> None:
    with pytest.raises(DataError, match=r"arm 'sft': 0 seed\(s\) and predictions of 0; every arm needs"):
        check_arms([arm("base", TWO), arm("sft")])
    with pytest.raises(DataError, match=r"arm 'sft': 2 seed\(s\) and predictions of 1"):
        check_arms([arm("sft", TWO, seeds=[1, 2])])
    with pytest.raises(DataError, match=r"a name occurs twice \(sft, sft\)"):
        check_arms([arm("sft", TWO), arm("sft", TWO)])
    with pytest.raises(DataError, match="arms: none is given"):
        check_arms([])
