"""Where a comparison runs: the cluster that was named or this machine, its slots, and the storage between them."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

from medalign.config.experiment import Experiment
from medalign.config.storage import Storage
from medalign.errors import ConfigError
from medalign.methods.contract import LIBRARIES
from medalign.methods.readiness import Readiness, make_marker
from medalign.scheduling.slots import Slots, comparison_slots, local_slots
from medalign.tracking.folder import ComparisonFolder


def cluster(experiment: Experiment) -> contextlib.AbstractContextManager[None]:
    """A connection to the cluster that was named, for the time of the comparison."""
    from medalign.scheduling.ray_session import ray_session

    if experiment.ray_address is None:
        return contextlib.nullcontext()
    return ray_session(address=experiment.ray_address)


def check_cluster(experiment: Experiment, folder: ComparisonFolder, contract: Mapping[str, Any]) -> None:
    """Has every node of a cluster looked at before a trial is spent."""
    from medalign.modeling.base_models import absolute_name
    from medalign.scheduling.cluster import check_nodes

    storage = storage_of(experiment, folder)
    if storage is not None:
        storage.check()
    if experiment.ray_address is None:
        return
    marker = make_marker(folder.path)
    readiness = Readiness(
        model=absolute_name(experiment.model.name),
        fingerprint={
            name: contract["base"][name] for name in contract["base"] if name not in ("model", "precision")
        },
        storage=storage.uri if storage else None,
        shared=str(folder.path),
        marker=marker,
    )
    try:
        check_nodes(LIBRARIES, readiness)
    finally:
        (folder.path / marker).unlink(missing_ok=True)


def storage_of(experiment: Experiment, folder: ComparisonFolder) -> Storage | None:
    """The comparison's own place in the shared storage, where one was named."""
    return Storage(experiment.storage_path).below(folder.id) if experiment.storage_path else None


def slots_of(experiment: Experiment) -> Slots:
    """The slots of this machine, or those of the cluster to which it is connected."""
    from medalign.scheduling.cluster import offered_slots

    if experiment.ray_address is None:
        return local_slots(
            slot_gib=experiment.slot_gib,
            slot_cores=experiment.slot_cores,
            slots_per_trial=experiment.slots_per_trial,
            max_slots=experiment.max_slots,
        )
    return comparison_slots(
        offered_slots(experiment.ray_address),
        slot_gib=experiment.slot_gib,
        slots_per_trial=experiment.slots_per_trial,
        max_slots=experiment.max_slots,
    )


def check_overlap(experiment: Experiment, slots: Slots) -> None:
    """Whether what `overlap` asks for can be had.

    Raises:
        ConfigError: It cannot.
    """
    from medalign.scheduling.gpu_sharing import find_service

    if not experiment.overlap:
        return
    if experiment.ray_address is not None:
        raise ConfigError(
            "overlap: is for the GPUs of this machine; on a cluster start the service on each node before "
            "`medalign node start`, and leave overlap out"
        )
    if slots.slot.kind != "gpu":
        raise ConfigError("overlap: the slots of this machine have no GPU; leave it out")
    find_service()
