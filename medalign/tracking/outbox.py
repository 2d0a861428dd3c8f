"""What is to be told to the store, in order: at once while it answers, kept on disk while it does not.

An event is a JSON object. One that meets an absent store, and every one after it, is appended to a file; a thread tries
the store again and again and performs them in their order. Performing an event twice must be the same as performing it
once: after a crash the whole file is performed again.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medalign.config.disk import disk_faults
from medalign.config.locations import shown
from medalign.errors import StorageError
from medalign.tracking.runs import StoreAwayError

Event = dict[str, Any]

FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 30.0
# An event that fails so often while the store answers otherwise is at fault itself.
_MAX_REFUSALS = 5

_log = logging.getLogger(__name__)


class Outbox:
    """A queue of events between the comparison, which must not wait, and a store that may be away.

    Args:
        file: Where events wait; None keeps them in memory alone. What an earlier session left there comes first.
        perform: Tells the store of one event. Raises StoreAwayError if it should be tried again, any other
            StorageError if the store refuses it for good. Called by one thread at a time.
        answers: Whether the store can be reached at all.
    """

    def __init__(
        self, file: Path | None, perform: Callable[[Event], None], answers: Callable[[], bool]
    ) -> None:
        self._file = file
        self._perform = perform
        self._answers = answers
        self._waiting = deque(read_events(file))
        self._faults: list[str] = []
        self._away = ""
        self._lock = threading.Lock()
        self._is_empty = threading.Condition(self._lock)
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None
        self._wait_seconds = FIRST_WAIT_SECONDS
        self._refusals = 0

    @property
    def faults(self) -> tuple[str, ...]:
        """One line for each event that was refused, and one for those that still wait."""
        with self._lock:
            waiting = (self._waiting_line(),) if self._waiting else ()
            return (*self._faults, *waiting)

    @property
    def num_waiting(self) -> int:
        with self._lock:
            return len(self._waiting)

    def put(self, event: Event) -> None:
        """Performs the event now, or keeps it behind those that wait.

        Raises:
            StorageError: The disk on which it should wait is full.
        """
        with self._lock:
            if not self._waiting:
                try:
                    self._perform(event)
                    return
                except StoreAwayError as error:
                    self._away = str(error)
                    _log.warning("tracker: %s; what is to be written waits on disk", error)
                except StorageError as error:
                    self._refused(error)
                    return
            self._waiting.append(event)
            self._append(event)
            self._start_thread()

    def drain(self, wait_seconds: float) -> bool:
        """Waits until nothing waits any more, at most so many seconds.

        Returns:
            Whether all was performed.
        """
        with self._lock:
            if self._waiting:
                self._start_thread()
            return self._is_empty.wait_for(lambda: not self._waiting, timeout=wait_seconds)

    def close(self) -> None:
        """Stops trying; what waits stays in the file."""
        self._is_over.set()

    def _start_thread(self) -> None:
        if self._thread is None or not self._thread.is_alive():
            self._wait_seconds = FIRST_WAIT_SECONDS
            self._thread = threading.Thread(target=self._work, name="tracker outbox", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._is_over.is_set():
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                event = self._waiting[0]
            # Outside the lock, since an absent store takes its time and `put` must not.
            if self._performed(event):
                with self._lock:
                    self._waiting.popleft()
                    if not self._waiting:
                        self._remove_file()
                        self._is_empty.notify_all()
            else:
                self._is_over.wait(self._wait_seconds)
                self._wait_seconds = min(2 * self._wait_seconds, LONGEST_WAIT_SECONDS)

    def _performed(self, event: Event) -> bool:
        """Whether the event is done with, performed or refused for good."""
        try:
            self._perform(event)
        except StoreAwayError as error:
            self._away = str(error)
            self._refusals = self._refusals + 1 if self._answers() else 0
            if self._refusals < _MAX_REFUSALS:
                return False
            self._refused(error)
        except StorageError as error:
            self._refused(error)
        self._refusals = 0
        self._wait_seconds = FIRST_WAIT_SECONDS
        return True

    def _refused(self, error: StorageError) -> None:
        self._faults.append(str(error))
        if len(self._faults) == 1:
            _log.warning("tracker: %s", error)

    def _append(self, event: Event) -> None:
        if self._file is None:
            return
        with disk_faults(self._file.parent), self._file.open("a", encoding="utf-8") as stream:
            # A line that a crash cut short must not swallow this one.
            stream.write("\n" * _ends_within_a_line(self._file) + json.dumps(event) + "\n")
            stream.flush()
            os.fsync(stream.fileno())

    def _remove_file(self) -> None:
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def _waiting_line(self) -> str:
        where = f" in {shown(self._file)}" if self._file is not None else ""
        return f"{len(self._waiting)} record(s) wait{where} for the store to come back ({self._away})"


def read_events(file: Path | None) -> list[Event]:
    """The events in a file, without a line that a crash cut short."""
    if file is None or not file.is_file():
        return []
    events = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError):
            events.append(json.loads(line))
    return events


def _ends_within_a_line(file: Path) -> bool:
    with file.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - 1))
        return stream.read(1) not in (b"", b"\n")
