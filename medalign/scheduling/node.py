"""How a machine joins a Ray cluster with its slots: `ray start` and what it must be told."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from medalign.errors import ClusterError
from medalign.scheduling.ray_session import node_environment
from medalign.scheduling.slots import NODE_VARIABLE, NodeSlots

# Options of `ray start` that the slots decide.
_OURS = ("--num-cpus", "--num-gpus", "--resources", "--labels")


def options_like(command: str) -> list[str]:
    """The options of another tool's `ray start`, without those that the slots decide.

    Raises:
        ClusterError: It is no such command.
    """
    words = shlex.split(command)
    if words[:2] != ["ray", "start"]:
        raise ClusterError(f"--like: '{command}'; give a whole command that begins with `ray start`")
    kept: list[str] = []
    is_value = False
    for word in words[2:]:
        name, equals, _ = word.partition("=")
        if is_value and not word.startswith("--"):
            is_value = False
            continue
        is_value = name in _OURS and not equals
        if name not in _OURS:
            kept.append(word)
    return kept


def start_command(offered: NodeSlots, options: Sequence[str]) -> list[str]:
    """The `ray start` of a node with these slots.

    GPUs are offered as slots alone: as Ray's own `GPU` too, each could be given out twice.

    Args:
        options: Further ones of `ray start`: `--head` or `--address` at least.

    Raises:
        ClusterError: Ray's program is not beside this Python.
    """
    program = Path(sys.executable).with_name("ray")
    if not program.is_file():
        raise ClusterError(f"ray: no {program}; install medalign with its dependencies for {sys.executable}")
    given = {option.partition("=")[0] for option in options}
    ours = {
        "--num-cpus": str(offered.num_cores),
        "--num-gpus": "0",
        "--resources": json.dumps(offered.resources),
        "--labels": ",".join(f"{name}={value}" for name, value in offered.labels.items()),
    }
    if taken := sorted(given & ours.keys()):
        raise ClusterError(f"{taken[0]}: is worked out by `medalign node start`; leave it out")
    return [str(program), "start", *options, *(f"{name}={value}" for name, value in ours.items())]


def start_environment(offered: NodeSlots, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment of that `ray start`, which the node's trials inherit.

    Token authentication is on unless it was switched off: who reaches a cluster without it runs programs on it.
    """
    told = node_environment(offered)
    chosen = {name: value for name, value in told.items() if name == NODE_VARIABLE or name not in environment}
    return {"RAY_AUTH_MODE": "token", **environment, **chosen}
