"""Hashes that are the same on every machine and in every process, unlike Python's own `hash`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable

from medalign.records import PreferencePair, Question


def stable_hash(*parts: object) -> int:
    """A 64-bit number that depends on the parts' text alone; used in place of a random draw."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def unit_hash(*parts: object) -> float:
    """`stable_hash` scaled to [0, 1)."""
    # 53 bits are what a float holds exactly, so the result never rounds up to 1.0.
    return (stable_hash(*parts) >> 11) / 2**53


def fingerprint(records: Iterable[Question | PreferencePair]) -> str:
    """SHA-256 (hex) over every field of the records in their order."""
    digest = hashlib.sha256()
    for record in records:
        line = json.dumps(dataclasses.asdict(record), sort_keys=True, ensure_ascii=True)
        digest.update(line.encode("ascii") + b"\n")
    return digest.hexdigest()
