"""A Ray that lives as long as one comparison, or the one that is already there."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import medalign
from medalign.errors import ClusterError
from medalign.scheduling import private_ray
from medalign.scheduling.left_folders import folders_of_the_dead
from medalign.scheduling.slots import NODE_VARIABLE, NodeSlots, Slots, unit_resources

OBJECT_STORE_BYTES = 200 * 2**20

# Accelerators whose units Ray numbers by itself; naming ours replaces its own list.
_RAYS_UNIT_RESOURCES = ("neuron_cores", "TPU", "NPU", "HPU", "RBLN", "FURIOSA")

# Only where the user has not chosen: set before Ray starts, so that its own processes have them too.
_DEFAULTS = {
    "RAY_custom_unit_instance_resources": ",".join((*_RAYS_UNIT_RESOURCES, *unit_resources())),
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
# A private Ray is for this process alone: on the loopback address, with a token that nobody else is told.
_LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
_REACH_SECONDS = 5.0
_RAY_REFUSALS = (ConnectionError, OSError, RuntimeError, ValueError)
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
def ray_session(slots: Slots | None = None, *, address: str | None = None) -> Iterator[None]:
    """Connects to Ray for the time of the block; does nothing, at either end, where Ray is connected already.

    Args:
        slots: What a private cluster offers; None for one slot of one core.
        address: Of a running cluster: `auto` (the one of this machine or RAY_ADDRESS), `HOST:PORT` of its head, or
            `ray://HOST:PORT` of its client server. None starts a private one.

    Raises:
        ClusterError: The cluster cannot be reached or started.
    """
    offered = (slots or Slots()).offered
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": private_ray.token()}
    local = {} if address is not None else {**_LOOPBACK, **token}
    told = {} if address is not None else {NODE_VARIABLE: offered.to_text()}
    environment = environment_defaults({**_DEFAULTS, **local})
    with private_ray.own_token(), environment, environment_set(told), _importable_in_trials():
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
            if address is None:
                _start(offered, folder)
            else:
                _connect(address)
            yield
        finally:
            if private_ray.dead_part():
                private_ray.end_at_once()
            else:
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
        ClusterError: From that function: the cluster cannot be reached or started.
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
    for folder in folders_of_the_dead(Path(_FOLDER_HOME), _FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


def node_environment(offered: NodeSlots) -> dict[str, str]:
    """What the processes of a node are given by the one that starts it, so that trials there know their slots."""
    return {**_DEFAULTS, NODE_VARIABLE: offered.to_text()}


def _start(offered: NodeSlots, folder: str | None) -> None:
    import ray

    options = {"_temp_dir": folder} if folder is not None else {}
    private_ray.forget_token()
    try:
        with private_ray.on_loopback():
            ray.init(
                address="local",
                num_cpus=offered.num_cores,
                num_gpus=0,
                resources=offered.resources,
                labels=offered.labels,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                logging_level="ERROR",
                **options,
            )
    except Exception as error:  # Ray raises bare ones too: for a machine that is too busy to start it in time
        raise ClusterError(f"ray_address: a private Ray cannot be started: {_one_line(error)}") from error


def _connect(address: str) -> None:
    """Connects to a running cluster, to which this package goes along: its nodes run the driver's code."""
    import ray
    from ray.exceptions import RayError

    _check_reachable(address)
    package = str(Path(medalign.__file__).resolve().parent)
    private_ray.forget_token()
    try:
        _knock(address)
        ray.init(
            address=address,
            runtime_env={"py_modules": [package]},
            log_to_driver=False,
            logging_level="ERROR",
        )
    except (*_RAY_REFUSALS, RayError) as error:
        raise ClusterError(f"ray_address: {address}: {_refusal(error)}") from error


def _check_reachable(address: str) -> None:
    """Ray itself would try an address at which nothing answers for half a minute or longer.

    Raises:
        ClusterError: Nothing answers.
    """
    host, colon, port = address.removeprefix("ray://").partition("/")[0].rpartition(":")
    if not colon and address.startswith("ray://"):
        raise ClusterError(f"ray_address: {address}: names no port; write ray://HOST:10001")
    if not colon and address != "auto":
        raise ClusterError(f"ray_address: {address}: use auto, HOST:PORT or ray://HOST:PORT")
    if not colon:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise ClusterError(
            f"ray_address: {address}: nothing answers there ({_one_line(error)}); check host and port, and that "
            "`medalign node start --head` runs there"
        ) from error


def _knock(address: str) -> None:
    """Asks the head for its cluster's id; Ray itself knocks for 20 s, and then does not say why it was not let in.

    Raises:
        RayError: The head refuses the token, or what listens there is no Ray.
    """
    from ray import _raylet

    compiled: Any = _raylet
    if address != "auto" and not address.startswith("ray://"):
        compiled.GcsClient(address=address)


def _refusal(error: Exception) -> str:
    """Why a cluster was not joined and what would do, in one line."""
    text = str(error)
    if "ersion mismatch" in text or "version mismatch" in text:
        theirs, ours = (re.findall(rf"{what}: *([\w.]+)", text) for what in ("Ray", "Python"))
        if len(theirs) > 1 and len(ours) > 1:
            return (
                f"the cluster runs Ray {theirs[0]} on Python {ours[0]}, this machine Ray {theirs[1]} on Python "
                f"{ours[1]}; install the versions of constraints.txt on both"
            )
    if type(error).__name__ == "AuthenticationError" or "uthentication" in text or "auth token" in text:
        return (
            "the cluster refuses this machine's token; copy ~/.ray/auth_token from the head and set "
            f"RAY_AUTH_MODE=token ({_one_line(error)})"
        )
    if isinstance(error, ConnectionError) and "Could not find any running Ray" in text:
        return "no Ray runs on this machine; start it with `medalign node start --head`, or give HOST:PORT"
    return f"cannot be used: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
