"""Search spaces: what a method may be set to. One file a method, checked on load.

method: sft
space:
  learning_rate: {type: float, low: 1.0e-4, high: 2.0e-3, log: true}
  lora_rank: {type: choice, values: [8, 16, 32]}
fixed: {epochs: 1}
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, SkipValidation, field_validator, model_validator

from medalign.config.loading import Fault, Settings, check, faults_error, load_yaml, nearest
from medalign.config.locations import shown
from medalign.errors import ConfigError

Scalar = bool | int | float | str | None


class FloatRange(Settings):
    """A real number between `low` and `high`, both included; drawn on a log scale if `log`.

    Raises:
        ValueError: (pydantic's) `low` above `high`, `log` with `low` not above 0, or a bound not finite.
    """

    type: Literal["float"] = "float"
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check_bounds(self) -> FloatRange:
        if faults := list(_bound_faults(self.low, self.high, self.log)):
            raise faults_error(faults)
        return self


class IntRange(Settings):
    """A whole number between `low` and `high`, both included, in steps of `step` from `low`.

    Raises:
        ValueError: (pydantic's) as for FloatRange; also a `high` that no step reaches, or `log` with steps.
    """

    type: Literal["int"] = "int"
    low: int
    high: int
    log: bool = False
    step: int = Field(default=1, ge=1)

    @model_validator(mode="after")
    def _check_bounds(self) -> IntRange:
        faults = list(_bound_faults(self.low, self.high, self.log))
        if self.log and self.step != 1:
            faults.append(("step", f"{self.step}; a log scale has no steps: drop step or log"))
        elif (beyond := (self.high - self.low) % self.step) and self.low <= self.high:
            below, above = self.high - beyond, self.high - beyond + self.step
            text = (
                f"{self.high} is not reached from {self.low} in steps of {self.step}; use {below} or {above}"
            )
            faults.append(("high", text))
        if faults:
            raise faults_error(faults)
        return self


class Choice(Settings):
    """One of `values`, in no order.

    Raises:
        ValueError: (pydantic's) no values, a value given twice, or one that is not a finite number.
    """

    type: Literal["choice"] = "choice"
    values: tuple[SkipValidation[Scalar], ...] = Field(strict=False)

    @field_validator("values")
    @classmethod
    def _check_values(cls, values: tuple[Scalar, ...]) -> tuple[Scalar, ...]:
        faults = [] if values else [("", "empty; give at least one value")]
        for position, value in enumerate(values):
            if value is not None and not isinstance(value, bool | int | float | str):
                faults.append((f"[{position}]", f"{value!r}; must be a number, a word, true, false or null"))
            elif value in values[:position]:
                faults.append((f"[{position}]", f"{value!r} is given twice; drop one"))
            elif isinstance(value, float) and not math.isfinite(value):
                faults.append((f"[{position}]", f"{value!r}; must be a finite number"))
        if faults:
            raise faults_error(faults)
        return values


Parameter = Annotated[FloatRange | IntRange | Choice, Field(discriminator="type")]


class SearchSpace(Settings):
    """What the search may vary in a method, and what it holds fixed.

    Attributes:
        method: The method whose settings these are.
        parameters: For each setting that is searched, by name, where it may lie (`space` in the file).
        fixed: Settings that differ from the method's defaults but are not searched.

    Raises:
        ValueError: (pydantic's) a name both searched and fixed.
    """

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    method: str = Field(min_length=1)
    parameters: Mapping[str, Parameter] = Field(validation_alias="space")
    fixed: Mapping[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_disjoint(self) -> SearchSpace:
        both = [name for name in self.fixed if name in self.parameters]
        if both:
            raise faults_error(
                (f"fixed.{name}", "is also searched; keep it in space or fixed") for name in both
            )
        return self

    def edges(self) -> Iterator[dict[str, Any]]:
        """Full settings that between them hold each bound and each choice, to be tried before any trial runs."""
        extremes = {name: _extremes(parameter) for name, parameter in self.parameters.items()}
        for number in range(max((len(values) for values in extremes.values()), default=1)):
            drawn = {name: values[min(number, len(values) - 1)] for name, values in extremes.items()}
            yield {**self.fixed, **drawn}


def load_search_space(
    path: str | Path, *, known: Collection[str] | None = None, method: str | None = None
) -> SearchSpace:
    """The search space in a file, checked.

    Args:
        known: Names of the method's settings; another name is a fault. None checks no names.
        method: The method that the file is meant for; a file for another one is a fault. None takes any.

    Raises:
        ConfigError: With one line for every fault found.
    """
    raw = load_yaml(path)
    space, faults = check(SearchSpace, raw)
    faults += tuple(_name_faults(raw, known, method))
    if space is None or faults:
        raise ConfigError(*(fault.line(shown(Path(path))) for fault in faults))
    return space


def _name_faults(raw: Any, known: Collection[str] | None, method: str | None) -> Iterator[Fault]:
    if not isinstance(raw, Mapping):
        return
    held = raw.get("method")
    if method is not None and isinstance(held, str) and held != method:
        yield Fault("method", f"'{held}', but the file is used for {method}; give {method} a file of its own")
    if known is None:
        return
    for section in ("space", "fixed"):
        names = raw.get(section)
        for name in names if isinstance(names, Mapping) else ():
            if name not in known:
                yield Fault(f"{section}.{name}", f"not a setting of {held}; {nearest(str(name), known)}")


def _bound_faults(low: float, high: float, log: bool) -> Iterator[tuple[str, str]]:
    if low > high:
        yield "low", f"{low} is above high {high}; swap them"
    elif log and low <= 0:
        yield "low", f"{low}; a log scale needs a low above 0: raise low or drop log"


def _extremes(parameter: FloatRange | IntRange | Choice) -> tuple[Scalar, ...]:
    return parameter.values if isinstance(parameter, Choice) else (parameter.low, parameter.high)
