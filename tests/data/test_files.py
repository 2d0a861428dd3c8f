from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from medalign.data.files import SUFFIXES, Row, read_records, read_rows, split_files
from medalign.errors import DataError

RECORDS = [{"id": "a", "text": "first"}, {"id": "b", "text": "second"}]


def write(path: Path, kind: str) -> Path:
    path = path / f"train{kind}"
    if kind == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path)
        return path
    plain = kind.removesuffix(".gz")
    stream = io.StringIO(newline="")
    if plain == ".csv":
        writer = csv.DictWriter(stream, ["id", "text"])
        writer.writeheader()
        writer.writerows(RECORDS)
    elif plain == ".json":
        json.dump(RECORDS, stream)
    else:
        stream.writelines(json.dumps(record) + "\n" for record in RECORDS)
    content = stream.getvalue().encode()
    path.write_bytes(gzip.compress(content) if kind.endswith(".gz") else content)
    return path


@pytest.mark.parametrize("kind", SUFFIXES)
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, kind: str) -> None:
    assert [record for _, record in read_records(write(tmp_path, kind))] == RECORDS


def test_a_json_file_may_hold_one_object_over_several_lines(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text(json.dumps({"data": [1, 2]}, indent=2))
    assert list(read_records(path)) == [(1, {"data": [1, 2]})]


def test_a_byte_order_mark_is_no_part_of_a_record(tmp_path: Path) -> None:
    for kind in (".jsonl", ".json", ".csv"):
        path = write(tmp_path, kind)
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
        assert [record for _, record in read_records(path)] == RECORDS


def test_a_cell_may_hold_a_long_clinical_note(tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text('id,text\n1,"' + "word " * 100_000 + '"\n')
    ((line, record),) = read_records(path)
    assert (line, len(record["text"])) == (2, 500_000)


def test_more_than_one_batch_of_parquet_is_numbered_on(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "train.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"n": list(range(5000))}), path)
    assert [(line, record["n"]) for line, record in read_records(path)] == [(n + 1, n) for n in range(5000)]


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
        ("a.jsonl.gz", gzip.compress(b'{"id": 1}' * 99, mtime=0)[:-9], r"a\.jsonl\.gz: cannot be read"),
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


ROW = Row(
    place="f.jsonl",
    line=3,
    values={
        "n": "4",
        "list": ["a"],
        "objects": [{"x": 1}],
        "names": {"A": "a", "B": None},
        "bool": True,
        "half": 2.5,
    },
)


def test_fields_are_given_as_the_types_that_are_asked_for() -> None:
    assert ROW.text("n") == "4" and ROW.whole_number("n", 1, 5) == 4
    assert ROW.texts("list") == ("a",) and ROW.texts_by_name("names") == {"A": "a"}
    assert [part.where for part in ROW.parts("objects")] == ["f.jsonl:3: objects[0]"]


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: ROW.whole_number("n", 1, 3), "n: holds '4'; 1 to 3 is wanted"),
        (lambda: ROW.whole_number("bool", 0, 1), "bool: holds True; 0 to 1 is wanted"),
        (lambda: ROW.whole_number("half", 0, 5), "half: holds 2.5; 0 to 5 is wanted"),
        (lambda: ROW.whole_number("list", 0, 5), r"list: holds \['a'\]; 0 to 5 is wanted"),
        (lambda: ROW.text("list"), r"list: holds \['a'\]; text is wanted"),
        (lambda: ROW.texts("n"), "n: holds '4'; a list of texts is wanted"),
        (lambda: ROW.texts_by_name("list"), r"list: holds \['a'\]; an object of names and texts is wanted"),
        (lambda: list(ROW.parts("list")), r"list: holds \['a'\]; a list of objects is wanted"),
        (lambda: next(ROW.parts("objects")).text("y"), r"objects\[0\]: no field 'y'; the fields found are x"),
    ],
)
def test_a_field_of_another_type_is_told_with_what_it_holds(ask: Callable[[], object], message: str) -> None:
    with pytest.raises(DataError, match=rf"^f\.jsonl:3: {message}$"):
        ask()


def test_a_long_value_is_cut_in_the_message() -> None:
    row = Row(place="f", line=1, values={"x": ["word"] * 1000})
    assert len(str(row.wrong("x", "text"))) < 120
