"""A Ray that lives as long as one comparison, or the one that is already there."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path

import medalign
from medalign.errors import StorageError
from medalign.scheduling.slots import Slots

OBJECT_STORE_BYTES = 200 * 2**20

# Only where the user has not chosen: set before Ray starts, so that its own processes have them too.
_DEFAULTS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A trial that asked for no GPU shall see none.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
    # Relative paths mean in a trial what they mean in the command that started it.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    # glibc gives each thread an arena that it fills with holes: a trial's memory then grows with every step.
    "MALLOC_ARENA_MAX": "1",
    # Ray would run trials at the lowest priority but four: beside any other work they would starve.
    "RAY_worker_niceness": "0",
}
# A private cluster on the loopback address, gone with its process, needs no token file in the user's home.
_LOCAL_DEFAULTS = {"RAY_AUTH_MODE": "disabled"}
_FOLDER_HOME = "/tmp"
_FOLDER_PREFIX = "medalign-ray-"
_PACKAGE_ROOT = str(Path(medalign.__file__).resolve().parents[1])

# Read by Tune in the driver while it runs.
_TUNE_ENVIRONMENT = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_INIT": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's own handler swallows Ctrl-C and then waits up to 15 s for the running trials.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # What there is to continue is in our own records; Tune's snapshots would only cost time.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
}


@contextlib.contextmanager
def ray_session(slots: Slots, *, address: str | None = None) -> Iterator[None]:
    """Connects to Ray for the time of the block; does nothing, at either end, where Ray is connected already.

    Args:
        slots: A private cluster gets the cores that they need.
        address: Of a running cluster (`auto` finds the one on this machine); None starts a private one.

    Raises:
        StorageError: The cluster cannot be reached or started.
    """
    local = {} if address is not None else _LOCAL_DEFAULTS
    with environment_defaults({**_DEFAULTS, **local}), _importable_in_trials():
        import ray

        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        if ray.is_initialized():
            yield
            return
        # Ray's sockets lie in this folder, and their paths must stay below 107 characters.
        folder = None
        if address is None and "RAY_TMPDIR" not in os.environ:
            _remove_orphans()
            folder = tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=_FOLDER_HOME)
        try:
            _start(slots, address, folder)
            yield
        finally:
            ray.shutdown()
            if folder is not None:
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ray_session_ahead(slots: Slots, *, address: str | None = None) -> Iterator[Callable[[], None]]:
    """A `ray_session` that starts in the background, for the seconds of waiting to be spent on other work.

    The thread that started Ray must outlive it, because Linux ends Ray's processes together with that thread.

    Yields:
        A function that waits until Ray is there, to be called before `run_ray`.

    Raises:
        StorageError: From that function: the cluster cannot be reached or started.
    """
    ready: Future[None] = Future()
    is_over = threading.Event()

    def hold() -> None:
        try:
            with ray_session(slots, address=address):
                ready.set_result(None)
                is_over.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=hold, name="ray session")
    thread.start()
    try:
        yield ready.result
    finally:
        is_over.set()
        thread.join()


@contextlib.contextmanager
def tune_environment() -> Iterator[None]:
    """The variables that keep Tune quiet and out of the way, for the time of the block."""
    with environment_set(_TUNE_ENVIRONMENT):
        yield


def _importable_in_trials() -> contextlib.AbstractContextManager[None]:
    """Lets the processes of a private cluster import the package that runs here, from a checkout too."""
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    entries = known if _PACKAGE_ROOT in known else [*known, _PACKAGE_ROOT]
    return environment_set({"PYTHONPATH": os.pathsep.join(entries)})


def environment_defaults(values: Mapping[str, str]) -> contextlib.AbstractContextManager[None]:
    """Sets what is not set, for the time of the block."""
    return environment_set({name: value for name, value in values.items() if name not in os.environ})


@contextlib.contextmanager
def environment_set(values: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables for the time of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _remove_orphans() -> None:
    """Removes the folders of private Rays whose drivers were killed before they could do it."""
    for folder in Path(_FOLDER_HOME).glob(f"{_FOLDER_PREFIX}*"):
        pid = folder.name.removeprefix(_FOLDER_PREFIX).split("-")[0]
        if not pid.isdigit():
            continue
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            # Alive, and somebody else's.
            continue


def _start(slots: Slots, address: str | None, folder: str | None) -> None:
    import ray

    options: dict[str, object] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        options["address"] = address
    else:
        options |= {
            "address": "local",
            "num_cpus": slots.num_slots * slots.slot.num_cores,
            "include_dashboard": False,
            "object_store_memory": OBJECT_STORE_BYTES,
        }
        if folder is not None:
            options["_temp_dir"] = folder
    try:
        ray.init(**options)
    except (ConnectionError, OSError, RuntimeError, ValueError) as error:
        where = f"a Ray cluster at {address}" if address is not None else "a private Ray"
        raise StorageError(f"ray_address: {where} cannot be used: {error}") from error
