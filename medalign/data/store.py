"""Prepared data on disk: a folder that is written whole or not at all, and found again by what went into it."""

from __future__ import annotations

import dataclasses
import functools
import gc
import hashlib
import json
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, overload

from medalign.config.experiment import DataSettings
from medalign.config.locations import cache_folder, shown
from medalign.data.catalog import find_source
from medalign.data.fingerprints import fingerprint
from medalign.data.leaks import find_leaks, refuse_leaks
from medalign.data.preparation import PreparedData
from medalign.data.sources import Loaded
from medalign.errors import DataError
from medalign.records import PreferencePair, Question

CARD, MANIFEST = "card.json", "manifest.json"
SPLITS = ("train", "validation", "test")
EMBEDDED = "embedded"
# Raised when files of another form are written.
FORM = 1

Record = TypeVar("Record", Question, PreferencePair)


class StoredQuestions(Sequence[Question]):
    """Questions in a file, read when first asked for; their number is known without."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, place: int) -> Question: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Question]: ...
    def __getitem__(self, place: int | slice) -> Question | Sequence[Question]:
        return self._held[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._held == tuple(other)

    __hash__ = None  # type: ignore[assignment]

    @functools.cached_property
    def _held(self) -> tuple[Question, ...]:
        return _read(self.path, Question)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, self._size)


def write_prepared(data: PreparedData, folder: Path) -> None:
    """Writes everything into a folder that is not there yet, or replaces one that was written here.

    Raises:
        DataError: If it cannot be written, or the folder holds something else.
    """
    if folder.exists() and not (folder / MANIFEST).is_file():
        raise DataError(f"{shown(folder)}: is there and holds no prepared data; name a new folder")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            _write_into(data, unfinished)
            # What others make is readable to all that may read the folder around it.
            unfinished.chmod(0o755)
            _put_in_place(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"{shown(folder)}: cannot be written ({error.strerror}); name another folder"
        ) from error


def _write_into(data: PreparedData, folder: Path) -> None:
    for split in SPLITS:
        _write(getattr(data, split), folder / f"{split}.parquet", Question)
    if isinstance(data.pool, StoredQuestions):
        shutil.copyfile(data.pool.path, folder / "pool.parquet")
    else:
        _write(data.pool, folder / "pool.parquet", Question)
    _write(data.pairs, folder / "pairs.parquet", PreferencePair)
    manifest = {
        "form": FORM,
        "fingerprint": data.fingerprint,
        "fingerprints": dict(data.fingerprints),
        "drops": dict(data.drops),
        "stages": list(data.stages),
        "pool": len(data.pool),
    }
    for name, content in ((CARD, data.card), (MANIFEST, manifest)):
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def _put_in_place(unfinished: Path, folder: Path) -> None:
    if not folder.exists():
        os.replace(unfinished, folder)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)) / "old"
    os.replace(folder, old)
    os.replace(unfinished, folder)
    shutil.rmtree(old.parent, ignore_errors=True)


def read_prepared(folder: Path) -> PreparedData:
    """What `write_prepared` wrote; the pool is read when it is first used.

    Raises:
        DataError: If the folder is none of these, or a file in it is broken.
    """
    manifest = _read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("form") != FORM:
        raise DataError(f"{shown(folder)}: written by another version; prepare it again")
    try:
        return PreparedData(
            train=_read(folder / "train.parquet", Question),
            validation=_read(folder / "validation.parquet", Question),
            test=_read(folder / "test.parquet", Question),
            pairs=_read(folder / "pairs.parquet", PreferencePair),
            pool=StoredQuestions(folder / "pool.parquet", manifest["pool"]),
            drops=manifest["drops"],
            fingerprint=manifest["fingerprint"],
            fingerprints=manifest["fingerprints"],
            card=_read_json(folder / CARD),
            stages=tuple(manifest["stages"]),
        )
    except KeyError as error:
        raise DataError(f"{shown(folder / MANIFEST)}: no {error}; prepare it again") from error


def open_prepared(folder: str) -> PreparedData:
    """A prepared folder that somebody named: its splits are used as they are, so they are checked again.

    Raises:
        DataError: If it cannot be read, a split is empty, pairs do not belong to the training questions, or there is a
            leak between splits.
    """
    path = Path(folder).expanduser()
    if not (path / MANIFEST).is_file():
        raise DataError(f"data.prepared: {folder!r} holds no prepared data; write it with `medalign prepare`")
    data = read_prepared(path)
    for split in SPLITS:
        if not getattr(data, split):
            raise DataError(f"data.prepared: {folder!r} has no {split} question; prepare it again")
    if [pair.question_id for pair in data.pairs] != [question.id for question in data.train]:
        raise DataError(
            f"data.prepared: the pairs in {folder!r} are not those of its training questions; prepare it again"
        )
    by_split = {split: getattr(data, split) for split in SPLITS}
    refuse_leaks(find_leaks(by_split), f"take one of them out of {folder}, or prepare it again")
    prints = {split: fingerprint(held) for split, held in by_split.items()} | {
        "pairs": fingerprint(data.pairs)
    }
    whole = hashlib.sha256("".join(prints.values()).encode("ascii")).hexdigest()
    return dataclasses.replace(data, fingerprint=whole, fingerprints=prints)


def cached(key: str, make: Callable[[], PreparedData]) -> PreparedData:
    """The prepared data under that key in the user's cache, made and kept there if there is none.

    A copy that is broken is made again; a cache that cannot be written is done without.
    """
    folder = cache_folder() / "prepared" / key
    if (folder / MANIFEST).is_file():
        try:
            return read_prepared(folder)
        except DataError:
            shutil.rmtree(folder, ignore_errors=True)
    data = make()
    try:
        write_prepared(data, folder)
    except DataError:
        return data
    return data


def input_key(settings: DataSettings, *, seed: int, loaded: Mapping[str, Loaded] | None, **more: str) -> str:
    """A hash of all that prepared data depends on: the files of the sources, the settings and this code.

    Args:
        loaded: What the sources gave, for those whose files cannot be known beforehand (`needs_reading`).
        more: What else it depends on, such as the tokenizer.
    """
    specs = [*settings.sources, *([settings.replay.source] if settings.replay else [])]
    parts = {
        "settings": settings.model_dump(mode="json"),
        "seed": seed,
        "code": _code_digest(),
        "sources": {spec: _content_digest(spec, (loaded or {}).get(spec)) for spec in specs},
        "holdout": _digest_of_files([Path(settings.holdout_file).expanduser()])
        if settings.holdout_file
        else "",
        **more,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def derived_key(data: PreparedData, **more: object) -> str:
    """A hash of prepared data, this code and whatever else something made of them depends on; plain values."""
    parts = {"fingerprint": data.fingerprint, "card": data.card, "code": _code_digest(), **more}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def needs_reading(settings: DataSettings) -> bool:
    """Whether only reading a source tells its content: it is neither in local files nor in the package."""
    specs = [*settings.sources, *([settings.replay.source] if settings.replay else [])]
    return not all(find_source(spec)[0].name == EMBEDDED or _local_files(spec) for spec in specs)


def _content_digest(spec: str, loaded: Loaded | None) -> str:
    if find_source(spec)[0].name == EMBEDDED:
        return "in the package"
    if files := _local_files(spec):
        return _digest_of_files(files)
    if loaded is None:
        raise ValueError(f"{spec} must be read before its key is known")
    return f"{fingerprint(loaded.questions)} {fingerprint(loaded.pairs)} {len(loaded.drops)}"


def _local_files(spec: str) -> list[Path]:
    location = find_source(spec)[1]
    place = Path(location).expanduser() if location else None
    if place is not None and place.is_dir():
        return sorted(path for path in place.rglob("*") if path.is_file())
    return [place] if place is not None and place.is_file() else []


def _digest_of_files(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.absolute()}\n".encode())
        if path.is_file():
            with path.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


@functools.cache
def _code_digest() -> str:
    here = Path(__file__).resolve().parent
    files = [path for path in here.rglob("*") if path.suffix in (".py", ".yaml", ".txt")]
    return _digest_of_files([*sorted(files), here.parent / "records.py"])


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{shown(path)}: cannot be read ({error}); prepare it again") from error


def _write(records: Sequence[Any], path: Path, record: type[Any]) -> None:
    import pyarrow
    import pyarrow.parquet

    columns = {}
    for field in dataclasses.fields(record):
        values = [getattr(each, field.name) for each in records]
        columns[field.name] = pyarrow.array(values, _arrow_type(field))
    # Dictionaries of words would cost more to read than they save.
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def _arrow_type(field: dataclasses.Field[Any]) -> Any:
    import pyarrow

    if str(field.type).startswith("tuple"):
        return pyarrow.list_(pyarrow.string())
    return pyarrow.bool_() if field.type == "bool" else pyarrow.string()


def _read(path: Path, record: type[Record]) -> tuple[Record, ...]:
    """The records of a file.

    Raises:
        DataError: If it is broken, or does not have exactly the fields of the record.
    """
    import pyarrow
    import pyarrow.parquet

    fields = dataclasses.fields(record)
    try:
        # Not read_table: it would load pandas first.
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(
            f"{shown(path)}: cannot be read ({str(error).splitlines()[0]}); prepare it again"
        ) from error
    wanted, found = [field.name for field in fields], list(table.column_names)
    if sorted(wanted) != sorted(found):
        raise DataError(
            f"{shown(path)}: holds the fields {', '.join(found)}; {', '.join(wanted)} are wanted; prepare it again"
        )
    with _no_collection():
        records = [record.__new__(record) for _ in range(table.num_rows)]
        for field in fields:
            column = table[field.name]
            values = _tuples(column) if str(field.type).startswith("tuple") else column.to_pylist()
            # A record is frozen, and 200,000 calls of its constructor would take most of the time of loading.
            deque(map(getattr(record, field.name).__set__, records, values), maxlen=0)
    return tuple(records)


def _tuples(column: Any) -> list[tuple[str, ...]]:
    """The lists of a column, cut out of all their texts at once rather than made one by one by Arrow."""
    held: list[tuple[str, ...]] = []
    for chunk in column.chunks:
        texts = chunk.flatten().to_pylist()
        if not texts:
            held += [()] * len(chunk)
            continue
        start = 0
        for size in chunk.value_lengths().to_pylist():
            held.append(tuple(texts[start : start + size]))
            start += size
    return held


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without the garbage collector, which would look through all that is being made again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
