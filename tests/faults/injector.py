"""Faults at seeded random moments: what dies, stops, fills or breaks while a comparison runs."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.faults.workplace import NUM_TRIALS, Session
from tests.markers import NotHereError

STARTS = r"\] \S+-\d{3} (starts|goes on)"
LONGEST_DELAY_SECONDS = 3.0
SPOILED = "spoil the newest checkpoint and kill"


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        strike: Does it; returns False if there was nothing left to strike.
        ends: Whether the session ends by it, so that the comparison is continued by the same command.
    """

    name: str
    strike: Callable[[Session, random.Random], bool]
    ends: bool = False


def at_random_moment(session: Session, generator: random.Random) -> bool:
    """Waits until some trial has started, and then a little longer; False if the session ended before."""
    number = generator.randrange(1, NUM_TRIALS)
    if not session.wait_for(lambda: session.num_lines(STARTS) >= number):
        return False
    time.sleep(generator.uniform(0.0, LONGEST_DELAY_SECONDS))
    return session.is_running


def _kill_trial(session: Session, generator: random.Random) -> bool:
    return _signalled(session, generator, "Slot", signal.SIGKILL)


def _stop_trial(session: Session, generator: random.Random) -> bool:
    return _signalled(session, generator, "Slot", signal.SIGSTOP)


def _kill_raylet(session: Session, generator: random.Random) -> bool:
    return _signalled(session, generator, "raylet", signal.SIGKILL)


def _kill_head(session: Session, generator: random.Random) -> bool:
    return _signalled(session, generator, "gcs_server", signal.SIGKILL)


def _kill_driver(session: Session, generator: random.Random) -> bool:
    session.process.kill()
    return True


def _stop_driver_for_a_while(session: Session, generator: random.Random) -> bool:
    os.kill(session.process.pid, signal.SIGSTOP)
    time.sleep(generator.uniform(1.0, 6.0))
    os.kill(session.process.pid, signal.SIGCONT)
    return True


def _spoil_checkpoint_and_kill(session: Session, generator: random.Random) -> bool:
    """Changes a byte of a file of the newest checkpoint of a trial that runs, then kills its process."""
    found: list[Path] = []

    def look() -> bool:
        found[:] = sorted(session.comparison.path.glob("checkpoints/*/step-*/MANIFEST.json"))
        return bool(found)

    if not session.wait_for(look):
        return False
    trials = session.processes("Slot")
    for trial in trials:
        with contextlib.suppress(psutil.Error):
            trial.suspend()  # so that it writes no newer one in the meantime
    look()
    newest = max(found, key=_written, default=None)
    if newest is not None:
        files = sorted(path for path in newest.parent.iterdir() if path.stat().st_size)
        _flip_a_byte(generator.choice(files), generator)
    for trial in trials:
        with contextlib.suppress(psutil.Error):
            trial.kill()
    return newest is not None


def _signalled(session: Session, generator: random.Random, name: str, number: signal.Signals) -> bool:
    """Sends a signal to one of the processes of that name."""
    if not session.wait_for(lambda: session.processes(name)):
        return False
    with contextlib.suppress(psutil.NoSuchProcess, IndexError):
        generator.choice(session.processes(name)).send_signal(number)
    return True


def _written(path: Path) -> int:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime_ns
    return 0


def _flip_a_byte(file: Path, generator: random.Random) -> None:
    content = bytearray(file.read_bytes())
    content[generator.randrange(len(content))] ^= 0xFF
    file.write_bytes(bytes(content))


FAULTS = {
    fault.name: fault
    for fault in (
        Fault("kill a trial", _kill_trial),
        Fault("stop a trial", _stop_trial),
        Fault(SPOILED, _spoil_checkpoint_and_kill),
        Fault("kill the driver", _kill_driver, ends=True),
        Fault("stop the driver for a while", _stop_driver_for_a_while),
        Fault("kill the raylet", _kill_raylet, ends=True),
        Fault("kill Ray's head", _kill_head, ends=True),
    )
}


class SmallDisk:
    """A file system of a few MiB, to be filled and emptied again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def mounted(cls, folder: Path, mib: int) -> Iterator[SmallDisk]:
        """Raises NotHereError where nothing can be mounted."""
        folder.mkdir(parents=True, exist_ok=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(folder)]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        if made.returncode:
            raise NotHereError(f"no small disk can be mounted here: {made.stderr.strip()}")
        try:
            yield cls(folder)
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=False)

    @property
    def _filler(self) -> Path:
        return self.folder / "filler"

    def fill(self) -> None:
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as stream:
            while True:
                stream.write(bytes(65536))
        with contextlib.suppress(OSError), self._filler.open("ab", buffering=0) as stream:
            while True:
                stream.write(bytes(1))

    def empty(self) -> None:
        self._filler.unlink(missing_ok=True)
