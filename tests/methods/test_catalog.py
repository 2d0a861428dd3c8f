"""The methods by name."""

from __future__ import annotations

import dataclasses

import pytest

from medalign.config.locations import search_path
from medalign.config.search_space import load_search_space
from medalign.errors import ConfigError
from medalign.methods.catalog import METHODS, default_setting, method_named, setting_names


def test_a_method_is_found_by_its_own_name() -> None:
    assert {name: method_named(name).name for name in METHODS} == {name: name for name in METHODS}


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"methods: 'stf' is not a method; did you mean sft\? use one of base,"
    ):
        method_named("stf")
    with pytest.raises(ConfigError, match=r"'reinforcement' is not a method; use one of base, icl, sft, dpo"):
        method_named("reinforcement")


@pytest.mark.parametrize("name", list(METHODS))
def test_the_default_setting_names_all_that_may_be_set(name: str) -> None:
    setting = default_setting(name)
    assert tuple(setting) == setting_names(name)
    assert dataclasses.asdict(method_named(name).settings(setting)) == setting


def test_sft_and_dpo_have_equal_defaults() -> None:
    sft, dpo = default_setting("sft"), default_setting("dpo")
    assert {name: dpo[name] for name in sft} == sft
    assert set(dpo) - set(sft) == {"beta"}


@pytest.mark.parametrize("name", [name for name in METHODS if name != "base"])
def test_every_bound_of_the_search_space_is_a_setting(name: str) -> None:
    (folder,) = {place for place in search_path("search_spaces") if (place / f"{name}.yaml").is_file()}
    space = load_search_space(folder / f"{name}.yaml", known=setting_names(name), method=name)
    for setting in space.edges():
        method_named(name).settings(setting)
