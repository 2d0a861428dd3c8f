"""More training questions go where a weakness is likely, and nowhere else."""

from __future__ import annotations

import dataclasses

import pytest

from medalign.reporting.recommendations import LIKELY, _shared_out, training_recommendations
from medalign.stats.comparison import compare_arms
from tests.reporting import samples

CARD = {
    "splits": {
        "train": {"questions": 120, "specialty": {"cardiology": 40, "nephrology": 50, "dentistry": 30}}
    }
}
WRONG = {"cardiology": 0.2, "nephrology": 0.75, "dentistry": 0.2}


def recommend(shares=WRONG, number=300, card=CARD):  # type: ignore[no-untyped-def]
    questions = [
        dataclasses.replace(question, specialty=list(shares)[index % len(shares)], group="")
        for index, question in enumerate(samples.make_questions(number)[:-1])
    ]
    seen: dict[str, int] = {}

    def is_right(question) -> bool:  # type: ignore[no-untyped-def]
        seen[question.specialty] = seen.get(question.specialty, 0) + 1
        return (seen[question.specialty] % 20) >= round(20 * shares[question.specialty])

    (base, sft) = samples.make_arms(questions, {"base": 0.5, "sft": 0.5})
    answered = tuple(samples.predict(question, is_right(question)) for question in questions)
    sft = dataclasses.replace(sft, predictions=(answered, answered))
    summary = compare_arms([base, sft], score=lambda _: {}, num_resamples=200)
    return training_recommendations(summary, card)["arms"]["sft"]


def test_a_clearly_weak_specialty_gets_all_new_questions() -> None:
    found = recommend()
    (weak,) = found["weak"]
    assert weak["specialty"] == "nephrology" and weak["num_more_training_questions"] == 120
    assert weak["probability_below_average"] > 0.99 and weak["num_training_questions"] == 50
    assert weak["accuracy_low"] < weak["accuracy"] < weak["accuracy_high"] < found["accuracy"]


def test_where_no_weakness_is_likely_nothing_is_recommended_and_why_is_said() -> None:
    found = recommend({name: 0.4 for name in WRONG})
    assert found["weak"] == [] and "likely enough" in found["why_none"]


def test_a_specialty_of_few_questions_is_not_called_weak_but_in_need_of_test_questions() -> None:
    found = recommend(number=30)
    assert all(row["probability_below_average"] >= LIKELY for row in found["weak"])
    assert found["not_known_well_enough"]
    assert all(row["num_more_test_questions"] > 50 for row in found["not_known_well_enough"])
    assert all(row["num_more_training_questions"] == 0 for row in found["not_known_well_enough"])


def test_one_specialty_alone_cannot_be_weak() -> None:
    found = recommend({"all": 0.5})
    assert found["weak"] == [] and found["why_none"].startswith("undefined")


@pytest.mark.parametrize(
    ("number", "weights", "shares"),
    [
        (100, [1, 1, 2], [25, 25, 50]),
        (10, [1, 1, 1], [4, 3, 3]),
        (0, [1, 2], [0, 0]),
        (5, [], []),
        (7, [0, 0], [0, 0]),
    ],
)
def test_questions_are_shared_out_whole(number: int, weights: list[float], shares: list[int]) -> None:
    assert _shared_out(number, weights) == shares


def test_rule_and_caveats_stand_in_the_file() -> None:
    arms = samples.make_arms(samples.make_questions())
    summary = compare_arms(arms, score=lambda _: {}, num_resamples=200)
    written = training_recommendations(summary, {})
    assert "80%" in written["rule"] and any("not a forecast" in text for text in written["caveats"])
    assert set(written["arms"]) == {"icl", "sft", "dpo"} and written["num_new_questions_shared_out"] == 0
