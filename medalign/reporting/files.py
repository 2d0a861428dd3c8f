"""Files that are put in place whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from medalign.config.disk import disk_faults


def write_whole(path: Path, content: str | bytes) -> Path:
    """Writes a file in one step, its folder made where it is missing.

    Raises:
        StorageError: The disk is full.
        OSError: The folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with disk_faults(path.parent):
        try:
            unfinished.write_bytes(content.encode() if isinstance(content, str) else content)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)
    return path
