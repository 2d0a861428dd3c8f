"""Where the tracker's store lies, and whether it can be used, found out before anything is spent."""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import sqlite3
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from medalign.config.secrets import redacted
from medalign.errors import StorageError

_SERVER_SECONDS = 10.0
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
    """The text with user and password taken out of the addresses in it, and without any other secret."""
    return redacted(re.sub(r"//[^/\s]+@", "//", text))


def check_store(uri: str, artifact_root: Path | None) -> None:
    """Makes sure that a local store can be written, or that a server or a database lets us in, without MLflow.

    MLflow itself tries for 100 seconds, with a traceback each time, to open a database that it cannot open.

    Raises:
        StorageError: One line with the path or the address and what would do.
    """
    if uri.startswith("file:") or "://" not in uri:
        raise StorageError(
            f"tracking_uri: '{uri}' is a file store, which MLflow 3 refuses; use sqlite:///FILE"
        )
    if uri.startswith(("http://", "https://")):
        _check_server(uri)
        return
    if artifact_root is not None:
        _make_folder(artifact_root)
    path = sqlite_path(uri)
    if path is None:
        _check_database(uri)
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


def _check_server(uri: str) -> None:
    """Asks an MLflow server for one experiment, as the user that the environment names."""
    named = without_password(uri)
    request = urllib.request.Request(f"{uri.rstrip('/')}/api/2.0/mlflow/experiments/search?max_results=1")
    user, password = (os.environ.get(f"MLFLOW_TRACKING_{name}") for name in ("USERNAME", "PASSWORD"))
    if user is not None and password is not None:
        pair = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {pair}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    context = None
    if os.environ.get("MLFLOW_TRACKING_INSECURE_TLS") == "true":
        context = ssl._create_unverified_context()
    try:
        with urllib.request.urlopen(request, timeout=_SERVER_SECONDS, context=context) as reply:
            json.load(reply)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            raise StorageError(
                f"tracking_uri: {named} cannot be used: it refuses this user or password; set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD (or MLFLOW_TRACKING_TOKEN)"
            ) from error
        raise StorageError(
            f"tracking_uri: {named} cannot be used: it answers {error.code} {error.reason} to a request of MLflow's; "
            "check the address, and the server's log"
        ) from error
    except ValueError as error:
        raise StorageError(
            f"tracking_uri: {named} cannot be used: what answers is no MLflow server; check the address"
        ) from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise StorageError(
            f"tracking_uri: {named} cannot be used: nothing answers there ({reason}); start the server, or name "
            "another store with --tracking-uri"
        ) from error


def _check_database(uri: str) -> None:
    """Connects to a database and leaves it again."""
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": int(_SERVER_SECONDS)})
        engine.connect().close()
        engine.dispose()
    # ImportError: the driver of the database that the address names is not installed.
    except (sqlalchemy.exc.SQLAlchemyError, OSError, ImportError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise StorageError(
            f"tracking_uri: {without_password(uri)} cannot be used "
            f"({without_password(lines[0])[:240] if lines else type(error).__name__}); check address, user and "
            "password, or name another store with --tracking-uri"
        ) from error


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
