"""Processes that share a GPU with their kernels side by side instead of in turns (NVIDIA's Multi-Process Service).

Without it a GPU gives its time to one process after another, each alone, and is idle where that one leaves it idle.
Under the service they share one context. The price is that they share its fate too: a fault of the GPU in one of them
(an illegal address, not a lack of memory) ends all that are on the same GPU, and so may killing one in the middle of
its work. Nothing of the GPU's settings is changed.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from medalign.errors import ConfigError
from medalign.scheduling.left_folders import folders_of_the_dead

_PROGRAM = "nvidia-cuda-mps-control"
_PIPES, _LOGS = "CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"
_PATIENCE_SECONDS = 30.0
_FOLDER_HOME = Path("/tmp")  # paths of sockets must stay short
_FOLDER_PREFIX = "medalign-mps-"


def find_service() -> str:
    """The driver's program that starts and ends the service.

    Raises:
        ConfigError: It is not installed.
    """
    program = shutil.which(_PROGRAM)
    if program is None:
        raise ConfigError(
            f"overlap: needs {_PROGRAM}, which is not on the PATH; it comes with NVIDIA's driver (on Debian in the "
            "package nvidia-cuda-mps); install it or leave overlap out"
        )
    return program


@contextlib.contextmanager
def overlapping_processes() -> Iterator[None]:
    """Within it, processes that are started by this one and use a GPU overlap on it.

    A service of the user's own, which `CUDA_MPS_PIPE_DIRECTORY` names, is used and left running. One that an earlier
    process left behind when it was killed is ended.

    Raises:
        ConfigError: The service cannot be started.
    """
    if os.environ.get(_PIPES):
        yield
        return
    program = find_service()
    _end_orphans(program)
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=_FOLDER_HOME))
    places = _places(folder)
    try:
        for place in places.values():
            Path(place).mkdir()
        _start(program, places)
        try:
            os.environ.update(places)
            yield
        finally:
            for name in places:
                os.environ.pop(name, None)
            _end(program, places)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _places(folder: Path) -> dict[str, str]:
    return {_PIPES: str(folder / "pipes"), _LOGS: str(folder / "logs")}


def _start(program: str, places: dict[str, str]) -> None:
    # In a session of its own, so that Ctrl-C reaches the trials and not the service under them.
    command = [program, "-d"]
    found = subprocess.run(
        command,
        env={**os.environ, **places},
        capture_output=True,
        text=True,
        check=False,
        timeout=_PATIENCE_SECONDS,
        start_new_session=True,
    )
    if found.returncode != 0:
        reason = " ".join((found.stderr or found.stdout).split())[:160]
        raise ConfigError(f"overlap: {_PROGRAM} does not start here ({reason}); leave overlap out")


def _end(program: str, places: dict[str, str]) -> None:
    """One that is gone already is no fault."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [program],
            env={**os.environ, **places},
            input="quit\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=_PATIENCE_SECONDS,
        )


def _end_orphans(program: str) -> None:
    """End the services of processes that were killed before they could do it."""
    for folder in folders_of_the_dead(_FOLDER_HOME, _FOLDER_PREFIX):
        _end(program, _places(folder))
        shutil.rmtree(folder, ignore_errors=True)
