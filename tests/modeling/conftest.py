"""Models for the tests of modeling: tiny ones of every family, and the embedded one, converted at most once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import pytest

from medalign.modeling.base_models import EMBEDDED_MODEL, BaseModel, Precision, load_base, resolve_folder
from tests.tiny_models import Architecture, make_tiny

TinyFolder = Callable[[Architecture], Path]
TinyBase = Callable[..., BaseModel]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> TinyFolder:
    """The folder of a tiny model, written once a family; not to be changed."""

    @functools.cache
    def folder(architecture: Architecture) -> Path:
        return make_tiny(tmp_path_factory.mktemp("models") / architecture, architecture)

    return folder


@pytest.fixture
def tiny_base(tiny_folder: TinyFolder) -> TinyBase:
    """A tiny model of a family, loaded anew so that a test may change it."""

    def base(architecture: Architecture = "llama", precision: Precision = "fp32") -> BaseModel:
        return load_base(str(tiny_folder(architecture)), precision, "cpu")

    return base


@pytest.fixture(scope="session")
def embedded_folder() -> Path:
    """The embedded model's checkpoint; the first run on a machine converts it."""
    return resolve_folder(EMBEDDED_MODEL)
