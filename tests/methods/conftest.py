"""Base models for the tests of the methods."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from medalign.modeling.base_models import EMBEDDED_MODEL, BaseModel, load_base
from tests.methods.examples import tiny_base
from tests.tiny_models import make_tiny


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Tiny models spend more time on sharing their work between threads than on the work."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "llama", "llama")


@pytest.fixture
def base(llama_folder: Path) -> BaseModel:
    """A tiny model in fp32, fresh for every test."""
    return tiny_base(llama_folder)


@pytest.fixture(scope="session")
def embedded_base() -> BaseModel:
    """The embedded model as it is used, converted on the first run on a machine."""
    return load_base(EMBEDDED_MODEL, device="cpu")
