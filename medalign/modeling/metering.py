"""What a trial uses: seconds, tokens and peak memory, gathered while it runs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from medalign.records import Cost

Activity = Literal["train", "score"]
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Meter:
    """Measures one trial in this process; start a new one for the next trial."""

    def __init__(self) -> None:
        self._before = Cost()
        self._wall_start = time.perf_counter()
        self._cpu_start = time.process_time()
        self._seconds: dict[str, float] = {"train": 0.0, "score": 0.0}
        self._activity: Activity | None = None
        self._since = self._wall_start
        self.tokens_trained = 0
        self.tokens_scored = 0
        self.tokens_generated = 0
        _reset_peak()

    @contextlib.contextmanager
    def during(self, activity: Activity) -> Iterator[None]:
        """Adds the seconds within it to an activity; time spent scoring inside training counts as scoring alone."""
        outer = self._activity
        self._turn_to(activity)
        try:
            yield
        finally:
            self._turn_to(outer)

    def go_on_from(self, cost: Cost) -> None:
        """Counts what an earlier process used for the same trial, up to the checkpoint that this one goes on from."""
        self._before = cost

    def cost(self) -> Cost:
        """What was used so far."""
        self._turn_to(self._activity)
        return self._before + Cost(
            wall_seconds=time.perf_counter() - self._wall_start,
            train_seconds=self._seconds["train"],
            score_seconds=self._seconds["score"],
            cpu_seconds=time.process_time() - self._cpu_start,
            tokens_trained=self.tokens_trained,
            tokens_scored=self.tokens_scored,
            tokens_generated=self.tokens_generated,
            peak_gib=_peak_gib(),
        )

    def _turn_to(self, activity: Activity | None) -> None:
        now = time.perf_counter()
        if self._activity is not None:
            self._seconds[self._activity] += now - self._since
        self._activity, self._since = activity, now


def _reset_peak() -> None:
    """Let the peak start anew, from what is really held: a process runs many trials."""
    gc.collect()  # a trainer and its callbacks hold each other, and with them the last trial's tensors
    with contextlib.suppress(
        OSError, AttributeError
    ):  # only glibc keeps freed memory and has a call to return it
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    with contextlib.suppress(
        OSError
    ):  # not Linux, or forbidden in a container: the peak is then the process's
        _CLEAR_REFS.write_text("5")
    if cuda := _cuda():
        cuda.reset_peak_memory_stats()


def _peak_gib() -> float:
    if cuda := _cuda():
        return float(cuda.max_memory_reserved()) / 2**30
    if _STATUS.is_file():
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**20
    import resource
    import sys

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def _cuda():  # type: ignore[no-untyped-def]  # torch.cuda, or None where there is no GPU
    import torch

    return torch.cuda if torch.cuda.is_available() else None
