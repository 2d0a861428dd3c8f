"""The methods by name. A new method is one file beside this and one line here."""

from __future__ import annotations

import dataclasses
import difflib

from medalign.errors import ConfigError
from medalign.methods.base import Base, Method
from medalign.methods.dpo import Dpo
from medalign.methods.icl import Icl
from medalign.methods.sft import Sft

METHODS: dict[str, Method] = {method.name: method for method in (Base(), Icl(), Sft(), Dpo())}


def method_named(name: str) -> Method:
    """The method of that name.

    Raises:
        ConfigError: There is none; the message offers the nearest.
    """
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ConfigError(f"methods: '{name}' is not a method; {hint}use one of {', '.join(METHODS)}")


def setting_names(name: str) -> tuple[str, ...]:
    """What a search space of the method may set."""
    return tuple(field.name for field in dataclasses.fields(method_named(name).settings_class))


def default_setting(name: str) -> dict[str, object]:
    """The method's defaults: the first trial of every search."""
    return dataclasses.asdict(method_named(name).settings_class())
