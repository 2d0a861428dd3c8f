"""A PostgreSQL and an MLflow server with users, as docs/cluster.md sets them up, on the loopback address."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_WAIT_SECONDS = 180.0


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = shutil.which("initdb") or (str(found[-1]) if found else None)
    return Path(program).resolve().parent if program else None


@contextmanager
def postgres() -> Iterator[tuple[str, str]]:
    """A PostgreSQL with a user and a database `mlflow`.

    Yields:
        The database's address without the password, and the password.
    """
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed; on Debian: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
    password, port = secrets.token_hex(12), _free_port()
    (folder / "password").write_text(password)
    # PostgreSQL refuses to run as root.
    user = _user() if os.getuid() == 0 else None
    if user is not None:
        for path in (folder, folder / "password"):
            shutil.chown(path, user)
    made = subprocess.run(
        [
            *(programs / "initdb", "-D", folder / "data", "-U", "mlflow", "-A", "scram-sha-256", "-N"),
            *("--pwfile", folder / "password", "-E", "UTF8"),
        ],
        capture_output=True,
        text=True,
        user=user,
        cwd=folder,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": folder,
        "fsync": "off",
    }
    command = [programs / "postgres", "-D", folder / "data"]
    command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder)
    try:
        _wait_until(lambda: _listens(port), process, folder / "log")
        _create_database(port, password)
        yield f"postgresql://mlflow@127.0.0.1:{port}/mlflow", password
    finally:
        process.send_signal(signal.SIGQUIT)  # an immediate end
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mlflow_server(database: str, database_password: str, folder: Path) -> Iterator[tuple[str, str]]:
    """`deploy/mlflow_server.sh` on that database.

    Yields:
        The server's address, and the password of its user `admin`.
    """
    password, port = f"planted-{secrets.token_hex(8)}", _free_port()
    environment = {
        **os.environ,
        "MEDALIGN_DB": database,
        "PGPASSWORD": database_password,
        "MEDALIGN_PYTHON": sys.executable,
        "MEDALIGN_FOLDER": str(folder),
        "MEDALIGN_PORT": str(port),
        "MEDALIGN_WORKERS": "1",
        "MLFLOW_AUTH_ADMIN_PASSWORD": password,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": secrets.token_hex(32),
    }
    folder.mkdir()
    log_file = folder / "log"
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [ROOT / "deploy" / "mlflow_server.sh"],
            stdout=log,
            stderr=log,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    try:
        _wait_until(lambda: _listens(port), process, log_file)
        yield f"http://127.0.0.1:{port}", password
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _user() -> str:
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name).pw_name
        except KeyError:
            continue
    pytest.skip("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


def _create_database(port: int, password: str) -> None:
    import psycopg

    named = f"host=127.0.0.1 port={port} user=mlflow dbname=postgres"
    with psycopg.connect(named, password=password, autocommit=True) as connection:
        connection.execute("CREATE DATABASE mlflow")


def _wait_until(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + _WAIT_SECONDS
    while not is_ready():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
