"""Strict loading: scalars, broken files, and the wording of every fault."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from medalign.config.loading import Settings, check, dump_yaml, load_yaml, nearest, validate
from medalign.errors import ConfigError


class Inner(Settings):
    size: int = Field(default=1, ge=1)


class Outer(Settings):
    inner: Inner = Field(default_factory=Inner)
    names: tuple[str, ...] = Field(default=(), strict=False)
    share: float = Field(default=0.5, gt=0, le=1)
    flag: bool = True


def written(folder: Path, text: str, name: str = "file.yaml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("-3", -3),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("~", None),
        ("", None),
        ("010", 10),
        ("1:30", "1:30"),
        ("2020-01-01", "2020-01-01"),
        ("'5'", "5"),
    ],
)
def test_scalars_are_read_by_the_rules_of_yaml_1_2(tmp_path: Path, text: str, value: Any) -> None:
    held = load_yaml(written(tmp_path, f"key: {text}"))["key"]
    assert held == value and type(held) is type(value)


@given(
    st.dictionaries(
        st.text("abc", min_size=1),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=3,
    )
)
def test_what_is_written_is_read_back_equal(
    tmp_path_factory: pytest.TempPathFactory, raw: dict[str, Any]
) -> None:
    path = tmp_path_factory.getbasetemp() / "round_trip.yaml"
    path.write_text(dump_yaml(raw), encoding="utf-8", newline="")
    assert load_yaml(path) == raw


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("a: 1\nb: [1, 2\n", "file.yaml", r"file\.yaml:3: not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "file.yaml", r"file\.yaml:3: not valid YAML \(the key 'a' is given twice\)"),
        ("a:\n\t- 1\n", "file.yaml", r"file\.yaml:2: not valid YAML"),
        ('{"a": 1,\n "b": }', "file.json", r"file\.json:2: not valid JSON"),
        ("a: !!python/object:os.system {}", "file.yaml", r"file\.yaml:1: not valid YAML"),
    ],
)
def test_a_broken_file_is_named_with_its_line(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_yaml(written(tmp_path, text, name))


def test_a_missing_file_is_one_line_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"absent\.yaml: cannot be read \(No such file or directory\); check the path"
    ):
        load_yaml(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        load_yaml(tmp_path / "binary.yaml")


def test_all_faults_of_a_file_come_together_each_with_its_path() -> None:
    raw = {"inner": {"size": 0, "sise": 1}, "names": ["a", 5], "share": 1.5, "flag": "yes"}
    with pytest.raises(ConfigError) as caught:
        validate(Outer, raw, "file.yaml")
    assert caught.value.faults == (
        "file.yaml: inner.size: 0; must be at least 1",
        "file.yaml: inner.sise: unknown key; did you mean 'size'?",
        "file.yaml: names[1]: 5; must be text",
        "file.yaml: share: 1.5; must be at most 1.0",
        "file.yaml: flag: 'yes'; must be true or false",
    )


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (None, "empty; write `key: value` lines"),
        ([1], "holds a list; write `key: value` lines"),
        ({"inner": 3}, "3; must hold `key: value` lines"),
        ({"names": "a"}, "'a'; must be a list, as in [a, b]"),
        ({"share": float("nan")}, "nan; must be a finite number"),
        ({"inner": {"size": True}}, "true; must be a whole number"),
        ({"zzz": 1}, "unknown key; use one of flag, inner, names, share"),
    ],
)
def test_a_fault_says_what_was_held_and_what_would_do(raw: Any, text: str) -> None:
    settings, faults = check(Outer, raw)
    assert settings is None
    assert [fault.text for fault in faults] == [text]


def test_settings_cannot_be_changed_and_survive_pickling() -> None:
    settings = validate(Outer, {"names": ["a"]}, "file.yaml")
    with pytest.raises(ValueError, match="frozen"):
        settings.flag = False  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_an_unknown_name_without_a_near_one_is_answered_with_all() -> None:
    assert nearest("sftt", ["sft", "dpo"]) == "did you mean 'sft'?"
    assert nearest("xyz", ["sft", "dpo"]) == "use one of dpo, sft"
