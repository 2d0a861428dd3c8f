"""Settings of the whole test run: no network, quiet libraries, and the options that switch markers on."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Set before any test module imports a library that reads them once.
os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    MPLBACKEND="Agg",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="1",
    RAY_USAGE_STATS_ENABLED="0",
)
# A test must not write into the store of the person who runs it.
os.environ.pop("MLFLOW_TRACKING_URI", None)

# A shell starts what runs in its background with Ctrl-C ignored, and every process started from there inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a property holds for does not depend on how busy the machine is.
settings.register_profile("medalign", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("medalign")

# Begun first, so that no worker is alone with one of them at the end of the run. With two workers and `--dist loadfile`
# the first takes the first and the third, which start Ray; the other tests that do come late, by their folder's name.
LONGEST = ("tests/test_comparison.py", "tests/modeling/test_base_models.py", "tests/cluster/test_rack.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="also run the tests marked slow")
    parser.addoption("--run-cluster", action="store_true", help="also run the tests marked cluster")


def pytest_configure(config: pytest.Config) -> None:
    # pytest-xdist would begin with the files of many tests, and end with the few that take minutes.
    config.option.loadscopereorder = False
    for line in (
        "slow: takes minutes; runs with --run-slow",
        "gpu: needs an NVIDIA GPU",
        "cluster: starts several Ray nodes; runs with --run-cluster",
    ):
        config.addinivalue_line("markers", line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.nodeid.partition("::")[0], len(LONGEST)))
