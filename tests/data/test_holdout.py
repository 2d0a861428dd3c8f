from __future__ import annotations

from pathlib import Path

import pytest

from medalign.data.holdout import TIMES, USUAL, read_holdout, usual_holdout, write_holdout
from medalign.errors import DataError
from tests.data.examples import choice


def test_the_holdout_is_written_once_and_read_back(tmp_path: Path) -> None:
    file = str(tmp_path / "folder" / "holdout.jsonl")
    held, other = [choice("a"), choice("b")], choice("c")
    assert read_holdout(file, held) == frozenset()
    write_holdout(file, held)
    assert read_holdout(file, [*held, other]) == {"s-a", "s-b"}
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["holdout.jsonl"]


def test_ten_of_each_specialty_are_held_out_where_enough_of_them_can_spare_ten() -> None:
    def held(names: list[str], number: int) -> int | None:
        return usual_holdout(choice(f"{name}-{n}", specialty=name) for name in names for n in range(number))

    fields = ["cardiology", "neurology", "urology", "gynaecology & obstetrics", "psychiatry"]
    assert USUAL == 10 and held(fields, TIMES * USUAL) == USUAL
    assert held(fields, TIMES * USUAL - 1) is None
    assert held(fields[:4], 500) is None
    assert held([*fields[:4], "obstetrics"], 500) is None
    assert held(["biomedical research"], 500) is None


def test_a_question_that_is_gone_or_reads_differently_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "holdout.jsonl")
    write_holdout(file, [choice("a")])
    with pytest.raises(
        DataError, match=r"holdout.jsonl:1: 's-a' is not among the cleaned questions; add its source"
    ):
        read_holdout(file, [choice("b")])
    with pytest.raises(DataError, match="'s-a' reads differently now; restore the source"):
        read_holdout(file, [choice("a", text="Another one?")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "holdout.jsonl:1: not a line of a holdout file"),
        ("3\n", "not a line of"),
        ("", "names no question"),
    ],
)
def test_a_broken_holdout_file_is_told_by_its_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "holdout.jsonl").write_text(content)
    with pytest.raises(DataError, match=message):
        read_holdout(str(tmp_path / "holdout.jsonl"), [choice("a")])


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot be written .*; name another holdout_file"):
        write_holdout(str(tmp_path / "file" / "holdout.jsonl"), [choice("a")])
