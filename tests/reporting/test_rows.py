from __future__ import annotations

import json

import pytest

from medalign.records import BASE, ArmResult, Prediction
from medalign.reporting import rows
from medalign.stats.comparison import ComparisonSummary, compare_arms
from tests.reporting import samples


@pytest.fixture(scope="module")
def arms() -> list[ArmResult]:
    return samples.make_arms(samples.make_questions())


@pytest.fixture(scope="module")
def summary(arms: list[ArmResult]) -> ComparisonSummary:
    return compare_arms(arms, score=lambda predictions: {}, num_resamples=200)


def test_base_is_the_first_row_wherever_it_was_given(summary, arms):
    assert [row["arm"] for row in rows.arm_rows(summary, arms[::-1])] == ["base", "dpo", "sft", "icl"]


def test_difference_to_base_is_the_accuracy_less_that_of_the_base(summary, arms):
    base, *others = rows.arm_rows(summary, arms)
    assert base["difference_to_base"] is None
    for row in others:
        assert row["difference_to_base"] == pytest.approx(row["accuracy"] - base["accuracy"])
        assert row["difference_low"] <= row["difference_to_base"] <= row["difference_high"]


def test_every_row_of_arms_has_the_same_columns(summary, arms):
    assert len({tuple(row) for row in rows.arm_rows(summary, arms)}) == 1


def test_pairs_with_the_base_come_first(summary):
    seconds = [row["second"] for row in rows.pair_rows(summary)]
    assert seconds[:3] == [BASE] * 3
    assert len(seconds) == 6 and BASE not in seconds[3:]


def test_best_setting_survives_as_json(summary, arms):
    assert json.loads(rows.arm_rows(summary, arms)[2]["best_setting"]) == samples.SETTINGS["sft"]


def test_a_method_whose_trials_all_failed_is_named_with_its_reason(arms):
    missing = rows.missing_methods(samples.make_trials(), arms)
    assert missing == {"orpo": "its only trial failed (last reason: the loss became NaN)"}


def test_specialties_come_largest_first_and_small_ones_are_marked(summary):
    found = rows.specialty_rows(summary)
    numbers = [row["num_questions"] for row in found]
    assert numbers == sorted(numbers, reverse=True) and sum(numbers) == 61
    assert [row["is_small"] for row in found] == [False, True, True, True, True]
    assert list(found[0]["arms"]) == ["base", "icl", "sft", "dpo"]


def test_flips_are_exactly_the_questions_on_which_arms_differ(arms):
    questions = samples.make_questions()
    flipped = {row["question_id"] for row in rows.flip_rows(samples.make_data(questions), arms)}
    for place, question in enumerate(questions):
        shares = {
            sum(bool(of_seed[place].correct) for of_seed in arm.predictions) / len(arm.predictions)
            for arm in arms
        }
        assert (question.id in flipped) == (len(shares) > 1)


def test_flips_on_which_arms_differ_most_come_first(arms):
    spreads = [row["spread"] for row in rows.flip_rows(samples.make_data(samples.make_questions()), arms)]
    assert spreads == sorted(spreads, reverse=True)


def test_flip_says_what_each_arm_answered():
    question = samples.make_questions(1)[0]
    answered = {"base": samples.predict(question, False), "sft": samples.predict(question, True)}
    arms = [_arm(name, prediction) for name, prediction in answered.items()]
    (row,) = rows.flip_rows(samples.make_data([question]), arms)
    assert {name: said["answers"] for name, said in row["arms"].items()} == {
        "base": [answered["base"].said],
        "sft": [question.answer],
    }
    assert answered["base"].said != question.answer


def test_free_text_is_no_flip_since_it_is_not_scored():
    written = Prediction(
        question_id="w", source="made", kind="free_text", specialty="x", group="", answer="iron", said="zinc"
    )
    data = samples.make_data([])
    assert rows.flip_rows(data, [_arm("base", written), _arm("sft", written)]) == []


def test_card_counts_are_set_out_with_a_column_for_each_split():
    card = {
        "splits": {"train": {"questions": 3, "kind": {"choice": 3}}, "test": {"questions": 2, "kind": {}}}
    }
    assert rows.card_table(card) == (["train", "test"], [["questions", 3, 2], ["kind: choice", 3, 0]])
    assert rows.card_table({"sources": ["made"]}) == ([], [])


def test_what_one_split_alone_has_stands_with_its_like_in_the_table_of_a_card():
    counts = {"train": {"source": {"a": 1}, "kind": {"choice": 1}}, "test": {"source": {"b": 2}}}
    _, table = rows.card_table({"splits": counts})
    assert table == [["source: a", 1, 0], ["source: b", 0, 2], ["kind: choice", 1, 0]]


def _arm(name: str, prediction: Prediction) -> ArmResult:
    nothing = samples.Cost()
    return ArmResult(
        arm=name, setting={}, seeds=(0,), predictions=((prediction,),), cost=nothing, search_cost=nothing
    )
