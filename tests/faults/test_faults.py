"""Real comparisons, each struck by one fault at a seeded random moment; benchmarks/faults.py runs many of them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

import pytest

from benchmarks.faults import KINDS, Runs, line
from tests.faults.injector import SPOILED
from tests.markers import NotHereError, cluster


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with contextlib.ExitStack() as stack:
        yield Runs(tmp_path_factory.mktemp("faults"), stack)


@cluster
@pytest.mark.parametrize("kind", KINDS)
def test_a_comparison_that_a_fault_strikes_ends_as_one_that_nobody_disturbed(runs: Runs, kind: str) -> None:
    try:
        outcome = runs.run(kind, random.Random(f"test {kind}"), name=kind.replace(" ", "-"))
    except NotHereError as error:
        pytest.skip(str(error))
    assert outcome.is_well, line(outcome)
    # A spoiled checkpoint costs the way back to the one before it.
    assert all(each.num_reports <= 1 + (kind == SPOILED) for each in outcome.repeated), line(outcome)
