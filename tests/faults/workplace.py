"""A small comparison to be disturbed: a tiny random model, two training methods, a few seconds a trial.

Beside the comparison every optimisation step is written down, from outside of it, so that work done twice is seen.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalign.tracking.folder import ComparisonFolder
from tests import sessions
from tests.tiny_models import make_tiny

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
silence_seconds: 60
"""
SPACE = """\
method: {method}
space:
  learning_rate: {{type: float, low: 0.0005, high: 0.002, log: true}}
fixed: {{batch_size: 2, epochs: 10, lora_dropout: 0.1}}
"""
NAME = "disturbed"
NUM_TRIALS = 7
REPORTS = (0.25, 0.5, 1.0)

# Loaded by every Python process of the comparison. It waits for the module of the training loop to be imported, and for
# the one by which Ray gives its node up after 30 s, which is too soon on a machine that others use.
TRACER = """\
import os, sys, time, importlib.abc, importlib.machinery

class Tracer(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name not in CHANGES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        load = spec.loader.exec_module
        def exec_module(module):
            load(module)
            CHANGES[name](module)
        spec.loader.exec_module = exec_module
        return spec

def trace(module):
    module._checkpoint_callback = traced(module._checkpoint_callback)

def be_patient(module):
    get_node = module.get_node
    def get_node_patiently(address, node_id):
        end = time.monotonic() + 600
        while True:
            try:
                return get_node(address, node_id)
            except RuntimeError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
    module.get_node = get_node_patiently

CHANGES = {"medalign.methods.training": trace, "ray._private.services": be_patient}

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

    def session(
        self,
        name: str,
        *options: str,
        steps: str | None = None,
        before: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
    ) -> Session:
        """A comparison in a process of its own, begun with these options.

        Args:
            before: What stands before its command.
            environment: Variables beside those of this process.
        """
        more = environment or {}
        session = Session(self.folder, name, steps or name, *options, before=before, **more)
        self._sessions.append(session)
        return session

    def traced(self, name: str) -> dict[str, str]:
        """What the nodes of a cluster must be given for the steps that are made there to be written down."""
        return {
            "PYTHONPATH": _tracing_path(self.folder),
            "MEDALIGN_STEPS": str(self.folder / f"{name}.steps"),
        }

    def end(self) -> None:
        """Leaves no process behind."""
        for session in self._sessions:
            session.end()

    def begin(self, name: str, *options: str, **more: Any) -> Session:
        return self.session(name, "--experiment", "experiment.yaml", *options, **more)


class Session(sessions.Session):
    """One that writes down its steps."""

    def __init__(
        self, folder: Path, name: str, steps: str, *options: str, before: Sequence[str], **environment: str
    ) -> None:
        traced = {"PYTHONPATH": _tracing_path(folder), "MEDALIGN_STEPS": str(folder / f"{steps}.steps")}
        super().__init__(folder, name, *options, before=before, **{**environment, **traced})


def _tracing_path(folder: Path) -> str:
    return os.pathsep.join((str(folder / "tracer"), str(sessions.ROOT)))


@dataclass(frozen=True)
class Left:
    """What a finished comparison left, without what may differ from run to run."""

    table: list[dict[str, str]]
    answers: dict[str, Any]
    statuses: dict[str, str]

    @classmethod
    def of(cls, folder: ComparisonFolder) -> Left:
        return cls(
            table=sessions.table_of(folder),
            answers=sessions.answers_of(folder),
            statuses={result.spec.trial_id: result.status for result in folder.results()},
        )


@dataclass(frozen=True)
class Repeated:
    """Steps of one trial that were made again after a death.

    Attributes:
        share: Of the trial's budget.
        num_reports: Reports that lie in what was repeated: two would be more than one interval. A refit makes none;
            what it repeats is bounded by `checkpoint_seconds`.
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
            shares = REPORTS if "-search-" in trial_id else ()
            num_reports = sum(first <= round(share * total) <= last[trial_id] for share in shares)
            found.append(Repeated(trial_id, again / total, num_reports))
        last[trial_id] = int(step)
    return found
