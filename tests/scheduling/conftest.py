from __future__ import annotations

from collections.abc import Iterator

import pytest

from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.slots import Slots

TWO_SLOTS = Slots(num_slots=2)


@pytest.fixture(scope="session")
def two_slots() -> Iterator[Slots]:
    """Two slots of one core on a Ray that all tests of this folder share."""
    with ray_session(TWO_SLOTS):
        yield TWO_SLOTS
