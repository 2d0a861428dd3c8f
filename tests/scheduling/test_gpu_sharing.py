"""The service for processes that share a GPU: started and ended as promised, here with a program in its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medalign.errors import ConfigError
from medalign.scheduling import gpu_sharing
from medalign.scheduling.gpu_sharing import overlapping_processes

PIPES = "CUDA_MPS_PIPE_DIRECTORY"
# Notes how it is called: with -d, or with what it is told on its standard input.
PROGRAM = """#!/bin/sh
if [ "$1" = -d ]; then word=start; else read word; fi
echo "$word $CUDA_MPS_PIPE_DIRECTORY" >> {calls}
[ $word = start ] && echo "no permission" >&2
exit {status}
"""


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return install(tmp_path, monkeypatch)


def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int = 0) -> Path:
    calls = tmp_path / "calls"
    program = tmp_path / "bin" / "nvidia-cuda-mps-control"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(calls=calls, status=status))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.delenv(PIPES, raising=False)
    monkeypatch.setattr(gpu_sharing, "_FOLDER_HOME", tmp_path)
    return calls


def test_the_service_runs_within_the_block_and_ends_with_it(calls: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a trial"), overlapping_processes():
        pipes = os.environ[PIPES]
        assert Path(pipes).is_dir()
        assert calls.read_text().splitlines() == [f"start {pipes}"]
        raise RuntimeError("a trial")
    assert calls.read_text().splitlines() == [f"start {pipes}", f"quit {pipes}"]
    assert PIPES not in os.environ
    assert not list(tmp_path.glob("medalign-mps-*"))


def test_a_service_of_the_users_own_is_left_alone(calls: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PIPES, "/own")
    with overlapping_processes():
        assert os.environ[PIPES] == "/own"
    assert os.environ[PIPES] == "/own"
    assert not calls.exists()


def test_what_a_killed_process_left_is_ended_first(calls: Path, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left, living = (tmp_path / f"medalign-mps-{pid}-x" for pid in (gone.pid, os.getppid()))
    left.mkdir()
    living.mkdir()
    with overlapping_processes():
        assert calls.read_text().splitlines()[0] == f"quit {left}/pipes"
        assert not left.exists() and living.exists()


def test_a_service_that_is_missing_or_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, status=1)
    refusal = r"overlap: .* does not start here \(no permission\); leave"
    with pytest.raises(ConfigError, match=refusal), overlapping_processes():
        pass
    assert not list(tmp_path.glob("medalign-mps-*"))
    monkeypatch.setenv("PATH", "/nowhere")
    missing = r"overlap: needs nvidia-cuda-mps-control, which is not on the PATH"
    with pytest.raises(ConfigError, match=missing), overlapping_processes():
        pass
