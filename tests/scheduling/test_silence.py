from __future__ import annotations

from pathlib import Path

from medalign.scheduling.events import Observers
from medalign.scheduling.planning import Plan
from medalign.scheduling.ray_tune import LESS_BUSY, PROCESS_DIED, PROCESS_SILENT, _Driver
from medalign.scheduling.silence import Silence
from tests.scheduling import fakes


def test_a_trial_that_gives_no_sign_for_too_long_is_named_once() -> None:
    silence = Silence(6.0)
    named = []
    for second in range(0, 30, 2):
        silence.heard("lively")
        named.append(silence.too_long(["lively", "silent"], float(second)))
    assert [place for place, trials in enumerate(named) if trials] == [3]
    assert named[3] == ["silent"]


def test_while_the_driver_stood_still_nobody_was_silent() -> None:
    silence = Silence(60.0)
    assert silence.too_long(["sft-search-000"], 0.0) == []
    assert silence.too_long(["sft-search-000"], 3600.0) == []  # a laptop was closed for an hour


def test_a_trial_that_starts_later_is_not_judged_by_the_time_before() -> None:
    silence = Silence(6.0)
    for second in range(10):
        assert silence.too_long([], float(second)) == []
    assert silence.too_long(["late"], 10.0) == []


def test_a_trial_that_was_killed_for_its_silence_does_not_seem_to_lack_memory(tmp_path: Path) -> None:
    diary = fakes.Diary()
    driver = _Driver(Plan([fakes.searched("sft", 2)], tmp_path, num_slots=2), Observers([diary]), None)
    for process in ("first", "second"):
        spec = driver.next_trial(process)
        assert spec is not None and spec.trial_id == "sft-search-000"
        driver.on_start(process)
        driver.on_silence(process)
        driver.on_death(process, None)
    for process in ("third", "fourth"):
        driver.next_trial(process)
        driver.on_start(process)
        driver.on_death(process, None)
    ended = {result.spec.trial_id: (result.reason, result.remedy) for result in diary.results}
    assert ended["sft-search-000"] == (PROCESS_SILENT, LESS_BUSY)
    assert ended["sft-search-001"][0] == PROCESS_DIED


def test_a_process_that_had_died_while_it_was_idle_is_not_held_against_the_trial_that_meets_it(
    tmp_path: Path,
) -> None:
    diary = fakes.Diary()
    driver = _Driver(Plan([fakes.searched("sft", 1)], tmp_path), Observers([diary]), None)
    driver.next_trial("killed")
    driver.on_start("killed")
    driver.on_death("killed", None)
    for process in ("idle and dead", "another one"):
        driver.next_trial(process)
        driver.on_death(process, None)
    assert driver.next_trial("alive") is not None
    driver.on_start("alive")
    assert diary.results == []
    driver.on_death("alive", None)
    assert [result.reason for result in diary.results] == [PROCESS_DIED]
