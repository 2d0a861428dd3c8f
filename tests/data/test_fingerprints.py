from __future__ import annotations

import dataclasses

from medalign.data.fingerprints import fingerprint, stable_hash, unit_hash
from tests.data.examples import choice


def test_the_hash_is_the_same_in_every_process_and_version() -> None:
    assert stable_hash("seed", 1) == 16250187273721535782


def test_parts_are_kept_apart() -> None:
    assert stable_hash("ab", "c") != stable_hash("a", "bc")


def test_unit_hashes_spread_over_the_unit_interval() -> None:
    drawn = sorted(unit_hash("x", number) for number in range(1000))
    assert drawn[0] >= 0 and drawn[-1] < 1
    assert abs(drawn[250] - 0.25) < 0.06 and abs(drawn[750] - 0.75) < 0.06


def test_every_field_and_the_order_enter_the_fingerprint() -> None:
    questions = [choice("a"), choice("b")]
    changed = [dataclasses.replace(questions[0], rationale="Because."), questions[1]]
    assert len({fingerprint(questions), fingerprint(questions[::-1]), fingerprint(changed)}) == 3
    assert fingerprint(questions) == fingerprint(list(questions))
