"""Records out of local files: JSON Lines, JSON and CSV (plain or gzip), and Parquet."""

from __future__ import annotations

import csv
import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NamedTuple

from medalign.errors import DataError
from medalign.records import Split

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".csv.gz", ".parquet")
# Longest cell of a CSV file, in characters; the library's own limit is below the longest clinical notes.
LARGEST_CELL = 2**24

SPLIT_NAMES: Mapping[str, Split] = MappingProxyType(
    {
        "train": "train",
        "training": "train",
        "validation": "validation",
        "valid": "validation",
        "val": "validation",
        "dev": "validation",
        "test": "test",
    }
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One record and where it stands, so that a fault can be found.

    Attributes:
        place: File or Hub data set.
        line: Line in a text file, else the record's number; both count from 1.
        within: Where in a nested record, such as `data[0].paragraphs[3]`; empty for a whole one.
    """

    place: str
    line: int
    values: Mapping[str, Any]
    within: str = ""

    @property
    def where(self) -> str:
        """File and line, and the place within the record."""
        return ": ".join(part for part in (f"{self.place}:{self.line}", self.within) if part)

    def fault(self, message: str) -> DataError:
        """The error to raise for a fault in this record."""
        return DataError(f"{self.where}: {message}")

    def wrong(self, name: str, wanted: str) -> DataError:
        """The error to raise for a field that holds something else than is wanted."""
        return self.fault(f"{name}: holds {_short(self.value(name))}; {wanted} is wanted")

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
        raise self.wrong(name, "text")

    def texts(self, name: str) -> tuple[str, ...]:
        """A field that must hold a list of texts; null gives none.

        Raises:
            DataError: If the field is missing or holds something else.
        """
        value = self.value(name)
        if value is None:
            return ()
        if _is_list(value) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise self.wrong(name, "a list of texts")

    def texts_by_name(self, name: str) -> dict[str, str]:
        """A field that must hold an object of names (letters, numbers) and texts; those with null are left out.

        Raises:
            DataError: If the field is missing or holds something else.
        """
        value = self.value(name)
        if isinstance(value, Mapping):
            held = {str(key): item for key, item in value.items() if item is not None}
            if all(isinstance(item, str) for item in held.values()):
                return held
        raise self.wrong(name, "an object of names and texts")

    def whole_number(self, name: str, low: int, high: int) -> int:
        """A field that must hold a whole number from low to high; a text that writes one will do.

        Raises:
            DataError: If the field is missing or holds something else.
        """
        value = self.value(name)
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = low - 1
        is_exact = not isinstance(value, bool) and not (isinstance(value, float) and value != number)
        if is_exact and low <= number <= high:
            return number
        raise self.wrong(name, f"{low} to {high}")

    def parts(self, name: str) -> Iterator[Row]:
        """The records in a field that must hold a list of objects, each with its place.

        Raises:
            DataError: If the field is missing or holds something else.
        """
        value = self.value(name)
        if not _is_list(value) or not all(isinstance(item, Mapping) for item in value):
            raise self.wrong(name, "a list of objects")
        for number, item in enumerate(value):
            yield self.part(f"{name}[{number}]", item)

    def part(self, path: str, values: Mapping[str, Any]) -> Row:
        """A record inside this one."""
        within = f"{self.within}.{path}" if self.within else path
        return Row(place=self.place, line=self.line, values=values, within=within)


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def read_records(path: str | Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number, record) pairs; a record of `.json` and `.parquet` has its number, from 1.

    Args:
        path: A file with one of `SUFFIXES`. A `.json` file may hold a list of records, one object or JSON Lines.

    Raises:
        DataError: If the file cannot be read, or a line is not valid JSON or no object.
    """
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise DataError(f"{path}: cannot read this kind of file; give one of {', '.join(SUFFIXES)}")
    readers = {"parquet": _parquet_records, "csv": _csv_records, "json": _json_records, "jsonl": _json_lines}
    try:
        yield from readers[path.name.removesuffix(".gz").rpartition(".")[2]](path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not valid UTF-8 ({error.reason} at byte {error.start})") from error
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def read_rows(path: str | Path) -> Iterator[Row]:
    """The same as `read_records`, each record with the place where it stands."""
    for line, values in read_records(path):
        yield Row(place=str(path), line=line, values=values)


class SplitFiles(NamedTuple):
    """The data files at a location: those whose names tell a split, and those that are left alone."""

    named: list[tuple[Path, Split | None]]
    skipped: list[Path]


def split_files(location: str, names: Mapping[str, Split] = SPLIT_NAMES) -> SplitFiles:
    """The files of a local data set with the split that each one's name tells, in order of their names.

    A folder gives every file whose name holds the word for one split (`train.jsonl.gz`, `dev.json`,
    `test-00000-of-00001.parquet`, `MS-TrainingSet.csv`); a single file gives itself, with None where its name
    tells no split.

    Args:
        names: Word, in lower case -> official split.

    Raises:
        DataError: If there is no such location, or no file in it is named for a split.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return SplitFiles([(path, split_of(path, names))], [])
    found = data_files(location)
    named = [(file, split) for file in found if (split := split_of(file, names))]
    if not named:
        held = ", ".join(sorted(file.name for file in path.iterdir())[:8]) or "no file"
        raise DataError(
            f"data: {location!r} holds {held}; name files train, validation or test, "
            f"with one of {', '.join(SUFFIXES)}"
        )
    return SplitFiles(list(named), [file for file in found if not split_of(file, names)])


def data_files(location: str) -> list[Path]:
    """The files in a folder that `read_records` can read, in order of their names; a file gives itself.

    Raises:
        DataError: If there is no such location.
    """
    path = Path(location).expanduser()
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"data: no file or folder {location!r}; give an existing one")
    return sorted(file for file in path.iterdir() if file.is_file() and file.name.endswith(SUFFIXES))


def split_of(path: Path, names: Mapping[str, Split] = SPLIT_NAMES) -> Split | None:
    """The split that a file's name tells; None where it holds the word for none, or for several."""
    stem = path.name[
        : -len(next((end for end in sorted(SUFFIXES, key=len)[::-1] if path.name.endswith(end)), ""))
    ]
    words = {word.lower() for word in _WORD.findall(stem)}
    told = {split for word, split in names.items() if word in words}
    return told.pop() if len(told) == 1 else None


def _open_text(path: Path, **options: Any) -> IO[str]:
    # utf-8-sig: some writers put a byte-order mark first, which is no part of the text.
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    return opener(path, "rt", encoding="utf-8-sig", **options)


def _json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open_text(path) as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, _parse_object(line.rstrip(), path, number)


def _parse_object(text: str, path: Path, line: int) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{line}: not valid JSON ({error.msg} at column {error.colno})") from error
    except RecursionError as error:
        raise DataError(f"{path}:{line}: not valid JSON (nested too deeply)") from error
    if not isinstance(record, dict):
        raise DataError(f"{path}:{line}: holds a JSON {type(record).__name__}; an object is wanted")
    return record


def _json_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with _open_text(path) as stream:
        text = stream.read()
    try:
        held = json.loads(text)
    except json.JSONDecodeError as error:
        # A first line that is a record by itself: JSON Lines under the name of JSON.
        if _is_object(text.lstrip().partition("\n")[0]):
            yield from _json_lines(path)
            return
        raise DataError(
            f"{path}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})"
        ) from error
    except RecursionError as error:
        raise DataError(f"{path}:1: not valid JSON (nested too deeply)") from error
    for number, record in enumerate(held if isinstance(held, list) else [held], start=1):
        if not isinstance(record, dict):
            raise DataError(f"{path}:{number}: holds a JSON {type(record).__name__}; an object is wanted")
        yield number, record


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (json.JSONDecodeError, RecursionError):
        return False


def _csv_records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(max(csv.field_size_limit(), LARGEST_CELL))
    with _open_text(path, newline="") as stream:
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

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=4096):
                for record in batch.to_pylist():
                    number += 1
                    yield number, record
    except (pyarrow.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0]
        raise DataError(f"{path}: not valid Parquet ({first_line})") from error
