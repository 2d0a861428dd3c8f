from __future__ import annotations

import gc
import weakref

import pytest

from medalign.errors import TrialStopped
from medalign.records import Cost, Progress, Spent, TrialResult, TrialSpec, note_spent
from medalign.scheduling.trial_run import DIVERGED, OUT_OF_MEMORY, Report, remedy_of, run_trial
from tests.scheduling.fakes import completed

SPEC = TrialSpec(trial_id="sft-search-000", method="sft", stage="search", setting={"x": 0.5})


def _ignore(progress: Progress) -> None:
    pass


def test_an_exception_is_a_failed_result_with_its_first_line_and_what_it_cost() -> None:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=0.5, score=0.4, cost=Cost(tokens_trained=64)))
        raise ValueError("\nlora_rank must divide 576\nmore")

    result = run_trial(run, SPEC, _ignore)
    assert (result.status, result.score) == ("failed", None)
    assert result.reason == "ValueError: lora_rank must divide 576"
    assert result.cost.tokens_trained == 64
    assert result.cost.wall_seconds > 0
    assert [progress.score for progress in result.history] == [0.4]


def test_a_failed_result_costs_what_the_runner_tied_to_the_error() -> None:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=0.5, score=0.4, cost=Cost(tokens_trained=64)))
        error = ValueError("too large")
        note_spent(error, Spent(Cost(tokens_trained=96, wall_seconds=7), {"table": Cost(tokens_scored=5)}))
        raise error

    result = run_trial(run, SPEC, _ignore)
    assert (result.cost.tokens_trained, result.cost.wall_seconds) == (96, 7)
    assert result.shared == {"table": Cost(tokens_scored=5)}


class OutOfMemoryError(RuntimeError):
    """Named as torch's."""


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (MemoryError(), OUT_OF_MEMORY),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 30.00 GiB"), OUT_OF_MEMORY),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate"), OUT_OF_MEMORY),
        (FloatingPointError("loss is nan"), DIVERGED),
        (ValueError("something else"), ""),
    ],
)
def test_remedy_fits_the_error(error: Exception, remedy: str) -> None:
    assert remedy_of(error) == remedy


@pytest.mark.parametrize("score", [float("nan"), float("inf"), None])
def test_a_completed_result_without_a_finite_score_has_failed(score: float | None) -> None:
    result = run_trial(
        lambda spec, report: TrialResult(spec=spec, status="completed", score=score, folder="trials/0"),
        SPEC,
        _ignore,
    )
    assert (result.status, result.score, result.remedy) == ("failed", None, DIVERGED)
    assert result.reason == f"validation score is {score}"
    assert result.folder == "trials/0"


def test_history_is_filled_in_where_the_runner_left_it_empty() -> None:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=1.0, score=0.4))
        return completed(spec, 0.4)

    assert len(run_trial(run, SPEC, _ignore).history) == 1


def test_trial_stopped_that_the_runner_lets_through_is_a_stopped_result() -> None:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        report(Progress(budget_share=0.5, score=0.4, cost=Cost(tokens_trained=64)))
        return completed(spec)

    def stop(progress: Progress) -> None:
        raise TrialStopped

    result = run_trial(run, SPEC, stop)
    assert (result.status, result.score, result.cost.tokens_trained) == ("stopped", 0.4, 64)


def test_a_failed_trial_leaves_nothing_of_its_memory_behind() -> None:
    class Weights:
        pass

    kept: list[weakref.ref[Weights]] = []
    errors: list[Exception] = []

    def run(spec: TrialSpec, report: Report) -> TrialResult:
        weights = Weights()
        kept.append(weakref.ref(weights))
        errors.append(MemoryError())
        raise errors[0]

    run_trial(run, SPEC, _ignore)
    gc.collect()
    # The exception itself is still held here, with its traceback.
    assert kept[0]() is None


def test_ctrl_c_is_not_a_failed_trial() -> None:
    def run(spec: TrialSpec, report: Report) -> TrialResult:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        run_trial(run, SPEC, _ignore)
