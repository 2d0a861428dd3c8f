"""Files that are put in place whole, and a full disk as one clear line."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medalign.config.locations import shown
from medalign.errors import StorageError

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT))
# What a full disk becomes on its way through libraries that do not raise OSError: safetensors, torch, SQLite.
_FULL_TEXTS = (
    "No space left on device",
    "Disk quota exceeded",
    "os error 28",
    "PytorchStreamWriter",
    "inline_container.cc",
    "database or disk is full",
)


def write_whole(file: Path, text: str) -> None:
    """Puts a text in place of the file at once: a reader, or a crash, meets the old file or the new one.

    Raises:
        StorageError: The disk is full; the file is as it was.
        OSError: It cannot be written for another reason.
    """
    with disk_faults(file.parent):
        descriptor, unfinished = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(unfinished, file)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(unfinished)


@contextlib.contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Turns what a full disk makes libraries raise into one line; lets everything else through.

    Raises:
        StorageError: The disk that holds the folder is full.
    """
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        if not is_full_disk(error):
            raise
        raise StorageError(
            f"{shown(folder)}: the disk is full; what is finished is kept: free some space there, then go on with "
            "--resume"
        ) from error


def is_full_disk(error: BaseException) -> bool:
    """Whether the error, or one that it came from, says that a disk or a quota is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _FULL:
            return True
        if any(text in str(seen) for text in _FULL_TEXTS):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def sync(path: Path) -> None:
    """Has the system write a file or a folder's entries to the disk now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
