"""Two hosts on one wire, to be cut: network namespaces of this machine that reach each other and nothing else."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

import psutil

from tests.markers import NotHereError

_WIRE = "wire"


class Hosts:
    """The hosts 0 and 1, each with an address of its own on the wire (of a range that is kept for examples)."""

    addresses = ("198.51.100.1", "198.51.100.2")

    def __init__(self) -> None:
        self._names = tuple(f"medalign-{os.getpid()}-{number}" for number in range(2))

    @classmethod
    @contextlib.contextmanager
    def made(cls) -> Iterator[Hosts]:
        """Raises NotHereError where no network namespace can be made."""
        hosts = cls()
        try:
            hosts._make()
            yield hosts
        finally:
            hosts._end()

    def command_on(self, number: int) -> tuple[str, ...]:
        """What stands before a command for it to run on that host."""
        return ("ip", "netns", "exec", self._names[number])

    def cut(self) -> None:
        """Takes the wire out of host 1."""
        _ip("-n", self._names[1], "link", "set", _WIRE, "down")

    def mend(self) -> None:
        """Puts it back."""
        _ip("-n", self._names[1], "link", "set", _WIRE, "up")

    def _make(self) -> None:
        first, second = self._names
        for name in self._names:
            _ip("netns", "add", name)
        _ip("-n", first, "link", "add", _WIRE, "type", "veth", "peer", "name", _WIRE, "netns", second)
        for name, address in zip(self._names, self.addresses, strict=True):
            _ip("-n", name, "address", "add", f"{address}/30", "dev", _WIRE)
            for device in ("lo", _WIRE):
                _ip("-n", name, "link", "set", device, "up")

    def _end(self) -> None:
        for name in self._names:
            with contextlib.suppress(NotHereError):
                for pid in _ip("netns", "pids", name).split():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        psutil.Process(int(pid)).kill()
                _ip("netns", "delete", name)


def _ip(*words: str) -> str:
    try:
        done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise NotHereError("no network can be cut here: the program ip is missing (iproute2)") from error
    if done.returncode:
        raise NotHereError(f"no network can be cut here: ip {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout
