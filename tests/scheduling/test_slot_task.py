"""Work ahead of the trials, in a slot of its own."""

from __future__ import annotations

import functools
import os

import pytest

from medalign.errors import ModelError
from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.slot_task import run_in_slot
from medalign.scheduling.slots import Slots


def process_and_threads() -> tuple[int, int, str]:
    import torch

    return os.getpid(), torch.get_num_threads(), os.environ["CUDA_VISIBLE_DEVICES"]


def fail(error: Exception) -> None:
    raise error


def test_work_runs_in_a_process_that_is_held_to_its_slot_and_its_errors_arrive() -> None:
    slots = Slots()
    with ray_session(slots):
        pid, threads, gpus = run_in_slot(process_and_threads, slots)
        assert pid != os.getpid() and threads == slots.slot.num_cores and gpus == ""
        with pytest.raises(ModelError, match="no such model; name another"):
            run_in_slot(functools.partial(fail, ModelError("model: no such model; name another")), slots)
        with pytest.raises(ZeroDivisionError):
            run_in_slot(functools.partial(fail, ZeroDivisionError("ours")), slots)
