"""What every method promises, whatever it does: one class that all of the catalog pass."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import pytest

from medalign.errors import TrialStopped
from medalign.methods.base import Method, MethodRun
from medalign.methods.catalog import METHODS
from medalign.modeling.base_models import BaseModel
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from tests.methods.examples import make_run, mixed, quick_setting

TRAIN = mixed(12)
ASKED = mixed(6, start=12)
SCORED = tuple(question for question in ASKED if question.is_scored)
WRITTEN = tuple(question for question in ASKED if not question.is_scored)
SHARES = (0.3, 0.5)

Scores = list[tuple[float, ...]]


@pytest.fixture(params=list(METHODS))
def method(request: pytest.FixtureRequest) -> Method:
    return METHODS[request.param]


def run_of(method: Method, base: BaseModel, **changes: Any) -> MethodRun:
    fields: dict[str, Any] = {"checkpoints": SHARES, **changes}
    setting = fields.pop("setting", quick_setting(method.name))
    return make_run(base, TRAIN, setting, **fields)


def scores_after(method: Method, base: BaseModel, **changes: Any) -> Scores:
    with method.adapted(run_of(method, base, **changes)) as adapted:
        return adapted.predictor.score_options(SCORED)


class Watch:
    """A checkpoint that remembers when it was called and what the model then said, and may stop the trial."""

    def __init__(self, stop_at: float = math.inf) -> None:
        self.shares: list[float] = []
        self.scores: list[Scores] = []
        self._stop_at = stop_at

    def __call__(self, share: float, predictor: Predictor) -> None:
        self.shares.append(share)
        self.scores.append(predictor.score_options(SCORED))
        if share >= self._stop_at:
            raise TrialStopped("others are better")


@contextlib.contextmanager
def left_untouched(base: BaseModel) -> Iterator[None]:
    """Fails unless the base model is afterwards what it was, down to its modules and what it says."""
    model = base.model
    weights = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modules = {name: type(module) for name, module in model.named_modules()}
    attributes = set(model.__dict__)
    said = Predictor(base, Meter()).score_options(SCORED)
    yield
    assert {name: type(module) for name, module in model.named_modules()} == modules
    assert list(model.state_dict()) == list(weights)
    assert all(tensor.equal(weights[name]) for name, tensor in model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert set(model.__dict__) <= attributes
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert Predictor(base, Meter()).score_options(SCORED) == said


class TestMethod:
    def test_it_ends_with_a_predictor_that_scores_options_and_writes(
        self, method: Method, base: BaseModel
    ) -> None:
        with method.adapted(run_of(method, base)) as adapted:
            scores = adapted.predictor.score_options(SCORED)
            texts = adapted.predictor.write(WRITTEN)
        assert [len(found) for found in scores] == [len(question.options) for question in SCORED]
        assert all(math.isfinite(score) and score < 0 for found in scores for score in found)
        assert len(texts) == len(WRITTEN)
        assert all(isinstance(text, str) and "\n" not in text for text in texts)

    def test_the_base_model_is_left_untouched(self, method: Method, base: BaseModel) -> None:
        with left_untouched(base), method.adapted(run_of(method, base)):
            pass

    @pytest.mark.parametrize("stop_at", [0.0, 1.0])
    def test_a_stopped_trial_leaves_the_base_model_untouched(
        self, method: Method, base: BaseModel, stop_at: float
    ) -> None:
        watch = Watch(stop_at)
        with (
            left_untouched(base),
            pytest.raises(TrialStopped, match="others are better"),
            method.adapted(run_of(method, base, checkpoint=watch)),
        ):
            raise AssertionError("the trial went on after it was stopped")
        assert watch.shares[-1] >= stop_at

    def test_a_fault_in_answering_leaves_the_base_model_untouched(
        self, method: Method, base: BaseModel
    ) -> None:
        with (
            left_untouched(base),
            pytest.raises(ZeroDivisionError, match="zero"),
            method.adapted(run_of(method, base)),
        ):
            1 / 0  # noqa: B018

    def test_a_trial_after_a_stopped_one_is_as_the_first(self, method: Method, base: BaseModel) -> None:
        first = scores_after(method, base)
        with (
            pytest.raises(TrialStopped, match="others"),
            method.adapted(run_of(method, base, seed=5, checkpoint=Watch(0.0))),
        ):
            pass
        assert scores_after(method, base) == first

    def test_it_calls_checkpoint_when_due_and_when_all_is_spent(
        self, method: Method, base: BaseModel
    ) -> None:
        watch = Watch()
        run = run_of(method, base, checkpoint=watch)
        with method.adapted(run) as adapted:
            final = adapted.predictor.score_options(SCORED)
        steps = [share for share, _ in run.learning_curve]
        # A checkpoint is called after the first step by whose end its share is spent.
        due = [min(step for step in steps if step >= share) for share in SHARES if steps]
        assert watch.shares == [*due, 1.0]
        assert watch.scores[-1] == final
        assert all(scores != final for scores in watch.scores[:-1])

    def test_shares_that_fall_into_one_step_make_one_checkpoint(
        self, method: Method, base: BaseModel
    ) -> None:
        watch = Watch()
        run = run_of(method, base, checkpoint=watch, checkpoints=(0.01, 0.02, 0.1, 0.999))
        with method.adapted(run):
            pass
        assert watch.shares == ([run.learning_curve[0][0]] if run.learning_curve else []) + [1.0]

    def test_checkpoints_do_not_change_where_it_ends(self, method: Method, base: BaseModel) -> None:
        setting = quick_setting(method.name, **({"lora_dropout": 0.2} if trains(method) else {}))
        searched = scores_after(method, base, setting=setting, checkpoint=Watch())
        assert scores_after(method, base, setting=setting, checkpoints=()) == searched

    def test_the_same_seed_gives_the_same_scores(self, method: Method, base: BaseModel) -> None:
        assert scores_after(method, base, seed=3) == scores_after(method, base, seed=3)

    def test_another_seed_gives_other_scores_where_the_method_says_so(
        self, method: Method, base: BaseModel
    ) -> None:
        differs = scores_after(method, base, seed=3) != scores_after(method, base, seed=4)
        assert differs == method.depends_on_seed(quick_setting(method.name))

    def test_it_differs_from_the_base_model_unless_it_is_that(self, method: Method, base: BaseModel) -> None:
        untouched = Predictor(base, Meter()).score_options(SCORED)
        assert (scores_after(method, base) == untouched) == (method.name == "base")

    def test_only_what_was_learnt_can_be_saved(self, method: Method, base: BaseModel) -> None:
        run = run_of(method, base)
        with method.adapted(run) as adapted:
            assert (adapted.save_adapter is not None) == bool(run.learning_curve)

    def test_its_cost_is_counted(self, method: Method, base: BaseModel) -> None:
        run = run_of(method, base, checkpoint=Watch())
        with method.adapted(run):
            cost = run.meter.cost()
        assert cost.tokens_scored > 0
        assert (cost.tokens_trained > 0) == (cost.train_seconds > 0) == trains(method)

    def test_its_defaults_are_allowed(self, method: Method) -> None:
        method.settings({})
        assert isinstance(method.depends_on_seed({}), bool)


def trains(method: Method) -> bool:
    return hasattr(method.settings({}), "learning_rate")
