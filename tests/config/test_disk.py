from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from medalign.config.disk import disk_faults, is_full_disk, write_whole
from medalign.errors import StorageError


def fail_with(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"),
        RuntimeError("PytorchStreamWriter failed writing file data/3: file write failed"),
        ValueError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_line_whatever_library_met_it(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(StorageError, match=rf"^{tmp_path}: the disk is full; .* --resume$"),
        disk_faults(tmp_path),
    ):
        fail_with(error)


def test_a_full_disk_is_known_by_the_error_that_it_came_from() -> None:
    try:
        try:
            fail_with(OSError(errno.ENOSPC, "No space left on device"))
        except OSError as error:
            raise RuntimeError("cannot save the adapter") from error
    except RuntimeError as error:
        assert is_full_disk(error)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "no"), ValueError("lora_rank is 0")])
def test_what_is_no_full_disk_comes_through_as_it_is(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as caught, disk_faults(tmp_path):
        fail_with(error)
    assert caught.value is error


def test_a_file_is_the_old_one_or_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "state.json"
    write_whole(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match="the disk is full"):
            write_whole(file, "new")
    assert file.read_text() == "old" and [path.name for path in tmp_path.iterdir()] == ["state.json"]
    write_whole(file, "new")
    assert file.read_text() == "new"
