"""Decorators that mark a test and skip it, with the reason, where it cannot or should not run."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import pytest

Test = TypeVar("Test")


class NotHereError(Exception):
    """This machine does not have, or does not allow, what something needs; the text says which."""


# A condition given as text is evaluated when the test is about to run, and then knows the options.
SLOW_MARKS = (
    pytest.mark.slow,
    pytest.mark.skipif("not config.getoption('--run-slow')", reason="slow; add --run-slow"),
)


def slow(test: Test) -> Test:
    """Takes minutes: runs only with --run-slow."""
    for mark in SLOW_MARKS:
        test = mark(test)
    return test


def cluster(test: Test) -> Test:
    """Starts several Ray nodes: runs only with --run-cluster."""
    reason = "starts a Ray cluster; add --run-cluster"
    return _marked(test, pytest.mark.cluster, "not config.getoption('--run-cluster')", reason)


def requires_gpu(test: Test) -> Test:
    """Needs an NVIDIA GPU. Looks for the driver, since asking torch would load it for every test run."""
    return _marked(test, pytest.mark.gpu, not Path("/dev/nvidiactl").exists(), "needs an NVIDIA GPU")


def _marked(test: Test, mark: pytest.MarkDecorator, skip_if: bool | str, reason: str) -> Test:
    decorated: Any = mark(pytest.mark.skipif(skip_if, reason=reason)(test))
    return decorated
