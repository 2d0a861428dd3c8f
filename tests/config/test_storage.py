from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from medalign.config.storage import Storage
from medalign.errors import StorageError
from tests.markers import SLOW_MARKS, slow
from tests.object_store import KEYS, object_store


@pytest.fixture
def trial(tmp_path: Path) -> Path:
    folder = tmp_path / "made"
    (folder / "adapter").mkdir(parents=True)
    (folder / "predictions.parquet").write_bytes(b"PAR1" * 1000)
    (folder / "adapter" / "weights.safetensors").write_bytes(os.urandom(5000))
    return folder


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with object_store() as uri:
        yield uri


@pytest.fixture(params=["folder", "file://", pytest.param("s3://", marks=SLOW_MARKS)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    if request.param == "s3://":
        for name, value in KEYS.items():
            monkeypatch.setenv(name, value)
        return Storage(request.getfixturevalue("bucket")).below(tmp_path.name)
    prefix = "file://" if request.param == "file://" else ""
    return Storage(f"{prefix}{tmp_path}/shared").below("comparison-1")


def _content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_folder_comes_back_as_it_was_put(place: Storage, trial: Path, tmp_path: Path) -> None:
    place.put_folder(trial, "trials/sft-refit-000")
    assert place.fetch_folder("trials/sft-refit-000", tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == _content(trial)


def test_a_folder_that_is_put_again_replaces_the_first(place: Storage, trial: Path, tmp_path: Path) -> None:
    place.put_folder(trial, "trials/a")
    (trial / "adapter" / "weights.safetensors").unlink()
    (trial / "new.json").write_text("{}")
    place.put_folder(trial, "trials/a")
    place.fetch_folder("trials/a", tmp_path / "fetched")
    assert _content(tmp_path / "fetched") == _content(trial)


def test_a_folder_whose_writer_died_does_not_count(place: Storage, tmp_path: Path) -> None:
    place.write("trials/a/predictions.parquet", b"half")
    assert not place.fetch_folder("trials/a", tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_a_folder_that_lost_a_part_is_an_error_and_leaves_nothing(
    place: Storage, trial: Path, tmp_path: Path
) -> None:
    place.put_folder(trial, "trials/a")
    place.write("trials/a/predictions.parquet", b"PAR1")
    with pytest.raises(StorageError, match=r"trials/a/predictions\.parquet is missing or cut"):
        place.fetch_folder("trials/a", tmp_path / "fetched")
    assert [path.name for path in tmp_path.iterdir() if "fetched" in path.name] == []


def test_what_is_not_there_is_none_and_may_be_removed(place: Storage, trial: Path) -> None:
    assert place.read("reference.json") is None
    assert place.names("trials") == []
    place.remove("trials/a")
    place.put_folder(trial, "trials/a")
    assert place.names("trials") == ["a"]
    place.remove("trials/a")
    assert place.names("trials") == []


def test_a_place_that_can_be_used_passes_the_check_and_stays_empty(place: Storage) -> None:
    place.check()
    assert place.names("") == []


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"^storage_path: cannot write to .*file/below") as raised:
        Storage(f"{tmp_path}/file/below").check()
    assert "\n" not in str(raised.value)


def test_an_address_that_is_none_is_told_in_one_line() -> None:
    with pytest.raises(StorageError, match=r"^storage_path: 'ftp7://host/x' is no place that can be used"):
        Storage("ftp7://host/x").check()


@slow
def test_a_bucket_that_is_not_there_is_told_in_one_line(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError, match=r"^storage_path: cannot write to s3://other/medalign") as raised:
        Storage(bucket.replace("//trials", "//other")).check()
    assert "\n" not in str(raised.value)
