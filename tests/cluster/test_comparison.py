"""Whole comparisons on several Ray nodes: a tiny model, real trials, a node that is killed, and all that is refused."""

from __future__ import annotations

import csv
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medalign.config.storage import Storage
from medalign.evaluation.predictions import read_parquet
from medalign.tracking.folder import ComparisonFolder
from tests.cluster.rack import ROOT, Rack
from tests.markers import cluster
from tests.object_store import KEYS, object_store
from tests.tiny_models import make_tiny

SETTINGS = (
    *(
        "--name",
        "tiny",
        "--model",
        "model",
        "--train-size",
        "12",
        "--validation-size",
        "8",
        "--test-size",
        "18",
    ),
    *("--trials", "5", "--seeds", "1", "--deterministic", "--precision", "fp32"),
    *("--search-space", "sft=sft.yaml", "--search-space", "dpo=dpo.yaml", "--search-space", "icl=icl.yaml"),
)
SPACE = """\
method: {method}
space:
  learning_rate: {{type: float, low: 0.0005, high: 0.02, log: true}}
fixed: {{batch_size: 2, epochs: {epochs}}}
"""
ICL = """\
method: icl
space:
  shots: {type: int, low: 0, high: 6}
"""
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
REPEATED += ("macro_f1", "tokens_trained", "validation_accuracy", "num_stopped", "num_failed", "best_setting")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workplace")
    make_tiny(folder / "model", "llama", window=1024)
    for method, epochs in (("sft", 3), ("dpo", 2)):
        (folder / f"{method}.yaml").write_text(SPACE.format(method=method, epochs=epochs))
    (folder / "icl.yaml").write_text(ICL)
    return folder


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    with Rack(environment=KEYS) as rack:
        yield rack


class Driver:
    """The command in a process of its own."""

    def __init__(self, rack: Rack, workplace: Path, *options: str, **environment: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "medalign.compare", *options],
            cwd=workplace,
            env={**rack.environment, "PYTHONFAULTHANDLER": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._watchdog = threading.Timer(1800, self.end)
        self._watchdog.start()

    @property
    def out(self) -> str:
        return "".join(self.lines)

    def read(self, until: str | None = None) -> str:
        """Reads on to a line that matches, or to the end."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line)
            if until is not None and re.search(until, line):
                break
        return self.out

    def wait(self) -> int:
        self.read()
        self._watchdog.cancel()
        return self.process.wait()

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)


def _folder(driver: Driver, workplace: Path) -> ComparisonFolder:
    found = re.search(r"^results +(\S+);", driver.out, re.MULTILINE)
    assert found is not None, driver.out
    return ComparisonFolder(workplace / found[1])


def _table(folder: ComparisonFolder) -> list[dict[str, str]]:
    rows = csv.DictReader((folder.path / "results.csv").read_text().splitlines())
    return [{name: row[name] for name in REPEATED} for row in rows]


def _answers(folder: ComparisonFolder) -> dict[str, Any]:
    """Everything that was predicted, log-probabilities included, by trial."""
    files = sorted(folder.path.glob("trials/*/predictions.parquet"))
    return {file.parent.name: read_parquet(file) for file in files}


@cluster
def test_three_nodes_and_twelve_slots_give_the_undisturbed_table_though_a_node_is_killed(
    rack: Rack, workplace: Path
) -> None:
    disturbed = Driver(rack, workplace, *SETTINGS, "--address", rack.address)
    disturbed.read(until=r"\] \S+ (done|stopped early)")
    assert re.search(r"^slots +12 trial", disturbed.out, re.MULTILINE), disturbed.out
    rack.kill(2)
    assert disturbed.wait() == 0, disturbed.out + rack.log()
    # The same on this machine alone, two at a time: what is tried must not depend on it.
    undisturbed = Driver(rack, workplace, *SETTINGS, "--slots", "2")
    assert undisturbed.wait() == 0, undisturbed.out
    first, second = _folder(disturbed, workplace), _folder(undisturbed, workplace)
    assert _table(first) == _table(second)
    assert _answers(first) == _answers(second)
    assert len(first.results()) == len(second.results()) >= 3 * 5 + 1


@pytest.fixture(params=["file://", "s3://"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "file://":
        yield f"file://{tmp_path}/place"
        return
    with object_store() as uri:
        yield uri


@cluster
def test_files_of_trials_come_back_through_a_place_that_is_not_the_results_folder(
    rack: Rack, workplace: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--methods", "sft", "--trials", "1", "--seeds", "1", "--storage-path", place)
    driver = Driver(rack, workplace, *SETTINGS, *options, "--address", rack.address)
    assert driver.wait() == 0, driver.out
    folder = _folder(driver, workplace)
    left = {file.relative_to(folder.path).as_posix() for file in folder.path.glob("trials/*/*/*")}
    assert "trials/sft-refit-000/adapter/adapter_model.safetensors" in left
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    there = Storage(place).below(folder.id)
    assert "predictions.parquet" in there.names("trials/sft-refit-000")


def _refused(rack: Rack, workplace: Path, *options: str, **environment: str) -> str:
    """The one line that is said; no trial was begun."""
    driver = Driver(rack, workplace, *SETTINGS, *options, **environment)
    code = driver.wait()
    said = [line for line in driver.lines if line.startswith("medalign: ")]
    assert (code, len(said)) == (2, 1), driver.out
    assert not re.search(r"\] \S+ starts", driver.out)
    assert "Traceback" not in driver.out
    return said[0].strip()


@cluster
def test_another_token_is_refused_in_one_line_without_being_shown(rack: Rack, workplace: Path) -> None:
    token = "f" * 64
    said = _refused(rack, workplace, "--address", rack.address, RAY_AUTH_TOKEN=token)
    assert f"ray_address: {rack.address}: the cluster refuses this machine's token" in said
    assert token not in said


@cluster
def test_nothing_at_the_address_is_told_in_one_line(rack: Rack, workplace: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        assert "nothing answers there" in _refused(rack, workplace, "--address", address)


@cluster
def test_a_place_that_cannot_be_written_is_told_in_one_line(
    rack: Rack, workplace: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    options = ("--address", rack.address, "--storage-path", f"{tmp_path}/file/below")
    assert "storage_path: cannot write to" in _refused(rack, workplace, *options)


@cluster
def test_slots_of_another_size_and_larger_trials_are_told_in_one_line(rack: Rack, workplace: Path) -> None:
    said = _refused(rack, workplace, "--address", rack.address, "--slots-per-trial", "5")
    assert "slots_per_trial: 5, but the largest device holds 4 slot(s); use fewer" in said


@cluster
def test_a_second_driver_on_one_comparison_is_refused(rack: Rack, workplace: Path) -> None:
    first = Driver(rack, workplace, *SETTINGS, "--address", rack.address)
    try:
        first.read(until=r"^results +\S+;")
        folder = _folder(first, workplace)
        second = Driver(rack, workplace, "--resume", folder.id)
        assert second.wait() == 2, second.out
        assert f"resume: {folder.id} is being run by process {first.process.pid} on" in second.out
    finally:
        os.killpg(first.process.pid, signal.SIGINT)
        first.wait()


@cluster
def test_a_node_of_plain_ray_offers_no_slots(workplace: Path, tmp_path: Path) -> None:
    with Rack(cores=(1,), slots=False) as bare:
        assert "no node there offers slots" in _refused(bare, workplace, "--address", bare.address)


@cluster
def test_a_node_without_a_library_is_named(rack: Rack, workplace: Path, tmp_path: Path) -> None:
    # A library that the driver has and the node has not: its metadata alone, on the driver's path.
    made = tmp_path / "torch-9.9.9.dist-info"
    made.mkdir()
    (made / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9.9\n")
    path = os.pathsep.join((str(tmp_path), str(ROOT)))
    said = _refused(rack, workplace, "--address", rack.address, PYTHONPATH=path)
    assert re.search(
        r"node \S+: has torch \S+, the driver 9\.9\.9; install the versions of constraints.txt", said
    )


@cluster
def test_through_rays_client_server(rack: Rack, workplace: Path) -> None:
    options = ("--methods", "icl", "--trials", "1", "--seeds", "1")
    driver = Driver(rack, workplace, *SETTINGS, *options, "--address", rack.client_address)
    assert driver.wait() == 0, driver.out
