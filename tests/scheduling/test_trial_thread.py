from __future__ import annotations

import threading

import pytest

from medalign.errors import ModelError, StorageError
from medalign.records import Progress, TrialResult, TrialSpec
from medalign.scheduling.trial_run import Report, Runner
from medalign.scheduling.trial_thread import TrialThread
from tests.scheduling.fakes import completed, make_hill_climber, make_nothing, make_stop_aware, make_troubled


def _spec(number: int) -> TrialSpec:
    return TrialSpec(
        trial_id=f"sft-search-{number:03d}", method="sft", stage="search", setting={"x": 0.5}, number=number
    )


def _end(thread: TrialThread, goes_on: bool = True) -> TrialResult:
    while isinstance(event := thread.advance(goes_on), Progress):
        pass
    assert event is not None
    return event


def test_who_waits_no_longer_gets_nothing_and_the_trial_goes_on() -> None:
    goes_on = threading.Event()

    def make() -> Runner:
        def run(spec: TrialSpec, report: Report) -> TrialResult:
            goes_on.wait()
            return completed(spec, 1.0)

        return run

    thread = TrialThread(make)
    thread.start(_spec(0))
    assert thread.advance(wait_seconds=0.0) is None
    assert thread.is_busy
    goes_on.set()
    event = thread.advance(wait_seconds=30.0)
    assert isinstance(event, TrialResult) and event.status == "completed"


def test_a_full_disk_is_no_fault_of_the_trial() -> None:
    def make() -> Runner:
        def run(spec: TrialSpec, report: Report) -> TrialResult:
            raise StorageError("results: the disk is full")

        return run

    thread = TrialThread(make)
    thread.start(_spec(0))
    with pytest.raises(StorageError, match="the disk is full"):
        thread.advance()


def test_each_report_waits_for_the_verdict_on_the_one_before() -> None:
    reached: list[float] = []

    def make() -> Runner:
        def run(spec: TrialSpec, report: Report) -> TrialResult:
            for share in (0.25, 0.5, 1.0):
                report(Progress(budget_share=share, score=share))
                reached.append(share)
            return completed(spec, 1.0)

        return run

    thread = TrialThread(make)
    thread.start(_spec(0))
    for seen in ([], [0.25], [0.25, 0.5]):
        assert isinstance(thread.advance(), Progress)
        assert reached == seen
    assert isinstance(thread.advance(), TrialResult)
    assert not thread.is_busy


def test_a_refused_report_ends_the_trial_with_the_runners_own_result() -> None:
    thread = TrialThread(make_stop_aware)
    thread.start(_spec(1))
    thread.advance()
    result = thread.advance(goes_on=False)
    assert isinstance(result, TrialResult)
    assert (result.status, result.reason, result.folder) == ("stopped", "was told to", "trials/mine")
    assert len(result.history) == 1


def test_runner_is_made_once_and_all_trials_run_in_one_thread() -> None:
    threads: list[int] = []

    def make() -> Runner:
        threads.append(threading.get_ident())

        def run(spec: TrialSpec, report: Report) -> TrialResult:
            threads.append(threading.get_ident())
            return completed(spec)

        return run

    thread = TrialThread(make)
    for number in range(3):
        thread.start(_spec(number))
        _end(thread)
    assert len(threads) == 4
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


def test_a_failed_trial_and_even_sys_exit_leave_the_thread_for_the_next() -> None:
    thread = TrialThread(make_troubled)
    statuses = []
    for number in range(5):
        thread.start(_spec(number))
        statuses.append(_end(thread).status)
    assert statuses == ["failed"] * 4 + ["completed"]


def test_runner_that_cannot_be_made_fails_the_trial_and_is_made_again_for_the_next() -> None:
    attempts: list[int] = []

    def make() -> Runner:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("disk quota exceeded")
        return make_hill_climber()

    thread = TrialThread(make)
    thread.start(_spec(0))
    result = _end(thread)
    assert result.status == "failed"
    assert result.reason == "the trial's process could not be set up: OSError: disk quota exceeded"
    thread.start(_spec(1))
    assert _end(thread).status == "completed"


def test_bad_input_found_while_making_the_runner_is_raised() -> None:
    thread = TrialThread(make_nothing)
    thread.start(_spec(0))
    with pytest.raises(ModelError, match="smollm2-135m cannot be found"):
        thread.advance()


def test_a_second_trial_cannot_start_before_the_first_has_ended() -> None:
    thread = TrialThread(make_hill_climber)
    thread.start(_spec(0))
    with pytest.raises(AssertionError, match="still running"):
        thread.start(_spec(1))
