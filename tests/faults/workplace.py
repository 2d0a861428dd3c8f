"""A small comparison to be disturbed: a tiny random model, two training methods, a few seconds a trial.

Beside the comparison every optimisation step is written down, from outside of it, so that work done twice is seen.
"""

from __future__ import annotations

import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from medalign.evaluation.predictions import read_parquet
from medalign.tracking.folder import ComparisonFolder
from tests.tiny_models import make_tiny

ROOT = Path(__file__).resolve().parents[2]
# 12 questions in steps of 2: 60 steps a trial. Reports after a quarter, a half and the whole.
EXPERIMENT = """\
name: disturbed
model: {{name: model, precision: fp32}}
data: {{train_size: 12, validation_size: 8, test_size: 18}}
methods: [sft, dpo]
trials: 2
seeds: 1
grace_share: 0.25
reduction_factor: 2
max_slots: {num_slots}
slot_cores: 1
search_spaces: {{sft: sft.yaml, dpo: dpo.yaml}}
checkpoint_seconds: 2
silence_seconds: 20
"""
SPACE = """\
method: {method}
space:
  learning_rate: {{type: float, low: 0.0005, high: 0.002, log: true}}
fixed: {{batch_size: 2, epochs: 10, lora_dropout: 0.1}}
"""
NUM_TRIALS = 7
REPORTS = (0.25, 0.5, 1.0)
# What a disturbed comparison must repeat; seconds and memory may differ.
REPEATED = (
    "arm",
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "difference_to_base",
    "p_corrected",
    "verdict",
)
REPEATED += ("macro_f1", "token_f1", "tokens_trained", "validation_accuracy", "num_stopped", "num_failed")
REPEATED += ("best_setting",)

# Loaded by every Python process of the comparison. It waits for the module of the training loop to be imported.
TRACER = """\
import os, sys, importlib.abc, importlib.machinery

class Tracer(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "medalign.methods.training":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            module._checkpoint_callback = traced(module._checkpoint_callback)
        spec.loader.exec_module = exec_module
        return spec

def traced(make):
    def make_traced(run, predictor):
        callback = make(run, predictor)
        trial = run.kept._spec.trial_id
        def on_step_end(args, state, control, **kwargs):
            line = f"{trial} {state.global_step} {state.max_steps} {os.getpid()}\\n"
            with open(os.environ["MEDALIGN_STEPS"], "a") as file:
                file.write(line)
        callback.on_step_end = on_step_end
        return callback
    return make_traced

if "MEDALIGN_STEPS" in os.environ:
    sys.meta_path.insert(0, Tracer())
"""


class Workplace:
    """A folder with model, experiment and search spaces."""

    def __init__(self, folder: Path, num_slots: int = 2) -> None:
        self.folder = folder
        self._sessions: list[Session] = []
        folder.mkdir(parents=True, exist_ok=True)
        make_tiny(folder / "model", "llama", window=1024)
        (folder / "experiment.yaml").write_text(EXPERIMENT.format(num_slots=num_slots))
        for method in ("sft", "dpo"):
            (folder / f"{method}.yaml").write_text(SPACE.format(method=method))
        (folder / "tracer").mkdir(exist_ok=True)
        (folder / "tracer" / "sitecustomize.py").write_text(TRACER)

    def session(self, name: str, *options: str, steps: str | None = None) -> Session:
        """A comparison in a process of its own, begun with these options."""
        session = Session(self.folder, name, steps or name, *options)
        self._sessions.append(session)
        return session

    def end(self) -> None:
        """Leaves no process behind."""
        for session in self._sessions:
            session.end()

    def begin(self, name: str, *options: str) -> Session:
        return self.session(name, "--experiment", "experiment.yaml", *options)


class Session:
    """One process of the command, in a process group of its own as from a terminal."""

    def __init__(self, folder: Path, name: str, steps: str, *options: str) -> None:
        self.folder = folder
        self.steps = folder / f"{steps}.steps"
        self._stdout, self._stderr = folder / f"{name}.out", folder / f"{name}.err"
        paths = os.pathsep.join((str(folder / "tracer"), str(ROOT)))
        with self._stdout.open("w") as out, self._stderr.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "medalign.compare", *options],
                cwd=folder,
                stdout=out,
                stderr=err,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": paths, "MEDALIGN_STEPS": str(self.steps)},
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

    def processes(self, name: str) -> list[psutil.Process]:
        """Those below the driver whose name holds the word: `Slot` for trials, `raylet`, `gcs_server`."""
        try:
            below = psutil.Process(self.process.pid).children(recursive=True)
            return [each for each in below if name in _name(each)]
        except psutil.NoSuchProcess:
            return []

    def num_lines(self, pattern: str) -> int:
        return len(re.findall(pattern, self.out, re.MULTILINE))

    def wait_for(self, condition: Any, seconds: float = 600.0) -> bool:
        """Whether the condition came true before the session ended."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return True
            if not self.is_running:
                return False
            time.sleep(0.02)
        raise AssertionError(f"nothing happens any more: {self.out}{self.err}")

    def wait(self, seconds: float = 900.0) -> int | None:
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


@dataclass(frozen=True)
class Left:
    """What a finished comparison left, without what may differ from run to run."""

    table: list[dict[str, str]]
    answers: dict[str, Any]
    statuses: dict[str, str]

    @classmethod
    def of(cls, folder: ComparisonFolder) -> Left:
        rows = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
        files = sorted(folder.path.glob("trials/*/predictions.parquet"))
        return cls(
            table=[{name: row[name] for name in REPEATED} for row in rows],
            answers={file.parent.name: read_parquet(file) for file in files},
            statuses={result.spec.trial_id: result.status for result in folder.results()},
        )


@dataclass(frozen=True)
class Repeated:
    """Steps of one trial that were made again after a death.

    Attributes:
        share: Of the trial's budget.
        num_reports: Reports that lie in what was repeated: two would be more than one interval.
    """

    trial_id: str
    share: float
    num_reports: int


def repeated_steps(file: Path) -> list[Repeated]:
    """Every place at which a trial's steps go back."""
    last: dict[str, int] = {}
    found = []
    for line in file.read_text().splitlines():
        trial_id, step, max_steps, _ = line.split()
        again = last.get(trial_id, 0) - int(step) + 1
        if again > 0:
            first, total = int(step), int(max_steps)
            num_reports = sum(first <= round(share * total) <= last[trial_id] for share in REPORTS)
            found.append(Repeated(trial_id, again / total, num_reports))
        last[trial_id] = int(step)
    return found
