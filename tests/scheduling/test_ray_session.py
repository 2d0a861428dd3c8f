from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medalign.errors import ClusterError
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
    import psutil
    me = psutil.Process()
    sockets = [socket for each in (me, *me.children(recursive=True)) for socket in each.net_connections()]
    print({socket.laddr.ip.removeprefix("::ffff:") for socket in sockets if socket.status == "LISTEN"})
    run_ray(plan, fakes.make_hill_climber, [diary], Slots(), storage=Path(sys.argv[1]))
import os, ray
folders = list(Path("/tmp").glob(f"medalign-ray-{os.getpid()}-*"))
print(diary.results[0].status, ray.is_initialized(), folders)
"""


STRANGER = """
import sys
from medalign.errors import ClusterError
from medalign.scheduling.ray_session import ray_session
try:
    with ray_session(address=sys.argv[1]):
        print("joined")
except ClusterError as error:
    print(error)
"""


def test_ray_started_ahead_runs_trials_on_loopback_and_leaves_nothing_behind(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", AHEAD, str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert (done.stdout, done.stderr) == ("{'127.0.0.1'}\ncompleted False []\n", "")


@pytest.mark.parametrize("variables", [{"RAY_AUTH_MODE": "disabled"}, {"RAY_AUTH_TOKEN": "f" * 64}])
def test_nobody_else_on_this_machine_joins_a_private_ray(two_slots: Slots, variables: dict[str, str]) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    done = subprocess.run(
        [sys.executable, "-c", STRANGER, address],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        timeout=600,
        env={**kept, "RAY_AUTH_MODE": "token", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", **variables},
        check=False,
    )
    assert f"ray_address: {address}: the cluster refuses this machine's token" in done.stdout, done


USED_BEFORE = """
import ray
from ray._raylet import AuthenticationTokenLoader
from ray.tune.execution import tune_controller  # has read what Ray is to know of tokens
from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.slots import Slots

loader = AuthenticationTokenLoader.instance()
before = loader.has_token(True)
with ray_session(Slots()):
    print(ray.is_initialized(), before, loader.has_token(True), end=" ")
print(loader.has_token(True))
"""


def test_a_private_ray_starts_where_ray_was_imported_before_and_leaves_no_token() -> None:
    command = [sys.executable, "-c", USED_BEFORE]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False", "True", "False"], done.stderr


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


def _refused(monkeypatch: pytest.MonkeyPatch, error: Exception, address: str) -> str:
    import ray

    def refuse(**options: object) -> None:
        assert options["address"] == address
        raise error

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with pytest.raises(ClusterError, match="ray_address: ") as raised, ray_session(address=address):
        pass
    return str(raised.value)


@pytest.fixture
def not_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hides the Ray that other tests share."""
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", None)
    monkeypatch.setattr(ray, "shutdown", lambda: None)


@pytest.mark.usefixtures("not_connected")
def test_an_address_at_which_nothing_answers_is_told_in_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # taken, and nobody listens
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for prefix in ("", "ray://"):
            with (
                pytest.raises(ClusterError, match=f"ray_address: {prefix}{address}: nothing answers there"),
                ray_session(address=prefix + address),
            ):
                pass


@pytest.mark.usefixtures("not_connected")
@pytest.mark.parametrize("address", ["rack-7", "ray://rack-7", "rack-7:ten"])
def test_an_address_that_is_none_is_told_in_one_line(address: str) -> None:
    with pytest.raises(ClusterError, match=f"ray_address: {address}: "), ray_session(address=address):
        pass


def test_no_ray_on_this_machine_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to")
    said = _refused(monkeypatch, error, "auto")
    assert said == (
        "ray_address: auto: no Ray runs on this machine; start it with `medalign node start --head`, or give HOST:PORT"
    )


def test_another_version_of_ray_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.59.1\n    Python: 3.12.4\n"
        "This process on 192.0.2.7 was started with:\n    Ray: 2.60.0\n    Python: 3.11.2\n"
    )
    said = _refused(monkeypatch, error, "auto")
    assert "the cluster runs Ray 2.59.1 on Python 3.12.4, this machine Ray 2.60.0 on Python 3.11.2" in said
    assert "\n" not in said


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
