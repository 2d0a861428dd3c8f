"""Strict loading: YAML or JSON to a settings class, with every fault of a file shown together.

A fault is one line, `path.in.file: what it held; what would do`. Unknown keys are faults and are
answered with the nearest valid name. YAML is read by the scalar rules of YAML 1.2, so that `1e-4` is a
number and `no` a word; a key given twice is a fault.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from medalign.config.locations import shown
from medalign.errors import ConfigError

SettingsClass = TypeVar("SettingsClass", bound="Settings")

# The core schema of YAML 1.2 (section 10.3.2), tried in this order.
SCALARS: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+.0123456789",
    ),
)


class Settings(BaseModel):
    """Base of all settings read from a file: frozen, keyword-only, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Fault(NamedTuple):
    """One thing wrong with a value.

    Attributes:
        path: Where in the file, dotted, e.g. `space.learning_rate.low`; empty for the whole file.
        text: What it held, and after `;` what would do.
    """

    path: str
    text: str

    def line(self, where: str) -> str:
        return ": ".join(part for part in (where, self.path, self.text) if part)


def nearest(name: str, valid: Collection[str]) -> str:
    """What to say about an unknown name: `did you mean 'sft'?` or the list of what is valid."""
    if close := get_close_matches(name, valid, n=1):
        return f"did you mean '{close[0]}'?"
    return f"use one of {', '.join(sorted(valid))}" if valid else "none is valid here"


def faults_error(faults: Iterable[tuple[str, str]]) -> PydanticCustomError:
    """What a validator of a settings class raises when it has found several faults, or one in a part of its field.

    Args:
        faults: Pairs of the place and the text. A place is a field's name in a validator of the class; in one
            of a field it is empty or a position, `[2]`.
    """
    found = [list(fault) for fault in faults]
    message = "; ".join(f"{field}: {text}" for field, text in found).replace("{", "(").replace("}", ")")
    return PydanticCustomError("medalign_faults", message, {"faults": found})


# ---------------------------------------------------------------------------------------------- YAML


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2 scalars and without silent duplicates."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                text = f"the key '{key.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, text, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# PyYAML reads a leading zero as octal, as YAML 1.1 has it.
_Loader.add_constructor("tag:yaml.org,2002:int", lambda _, node: int(node.value))


class _Dumper(yaml.SafeDumper):
    """Quotes exactly the strings that `_Loader` would read as something else."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in SCALARS:
    for _yaml_class in (_Loader, _Dumper):
        # PyYAML files the pattern of an empty scalar under the empty string.
        _firsts = ["" if letter == "\0" else letter for letter in _first]
        _yaml_class.add_implicit_resolver(_tag, re.compile(_pattern), _firsts)


def load_yaml(path: str | Path) -> Any:
    """What a YAML file (or, by its ending, a JSON file) holds.

    Raises:
        ConfigError: The file cannot be read, or is broken: `FILE:LINE: what is wrong`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "not UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise ConfigError(f"{shown(path)}: cannot be read ({reason}); check the path") from error
    try:
        return json.loads(text) if path.suffix == ".json" else yaml.load(text, Loader=_Loader)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{shown(path)}:{error.lineno}: not valid JSON ({error.msg})") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{shown(path)}:{mark.line + 1}" if mark else shown(path)
        raise ConfigError(f"{place}: not valid YAML ({error.problem or error.context})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{shown(path)}: not valid YAML ({' '.join(str(error).split())})") from error


def dump_yaml(raw: Any) -> str:
    """YAML text that `load_yaml` reads back as an equal value; keys keep their order."""
    # Letters beyond ASCII are escaped: PyYAML writes some of them (U+0085) in a way that reads back as a space.
    return yaml.dump(raw, Dumper=_Dumper, sort_keys=False, allow_unicode=False, width=110)


# ---------------------------------------------------------------------------------------- validation


def validate(settings_class: type[SettingsClass], raw: Any, where: str) -> SettingsClass:
    """`raw` as settings.

    Args:
        where: Prefix of every fault, usually the file's name.

    Raises:
        ConfigError: With one line for every fault found, not only the first.
    """
    settings, faults = check(settings_class, raw)
    if settings is None:
        raise ConfigError(*(fault.line(where) for fault in faults))
    return settings


def check(settings_class: type[SettingsClass], raw: Any) -> tuple[SettingsClass | None, tuple[Fault, ...]]:
    """`raw` as settings, or None and what is wrong with it."""
    if not isinstance(raw, Mapping):
        held = "empty" if raw is None else f"holds a {type(raw).__name__}"
        return None, (Fault("", f"{held}; write `key: value` lines"),)
    try:
        return settings_class.model_validate(raw), ()
    except ValidationError as error:
        details = error.errors(include_url=False)
        return None, tuple(fault for each in details for fault in _to_faults(settings_class, raw, each))


def _to_faults(settings_class: type[Settings], raw: Any, error: ErrorDetails) -> Iterator[Fault]:
    keys = _keys_in_file(raw, error["loc"])
    path = _dotted(keys)
    context = error.get("ctx", {})
    match error["type"]:
        case "medalign_faults":
            for field, text in context["faults"]:
                yield Fault(
                    f"{path}{field}" if field[:1] in ("", "[") else f"{path}.{field}".lstrip("."), text
                )
        case "union_tag_invalid":
            tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
            yield Fault(f"{path}.type", f"'{context['tag']}'; {nearest(context['tag'], tags)}")
        case "union_tag_not_found":
            yield Fault(f"{path}.type", "missing; say which of float, int, choice")
        case "missing":
            yield Fault(path, "missing; add it")
        case "extra_forbidden":
            valid = _valid_keys(settings_class, raw, keys)
            yield Fault(path, f"unknown key; {nearest(str(keys[-1]), valid)}")
        case "literal_error":
            valid = [word.strip("'") for word in re.split(r", | or ", context["expected"])]
            listed = f"use one of {', '.join(valid)}" if len(valid) > 1 else f"use {valid[0]}"
            yield Fault(path, f"{_held(error['input'])}; {listed}")
        case _:
            yield Fault(path, f"{_held(error['input'])}; {_remedy(error['type'], error['msg'], context)}")


_REMEDIES = {
    "bool_type": "must be true or false",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be text",
    "tuple_type": "must be a list, as in [a, b]",
    "mapping_type": "must hold `key: value` lines",
    "dict_type": "must hold `key: value` lines",
    "model_type": "must hold `key: value` lines",
    "model_attributes_type": "must hold `key: value` lines",
    "string_pattern_mismatch": "must be letters, digits and . + - _, and start with a letter or digit",
    "finite_number": "must be a finite number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be above {gt}",
    "less_than_equal": "must be at most {le}",
    "less_than": "must be below {lt}",
}


def _remedy(kind: str, message: str, context: Mapping[str, Any]) -> str:
    known = _REMEDIES.get(kind)
    return known.format(**context) if known else message[:1].lower() + message[1:]


def _held(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else f"{text[:57]}..."


def _keys_in_file(raw: Any, loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The location without what pydantic adds: the tag of a tagged union is no key of the file."""
    keys: list[int | str] = []
    for part in loc:
        is_tag = isinstance(raw, Mapping) and part not in raw and raw.get("type") == part
        if part == "[key]" or is_tag:
            continue
        keys.append(part)
        if isinstance(raw, Mapping):
            raw = raw.get(part)
        elif isinstance(raw, list | tuple) and isinstance(part, int) and part < len(raw):
            raw = raw[part]
    return tuple(keys)


def _dotted(keys: tuple[int | str, ...]) -> str:
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in keys).removeprefix(".")


def _valid_keys(settings_class: type[Settings], raw: Any, keys: tuple[int | str, ...]) -> list[str]:
    """The names that the settings class at `keys[:-1]` knows."""
    classes: list[type[BaseModel]] = [settings_class]
    for key in keys[:-1]:
        fields = [_field_names(each).get(str(key)) for each in classes]
        inner = [found for field in fields if field for found in _settings_in(field.annotation)]
        classes = inner or classes
        raw = raw[key]
    tagged = [each for each in classes if raw.get("type") in _tags(each)]
    return [name for each in tagged or classes for name in _field_names(each)]


def _field_names(settings_class: type[BaseModel]) -> dict[str, Any]:
    fields = settings_class.model_fields.items()
    return {str(field.validation_alias or name): field for name, field in fields}


def _tags(settings_class: type[BaseModel]) -> tuple[Any, ...]:
    field = settings_class.model_fields.get("type")
    return get_args(field.annotation) if field else ()


def _settings_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _settings_in(argument)]
