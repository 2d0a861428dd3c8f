from __future__ import annotations

from medalign.scheduling.silence import Silence


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
