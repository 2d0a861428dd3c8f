"""What the statistics promise, on comparisons of which the truth is known; docs/statistics.md keeps the numbers."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from medalign.records import ArmResult, Cost, Prediction
from medalign.stats.comparison import ComparisonSummary, compare_arms
from medalign.stats.power import PairedDesign, exact_detectable_difference, exact_power
from tests.markers import slow
from tests.stats import simulation
from tests.stats.simulation import SIZES, World, draw

NAMES = ("base", "sft", "icl", "dpo")
NUM_COMPARISONS = 200


@functools.cache
def prediction(index: int, right: bool) -> Prediction:
    return Prediction(
        question_id=f"q{index}",
        source="made",
        kind="choice",
        specialty="all",
        group="",
        answer="a",
        answer_index=0,
        correct=right,
    )


def compared(arms: tuple[np.ndarray, ...]) -> ComparisonSummary:
    results = [
        ArmResult(
            arm=name,
            setting={},
            seeds=tuple(range(len(right_SQ))),
            predictions=tuple(
                tuple(prediction(index, right) for index, right in enumerate(right_Q))
                for right_Q in right_SQ.tolist()
            ),
            cost=Cost(),
            search_cost=Cost(),
        )
        for name, right_SQ in zip(NAMES, arms, strict=False)
    ]
    return compare_arms(results, score=lambda predictions: {}, num_resamples=1)


def test_a_planted_difference_of_ten_points_is_found_as_often_as_the_power_says() -> None:
    world = World(num_questions=400, shares=(0.45, 0.55), num_seeds=(0, 3), seed_points=1.0)
    summaries = [compared(drawn.arms) for drawn in draw(world, NUM_COMPARISONS, 1)]
    discordance = float(np.mean([summary.discordance for summary in summaries]))
    # The true variance over three seeds with a standard deviation of one point.
    stated = PairedDesign(discordance=discordance, seed_variance=0.01**2 / 3).power(400, 0.1)
    verdicts = [summary.pairs[0].verdict for summary in summaries]
    assert stated > 0.9
    assert verdicts.count("better") / NUM_COMPARISONS >= stated - 0.02
    assert verdicts.count("worse") == 0


def test_a_planted_null_is_called_in_no_more_comparisons_than_the_level_says() -> None:
    world = World(num_questions=150, shares=(0.5,) * 4, num_seeds=(0, 2, 2, 2), seed_points=1.0)
    summaries = [compared(drawn.arms) for drawn in draw(world, NUM_COMPARISONS, 2)]
    called = sum(any(pair.verdict in ("better", "worse") for pair in found.pairs) for found in summaries)
    assert called / NUM_COMPARISONS <= 0.055
    # Equal arms on 150 questions that they answer so differently are not shown to be alike either.
    assert all(pair.verdict != "equivalent within m" for found in summaries for pair in found.pairs)


def test_arms_that_are_alike_on_many_questions_are_called_equivalent_and_arms_two_points_apart_are_not() -> (
    None
):
    alike = World(num_questions=8000, shares=(0.5, 0.5))
    edge = World(num_questions=8000, shares=(0.52, 0.5))
    assert simulation.equivalence_rate(alike, 0.02, 40) >= 0.5
    assert simulation.equivalence_rate(edge, 0.02, 40) <= 0.1


WORLDS = {
    "no seeds": {},
    "groups of 2": {"group_size": 2},
    "three seeds each, sd 1": {"num_seeds": (3, 3), "seed_points": 1.0},
    "five seeds each, sd 3": {"num_seeds": (5, 5), "seed_points": 3.0},
}


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("world", WORLDS)
def test_intervals_of_a_difference_cover_the_truth_as_often_as_they_say(
    world: str, num_questions: int
) -> None:
    kwargs = WORLDS[world]
    found = simulation.difference_coverage(World(num_questions=num_questions, **kwargs))  # type: ignore[arg-type]
    # With groups or few seeds on few questions it is on the wide side, by as much as docs/statistics.md says.
    assert 0.94 <= found <= (0.96 if not kwargs or num_questions > 1000 else 0.975)


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("group_size", [1, 2])
def test_bootstrap_intervals_cover_the_truth_in_94_to_96_percent(group_size: int, num_questions: int) -> None:
    world = World(num_questions=num_questions, group_size=group_size)
    assert 0.94 <= simulation.bootstrap_coverage(world) <= 0.96


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("kwargs", [{}, {"group_size": 2}, {"num_seeds": (3, 0), "seed_points": 1.0}])
def test_intervals_of_an_accuracy_cover_the_truth_as_often_as_they_say(
    kwargs: dict, num_questions: int
) -> None:
    found = simulation.accuracy_coverage(World(num_questions=num_questions, **kwargs))
    assert 0.94 <= found <= (0.965 if "num_seeds" in kwargs else 0.96)


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("world", WORLDS)
def test_equal_arms_are_called_different_in_at_most_5_5_percent(world: str, num_questions: int) -> None:
    kwargs = WORLDS[world]
    rates = simulation.claim_rates(World(num_questions=num_questions, shares=(0.5, 0.5), **kwargs))  # type: ignore[arg-type]
    assert rates.claimed <= 0.055


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("discordance", [0.1, 0.3])
def test_the_exact_test_has_the_power_of_its_closed_form_within_2_points(
    discordance: float, num_questions: int
) -> None:
    difference = exact_detectable_difference(num_questions, discordance=discordance)
    assert difference is not None
    found = simulation.exact_test_power(num_questions, difference, discordance, 20_000)
    assert found == pytest.approx(exact_power(num_questions, difference, discordance=discordance), abs=0.02)


@slow
@pytest.mark.parametrize("num_questions", SIZES)
@pytest.mark.parametrize("points", [5, 10])
def test_the_two_level_test_has_about_the_power_of_the_closed_form(points: int, num_questions: int) -> None:
    shares = (0.5 + points / 200, 0.5 - points / 200)
    found = simulation.two_level_power(World(num_questions=num_questions, shares=shares))
    # The half questions that it adds cost it up to 2.4 points on 100 questions.
    assert found.found == pytest.approx(found.stated, abs=0.02 if num_questions > 100 else 0.03)


@slow
@pytest.mark.parametrize("spread", [0.03, 0.08, 0.15])
def test_pooled_intervals_cover_the_truth_averaged_over_specialties(spread: float) -> None:
    assert 0.935 <= simulation.pooled_coverage(spread, 500) <= 0.985
