"""What waits for an absent store: kept in order, written once, found again after a crash."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from medalign.errors import StorageError
from medalign.tracking import outbox as module
from medalign.tracking.outbox import Outbox, read_events
from medalign.tracking.runs import StoreAwayError


class Store:
    """Takes events while it is there; what it refuses it names."""

    def __init__(self) -> None:
        self.is_away = False
        self.is_reachable = True
        self.taken: list[int] = []
        self.attempts = 0

    def perform(self, event: dict[str, Any]) -> None:
        self.attempts += 1
        if self.is_away:
            raise StoreAwayError("cannot write metrics: connection refused")
        if event["number"] < 0:
            raise StorageError(f"cannot write parameters: {event['number']} is refused")
        self.taken.append(event["number"])

    def answers(self) -> bool:
        return self.is_reachable and not self.is_away


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_SECONDS", 0.01)
    monkeypatch.setattr(module, "LONGEST_WAIT_SECONDS", 0.02)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "outbox.jsonl"


@pytest.fixture
def outbox(store: Store, file: Path) -> Iterator[Outbox]:
    box = Outbox(file, store.perform, store.answers)
    yield box
    box.close()


def test_while_the_store_answers_nothing_is_written_to_disk(outbox: Outbox, store: Store, file: Path) -> None:
    for number in range(3):
        outbox.put({"number": number})
    assert store.taken == [0, 1, 2]
    assert not file.exists() and outbox.faults == () and outbox.num_waiting == 0


def test_an_outage_is_caught_up_with_in_order_and_without_duplicates(
    outbox: Outbox, store: Store, file: Path
) -> None:
    outbox.put({"number": 0})
    store.is_away = True
    for number in range(1, 50):
        outbox.put({"number": number})
    assert [event["number"] for event in read_events(file)] == list(range(1, 50))
    assert len(outbox.faults) == 1 and outbox.faults[0].startswith("49 record(s) wait in ")
    assert not outbox.drain(0.05)
    store.is_away = False
    assert outbox.drain(300.0)
    outbox.put({"number": 50})
    assert store.taken == list(range(51))
    assert not file.exists() and outbox.faults == ()


def test_an_event_during_an_outage_does_not_wait_for_the_store(outbox: Outbox, store: Store) -> None:
    release = threading.Event()

    def hang(event: dict[str, Any]) -> None:
        release.wait(30)
        raise StoreAwayError("timed out")

    store.is_away = True
    outbox.put({"number": 0})
    outbox._perform = hang  # type: ignore[method-assign]
    for number in range(1, 4):
        outbox.put({"number": number})  # would hang here, were it not for the thread
    assert outbox.num_waiting == 4
    release.set()


def test_what_a_killed_session_left_comes_first(store: Store, file: Path) -> None:
    away = Store()
    away.is_away = True
    killed = Outbox(file, away.perform, away.answers)
    for number in range(3):
        killed.put({"number": number})
    killed.close()
    with file.open("a") as stream:
        stream.write('{"number": 3, "do": "tri')  # it was killed while it wrote
    later = Outbox(file, store.perform, store.answers)
    later.put({"number": 4})
    assert later.drain(300.0)
    assert store.taken == [0, 1, 2, 4]
    later.close()


def test_an_event_after_a_line_that_was_cut_short_is_not_lost_in_it(store: Store, file: Path) -> None:
    file.write_text('{"number": 0}\n{"numb')
    store.is_away = True
    box = Outbox(file, store.perform, store.answers)
    box.put({"number": 1})
    box.close()
    assert [event["number"] for event in read_events(file)] == [0, 1]


def test_what_the_store_refuses_is_named_and_does_not_hold_up_the_rest(outbox: Outbox, store: Store) -> None:
    outbox.put({"number": -1})
    store.is_away = True
    for number in (1, -2, 3):
        outbox.put({"number": number})
    store.is_away = False
    assert outbox.drain(300.0)
    assert store.taken == [1, 3]
    assert [fault.split(": ")[1] for fault in outbox.faults] == ["-1 is refused", "-2 is refused"]


def test_an_event_that_a_store_which_answers_never_takes_is_given_up(outbox: Outbox, store: Store) -> None:
    store.is_away = True
    outbox.put({"number": 1})
    store.is_away = False
    take = store.perform

    def perform(event: dict[str, Any]) -> None:
        if event["number"] == 1:
            store.attempts += 1
            raise StoreAwayError("internal error")
        take(event)

    outbox._perform = perform  # type: ignore[method-assign]
    outbox.put({"number": 2})
    assert outbox.drain(300.0)
    assert store.taken == [2] and outbox.faults == ("internal error",)


def test_a_store_that_cannot_be_reached_is_never_given_up(outbox: Outbox, store: Store) -> None:
    store.is_away = True
    outbox.put({"number": 1})
    before = store.attempts
    while store.attempts < before + 20:
        time.sleep(0.01)
    assert outbox.num_waiting == 1


def test_a_full_disk_is_said_at_once(outbox: Outbox, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.is_away = True

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StorageError, match=r"the disk is full; .*--resume"):
        outbox.put({"number": 1})
