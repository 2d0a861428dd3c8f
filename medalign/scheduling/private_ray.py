"""The processes of a Ray that this process has started: whether they live, and how they end when some do not.

Without its raylet a driver waits for ever for a node that will not come back; without its head (gcs_server) Ray ends
the driver after a minute, with a page of its own log.
"""

from __future__ import annotations

import atexit
import contextlib
import threading
from typing import Any

_FAREWELL_SECONDS = 5.0
_NEEDED = {"raylet": "its raylet", "gcs_server": "its head (gcs_server)"}


def dead_part() -> str:
    """What of the private Ray has died; empty if nothing has, or if this process is connected to another Ray."""
    node = _node()
    dead = {kind for kind, _ in node.dead_processes()} if node is not None else set()
    return next((name for kind, name in _NEEDED.items() if kind in dead), "")


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
