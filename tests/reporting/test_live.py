from __future__ import annotations

import io
import re
from collections.abc import Callable

import pytest

from medalign.records import Cost, Progress, TrialResult, TrialSpec
from medalign.reporting import live
from medalign.reporting.live import LiveView

SEARCH = TrialSpec(
    trial_id="sft-search-000",
    method="sft",
    stage="search",
    setting={"learning_rate": 0.00031234, "lora_rank": 8},
)
REFIT = TrialSpec(trial_id="sft-refit-000", method="sft", stage="refit", setting={"lora_rank": 8})
BASE = TrialSpec(trial_id="base-refit-000", method="base", stage="refit")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Stands in for the module `time`: goes on only when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(live, "time", clock)
    return clock


def ended(spec: TrialSpec, status: str = "completed", **fields: object) -> TrialResult:
    return TrialResult(spec=spec, status=status, cost=Cost(wall_seconds=12.4), **fields)  # type: ignore[arg-type]


def plain(show: Callable[[LiveView], None], **options: int) -> list[str]:
    """The lines that a view writes where there is no terminal."""
    stream = io.StringIO()
    with LiveView(stream=stream, **{"num_trials": 4, **options}) as view:
        show(view)
    assert "\x1b" not in stream.getvalue()
    return stream.getvalue().splitlines()


def test_without_a_terminal_every_event_is_a_line(clock: Clock) -> None:
    def show(view: LiveView) -> None:
        clock.seconds += 5
        view.trial_started(SEARCH)
        clock.seconds += 10
        view.progress(SEARCH, Progress(budget_share=0.5, score=0.25))
        clock.seconds += 10
        view.progress(SEARCH, Progress(budget_share=1.0, score=0.5))
        view.trial_finished(ended(SEARCH, score=0.5))

    assert plain(show) == [
        "[   0:05] sft-search-000 starts: learning_rate=0.0003123, lora_rank=8",
        "[   0:15] sft-search-000 at 50%: validation accuracy 25.0%",
        # 20 s for one of four, the seconds before the first start left out.
        "[   0:25] sft-search-000 done in 12 s: validation accuracy 50.0% (1 of 4, about 1:00 left)",
    ]


def test_every_way_to_end_is_told_apart(clock: Clock) -> None:
    def show(view: LiveView) -> None:
        for result in (
            ended(SEARCH, "stopped", score=0.1),
            ended(SEARCH, "failed", reason="the loss is nan", remedy="lower learning_rate"),
            ended(REFIT),
            ended(BASE, score=0.3),
        ):
            view.trial_finished(result)

    assert [line.partition("] ")[2] for line in plain(show)] == [
        "sft-search-000 stopped early in 12 s: validation accuracy 10.0% (1 of 4)",
        "sft-search-000 failed: the loss is nan; what may help: lower learning_rate (2 of 4)",
        "sft-refit-000 done in 12 s: test questions answered (3 of 4)",
        "base-refit-000 done in 12 s: test questions answered (4 of 4)",
    ]


def test_no_accuracy_on_test_questions_is_shown_before_the_comparison(clock: Clock) -> None:
    def show(view: LiveView) -> None:
        view.trial_started(REFIT)
        view.trial_finished(ended(REFIT, score=0.625, metrics={"test_accuracy": 0.625}))

    assert not [line for line in plain(show) if "62.5" in line or "0.625" in line]


def test_trials_of_an_earlier_session_count_as_ended_but_not_for_the_pace(clock: Clock) -> None:
    def show(view: LiveView) -> None:
        view.trial_started(REFIT)
        clock.seconds += 3600
        view.trial_finished(ended(REFIT))

    assert plain(show, num_trials=10, num_finished=8)[-1].endswith("(9 of 10, about 1:00:00 left)")


def test_running_trials_count_half_in_the_pace(clock: Clock) -> None:
    def show(view: LiveView) -> None:
        view.trial_started(SEARCH)
        view.trial_started(BASE)
        clock.seconds += 30
        view.trial_finished(ended(SEARCH, score=0.5))

    # One and a half in 30 s; two and a half are left.
    assert plain(show)[-1].endswith("(1 of 4, about 0:50 left)")


def test_on_a_terminal_a_table_shows_the_running_trials_and_lines_stay_above_it(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("NO_COLOR", raising=False)
    stream = Terminal()
    with LiveView(4, stream=stream) as view:
        view.trial_started(SEARCH)
        view.progress(SEARCH, Progress(budget_share=0.5, score=0.25))
        view.trial_finished(ended(SEARCH, score=0.25))
        view.trial_started(REFIT)
        clock.seconds += 61
        stream.truncate(0)
        view._live.refresh()
        shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
        stream.truncate(0)
        view.say("a setting [in brackets] stays as it is")
        said = stream.getvalue()
    assert "1 of 4 trials ended, 1:01" in shown
    row = next(line for line in shown.splitlines() if "sft-refit-000" in line)
    assert "lora_rank=8" in row and "1:01" in row and "25.0%" in row
    assert "sft-search-000" not in shown
    assert "a setting [in brackets] stays as it is" in said
    # The table is gone in the end, the cursor is back.
    assert "\x1b[?25h" in stream.getvalue()


def test_a_terminal_is_left_in_order_when_the_comparison_is_interrupted(clock: Clock) -> None:
    stream = Terminal()
    with pytest.raises(KeyboardInterrupt, match="now"), LiveView(4, stream=stream) as view:
        view.trial_started(SEARCH)
        raise KeyboardInterrupt("now")
    assert view._live is None and "\x1b[?25h" in stream.getvalue()
