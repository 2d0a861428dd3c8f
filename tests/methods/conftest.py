"""Base models for the tests of the methods."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from medalign.modeling.base_models import EMBEDDED_MODEL, BaseModel, load_base
from tests.methods.examples import tiny_base
from tests.tiny_models import make_tiny


@pytest.fixture(scope="module", autouse=True)
def quick_trials() -> Iterator[None]:
    """What takes longest in a trial of a tiny model: sharing work between threads, and collecting garbage.

    A trial collects it twice; what the libraries hold, which takes half a second to go through, is left out.
    """
    import torch
    from trl import DPOTrainer, SFTTrainer  # noqa: F401  # to be loaded before their objects are left out

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    torch.set_num_threads(threads)


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
