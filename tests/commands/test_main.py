"""The console script: finding a command."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from medalign import __version__
from medalign.commands.main import COMMANDS, main


def test_without_a_command_it_says_which_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == main(["--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {name} " in printed for name in COMMANDS)


def test_every_command_has_a_way_in() -> None:
    assert all(callable(import_module(f"medalign.commands.{name}").main) for name in COMMANDS)


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"medalign {__version__}\n"


@pytest.mark.parametrize(
    ("command", "remedy"), [("compar", "did you mean compare?"), ("zzz", f"use one of {', '.join(COMMANDS)}")]
)
def test_an_unknown_command_is_answered_with_the_nearest(
    capsys: pytest.CaptureFixture[str], command: str, remedy: str
) -> None:
    assert main([command]) == 2
    assert capsys.readouterr().err == f"medalign: {command}: not a command; {remedy}\n"


def test_the_rest_of_the_line_goes_to_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--tirals", "3"]) == 2
    assert capsys.readouterr().err == "medalign: --tirals: not an option; did you mean --trials?\n"


def test_the_package_can_be_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "medalign", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"medalign {__version__}\n"
