from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medalign.errors import StorageError
from medalign.scheduling import ray_session as module
from medalign.scheduling.ray_session import environment_defaults, environment_set, ray_session
from medalign.scheduling.slots import Slots

AHEAD = """
import sys
from pathlib import Path
from medalign.scheduling.planning import MethodPlan, Plan
from medalign.scheduling.ray_session import ray_session_ahead
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import Slots
from tests.scheduling import fakes

diary = fakes.Diary()
with ray_session_ahead(Slots()) as wait_for_ray:
    plan = Plan([MethodPlan(method="base")], Path(sys.argv[1]))
    wait_for_ray()
    run_ray(plan, fakes.make_hill_climber, [diary], Slots(), storage=Path(sys.argv[1]))
import os, ray
folders = list(Path("/tmp").glob(f"medalign-ray-{os.getpid()}-*"))
print(diary.results[0].status, ray.is_initialized(), folders)
"""


def test_ray_started_ahead_runs_trials_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("completed False []\n", "")


def test_a_session_within_a_session_leaves_ray_running(two_slots: Slots) -> None:
    import ray

    with ray_session(two_slots):
        assert ray.is_initialized()
    assert ray.is_initialized()


def test_environment_is_as_before_after_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALIGN_A", "old")
    monkeypatch.delenv("MEDALIGN_B", raising=False)
    with environment_set({"MEDALIGN_A": "new", "MEDALIGN_B": "new"}):
        assert (os.environ["MEDALIGN_A"], os.environ["MEDALIGN_B"]) == ("new", "new")
    assert os.environ["MEDALIGN_A"] == "old"
    assert "MEDALIGN_B" not in os.environ


def test_what_the_user_has_set_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    with environment_defaults({"RAY_AUTH_MODE": "disabled"}):
        assert os.environ["RAY_AUTH_MODE"] == "token"


def test_a_cluster_that_cannot_be_reached_is_a_storage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def refuse(**options: object) -> None:
        assert options["address"] == "rack-7:6379"
        raise ConnectionError("ray cluster not found")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with (
        pytest.raises(StorageError, match="ray_address: a Ray cluster at rack-7:6379 cannot be used"),
        ray_session(Slots(), address="rack-7:6379"),
    ):
        pass


def test_folders_of_killed_drivers_are_removed_and_others_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    orphan = tmp_path / f"medalign-ray-{ended.pid}-abc"
    mine = tmp_path / f"medalign-ray-{os.getpid()}-abc"
    other = tmp_path / "medalign-ray-notes"
    for folder in (orphan, mine, other):
        folder.mkdir()
    monkeypatch.setattr(module, "_FOLDER_HOME", str(tmp_path))
    module._remove_orphans()
    assert sorted(tmp_path.iterdir()) == sorted([mine, other])
