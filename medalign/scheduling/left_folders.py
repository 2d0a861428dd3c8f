"""Folders that are named after the process that made them, and what is left of them when it was killed."""

from __future__ import annotations

import os
from pathlib import Path


def folders_of_the_dead(home: Path, prefix: str) -> list[Path]:
    """Folders `<prefix><process id>-...` whose processes are no more.

    Another user's process is one that lives.
    """
    return [folder for folder in sorted(home.glob(f"{prefix}*")) if _is_of_the_dead(folder, prefix)]


def _is_of_the_dead(folder: Path, prefix: str) -> bool:
    pid = folder.name.removeprefix(prefix).split("-")[0]
    if not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
