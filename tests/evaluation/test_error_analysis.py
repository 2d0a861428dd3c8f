"""Who fixes and who breaks what, against counts by hand and against a slow loop."""

from __future__ import annotations

import random

import pytest

from medalign.errors import DataError
from medalign.evaluation.error_analysis import analyse_errors
from medalign.evaluation.features import question_features
from medalign.records import ArmResult, Prediction, Question
from tests.evaluation.samples import arm, by_id, choice, decision, say, take, written

QUESTIONS = [
    choice("a", 0, specialty="cardiology", text="Which is not given at 5 mg?"),
    choice("b", 0, specialty="cardiology"),
    choice("c", 0, specialty="neurology"),
    choice("d", 0, specialty="neurology", source="other"),
]


def answered(*positions: int, sure: float = 3.0) -> list[Prediction]:
    return [take(q, position, sure=sure) for q, position in zip(QUESTIONS, positions, strict=True)]


def test_fixed_and_broken_are_from_the_first_arms_view_and_base_is_never_first() -> None:
    found = analyse_errors([arm("base", answered(0, 0, 1, 1)), arm("sft", answered(0, 1, 0, 1))])
    (pair,) = found.pairs
    assert (pair.first, pair.second) == ("sft", "base")
    assert (pair.fixed, pair.broken, pair.both_right, pair.both_wrong) == (("c",), ("b",), 1, 1)
    assert pair.difference_by_question == {"a": 0, "b": -1, "c": 1, "d": 0}


def test_slices_add_up_for_each_feature_and_the_largest_losses_come_first() -> None:
    arms = [arm("base", answered(0, 0, 1, 1)), arm("sft", answered(0, 1, 0, 1))]
    (pair,) = analyse_errors(arms, by_id(QUESTIONS)).pairs
    by_feature = {
        name: [s for s in pair.slices if s.feature == name] for name in {s.feature for s in pair.slices}
    }
    assert set(by_feature) == {"specialty", "source", "kind", "length", "negation", "numbers"}
    for slices in by_feature.values():
        assert sum(s.num_questions for s in slices) == 4
        assert (sum(s.num_fixed for s in slices), sum(s.num_broken for s in slices)) == (1, 1)
    cardiology, neurology = by_feature["specialty"]
    assert (cardiology.value, cardiology.num_broken, cardiology.difference) == ("cardiology", 1, -0.5)
    assert (neurology.value, neurology.num_fixed, neurology.question_ids) == ("neurology", 1, ("c", "d"))
    assert {s.value: s.question_ids for s in by_feature["negation"]} == {
        "with negation": ("a",),
        "without negation": ("b", "c", "d"),
    }


def test_what_needs_the_questions_text_is_left_out_without_it() -> None:
    (pair,) = analyse_errors([arm("base", answered(0, 0, 1, 1)), arm("sft", answered(0, 1, 0, 1))]).pairs
    assert {s.feature for s in pair.slices} == {"specialty", "source", "kind"}


def test_confidently_wrong_answers_come_first() -> None:
    wrong = [take(q, 1, sure=sure) for q, sure in zip(QUESTIONS, (2, 9, 5, 7), strict=True)]
    found = analyse_errors([arm("base", answered(0, 0, 0, 0)), arm("sft", wrong)])
    assert found.pairs[0].broken == ("b", "d", "c", "a")
    assert [e.question_id for e in found.confident_errors] == ["b", "d", "c"]
    assert found.confident_errors[0]._replace(confidence=0) == (
        "sft",
        0,
        "b",
        0,
        "zinc",
        "iron",
        "cardiology",
    )
    assert found.num_confident_errors == {"base": 0, "sft": 3}
    assert found.num_answers == {"base": 4, "sft": 4}


def test_a_question_is_right_where_more_than_half_of_the_seeds_have_it() -> None:
    seeds = [answered(0, 0, 0, 1), answered(0, 0, 1, 1), answered(0, 1, 1, 1)]
    (pair,) = analyse_errors([arm("base", answered(1, 1, 0, 1)), arm("sft", *seeds)]).pairs
    assert (set(pair.fixed), pair.broken) == ({"a", "b"}, ("c",))
    assert pair.difference_by_question == pytest.approx({"a": 1, "b": 2 / 3, "c": -2 / 3, "d": 0})


def slow_oracle(arms: list[ArmResult], names: list[str]) -> float:
    total = 0.0
    for name in names:
        shares = []
        for one in arms:
            right = [p.correct for of_seed in one.predictions for p in of_seed if p.question_id == name]
            shares.append(sum(map(bool, right)) / len(right))
        total += max(shares)
    return total / len(names)


def test_oracle_takes_the_best_arm_for_every_question() -> None:
    rng = random.Random(5)
    questions = [choice(str(index), rng.randrange(4)) for index in range(50)]
    arms = [
        arm(name, *[[take(q, rng.randrange(4)) for q in questions] for _ in range(2)])
        for name in ("base", "sft", "icl")
    ]
    oracle = analyse_errors(arms).oracle
    assert oracle.accuracy == pytest.approx(slow_oracle(arms, [q.id for q in questions]))
    assert oracle.best_accuracy == max(
        sum(bool(p.correct) for of_seed in a.predictions for p in of_seed) / 100 for a in arms
    )
    assert oracle.best_accuracy <= oracle.accuracy


def test_oracle_says_who_alone_is_right_and_what_independent_errors_would_give() -> None:
    arms = [arm("base", answered(0, 0, 1, 1)), arm("sft", answered(0, 1, 0, 1))]
    oracle = analyse_errors(arms).oracle
    assert (oracle.accuracy, oracle.independent, oracle.best_arm) == (0.75, 0.75, "base")
    assert (oracle.num_questions, oracle.num_none, oracle.num_all) == (4, 1, 1)
    assert oracle.only == {"base": ("b",), "sft": ("c",)}


def test_the_order_of_questions_in_an_arm_does_not_matter() -> None:
    base, sft = answered(0, 0, 1, 1), answered(0, 1, 0, 1)
    straight = analyse_errors([arm("base", base), arm("sft", sft)])
    assert analyse_errors([arm("base", base), arm("sft", sft[::-1])]) == straight


def test_arms_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(DataError, match="question 'd' not answered"):
        analyse_errors([arm("base", answered(0, 0, 1, 1)), arm("sft", answered(0, 0, 1, 1)[:3])])
    texts = [say(written(name), "iron") for name in "ab"]
    with pytest.raises(DataError, match="errors: no question has options"):
        analyse_errors([arm("base", texts)])


@pytest.mark.parametrize(
    ("text", "context", "length", "negation", "numbers"),
    [
        ("Which drug?", "", "up to 20 words", "without negation", "without numbers"),
        ("All of these are true EXCEPT", "", "up to 20 words", "with negation", "without numbers"),
        ("Which isn't given at 5 mg?", "word " * 20, "21 to 60 words", "with negation", "with numbers"),
        ("Notable nodes?", "5 mg " * 60, "61 to 150 words", "without negation", "without numbers"),
        ("Why?", "word " * 150, "over 150 words", "without negation", "without numbers"),
    ],
)
def test_features_of_a_question(text: str, context: str, length: str, negation: str, numbers: str) -> None:
    question = Question(
        id="x", source="made", kind="choice", text=text, answer="a", options=("a", "b"), context=context
    )
    found = question_features(take(question, 0), question)
    assert (found["length"], found["negation"], found["numbers"]) == (length, negation, numbers)


def test_decisions_are_sliced_like_choices() -> None:
    questions = [decision("a", "yes"), choice("b", 0)]
    predictions = [take(q, 0) for q in questions]
    (pair,) = analyse_errors([arm("base", predictions), arm("sft", predictions)]).pairs
    assert {s.value for s in pair.slices if s.feature == "kind"} == {"decision", "choice"}
