"""A machine's part in a Ray cluster.

medalign node start --head
medalign node start --address HOST:6379
medalign node list --address auto
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from medalign.commands.exit_codes import OK, guarded
from medalign.commands.parsing import Parser, number_or_text
from medalign.errors import ConfigError

START = """\
Join this machine to a Ray cluster, or begin one, with the slots that its own cards or cores give. It runs `ray start`
in its place; what follows -- goes to that. Token authentication is on unless RAY_AUTH_MODE says otherwise: make the
token once with `ray get-auth-token --generate` and copy ~/.ray/auth_token to every machine."""

EPILOG = """\
examples:
  %(prog)s --head
      begin a cluster here; trials run here too
  %(prog)s --head --no-slots
      begin a cluster on a machine that shall run no trials
  %(prog)s --address 192.0.2.10:6379 --slot-gib 40
      join with slots of 40 GiB
  %(prog)s --head -- --dashboard-host 0.0.0.0 --block
      with further options of `ray start`
"""


def main(argv: Sequence[str] | None = None, *, prog: str = "medalign node") -> int:
    """Run `medalign node ACTION` and return its exit code; `start` does not return, it becomes `ray start`."""
    return guarded(lambda: _node(prog, list(sys.argv[1:] if argv is None else argv)))


def _node(prog: str, argv: list[str]) -> int:
    ours, rays = _split(argv)
    given = _parser(prog).parse_args(ours)
    if given.action == "list":
        return _list(given.address)
    if given.action == "show":
        print(_described(_offered(given)))
        return OK
    return _start(given, rays)


def _parser(prog: str) -> Parser:
    parser = Parser(prog=prog, description="This machine in a Ray cluster.")
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=Parser)
    start = actions.add_parser(
        "start",
        help="join a cluster, or begin one, with this machine's slots",
        usage="%(prog)s (--head | --address HOST:PORT) [options] [-- options of ray start]",
        description=START,
        epilog=EPILOG,
    )
    where = start.add_mutually_exclusive_group()
    where.add_argument("--head", action="store_true", help="begin a cluster")
    where.add_argument("--address", metavar="HOST:PORT", help="of the head of the cluster to join")
    start.add_argument("--port", type=number_or_text, default=6379, help="of a head (default: 6379)")
    start.add_argument(
        "--like",
        metavar="COMMAND",
        help="join as this `ray start ...` of another tool would, but with our slots (KubeRay gives one)",
    )
    start.add_argument("--dry-run", action="store_true", help="print what would be run, then stop")
    show = actions.add_parser("show", help="print the slots of this machine")
    for each in (start, show):
        each.add_argument(
            "--slot-gib", type=number_or_text, metavar="GIB", help="memory of a slot (default: 24)"
        )
        each.add_argument("--slot-cores", type=number_or_text, metavar="N", help="CPU cores of a slot")
        each.add_argument(
            "--cores",
            type=number_or_text,
            metavar="N",
            help="CPU cores to offer in all (default: those that this process may use)",
        )
        each.add_argument("--slots", type=number_or_text, metavar="N", help="offer no more than so many")
        each.add_argument("--no-slots", action="store_true", help="offer none: no trial runs here")
    listing = actions.add_parser("list", help="print every node of a running cluster with its slots")
    listing.add_argument(
        "--address", default="auto", help="of the cluster (default: auto, the one of this machine)"
    )
    return parser


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    place = argv.index("--")
    return argv[:place], argv[place + 1 :]


def _offered(given: argparse.Namespace) -> Any:
    from medalign.scheduling.slots import available_cores, no_slots, node_slots, visible_gpus

    for option in ("cores", "slot_gib", "slot_cores", "slots"):
        value = getattr(given, option)
        if isinstance(value, str) or (option != "slot_gib" and isinstance(value, float)):
            raise ConfigError(f"--{option.replace('_', '-')}: '{value}'; give a number")
        if value is not None and value <= 0:
            raise ConfigError(f"--{option.replace('_', '-')}: {value}; must be above 0")
    cores = given.cores or available_cores()
    if given.no_slots:
        return no_slots(cores)
    named = {"slot_gib": given.slot_gib, "slot_cores": given.slot_cores, "max_slots": given.slots}
    chosen = {name: value for name, value in named.items() if value is not None}
    return node_slots(visible_gpus(), cores, **chosen)


def _start(given: argparse.Namespace, rays: list[str]) -> int:
    from medalign.scheduling.node import options_like, start_command, start_environment

    offered = _offered(given)
    if not isinstance(given.port, int):
        raise ConfigError(f"--port: '{given.port}'; give a number")
    if given.like is not None:
        where = options_like(given.like)
    elif given.head or given.address:
        where = ["--head", f"--port={given.port}"] if given.head else [f"--address={given.address}"]
    else:
        raise ConfigError(
            "--head, --address: neither is given; use --head to begin a cluster, or --address HOST:PORT"
        )
    command = start_command(offered, [*where, *rays])
    print(_described(offered), flush=True)
    if given.dry_run:
        import shlex

        print(shlex.join(command))
        return OK
    os.execvpe(command[0], command, start_environment(offered))


def _list(address: str) -> int:
    from medalign.scheduling.cluster import cluster_nodes
    from medalign.scheduling.ray_session import ray_session

    with ray_session(address=address):
        for node in cluster_nodes():
            print(f"{node.name:<24}{_described(node.slots)}")
    return OK


def _described(slots: Any) -> str:
    if slots is None:
        return "no slots: not started with `medalign node start`"
    if not slots.num_slots:
        return "no slots: no trial runs here"
    each = f"{slots.slot_cores} core(s)"
    if slots.memory_gib is not None:
        cut = f"{'+'.join(map(str, slots.per_device))} on {len(slots.per_device)} GPU(s)"
        return f"{slots.num_slots} slot(s) ({cut}), each {each} and up to {slots.slot_gib:g} GiB"
    return f"{slots.num_slots} slot(s), each {each}"
