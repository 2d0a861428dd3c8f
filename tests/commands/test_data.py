"""`medalign data`."""

from __future__ import annotations

import pytest

from medalign.commands.data import main
from medalign.data.catalog import SOURCES


def test_every_source_is_listed_with_what_it_asks_and_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    for name, source in SOURCES.items():
        assert f"{name}\n  {source.description}\n" in printed
        assert all(fact in printed for fact in (source.licence, source.citation, source.origin))
        assert all(fault in printed for fault in source.known_faults)
    assert printed.count("access:    credentialed") == 2


def test_an_unknown_action_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lst"]) == 2
    assert capsys.readouterr().err.startswith("medalign: ACTION: invalid choice: 'lst'")


def test_an_unknown_option_of_an_action_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--all"]) == 2
    assert capsys.readouterr().err == "medalign: --all: not an option; `medalign data --help` lists them\n"
