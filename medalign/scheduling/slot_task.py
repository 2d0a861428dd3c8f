"""Work that is done once, before any trial, by a process in a slot of its own as trials have one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from medalign.errors import MedalignError
from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.slots import Slots, apply_slot, worker_environment

T = TypeVar("T")


def run_in_slot(work: Callable[[], T], slots: Slots, *, address: str | None = None) -> T:
    """What the work returns; its process ends with it and holds nothing of a GPU afterwards.

    Args:
        work: Sent to the process by value.
        address: Of a running Ray cluster; None starts a private one, unless this process is connected already.

    Raises:
        MedalignError: What the work raised of ours, as it is; or its process has died.
        ClusterError: Ray cannot be started or reached.
    """
    with ray_session(slots, address=address):
        import ray
        from ray.exceptions import RayError, RayTaskError

        asked = dict(slots.resources)
        cores = asked.pop("cpu")
        task = ray.remote(num_cpus=cores, resources=asked, max_calls=1, max_retries=0)(_in_slot)
        try:
            done: T = ray.get(task.remote(work, slots))
        except RayTaskError as error:
            if isinstance(error.cause, MedalignError):
                raise error.cause from None
            raise
        except RayError as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            raise MedalignError(f"the process that worked ahead of the trials has died: {reason}") from error
        return done


def _in_slot(work: Callable[[], T], slots: Slots) -> T:
    from medalign.scheduling.ray_tune import slot_of_process

    slot = slot_of_process(slots)
    os.environ.update(worker_environment(slot))
    apply_slot(slot)
    import torch  # noqa: F401  # so that the number of threads is set before the work begins

    apply_slot(slot)
    return work()
