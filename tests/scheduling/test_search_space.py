from __future__ import annotations

from typing import Any

import pytest

from medalign.config.search_space import Choice, FloatRange, IntRange, SearchSpace
from medalign.scheduling.search_space import contains, grid, to_optuna, to_ray

SPACE = SearchSpace(
    method="sft",
    parameters={
        "learning_rate": FloatRange(low=1e-4, high=2e-3, log=True),
        "dropout": FloatRange(low=0.0, high=0.2),
        "shots": IntRange(low=0, high=3),
        "alpha": IntRange(low=1, high=4, log=True),
        "batch": IntRange(low=1, high=9, step=4),
        "order": Choice(values=("as_selected", "reversed")),
        "bias": Choice(values=(True, False)),
    },
    fixed={"epochs": 1},
)


def _optuna_samples(number: int) -> list[dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [study.ask(to_optuna(SPACE)).params for _ in range(number)]


def _ray_samples(number: int) -> list[dict[str, Any]]:
    import numpy as np

    generator = np.random.RandomState(0)
    domains = to_ray(SPACE)
    columns = {name: domain.sample(size=number, random_state=generator) for name, domain in domains.items()}
    return [{name: column[row] for name, column in columns.items()} for row in range(number)]


@pytest.fixture(scope="module", params=[_optuna_samples, _ray_samples], ids=["optuna", "ray"])
def samples(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    return request.param(500)


def test_every_sample_lies_in_the_space(samples: list[dict[str, Any]]) -> None:
    plain = [{name: getattr(value, "item", lambda value=value: value)() for name, value in sample.items()}
             for sample in samples]  # fmt: skip
    assert all(contains(SPACE, sample) for sample in plain)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("shots", {0, 1, 2, 3}),
        ("alpha", {1, 2, 3, 4}),
        ("batch", {1, 5, 9}),
        ("order", {"as_selected", "reversed"}),
        ("bias", {True, False}),
    ],
)
def test_every_discrete_value_is_drawn_both_bounds_included(
    samples: list[dict[str, Any]], name: str, values: set[Any]
) -> None:
    assert {sample[name] for sample in samples} == values


def test_real_numbers_come_near_both_bounds(samples: list[dict[str, Any]]) -> None:
    rates = [sample["learning_rate"] for sample in samples]
    assert min(rates) < 1.05e-4
    assert max(rates) > 1.9e-3
    dropouts = [sample["dropout"] for sample in samples]
    assert min(dropouts) < 0.004
    assert max(dropouts) > 0.196


def test_log_scale_puts_half_of_the_samples_below_the_geometric_mean(samples: list[dict[str, Any]]) -> None:
    below = sum(sample["learning_rate"] < (1e-4 * 2e-3) ** 0.5 for sample in samples)
    assert 200 < below < 300


def test_contains_refuses_a_missing_name_an_odd_step_and_a_bool_for_a_number() -> None:
    inside = dict(learning_rate=1e-3, dropout=0.0, shots=3, alpha=4, batch=9, order="reversed", bias=True)
    assert contains(SPACE, inside)
    assert not contains(SPACE, {name: value for name, value in inside.items() if name != "shots"})
    assert not contains(SPACE, inside | {"batch": 4})
    assert not contains(SPACE, inside | {"shots": True})
    assert not contains(SPACE, inside | {"bias": 1})
    assert not contains(SPACE, inside | {"learning_rate": 3e-3})


def test_grid_is_none_where_a_parameter_is_a_real_number() -> None:
    assert grid(SPACE) is None
    discrete = SearchSpace(method="icl", parameters={"shots": IntRange(low=0, high=4, step=2)})
    assert grid(discrete) == {"shots": (0, 2, 4)}
