"""Where the tracker's store lies, and whether it can be used, found out before anything is spent."""

from __future__ import annotations

import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from medalign.errors import StorageError

_SQLITE = "sqlite:///"
# Another comparison's start holds the store while it makes the tables: about three seconds.
_LOCK_SECONDS = 60.0


def default_uri(folder: Path) -> str:
    """URI of the store of this machine, `mlruns/mlflow.db` under the folder, which is made.

    The path in it is absolute: a relative one would make one store for each working directory.

    Raises:
        StorageError: The folder cannot be made.
    """
    mlruns = folder.resolve() / "mlruns"
    _make_folder(mlruns)
    return f"{_SQLITE}{mlruns / 'mlflow.db'}"


def default_artifact_root(uri: str) -> Path | None:
    """The folder `artifacts` beside a store that is an sqlite file; None for a server, which has its own."""
    path = sqlite_path(uri)
    return path.parent / "artifacts" if path else None


def sqlite_path(uri: str) -> Path | None:
    """The file of an sqlite store, absolute; None for any other store."""
    return Path(uri.removeprefix(_SQLITE)).resolve() if uri.startswith(_SQLITE) else None


def browse_command(uri: str) -> str:
    """The command that opens the store in a browser, with a path as short as the working directory allows."""
    if uri.startswith("http"):
        return f"open {without_password(uri)} in a browser"
    path, here = sqlite_path(uri), Path.cwd()
    if path is not None and path.is_relative_to(here):
        uri = f"{_SQLITE}{path.relative_to(here)}"
    return f"mlflow ui --backend-store-uri {shlex.quote(uri)}"


def without_password(text: str) -> str:
    """The text with user and password taken out of the addresses in it."""
    return re.sub(r"//[^/@\s]+@", "//", text)


def check_store(uri: str, artifact_root: Path | None) -> None:
    """Makes sure that a local store can be written, without MLflow.

    MLflow itself tries for 100 seconds, with a traceback each time, to open a database that it cannot open.

    Raises:
        StorageError: One line with the path and what would do.
    """
    if uri.startswith("file:") or "://" not in uri:
        raise StorageError(
            f"tracking_uri: '{uri}' is a file store, which MLflow 3 refuses; use sqlite:///FILE"
        )
    if artifact_root is not None:
        _make_folder(artifact_root)
    path = sqlite_path(uri)
    if path is None:
        return
    _make_folder(path.parent)
    try:
        with closing(sqlite3.connect(path, timeout=_LOCK_SECONDS)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA user_version").fetchone()
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise StorageError(
            f"tracking_uri: {path} cannot be used ({error}); name another store with --tracking-uri"
        ) from error


@contextmanager
def only_opener(uri: str) -> Iterator[None]:
    """Holds back other processes that would make the tables of the same new sqlite store at the same time."""
    path = sqlite_path(uri)
    if path is None:
        yield
        return
    import fcntl

    # The lock goes with the file handle, so a process that dies leaves none behind.
    with open(path.with_suffix(".lock"), "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"tracking_uri: {folder} cannot be made ({error.strerror}); name another store with --tracking-uri"
        ) from error
    if not os.access(folder, os.W_OK):
        raise StorageError(
            f"tracking_uri: {folder} cannot be written; name another store with --tracking-uri"
        )
