"""A rack of machines on this one: Ray nodes begun by `medalign node start`, behind a token, each to be killed alone."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

import psutil

from tests.faults.network import Hosts

ROOT = Path(__file__).resolve().parents[2]
# Several nodes on one machine must not quarrel over ports and memory.
APART = (
    *("--min-worker-port=0", "--max-worker-port=0", "--object-store-memory=80000000"),
    *("--disable-usage-stats", "--block"),
)
_WAIT_SECONDS = 600.0


class Rack:
    """Nodes of as many slots as they are given cores; the first is the head.

    Args:
        cores: Of each node.
        slots: Whether they offer any.
        hosts: On which the nodes run, one each; None for all on the loopback address.
        patience_ms: So long a node may take to answer before that counts against it; the fourth time it is given up.
        environment: Added to that of the nodes.
    """

    def __init__(
        self,
        cores: tuple[int, ...] = (4, 4, 4),
        slots: bool = True,
        hosts: Hosts | None = None,
        patience_ms: int = 30000,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._cores = cores
        self._hosts = hosts
        self._slots = () if slots else ("--no-slots",)
        # Ray's sockets lie in here, and their paths must stay below 107 characters.
        self._folder = Path(tempfile.mkdtemp(prefix="rack-", dir="/tmp"))
        self._nodes: list[subprocess.Popen[bytes]] = []
        self._port, self._client_port = free_port(), free_port()
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RAY_", "MEDALIGN_NODE"))
            },
            "PYTHONPATH": str(ROOT),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            # A node that is killed refuses every call, and so is missed after two seconds. One that is only slow, as on
            # a machine that is busy with all of them, must not be.
            "RAY_health_check_period_ms": "500",
            "RAY_health_check_timeout_ms": str(patience_ms),
            "RAY_health_check_failure_threshold": "4",
            **(environment or {}),
        }

    @property
    def address(self) -> str:
        return f"{self._hosts.addresses[0] if self._hosts else '127.0.0.1'}:{self._port}"

    @property
    def client_address(self) -> str:
        return f"ray://127.0.0.1:{self._client_port}"

    def __enter__(self) -> Rack:
        try:
            self._begin()
        except BaseException:
            self.end()
            raise
        return self

    def _begin(self) -> None:
        head = (
            f"--temp-dir={self._folder}",
            f"--ray-client-server-port={self._client_port}",
            "--include-dashboard=false",
        )
        # One after another: on one machine they would quarrel over the names of their sockets.
        self._start(self._cores[0], "--head", f"--port={self._port}", rays=head)
        for cores in self._cores[1:]:
            self._start(cores, f"--address={self.address}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Leaves no process behind."""
        for number in range(len(self._nodes)):
            self.kill(number)
        for process in psutil.process_iter(["cmdline"]):
            if any(str(self._folder) in word for word in process.info["cmdline"] or ()):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self, number: int) -> None:
        """Ends all processes of a node at once, as a power cut does."""
        node = self._nodes[number]
        family = [psutil.Process(node.pid)] if node.poll() is None else []
        family += [child for parent in family[:1] for child in parent.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        node.wait()

    def run(
        self, *command: str, cwd: Path, timeout: float = _WAIT_SECONDS
    ) -> subprocess.CompletedProcess[str]:
        """Runs a Python program with the rack's token."""
        return subprocess.run(
            [sys.executable, *command],
            cwd=cwd,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def log(self) -> str:
        """What the nodes have said."""
        return "\n".join(file.read_text() for file in sorted(self._folder.glob("node-*.log")))

    def _start(self, cores: int, *ours: str, rays: tuple[str, ...] = ()) -> None:
        number = len(self._nodes)
        command = [
            *(self._hosts.command_on(number) if self._hosts else ()),
            sys.executable,
            "-m",
            "medalign",
            "node",
            "start",
            f"--cores={cores}",
            *ours,
            *self._slots,
            "--",
            *APART,
            *rays,
        ]
        if not rays:
            command.append(f"--dashboard-agent-listen-port={free_port()}")
        if self._hosts:
            command.append(f"--node-ip-address={self._hosts.addresses[number]}")
        with self._log_of(number).open("wb") as log:
            self._nodes.append(
                subprocess.Popen(
                    command,
                    cwd=self._folder,
                    env=self.environment,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
            )
        end = time.monotonic() + _WAIT_SECONDS
        while "Ray runtime started" not in self._log_of(number).read_text():
            assert self._nodes[number].poll() is None and time.monotonic() < end, self.log()
            time.sleep(0.05)

    def _log_of(self, number: int) -> Path:
        return self._folder / f"node-{number}.log"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])
