from __future__ import annotations

import pytest

from medalign.reporting.latex import escape, to_latex
from medalign.reporting.rows import arm_rows
from medalign.stats.comparison import compare_arms
from tests.reporting import samples


def test_the_table_has_a_row_an_arm_with_as_many_cells_as_columns() -> None:
    arms = samples.make_arms(samples.make_questions())
    summary = compare_arms(arms, score=lambda _: {}, num_resamples=200)
    table = to_latex(arm_rows(summary, arms), num_questions=61, experiment="made_up 50% & more")
    rows = [line for line in table.splitlines() if line.endswith(r"\\")]
    assert [row.split(" & ")[0] for row in rows] == ["Arm", "base", "icl", "sft", "dpo"]
    assert len({row.count(" & ") for row in rows}) == 1
    assert r"made\_up 50\% \& more" in table and table.count("{") == table.count("}")
    assert "--" in rows[1] and "$+$" in rows[2]


@pytest.mark.parametrize(
    ("text", "escaped"), [("a_b", r"a\_b"), ("50%", r"50\%"), ("\\x", r"\textbackslash{}x"), ("{}", r"\{\}")]
)
def test_what_means_something_to_latex_is_escaped(text: str, escaped: str) -> None:
    assert escape(text) == escaped
