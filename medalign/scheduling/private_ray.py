"""The processes of a Ray that this process has started: who reaches them, whether they live, and how they end.

Without its raylet a driver waits for ever for a node that will not come back; without its head (gcs_server) Ray ends
the driver after a minute, with a page of its own log.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

_FAREWELL_SECONDS = 5.0
_LOOK_SECONDS = 2.0
_NEEDED = {"raylet": "its raylet", "gcs_server": "its head (gcs_server)"}


def dead_part() -> str:
    """What of the private Ray has died; empty if nothing has, or if this process is connected to another Ray."""
    node = _node()
    dead = {kind for kind, _ in node.dead_processes()} if node is not None else set()
    return next((name for kind, name in _NEEDED.items() if kind in dead), "")


class Watch:
    """Looks now and then whether Ray lives; a scheduler asks ten times a second.

    Args:
        look: What of it has died; empty if nothing has.
    """

    def __init__(self, look: Callable[[], str] = dead_part) -> None:
        self._look = look
        self._next_look = float("-inf")

    def dead_part(self, now: float) -> str:
        """What has died, or empty; looks at most every 2 s.

        Args:
            now: By a clock that never goes back.
        """
        if now < self._next_look:
            return ""
        self._next_look = now + _LOOK_SECONDS
        return self._look()


@functools.cache
def token() -> str:
    """The one of every private Ray of this process. Ray reads it once."""
    return secrets.token_hex(32)


def forget_token() -> None:
    """Has Ray look for its token again, since that of another cluster is another."""
    from ray import _raylet

    compiled: Any = _raylet
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def own_token() -> Iterator[None]:
    """Has Ray forget the token of this block after it, unless a Ray goes on that was there before."""
    try:
        yield
    finally:
        import ray

        if not ray.is_initialized():
            forget_token()


@contextlib.contextmanager
def on_loopback() -> Iterator[None]:
    """What Ray starts in this block listens on 127.0.0.1 alone, as it does by itself on macOS and Windows.

    Ray takes the machine's own address for its sockets whatever it is told, unless clusters are switched off.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def end_at_once() -> None:
    """Kills what is left of the private Ray, and leaves it without waiting for an answer of its dead parts."""
    import ray

    node = _node()
    if node is not None:
        with contextlib.suppress(Exception):  # whatever it is, there is nothing left to be saved
            node.kill_all_processes(check_alive=False, allow_graceful=False)
    # Ray says good-bye to its head, here and again at the end of the process; a dead one never answers.
    atexit.unregister(ray.shutdown)
    farewell = threading.Thread(target=ray.shutdown, name="ray shutdown", daemon=True)
    farewell.start()
    farewell.join(_FAREWELL_SECONDS)


def _node() -> Any:
    from ray._private import worker

    return getattr(worker, "_global_node", None)
