"""An MLflow server that can be killed, stopped and started again."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path


class MlflowServer:
    """`mlflow server` in a process group of its own, with its artifacts in the folder.

    Args:
        database: URI of its database; None is an SQLite file in the folder.
        password: Of that database.
    """

    def __init__(self, folder: Path, database: str | None = None, password: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._database = database or f"sqlite:///{folder}/server.db"
        self._password = password
        self._port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--backend-store-uri", self._database, "--workers", "1"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={
                    **os.environ,
                    "PGPASSWORD": self._password,
                    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                },
            )
        for _ in range(3000):
            if self._answers():
                return
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            time.sleep(0.1)
        raise AssertionError("the MLflow server does not answer")

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
            self._process = None

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the server and all of its workers."""
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=1) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
