from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medalign.stats.pareto import front_probabilities, is_on_front

ARMS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=7)


@given(ARMS)
def test_the_front_is_what_its_definition_says(arms: list[tuple[int, int]]) -> None:
    def is_beaten(a: tuple[int, int]) -> bool:
        return any(b != a and b[0] <= a[0] and b[1] >= a[1] for b in arms)

    costs, values = zip(*arms, strict=True)
    assert is_on_front(costs, values).tolist() == [not is_beaten(arm) for arm in arms]


def test_an_arm_that_is_always_better_and_cheaper_is_surely_alone_on_the_front() -> None:
    correct_AQ = np.array([[1, 1, 1, 0], [0, 1, 0, 0]])
    found = front_probabilities(correct_AQ, [1.0, 2.0], num_resamples=400)
    assert found[0] == 1.0
    assert found[1] == 0.0


def test_the_cheapest_arm_is_on_the_front_whatever_is_drawn() -> None:
    generator = np.random.default_rng(1)
    correct_AQ = generator.random((4, 60)) < 0.5
    assert front_probabilities(correct_AQ, [3.0, 1.0, 2.0, 4.0], num_resamples=300)[1] == 1.0


def test_two_arms_of_like_accuracy_share_the_draws() -> None:
    correct_AQ = np.array([[1, 0] * 100, [0, 1] * 100])
    cheap, dear = front_probabilities(correct_AQ, [1.0, 2.0], num_resamples=2000, seed=3)
    assert cheap == 1.0 and 0.4 < dear < 0.52


def test_questions_of_one_group_are_drawn_together() -> None:
    correct_AQ = np.array([[1, 0] * 50, [0, 1] * 50])
    # In one group there is nothing to draw: the arms are equal every time and the dearer one is beaten.
    found = front_probabilities(correct_AQ, [1.0, 2.0], groups_Q=["case"] * 100, num_resamples=50)
    assert found.tolist() == [1.0, 0.0]


def test_the_same_seed_draws_the_same() -> None:
    correct_AQ = np.random.default_rng(0).random((3, 40)) < 0.6
    first, again = (front_probabilities(correct_AQ, [1, 2, 3], num_resamples=300, seed=5) for _ in range(2))
    assert first.tolist() == again.tolist()


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a cost and a value an arm"):
        is_on_front([1, 2], [1])
    with pytest.raises(ValueError, match="finite"):
        is_on_front([1, float("nan")], [1, 2])
    with pytest.raises(ValueError, match="arms by questions"):
        front_probabilities([[1, 0]], [1, 2])
