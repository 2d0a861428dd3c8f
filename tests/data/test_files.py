from __future__ import annotations

import csv
import gzip
import json
import pickle
from pathlib import Path

import pytest

from medalign.data.files import read_records, read_rows, split_files
from medalign.errors import DataError

RECORDS = [{"id": "a", "text": "first"}, {"id": "b", "text": "second"}]


def write(path: Path, kind: str) -> Path:
    path = path / f"train{kind}"
    lines = "".join(json.dumps(record) + "\n" for record in RECORDS)
    if kind == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines.encode()))
    elif kind == ".csv":
        with path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, ["id", "text"])
            writer.writeheader()
            writer.writerows(RECORDS)
    elif kind == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
    else:
        path.write_text(json.dumps(RECORDS) if kind == ".json" else lines)
    return path


@pytest.mark.parametrize("kind", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    assert [record for _, record in read_records(write(tmp_path, kind))] == RECORDS


def test_a_json_file_may_hold_json_lines(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl").rename(tmp_path / "train.json")
    assert list(read_records(path)) == [(1, RECORDS[0]), (2, RECORDS[1])]


def test_lines_are_counted_with_the_empty_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"id": 1}\n\n{"id": 2}\n')
    assert [line for line, _ in read_records(path)] == [1, 3]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"id": 1}\n{"id": \n', r"a\.jsonl:2: not valid JSON \(Expecting value at column 7\)"),
        ("a.jsonl", b"[1, 2]\n", r"a\.jsonl:1: holds a JSON list; an object is wanted"),
        ("a.json", b'[{"id": 1},\n {"id" 2}]', r"a\.json:2: not valid JSON"),
        ("a.json", b"[1]", r"a\.json:1: holds a JSON int"),
        ("a.jsonl", b'{"id": "\xff"}', r"a\.jsonl: not valid UTF-8"),
        ("a.jsonl.gz", b'{"id": 1}', r"a\.jsonl\.gz: cannot be read"),
        ("a.jsonl.gz", gzip.compress(b'{"id": 1}' * 99)[:-9], r"a\.jsonl\.gz: cannot be read"),
        ("a.csv", b"id,text\n1\n", r"a\.csv:2: has more or fewer cells than the header"),
        ("a.parquet", b"none", r"a\.parquet: not valid Parquet"),
        ("a.txt", b"none", r"a\.txt: cannot read this kind of file; give one of \.jsonl"),
    ],
)
def test_a_broken_file_is_told_with_its_name_and_line(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        list(read_records(tmp_path / name))
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_missing_file_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="No such file"):
        list(read_records(tmp_path / name))


def test_a_missing_field_is_told_with_the_fields_found(tmp_path: Path) -> None:
    row = next(read_rows(write(tmp_path, ".jsonl")))
    with pytest.raises(
        DataError, match=r"train\.jsonl:1: no field 'question'; the fields found are id, text"
    ):
        row.text("question")


def test_splits_are_told_from_the_names_of_files(tmp_path: Path) -> None:
    names = ["dev.json", "MS-TrainingSet-Full.csv", "phrases_no_exclude_test.jsonl", "train.jsonl.gz"]
    for name in [*names, "notes.txt", "other.jsonl", "train_and_test.jsonl", "test-00000-of-00001.parquet"]:
        (tmp_path / name).touch()
    found = split_files(str(tmp_path))
    assert {path.name: split for path, split in found.named} == {
        "dev.json": "validation",
        "MS-TrainingSet-Full.csv": "train",
        "phrases_no_exclude_test.jsonl": "test",
        "train.jsonl.gz": "train",
        "test-00000-of-00001.parquet": "test",
    }
    assert [path.name for path in found.skipped] == ["other.jsonl", "train_and_test.jsonl"]
    assert split_files(str(tmp_path / "other.jsonl")).named[0][1] is None


def test_a_folder_without_split_files_is_told_with_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "questions.xml").touch()
    with pytest.raises(DataError, match=r"holds questions\.xml; name files train, validation or test"):
        split_files(str(tmp_path))
