"""Checkpoints of a trial that trains: from the last one it goes on when its process has died.

    checkpoints/<trial id>/step-00000012/
        adapter_model.safetensors, optimizer.pt, scheduler.pt, rng_state.pth, trainer_state.json   written by Trainer
        trial.json      the trial's setting, its reports, its learning curve and its cost so far
        MANIFEST.json   the SHA-256 of each of these

A checkpoint is written beside the others under another name and renamed when it is whole. One whose files differ from
its manifest is taken away, and the one before it is used: two are kept. The driver removes them with the trial's end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medalign.config.disk import disk_faults, sha256_of, sync
from medalign.errors import TrialStopped
from medalign.modeling.metering import Meter
from medalign.records import CHECKPOINTS_FOLDER, Cost, Progress, TrialSpec, progress_from_json

NUM_KEPT = 2
# A checkpoint between two reports waits so many times as long as the last one took to write: 2 % of the time at most.
_PATIENCE = 50.0

_MANIFEST = "MANIFEST.json"
_TRIAL = "trial.json"
_PREFIX = "step-"
_UNFINISHED = ".unfinished-"

_logger = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one trial, with what of the trial lies outside its trainer.

    Args:
        root: The comparison's folder.
        every_seconds: Between two reports one is due after so many seconds, or later if writing is slow; 0 is after
            every step.
        history: The trial's reports; refilled by `restore`, as are the next two.
        learning_curve: Its losses.
        meter: What it used.
        report: Takes every restored report again, since a driver that was killed too has forgotten them.
    """

    def __init__(
        self,
        root: Path,
        spec: TrialSpec,
        *,
        every_seconds: float,
        history: list[Progress],
        learning_curve: list[tuple[float, float]],
        meter: Meter,
        report: Callable[[Progress], None],
    ) -> None:
        self._folder = root / CHECKPOINTS_FOLDER / spec.trial_id
        self._spec = spec
        self._every_seconds = every_seconds
        self._history = history
        self._curve = learning_curve
        self._meter = meter
        self._report = report
        self._last = time.monotonic()
        self._write_seconds = 0.0

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """A folder on the same disk, in which a checkpoint is written before it counts.

        Raises:
            StorageError: The disk is full.
        """
        with disk_faults(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.glob(f"{_UNFINISHED}*"):  # by processes that were killed
                shutil.rmtree(left, ignore_errors=True)
            return tempfile.TemporaryDirectory(prefix=_UNFINISHED, dir=self._folder)

    def restore(self) -> Path | None:
        """The newest checkpoint that is whole, after giving the trial back its reports, its curve and its cost.

        Returns:
            None if there is none of this setting and seed: the trial starts anew.
        """
        for folder in reversed(_complete(self._folder)):
            if not is_whole(folder):
                _logger.warning("%s: differs from its manifest; going on from the one before it", folder)
                shutil.rmtree(folder, ignore_errors=True)
                continue
            state = json.loads((folder / _TRIAL).read_text(encoding="utf-8"))
            if state["setting"] != _setting(self._spec):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            self._history[:] = [progress_from_json(raw) for raw in state["history"]]
            self._curve[:] = [(share, loss) for share, loss in state["learning_curve"]]
            self._meter.go_on_from(Cost(**state["cost"]))
            for progress in self._history:
                # It went on after each of them, whatever would be decided today.
                with contextlib.suppress(TrialStopped):
                    self._report(progress)
            self._last = time.monotonic()
            return folder
        return None

    def is_due(self) -> bool:
        """Whether enough time has passed since the last one."""
        if self._every_seconds == 0:
            return True
        wait = max(self._every_seconds, _PATIENCE * self._write_seconds)
        return time.monotonic() - self._last >= wait

    def keep(self, unfinished: Path, step: int, begun: float) -> None:
        """Completes what the trainer wrote and puts it in place; the oldest beyond two goes.

        Args:
            step: Of the optimisation.
            begun: When the trainer began to write, by `time.monotonic`.
        """
        state = {
            "setting": _setting(self._spec),
            "history": [dataclasses.asdict(progress) for progress in self._history],
            "learning_curve": self._curve,
            "cost": dataclasses.asdict(self._meter.cost()),
        }
        (unfinished / _TRIAL).write_text(json.dumps(state), encoding="utf-8")
        seal(unfinished)
        target = self._folder / f"{_PREFIX}{step:08d}"
        try:
            os.rename(unfinished, target)
        except OSError:
            # A process that was taken for dead got here first; equal steps are equal checkpoints.
            if not target.is_dir():
                raise
            shutil.rmtree(unfinished, ignore_errors=True)
        sync(self._folder)
        for folder in _complete(self._folder)[:-NUM_KEPT]:
            shutil.rmtree(folder, ignore_errors=True)
        self._last = time.monotonic()
        self._write_seconds = self._last - begun


def latest_step(root: Path, trial_id: str) -> int | None:
    """The step of a trial's newest checkpoint, unread; None if it has none."""
    folders = _complete(root / CHECKPOINTS_FOLDER / trial_id)
    return int(folders[-1].name.removeprefix(_PREFIX)) if folders else None


def seal(folder: Path) -> None:
    """Writes the manifest of a folder's files, when they and it are safely on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)
    manifest = {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
    (folder / _MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for path in (*files, folder / _MANIFEST, folder):
        sync(path)


def is_whole(folder: Path) -> bool:
    """Whether every file is what the manifest says."""
    try:
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(manifest) and all(sha256_of(folder / name) == held for name, held in manifest.items())
    except (OSError, ValueError, AttributeError):
        return False


def _complete(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"{_PREFIX}*") if path.is_dir())


def _setting(spec: TrialSpec) -> Mapping[str, Any]:
    """What must be equal for a checkpoint to be of this trial, in the form in which JSON gives it back."""
    plain: Mapping[str, Any] = json.loads(json.dumps({"setting": dict(spec.setting), "seed": spec.seed}))
    return plain
