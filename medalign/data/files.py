"""Records out of local files: JSON Lines (plain or gzip), JSON, CSV and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from medalign.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record and where it stands, so that a fault can be found.

    Attributes:
        place: File or Hub data set.
        line: Line in a text file, else the record's number; both count from 1.
    """

    place: str
    line: int
    values: Mapping[str, Any]

    def fault(self, message: str) -> DataError:
        """The error to raise for a fault in this record."""
        return DataError(f"{self.place}:{self.line}: {message}")

    def value(self, name: str) -> Any:
        """The field as it stands.

        Raises:
            DataError: If the record has no such field.
        """
        if name not in self.values:
            found = ", ".join(map(str, self.values)) or "none"
            raise self.fault(f"no field {name!r}; the fields found are {found}")
        return self.values[name]

    def text(self, name: str) -> str:
        """A field that must hold text; numbers are written out, null gives an empty string.

        Raises:
            DataError: If the field is missing or holds something else.
        """
        value = self.value(name)
        if value is None:
            return ""
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
        raise self.fault(f"{name}: holds {value!r}; text is wanted")


def read_records(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, record) pairs; a record of `.json` and `.parquet` has its number, from 1.

    Args:
        path: A file with one of `SUFFIXES`. A `.json` file may hold a list of records or JSON Lines.

    Raises:
        DataError: If the file cannot be read, or a line is not valid JSON or no object.
    """
    path = Path(path)
    readers = {".parquet": _parquet_records, ".csv": _csv_records, ".json": _json_records}
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: cannot read this kind of file; give one of {', '.join(SUFFIXES)}")
    try:
        yield from readers.get(path.suffix, _json_lines)(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 ({error.reason} at byte {error.start})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_rows(path: str | Path) -> Iterator[Row]:
    """The same as `read_records`, each record with the place where it stands."""
    for line, values in read_records(path):
        yield Row(place=str(path), line=line, values=values)


def split_files(location: str) -> list[tuple[Path, str | None]]:
    """The files of a local data set with the split that each one's name tells, in order of their names.

    A folder gives every file named for a split (`train.jsonl.gz`, `test-00000-of-00001.parquet`, `dev.json`);
    a single file gives itself, with None where its name tells no split. `dev` and `val` mean `validation`.

    Raises:
        DataError: If there is no such location, or no file in it is named for a split.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return [(path, _split_of(path))]
    if not path.is_dir():
        raise DataError(f"data: no file or folder {location!r}; give an existing one")
    found = sorted(file for file in path.iterdir() if file.is_file())
    named = [(file, _split_of(file)) for file in found if file.name.endswith(SUFFIXES) and _split_of(file)]
    if not named:
        names = ", ".join(file.name for file in found[:8]) or "no file"
        raise DataError(
            f"data: {location!r} holds {names}; name files train, validation or test, "
            f"with one of {', '.join(SUFFIXES)}"
        )
    return named


def _split_of(path: Path) -> str | None:
    stem = path.name.split(".")[0].split("-")[0].lower()
    known = {
        "train": "train",
        "validation": "validation",
        "val": "validation",
        "dev": "validation",
        "test": "test",
    }
    return known.get(stem)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _parse_object(line.rstrip(), path, number)


def _parse_object(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        # Some writers put a byte-order mark first; it is no part of the JSON.
        record = json.loads(text.removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: not valid JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise DataError(f"{path}:{line}: not valid JSON (nested too deeply)") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}:{line}: holds a JSON {type(record).__name__}; an object is wanted")
    return record


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    text = path.read_text(encoding="utf-8-sig")
    if not text.lstrip().startswith("["):
        yield from _json_lines(path)
        return
    try:
        records = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})"
        ) from error
    for number, record in enumerate(records, start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: holds a JSON {type(record).__name__}; an object is wanted")
        yield number, record


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            for record in reader:
                if None in record or None in record.values():
                    raise DataError(f"{path}:{reader.line_num}: has more or fewer cells than the header")
                yield reader.line_num, dict(record)
        except csv.Error as error:
            raise DataError(f"{path}:{reader.line_num}: not valid CSV ({error})") from error


def _parquet_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    # A missing file must be told as such, not as a broken one: pyarrow's own error would not.
    os.stat(path)
    import pyarrow
    import pyarrow.parquet

    try:
        records = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: not valid Parquet ({first_line})") from error
    yield from enumerate(records, start=1)
