"""`medalign COMMAND`: finds the command and hands it the rest of the line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

from medalign import __version__
from medalign.commands.exit_codes import OK, guarded
from medalign.errors import ConfigError

# The command, and what it is for. Each is a module of this package with `main(argv) -> exit code`.
COMMANDS = {
    "compare": "compare ways of adapting a base model on medical questions",
    "prepare": "clean and split the questions of an experiment, and write their card",
    "data": "list the sources of questions",
    "plan": "print what fits a slot of GPU memory, without loading anything",
    "report": "build the report of a comparison again, from its folder alone",
    "evaluate": "every metric of stored predictions, and what one arm fixes and breaks of another",
    "node": "join this machine to a Ray cluster with its slots, or list a cluster's",
}

USAGE = "usage: medalign COMMAND [options]\n\ncommands:\n{commands}\n\n`medalign COMMAND --help` says more.\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; without one, or with --help, say which there are.

    Returns:
        The command's exit code; 2 for an unknown command.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        listed = "\n".join(f"  {name:<10}{text}" for name, text in COMMANDS.items())
        print(USAGE.format(commands=listed), end="")
        return OK
    if arguments[0] == "--version":
        print(f"medalign {__version__}")
        return OK
    return guarded(lambda: _run(arguments[0], arguments[1:]))


def _run(name: str, rest: list[str]) -> int:
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        remedy = f"did you mean {close[0]}?" if close else f"use one of {', '.join(COMMANDS)}"
        raise ConfigError(f"{name}: not a command; {remedy}")
    return int(import_module(f"medalign.commands.{name}").main(rest))
