from __future__ import annotations

import pytest

from medalign.data.leaks import find_leaks, refuse_leaks
from medalign.errors import DataError
from tests.data.examples import choice

STEM = "Which valve lesion gives a rumbling diastolic murmur with an opening snap at the apex?"


def test_a_leak_is_found_between_any_two_splits_and_names_both_questions() -> None:
    splits = {
        "train": [choice("a"), choice("b", text=STEM)],
        "validation": [choice("c")],
        "test": [choice("d", text=STEM.replace("rumbling", "low rumbling"))],
    }
    (leak,) = find_leaks(splits)
    assert (leak.first.id, leak.first_split, leak.second.id, leak.second_split) == (
        "s-d",
        "test",
        "s-b",
        "train",
    )
    with pytest.raises(DataError, match=r"s-d \(test\) and s-b \(train\) are nearly the same .*; move one"):
        refuse_leaks([leak], "move one")


def test_a_group_in_two_splits_is_a_leak_of_its_own() -> None:
    splits = {"train": [choice("a", group="case")], "test": [choice("b", group="case")]}
    assert [leak.measure for leak in find_leaks(splits)] == ["same group"]


def test_what_stands_twice_in_one_split_is_no_leak() -> None:
    splits = {"train": [choice("a", text=STEM), choice("b", text=STEM)], "test": [choice("c")]}
    assert find_leaks(splits) == []
    refuse_leaks([], "nothing")
