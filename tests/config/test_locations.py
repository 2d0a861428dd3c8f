"""Where files are looked for."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from medalign.config import locations


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path, Path]:
    """Working directory, checkout and installation, each with an empty experiments/."""
    here, checkout, prefix = (tmp_path / name for name in ("here", "checkout", "prefix"))
    folders = (here, checkout, prefix / "share" / "medalign")
    for folder in folders:
        (folder / "experiments").mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr(locations, "__file__", str(checkout / "medalign" / "config" / "locations.py"))
    monkeypatch.setattr(sys, "prefix", str(prefix))
    return folders


def test_the_working_directory_wins_over_the_checkout_and_that_over_the_installation(
    places: tuple[Path, Path, Path],
) -> None:
    for place in reversed(places):
        (place / "experiments" / "one.yaml").touch()
        assert locations.find_file("experiments", "one") == place / "experiments" / "one.yaml"
    assert locations.find_file("experiments", "one.yaml") == places[0] / "experiments" / "one.yaml"


def test_names_of_all_places_are_known(places: tuple[Path, Path, Path]) -> None:
    for place, name in zip(places, ("c", "a", "b"), strict=True):
        (place / "experiments" / f"{name}.yaml").touch()
    assert locations.known_names("experiments") == ("a", "b", "c")
    assert locations.find_file("experiments", "d") is None


def test_the_cache_follows_its_own_variable_then_xdg_then_the_home_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MEDALIGN_CACHE", "~/mine")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert locations.cache_folder() == tmp_path / "mine"
    monkeypatch.delenv("MEDALIGN_CACHE")
    assert locations.cache_folder() == tmp_path / "xdg" / "medalign"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert locations.cache_folder() == tmp_path / ".cache" / "medalign"


def test_a_path_below_the_working_directory_is_shown_relative(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert locations.shown(tmp_path / "a" / "b.yaml") == "a/b.yaml"
    assert locations.shown(tmp_path.parent / "b.yaml") == str(tmp_path.parent / "b.yaml")
