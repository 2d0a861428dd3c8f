"""Where files are looked for: experiment files, search spaces, and the user's cache."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Literal

Folder = Literal["experiments", "search_spaces"]


def cache_folder() -> Path:
    """Folder for what is fetched or converted once: MEDALIGN_CACHE, else the XDG cache; not made here."""
    if named := os.environ.get("MEDALIGN_CACHE"):
        return Path(named).expanduser().absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache") / "medalign"


def search_path(folder: Folder) -> tuple[Path, ...]:
    """Folders in which a file is looked for, first match wins: here, beside the package, where pip put them."""
    checkout = Path(__file__).resolve().parents[2]
    installed = Path(sys.prefix) / "share" / "medalign"
    return tuple(dict.fromkeys(root / folder for root in (Path.cwd(), checkout, installed)))


def find_file(folder: Folder, name: str) -> Path | None:
    """The first file of that name (with or without `.yaml`) on the search path, or None."""
    names = (name, f"{name}.yaml")
    candidates = (place / each for place in search_path(folder) for each in names)
    return next((path for path in candidates if path.is_file()), None)


def known_names(folder: Folder) -> tuple[str, ...]:
    """Names, without `.yaml`, of every file on the search path, sorted."""
    return tuple(sorted({path.stem for place in search_path(folder) for path in place.glob("*.yaml")}))


def shown(path: Path) -> str:
    """The path as a person would type it: relative where it lies in the working directory."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(path)
