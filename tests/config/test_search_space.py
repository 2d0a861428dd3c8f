"""Search spaces: bounds, choices, names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from medalign.config.locations import find_file, known_names
from medalign.config.search_space import Choice, FloatRange, IntRange, SearchSpace, load_search_space
from medalign.errors import ConfigError
from tests.config.test_loading import written

GOOD = """\
method: sft
space:
  learning_rate: {type: float, low: 1e-4, high: 2e-3, log: true}
  epochs: {type: int, low: 1, high: 3}
  lora_rank: {type: choice, values: [8, 16, 32]}
fixed: {batch_size: 8}
"""
KNOWN = ("learning_rate", "epochs", "lora_rank", "batch_size")


def faults_of(folder: Path, text: str, **options: Any) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load_search_space(written(folder, text, "sft.yaml"), **options)
    return tuple(fault.split("sft.yaml: ", 1)[1] for fault in caught.value.faults)


def test_a_file_becomes_a_search_space(tmp_path: Path) -> None:
    assert load_search_space(written(tmp_path, GOOD), known=KNOWN, method="sft") == SearchSpace(
        method="sft",
        parameters={
            "learning_rate": FloatRange(low=1e-4, high=2e-3, log=True),
            "epochs": IntRange(low=1, high=3),
            "lora_rank": Choice(values=(8, 16, 32)),
        },
        fixed={"batch_size": 8},
    )


@pytest.mark.parametrize(
    ("parameter", "fault"),
    [
        ("{type: float, low: 0.1, high: 0.01}", "learning_rate.low: 0.1 is above high 0.01; swap them"),
        ("{type: int, low: 5, high: 1}", "learning_rate.low: 5 is above high 1; swap them"),
        (
            "{type: float, low: 0, high: 1, log: true}",
            "learning_rate.low: 0.0; a log scale needs a low above 0: raise low or drop log",
        ),
        ("{type: float, low: .nan, high: 1}", "learning_rate.low: nan; must be a finite number"),
        ("{type: float, low: 0, high: .inf}", "learning_rate.high: inf; must be a finite number"),
        ("{type: float, low: 0}", "learning_rate.high: missing; add it"),
        ("{type: float, low: a, high: 1}", "learning_rate.low: 'a'; must be a number"),
        ("{type: int, low: 1.5, high: 2}", "learning_rate.low: 1.5; must be a whole number"),
        (
            "{type: float, low: 0, high: 1, logg: true}",
            "learning_rate.logg: unknown key; did you mean 'log'?",
        ),
        (
            "{type: choice, valeus: [1], values: [1]}",
            "learning_rate.valeus: unknown key; did you mean 'values'?",
        ),
        (
            "{type: choice, values: [1, [2]]}",
            "learning_rate.values[1]: [2]; must be a number, a word, true, false or null",
        ),
        ("{type: choice, values: [1, true]}", "learning_rate.values[1]: True is given twice; drop one"),
        ("{type: choice, values: []}", "learning_rate.values: empty; give at least one value"),
        ("{type: choice, values: [a, b, a]}", "learning_rate.values[2]: 'a' is given twice; drop one"),
        ("{type: choice, values: [1, .nan]}", "learning_rate.values[1]: nan; must be a finite number"),
        ("{type: flaot, low: 0, high: 1}", "learning_rate.type: 'flaot'; did you mean 'float'?"),
        ("{low: 0, high: 1}", "learning_rate.type: missing; say which of float, int, choice"),
        ("0.1", "learning_rate: 0.1; must hold `key: value` lines"),
        (
            "{type: int, low: 0, high: 9, step: 2}",
            "learning_rate.high: 9 is not reached from 0 in steps of 2; use 8 or 10",
        ),
        (
            "{type: int, low: 1, high: 9, step: 2, log: true}",
            "learning_rate.step: 2; a log scale has no steps: drop step or log",
        ),
        ("{type: int, low: 0, high: 9, step: 0}", "learning_rate.step: 0; must be at least 1"),
    ],
)
def test_a_faulty_parameter_gives_one_line_with_its_path(tmp_path: Path, parameter: str, fault: str) -> None:
    text = f"method: sft\nspace:\n  learning_rate: {parameter}\n"
    assert faults_of(tmp_path, text) == (f"space.{fault}",)


def test_all_faults_are_shown_together_unknown_settings_included(tmp_path: Path) -> None:
    text = GOOD.replace("2e-3", "1e-5").replace("epochs:", "epohcs:").replace("batch_size", "batchsize")
    assert faults_of(tmp_path, text, known=KNOWN, method="dpo") == (
        "space.learning_rate.low: 0.0001 is above high 1e-05; swap them",
        "method: 'sft', but the file is used for dpo; give dpo a file of its own",
        "space.epohcs: not a setting of sft; did you mean 'epochs'?",
        "fixed.batchsize: not a setting of sft; did you mean 'batch_size'?",
    )


def test_a_setting_is_searched_or_fixed_but_not_both(tmp_path: Path) -> None:
    text = GOOD.replace("{batch_size: 8}", "{epochs: 1}")
    assert faults_of(tmp_path, text) == ("fixed.epochs: is also searched; keep it in space or fixed",)


def test_the_key_in_a_file_is_space(tmp_path: Path) -> None:
    assert faults_of(tmp_path, "method: sft\nspcae: {}\n") == (
        "space: missing; add it",
        "spcae: unknown key; did you mean 'space'?",
    )
    assert "parameters: unknown key; use one of fixed, method, space" in faults_of(
        tmp_path, "method: sft\nspace: {}\nparameters: {}\n"
    )


def test_a_range_made_in_code_is_checked_as_well() -> None:
    with pytest.raises(ValidationError, match="low: 2 is above high 1; swap them"):
        IntRange(low=2, high=1)


@given(low=st.integers(-50, 50), steps=st.integers(0, 20), step=st.integers(1, 7))
def test_a_high_bound_is_accepted_exactly_when_a_step_reaches_it(low: int, steps: int, step: int) -> None:
    high = low + steps * step
    assert IntRange(low=low, high=high, step=step).high == high
    if step > 1:
        with pytest.raises(ValidationError, match=f"use {high} or {high + step}"):
            IntRange(low=low, high=high + 1, step=step)


def test_edges_hold_each_bound_and_each_choice() -> None:
    space = SearchSpace(
        method="m",
        parameters={"a": FloatRange(low=0, high=1), "b": Choice(values=("x", "y", "z"))},
        fixed={"c": 5},
    )
    assert list(space.edges()) == [
        {"a": 0.0, "b": "x", "c": 5},
        {"a": 1.0, "b": "y", "c": 5},
        {"a": 1.0, "b": "z", "c": 5},
    ]
    assert list(SearchSpace(method="m", parameters={}, fixed={"c": 5}).edges()) == [{"c": 5}]


@pytest.mark.parametrize("name", known_names("search_spaces"))
def test_every_search_space_that_comes_along_names_real_settings_with_usable_values(name: str) -> None:
    from medalign.methods.catalog import method_named, setting_names

    path = find_file("search_spaces", name)
    assert path is not None
    space = load_search_space(path, known=setting_names(name), method=name)
    for setting in space.edges():
        method_named(name).settings_class(**setting)


def test_every_method_but_the_base_comes_with_a_search_space() -> None:
    from medalign.methods.catalog import METHODS

    assert {*known_names("search_spaces"), "base"} == set(METHODS)
