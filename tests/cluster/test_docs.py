"""The commands of docs/cluster.md, run in their order on nodes of this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cluster.rack import APART, ROOT, free_port
from tests.cluster.servers import mlflow_server, postgres
from tests.markers import cluster
from tests.tiny_models import make_tiny

DOCS = ROOT / "docs" / "cluster.md"
BIN = Path(sys.executable).parent
# What makes a comparison small; the documented command stands before it.
SMALL = (
    "--model model --precision fp32 --train-size 8 --validation-size 4 --test-size 8 --methods icl,sft --trials 1 "
    "--seeds 1 --name documented"
)


def _commands() -> list[str]:
    return [line.strip()[2:] for line in DOCS.read_text().splitlines() if line.startswith("    $ ")]


class Shell:
    """Runs documented commands with this machine's addresses and folders in place of the documented ones."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        make_tiny(folder / "model", "llama", window=1024)
        self.environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(("RAY_", "MEDALIGN_"))
            },
            "HOME": str(folder),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "RAY_USAGE_STATS_ENABLED": "0",
            "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        }

    def here(self, command: str) -> str:
        replaced = command.replace("192.0.2.10:6379", f"127.0.0.1:{self.port}")
        replaced = replaced.replace("/shared/results", str(self.folder / "shared"))
        return replaced.replace("medalign node", f"{shlex.quote(sys.executable)} -m medalign node")

    def run(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", self.here(command)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=1800,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def in_background(self, command: str, *more: str) -> Iterator[None]:
        log = self.folder / f"{free_port()}.log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {self.here(command)} {shlex.join(more)}"],
                cwd=self.folder,
                env=self.environment,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
        try:
            while "Ray runtime started" not in log.read_text():
                assert process.poll() is None, log.read_text()
                time.sleep(0.1)
            yield
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                family = psutil.Process(process.pid)
                for each in [*family.children(recursive=True), family]:
                    each.kill()
            process.wait()


def test_every_command_of_the_page_is_known_here() -> None:
    assert [command.split(" --")[0] for command in _commands()] == [
        "medalign node show",
        "ray get-auth-token",
        "medalign node start",
        "medalign node start",
        "export RAY_AUTH_MODE=token",
        "medalign node list",
        "MEDALIGN_DB=postgresql://mlflow@127.0.0.1:5432/mlflow deploy/mlflow_server.sh",
        "python -m medalign.compare",
        "python -m medalign.compare",
    ]


@cluster
def test_from_bare_machines_to_a_finished_comparison(tmp_path: Path) -> None:
    show, token, head, node, export, listing, _, dry_run, compare = _commands()
    shell = Shell(tmp_path)
    assert "slot(s), each" in shell.run(show)
    shell.run(token)
    assert len((tmp_path / ".ray" / "auth_token").read_text().strip()) >= 32
    name, _, value = export.removeprefix("export ").partition("=")
    first = ("--cores=2", f"--port={shell.port}", "--", *APART, f"--ray-client-server-port={free_port()}")
    second = ("--cores=2", "--", *APART, f"--dashboard-agent-listen-port={free_port()}")
    folder = Path(os.path.join("/tmp", f"docs-{os.getpid()}"))
    with (
        shell.in_background(head, *first, f"--temp-dir={folder}", "--include-dashboard=false"),
        shell.in_background(node, *second),
    ):
        shell.environment[name] = value
        nodes = shell.run(listing).splitlines()
        assert len(nodes) == 2 and all("2 slot(s), each 1 core(s)" in line for line in nodes)
        said = shell.run(f"{dry_run} {SMALL}")
        assert "4 trial(s) at once" in said
        assert not list((tmp_path / "shared").glob("*/results.csv"))
        said = shell.run(f"{compare} {SMALL}")
    assert "report     " in said
    assert list((tmp_path / "shared").glob("documented-*/results.csv"))


@cluster
def test_the_documented_server_command_starts_a_server(tmp_path: Path) -> None:
    command = next(command for command in _commands() if "mlflow_server.sh" in command)
    assert command.endswith(" deploy/mlflow_server.sh")
    with (
        postgres() as (database, password),
        mlflow_server(database, password, tmp_path / "server") as (uri, _),
    ):
        assert uri.startswith("http://127.0.0.1:")


@pytest.mark.parametrize("file", ["ray_cluster.yaml", "deploy/ray_cluster_aws.yaml", "deploy/kuberay.yaml"])
def test_files_that_the_page_names_are_there_and_start_nodes_with_their_slots(file: str) -> None:
    assert f"{file.rpartition('/')[2]}" in DOCS.read_text()
    assert "medalign node start" in (ROOT / file).read_text()
