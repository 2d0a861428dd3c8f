"""Training in stages: their order, and that all else is as without them."""

from __future__ import annotations

import math
import re
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from medalign.methods.base import MethodRun, TrainingData
from medalign.methods.catalog import method_named
from medalign.methods.curriculum import StagedOrder
from medalign.modeling.base_models import BaseModel
from tests.methods.examples import make_run, mixed, training_data

QUESTIONS = mixed(24)
SETTING: dict[str, Any] = {"epochs": 2, "batch_size": 5, "learning_rate": 2e-3, "lora_rank": 4}


def pieces(order: StagedOrder, epochs: int) -> list[list[int]]:
    found = []
    for epoch in range(epochs):
        order.set_epoch(epoch)
        found.append(list(order))
    return found


def test_every_stage_is_gone_through_as_often_as_there_are_epochs_before_the_next_begins() -> None:
    stages = (5, 9, 2)
    parts = pieces(StagedOrder(stages, epochs=3, seed=0), 3)
    assert [len(part) for part in parts] == [16, 16, 16]
    whole = [number for part in parts for number in part]
    ends = [0, 5, 14, 16]
    for (first, last), size in zip(pairwise(ends), stages, strict=True):
        passes = [whole[3 * first + size * epoch : 3 * first + size * (epoch + 1)] for epoch in range(3)]
        assert all(sorted(held) == list(range(first, last)) for held in passes)
        assert size < 5 or len({tuple(held) for held in passes}) == 3


def test_the_order_follows_the_seed() -> None:
    one, again, other = (pieces(StagedOrder((20, 20), epochs=2, seed=seed), 2) for seed in (1, 1, 2))
    assert one == again != other


def seen(run: MethodRun, method: str) -> list[set[int]]:
    """The numbers of the questions of each step."""
    base, steps = run.base, []

    def note(model: Any, args: Any, inputs: dict[str, Any]) -> None:
        texts = base.tokenizer.batch_decode(inputs["input_ids"])
        steps.append((model.training, {int(re.search(r"(?:entry|agent) (\d+)", t)[1]) for t in texts}))  # type: ignore[index]

    handle = base.model.register_forward_pre_hook(note, with_kwargs=True)
    with method_named(method).adapted(run):
        handle.remove()
    return [numbers for is_training, numbers in steps if is_training]


def staged(base: BaseModel, method: str, stages: tuple[int, ...], **setting: Any) -> MethodRun:
    # Large parts, so that each forward pass is a step.
    given = SETTING | {"tokens_at_once": 10_000} | setting
    data = training_data(QUESTIONS)
    return make_run(
        base, QUESTIONS, given, data=TrainingData(questions=QUESTIONS, pairs=data.pairs, stages=stages)
    )


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_training_follows_the_stages_with_the_steps_that_it_has_without(method: str, base: BaseModel) -> None:
    free, run = staged(base, method, ()), staged(base, method, (10, 14))
    unordered, ordered = seen(free, method), seen(run, method)
    sizes = [5, 5, 5, 5, 4, 5, 5, 5, 5, 4]
    assert [len(step) for step in unordered] == sizes
    early = Counter(number for step in ordered[:4] for number in step)
    late = Counter(number for step in ordered[4:] for number in step)
    assert early == Counter({number: 2 for number in range(10)})
    assert set(late) == set(range(10, 24))
    assert set().union(*ordered[:2]) == set(range(10))
    assert set().union(*unordered[:4]) - set(range(10))
    assert run.meter.tokens_trained == free.meter.tokens_trained
    assert [share for share, _ in run.learning_curve] == [share for share, _ in free.learning_curve]
    assert len(run.learning_curve) == 2 * math.ceil(24 / 5)


def test_one_stage_is_as_good_as_none(base: BaseModel) -> None:
    assert seen(staged(base, "sft", (24,)), "sft") == seen(staged(base, "sft", ()), "sft")


def test_in_context_learning_draws_its_examples_from_all_stages(base: BaseModel) -> None:
    def shown(stages: tuple[int, ...]) -> list[Any]:
        run = staged(base, "icl", stages)
        asked = make_run(base, QUESTIONS, {"shots": 3, "selection": "nearest"}, data=run.data)
        with method_named("icl").adapted(asked) as adapted:
            return [adapted.predictor.demonstrations(question) for question in mixed(6, start=30)]

    assert shown((10, 14)) == shown(())


def test_stages_that_do_not_add_up_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        TrainingData(questions=QUESTIONS, stages=(10, 13))
