"""What is looked at on every node of a running cluster before a trial is spent there."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from medalign.errors import ClusterError
from medalign.scheduling.slots import NODE_VARIABLE, NodeSlots

# To read the base model's files once, from a slow disk.
ANSWER_SECONDS = 600.0

Probe = Callable[[], Sequence[str]]
"""Called on a node; returns what keeps trials from running there, one line each."""


class ClusterNode(NamedTuple):
    """A node that is alive.

    Attributes:
        name: Its host's name, or its address where it has none.
        slots: What it offers; None if it was not started with `medalign node start`.
    """

    id: str
    name: str
    slots: NodeSlots | None


def cluster_nodes() -> tuple[ClusterNode, ...]:
    """The nodes of the cluster to which this process is connected, by name."""
    import ray

    alive = (node for node in ray.nodes() if node["Alive"])
    return tuple(
        sorted(
            ClusterNode(
                node["NodeID"],
                node.get("NodeManagerHostname") or node["NodeManagerAddress"],
                NodeSlots.from_labels(node.get("Labels", {})),
            )
            for node in alive
        )
    )


def offered_slots(address: str) -> list[NodeSlots]:
    """What the nodes of the cluster offer.

    Raises:
        ClusterError: None of them offers any.
    """
    offers = [node.slots for node in cluster_nodes() if node.slots is not None and node.slots.num_slots]
    if not offers:
        raise ClusterError(
            f"ray_address: {address}: no node there offers slots; start its nodes with `medalign node start`"
        )
    return offers


def check_nodes(libraries: Sequence[str], probe: Probe) -> None:
    """Has every node that offers slots looked at, all at once.

    Args:
        libraries: Whose versions must be there as they are here.
        probe: Sent to each node.

    Raises:
        ClusterError: One line that names the first node with a fault, its first fault, and how many others have any.
    """
    import ray
    from ray.exceptions import GetTimeoutError, RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    wanted = {name: version_of(name) for name in libraries}
    nodes = [node for node in cluster_nodes() if node.slots is not None and node.slots.num_slots]
    look = ray.remote(num_cpus=0, max_retries=0)(faults_here)
    answers = [
        look.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node.id, soft=False)).remote(
            wanted, platform.python_version_tuple()[:2], probe
        )
        for node in nodes
    ]
    faulty: list[tuple[str, str]] = []
    for node, answer in zip(nodes, answers, strict=True):
        try:
            faults = ray.get(answer, timeout=ANSWER_SECONDS)
        except GetTimeoutError:
            faults = [f"no answer within {ANSWER_SECONDS:g} s; look at its Ray's logs, or take it out"]
        except RayError as error:
            faults = [f"cannot run this package: {_last_line(error)}; install what setup.cfg names there"]
        faulty += [(node.name, faults[0])] if faults else []
    if faulty:
        name, fault = faulty[0]
        others = f" (and {len(faulty) - 1} more node(s) like it)" if len(faulty) > 1 else ""
        raise ClusterError(f"node {name}: {fault}{others}")


def faults_here(wanted: dict[str, str], python: Sequence[str], probe: Probe) -> list[str]:
    """What keeps trials from running on this machine."""
    faults = list(_version_faults(wanted, python))
    if NODE_VARIABLE not in os.environ:
        faults.append("offers slots, but was not started with `medalign node start`; start it so")
    return faults or list(probe())


def version_of(library: str) -> str:
    """Its version here; `none` where it is not installed."""
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return "none"


def _version_faults(wanted: dict[str, str], python: Sequence[str]) -> Iterable[str]:
    ours = platform.python_version_tuple()[:2]
    if tuple(python) != ours:
        yield f"runs Python {'.'.join(ours)}, the driver {'.'.join(python)}; install the same"
    missing = [name for name in wanted if version_of(name) == "none" != wanted[name]]
    if missing:
        yield f"lacks {', '.join(missing)}; install medalign's dependencies there, as with `make install`"
    for name, version in wanted.items():
        here = version_of(name)
        if here not in ("none", version):
            yield f"has {name} {here}, the driver {version}; install the versions of constraints.txt on both"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
