"""A PostgreSQL and an MLflow server with users, as docs/cluster.md sets them up, on the loopback address."""

from __future__ import annotations

import contextlib
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

import psutil
import pytest

from tests.markers import NotHereError

ROOT = Path(__file__).resolve().parents[2]
_WAIT_SECONDS = 600.0


def postgres_programs() -> Path | None:
    """The folder of PostgreSQL's programs; None where it is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = shutil.which("initdb") or (str(found[-1]) if found else None)
    return Path(program).resolve().parent if program else None


class Postgres:
    """A PostgreSQL with a user and a database `mlflow`, which can be killed and started again.

    Raises:
        NotHereError: It is not installed, or no other user than root can run it.
    """

    def __init__(self) -> None:
        self._programs = postgres_programs()
        if self._programs is None:
            raise NotHereError("PostgreSQL is not installed; on Debian: apt-get install postgresql")
        # PostgreSQL refuses to run as root.
        self._user = _user() if os.getuid() == 0 else None
        self.password = secrets.token_hex(12)
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        (self._folder / "password").write_text(self.password)
        if self._user is not None:
            for path in (self._folder, self._folder / "password"):
                shutil.chown(path, self._user)
        made = subprocess.run(
            [
                *(self._programs / "initdb", "-D", self._folder / "data", "-U", "mlflow"),
                *("-A", "scram-sha-256", "-N", "--pwfile", self._folder / "password", "-E", "UTF8"),
            ],
            capture_output=True,
            text=True,
            user=self._user,
            cwd=self._folder,
            check=False,
        )
        assert made.returncode == 0, made.stderr
        try:
            self.start()
            _create_database(self._port, self.password)
        except BaseException:
            self.end()
            raise

    @property
    def uri(self) -> str:
        """The database's address, without the password."""
        return f"postgresql://mlflow@127.0.0.1:{self._port}/mlflow"

    def start(self) -> None:
        """Returns when it listens; after a kill it first repairs what was half written."""
        assert self._programs is not None
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
        }
        command = [self._programs / "postgres", "-D", self._folder / "data"]
        command += [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, user=self._user, cwd=self._folder
            )
        _wait_until(lambda: _listens(self._port), self._process, self._folder / "log")

    def kill(self) -> None:
        """Kills all of its processes at once, as a power cut does."""
        if self._process is None:
            return
        server = psutil.Process(self._process.pid)
        with contextlib.suppress(psutil.NoSuchProcess):
            # Stopped first, or it would start others in place of those that die.
            server.suspend()
            below = server.children(recursive=True)
            for process in (server, *below):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(below, timeout=_WAIT_SECONDS)
        self._process.wait()
        self._process = None

    def end(self) -> None:
        """Leaves neither processes nor files behind."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[tuple[str, str]]:
    """A PostgreSQL for a test, which is skipped where there can be none.

    Yields:
        The database's address without the password, and the password.
    """
    try:
        server = Postgres()
    except NotHereError as error:
        pytest.skip(str(error))
    try:
        yield server.uri, server.password
    finally:
        server.end()


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
    raise NotHereError("PostgreSQL refuses to run as root, and there is no user postgres or nobody")


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
