"""Our search spaces in the words of Optuna and of Ray Tune: the same values, both bounds included.

A stepped whole number becomes a choice in Ray: `tune.qrandint` rounds to multiples of the step, so that from 1 in
steps of 4 it would draw 4 and 8 instead of 1, 5 and 9, and it draws its bounds half as often as the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from medalign.config.search_space import Choice, FloatRange, IntRange, SearchSpace

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def to_optuna(space: SearchSpace) -> dict[str, BaseDistribution]:
    """The searched parameters as Optuna distributions, by name in the space's order."""
    return {name: _optuna_distribution(parameter) for name, parameter in space.parameters.items()}


def to_ray(space: SearchSpace) -> dict[str, Any]:
    """The searched parameters as Ray Tune domains, by name in the space's order."""
    return {name: _ray_domain(parameter) for name, parameter in space.parameters.items()}


def contains(space: SearchSpace, values: Mapping[str, Any]) -> bool:
    """Whether `values` gives each searched parameter, and no other, a value that the space holds."""
    if values.keys() != space.parameters.keys():
        return False
    return all(_holds(parameter, values[name]) for name, parameter in space.parameters.items())


def grid(space: SearchSpace) -> dict[str, tuple[Any, ...]] | None:
    """Every value of every parameter; None if a parameter is a real number, which has no end of them."""
    values: dict[str, tuple[Any, ...]] = {}
    for name, parameter in space.parameters.items():
        if isinstance(parameter, FloatRange):
            if parameter.low < parameter.high:
                return None
            values[name] = (parameter.low,)
        elif isinstance(parameter, IntRange):
            values[name] = tuple(range(parameter.low, parameter.high + 1, parameter.step))
        else:
            values[name] = tuple(parameter.values)
    return values


def _optuna_distribution(parameter: FloatRange | IntRange | Choice) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(parameter, FloatRange):
        return FloatDistribution(parameter.low, parameter.high, log=parameter.log)
    if isinstance(parameter, IntRange):
        return IntDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return CategoricalDistribution(parameter.values)


def _ray_domain(parameter: FloatRange | IntRange | Choice) -> Any:
    from ray import tune

    if isinstance(parameter, FloatRange):
        draw = tune.loguniform if parameter.log else tune.uniform
        return draw(parameter.low, parameter.high)
    if isinstance(parameter, Choice):
        return tune.choice(list(parameter.values))
    if parameter.step != 1:
        return tune.choice(list(range(parameter.low, parameter.high + 1, parameter.step)))
    # Ray leaves the upper bound of a whole number out.
    return (tune.lograndint if parameter.log else tune.randint)(parameter.low, parameter.high + 1)


def _holds(parameter: FloatRange | IntRange | Choice, value: Any) -> bool:
    if isinstance(parameter, Choice):
        return any(type(value) is type(known) and value == known for known in parameter.values)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if isinstance(parameter, IntRange) and (value != int(value) or (value - parameter.low) % parameter.step):
        return False
    return parameter.low <= value <= parameter.high
