"""What a trial uses: seconds, tokens, operations, energy and peak memory, gathered while it runs."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from medalign.modeling.device_rates import published_flops
from medalign.modeling.energy import device_joules
from medalign.modeling.flops import ModelShape, shape_of
from medalign.records import Cost

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Activity = Literal["train", "score"]
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Meter:
    """Measures one trial in this process; start a new one for the next trial.

    Attributes:
        shared: Work that other trials use too, by name: what this trial spent on it, apart from its own cost.
    """

    def __init__(self) -> None:
        self._before = Cost()
        self._wall_start = time.perf_counter()
        self._cpu_start = time.process_time()
        self._joules_start = device_joules()
        self._seconds: dict[str, float] = {"train": 0.0, "score": 0.0}
        self._flops: dict[str, float] = {"train": 0.0, "score": 0.0}
        self._activity: Activity | None = None
        self._since = self._wall_start
        self._shape: ModelShape | None = None
        self.tokens_trained = 0
        self.tokens_scored = 0
        self.tokens_generated = 0
        self.shared: dict[str, Cost] = {}
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

    @contextlib.contextmanager
    def sharing(self, name: str) -> Iterator[None]:
        """What is used within it is accounted for under a name of its own, once for all trials."""
        before = self._used()
        try:
            yield
        finally:
            self.shared[name] = self.shared.get(name, Cost()) + (self._used() - before)

    def uses_shared(self, name: str) -> None:
        """Notes that shared work was found done."""
        self.shared.setdefault(name, Cost())

    def go_on_from(self, cost: Cost) -> None:
        """Counts what an earlier process used for the same trial, up to the checkpoint that this one goes on from."""
        self._before = cost

    def trained(self, model: PreTrainedModel, *, rows: int, width: int, tokens: int, logits: int) -> None:
        """Counts a forward and backward pass over rows padded to a width; `tokens` is without padding."""
        self.tokens_trained += tokens
        again = bool(getattr(model, "is_activation_checkpointing", False))
        self._flops["train"] += self._shape_of(model).training_flops(
            rows, width, logits=logits, recomputed=again
        )

    def scored(
        self,
        model: PreTrainedModel,
        *,
        rows: int,
        width: int,
        tokens: int,
        logits: int,
        prefix_tokens: int = 0,
    ) -> None:
        """Counts a forward pass; a prefix whose cache is there is not counted again."""
        self.tokens_scored += tokens
        self._flops["score"] += self._shape_of(model).forward_flops(
            rows, width, logits=logits, prefix_tokens=prefix_tokens
        )

    def generated(
        self, model: PreTrainedModel, *, rows: int, width: int, tokens: int, steps: int, written: int
    ) -> None:
        """Counts greedy decoding: `tokens` of prompts without padding, `written` in `steps` steps."""
        self.tokens_scored += tokens
        self.tokens_generated += written
        self._flops["score"] += self._shape_of(model).generation_flops(rows, width, new_tokens=steps)

    def cost(self) -> Cost:
        """What was used so far, without shared work."""
        used = self._used()
        for part in self.shared.values():
            used = used - part
        return self._before + used

    def _used(self) -> Cost:
        self._turn_to(self._activity)
        wall = time.perf_counter() - self._wall_start
        joules = device_joules()
        share = _device_share()
        return Cost(
            wall_seconds=wall,
            device_seconds=wall * share,
            train_seconds=self._seconds["train"],
            score_seconds=self._seconds["score"],
            cpu_seconds=time.process_time() - self._cpu_start,
            tokens_trained=self.tokens_trained,
            tokens_scored=self.tokens_scored,
            tokens_generated=self.tokens_generated,
            train_flops=self._flops["train"],
            score_flops=self._flops["score"],
            energy_joules=None
            if joules is None or self._joules_start is None
            else (joules - self._joules_start) * share,
            device_flops=published_flops(),
            peak_gib=_peak_gib(),
        )

    def _turn_to(self, activity: Activity | None) -> None:
        now = time.perf_counter()
        if self._activity is not None:
            self._seconds[self._activity] += now - self._since
        if activity != self._activity:
            self._shape = None  # an adapter may have come or gone
        self._activity, self._since = activity, now

    def _shape_of(self, model: PreTrainedModel) -> ModelShape:
        if self._shape is None:
            self._shape = shape_of(model)
        return self._shape


def _device_share() -> float:
    """The share of a GPU that this process's slot is, by the cap on its memory; 0 without a GPU."""
    cuda = _cuda()
    return float(cuda.get_per_process_memory_fraction()) if cuda else 0.0


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
        cuda.empty_cache()  # what the last trial left reserved is not this one's
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
