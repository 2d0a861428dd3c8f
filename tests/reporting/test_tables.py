from __future__ import annotations

import csv
import io
import json
import math

import pytest

from medalign.reporting import rows, tables
from medalign.stats.comparison import compare_arms
from tests.reporting import samples


@pytest.fixture(scope="module")
def arm_rows() -> list[rows.Row]:
    arms = samples.make_arms(samples.make_questions())
    summary = compare_arms(arms, score=lambda predictions: {"macro_f1": 0.4123}, num_resamples=200)
    return rows.arm_rows(summary, arms)


def test_csv_reads_back_as_the_same_numbers(arm_rows):
    read = list(csv.DictReader(io.StringIO(tables.to_csv(arm_rows))))
    assert len(read) == len(arm_rows)
    for found, row in zip(read, arm_rows, strict=True):
        assert list(found) == list(row)
        for name, value in row.items():
            assert found[name] == ("" if value is None else str(value))
            if isinstance(value, float):
                assert float(found[name]) == value


def test_csv_of_nothing_is_empty():
    assert tables.to_csv([]) == ""


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t"])
def test_foreign_text_cannot_become_a_formula_in_a_spreadsheet(start):
    text = tables.to_csv([{"question": f"{start}1+1", "number": -1}], text_columns=["question"])
    (row,) = csv.DictReader(io.StringIO(text))
    assert row == {"question": f"'{start}1+1", "number": "-1"}


def test_json_has_null_for_what_is_not_a_number(arm_rows):
    read = json.loads(tables.to_json({"arms": arm_rows, "odd": [math.nan, math.inf, 1.5]}))
    assert read["odd"] == [None, None, 1.5]
    assert read["arms"] == json.loads(json.dumps(arm_rows))


def test_markdown_rows_have_as_many_cells_as_the_header(arm_rows):
    lines = tables.to_markdown(arm_rows).splitlines()
    assert len(lines) == 2 + len(arm_rows)
    assert len({line.count("|") for line in lines}) == 1


def test_markdown_of_a_metric_that_one_arm_lacks_keeps_its_columns(arm_rows):
    partial = [{**row, "macro_f1": None} if row["arm"] == "icl" else row for row in arm_rows]
    assert len({line.count("|") for line in tables.to_markdown(partial).splitlines()}) == 1


def test_markdown_escapes_the_bar():
    row = dict.fromkeys(("accuracy", "accuracy_low", "accuracy_high"), 0.5)
    row |= dict.fromkeys(("difference_to_base", "difference_low", "difference_high", "p_corrected"))
    row |= dict.fromkeys(("macro_f1", "token_f1", "train_seconds", "tokens_trained", "peak_gib"))
    odd = {**row, "arm": "a|b", "level": 0.95, "best_setting": "{}", "verdict": None}
    assert "a\\|b" in tables.to_markdown([odd])


def test_text_outside_a_terminal_is_plain_ascii(arm_rows):
    text = tables.render_text(arm_rows, is_terminal=False)
    assert text.isascii() and "\x1b" not in text
    for row in arm_rows:
        assert row["arm"] in text
    assert "69.7% [" in text and "learning_rate=0.0003123" in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_line_of_the_table_is_wider_than_the_terminal(arm_rows, width):
    lines = tables.render_text(arm_rows, is_terminal=False, width=width).splitlines()
    assert max(len(line) for line in lines) <= width
    assert any("[" in line and "sft" in line and "..." not in line for line in lines)


def test_terminal_shows_a_better_arm_in_bold(arm_rows):
    text = tables.render_text([{**row, "verdict": "better"} for row in arm_rows], is_terminal=True, width=160)
    assert "\x1b[1m" in text


def test_flips_become_flat_rows_with_columns_for_each_arm():
    questions = samples.make_questions()
    flips = rows.flip_rows(samples.make_data(questions), samples.make_arms(questions))
    (hostile,) = (row for row in tables.flat_flips(flips) if row["question_id"] == "made-hostile")
    assert hostile["base_said"] == "<i>wrong</i>" and hostile["sft_said"] == "<b>right</b> | <b>right</b>"
    assert hostile["base_share_right"] == 0 and hostile["options"] == "<b>right</b> | <i>wrong</i>"
