"""The command `compare` in a process of its own, and what a comparison leaves that a repeated one must leave too."""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from medalign.evaluation.predictions import read_parquet
from medalign.tracking.folder import ComparisonFolder

ROOT = Path(__file__).resolve().parents[1]
# What a repeated comparison must repeat; seconds and memory may differ.
REPEATED = (
    *("arm", "accuracy", "accuracy_low", "accuracy_high", "difference_to_base", "p_corrected", "verdict"),
    *("macro_f1", "token_f1", "tokens_trained", "validation_accuracy", "num_stopped", "num_failed"),
    "best_setting",
)


class Session:
    """One process of the command, in a process group of its own as from a terminal.

    Args:
        folder: That it works in; its output goes to `NAME.out` and `NAME.err` there.
        before: What stands before its command.
        environment: Variables beside those of this process.
    """

    def __init__(
        self, folder: Path, name: str, *options: str, before: Sequence[str] = (), **environment: str
    ) -> None:
        self.folder = folder
        self._stdout, self._stderr = folder / f"{name}.out", folder / f"{name}.err"
        with self._stdout.open("w") as out, self._stderr.open("w") as err:
            self.process = subprocess.Popen(
                [*before, sys.executable, "-m", "medalign.compare", *options],
                cwd=folder,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            )

    @property
    def out(self) -> str:
        return self._stdout.read_text()

    @property
    def err(self) -> str:
        return self._stderr.read_text()

    @property
    def comparison(self) -> ComparisonFolder:
        """Its folder, once it is made."""
        found = re.search(r"^results +(\S+);", self.out, re.MULTILINE)
        assert found is not None, self.out + self.err
        return ComparisonFolder(self.folder / found[1])

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def processes(self, name: str = "") -> list[psutil.Process]:
        """Those below the driver whose name holds the word: `Slot` for trials, `raylet`, `gcs_server`."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
            return [each for each in below if name in _name(each)]
        except psutil.NoSuchProcess:
            return []

    def num_lines(self, pattern: str) -> int:
        return len(re.findall(pattern, self.out, re.MULTILINE))

    def wait_for(self, condition: Callable[[], Any], seconds: float = 1800.0) -> bool:
        """Whether the condition came true before the session ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            if not self.is_running:
                return False
            time.sleep(0.02)
        raise AssertionError(f"nothing happens any more: {self.out}{self.err}")

    def wait(self, seconds: float = 1800.0) -> int | None:
        """The exit code; None for a session that hung, which is then killed."""
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self.end()

    def end(self) -> None:
        if self.is_running:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""


def table_of(folder: ComparisonFolder) -> list[dict[str, str]]:
    """The arms with everything that a repeated comparison must repeat."""
    rows = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
    return [{name: row[name] for name in REPEATED} for row in rows]


def answers_of(folder: ComparisonFolder) -> dict[str, Any]:
    """Everything that was predicted, log-probabilities included, by trial."""
    files = sorted(folder.path.glob("trials/*/predictions.parquet"))
    return {file.parent.name: read_parquet(file) for file in files}
