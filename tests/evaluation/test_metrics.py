"""Metrics against scikit-learn, published definitions and answers worked by hand."""

from __future__ import annotations

import math
import random
import re
import string

import pytest
from scipy import special
from sklearn.metrics import f1_score

from medalign.evaluation import metrics
from medalign.records import DECISIONS, Question


def decision(answer: str, options: tuple[str, ...] = DECISIONS) -> Question:
    return Question(id="d", source="made", kind="decision", text="?", answer=answer, options=options)


def choice(position: int, num_options: int = 4) -> Question:
    options = tuple(f"option {index}" for index in range(num_options))
    return Question(id="c", source="made", kind="choice", text="?", answer=options[position], options=options)


def test_raw_choice_takes_the_largest_log_probability() -> None:
    assert metrics.choose_raw([-5.0, -2.0, -3.0]) == 1


def test_normalised_choice_takes_the_largest_log_probability_per_character() -> None:
    assert metrics.choose_normalised([-5.0, -2.0, -3.0], [20, 2, 4]) == 0


def test_ties_go_to_the_first_option() -> None:
    assert metrics.choose_raw([-3.0, -2.0, -2.0]) == 1
    assert metrics.choose_normalised([-4.0, -2.0, -2.0], [2, 2, 2]) == 1
    assert metrics.choose_normalised([-4.0, -2.0], [4, 2]) == 0


def test_accuracy_is_the_share_of_right_answers_and_undefined_without_any() -> None:
    assert metrics.accuracy([True, False, False, True]) == 0.5
    with pytest.raises(ValueError, match="undefined without scored questions"):
        metrics.accuracy([])


def test_macro_f1_equals_scikit_learn_over_the_classes_of_gold() -> None:
    rng = random.Random(1)
    for _ in range(100):
        num = rng.randint(1, 12)
        gold = rng.choices(DECISIONS, weights=[5, 3, 1], k=num)
        predicted = rng.choices(DECISIONS, k=num)
        expected = f1_score(gold, predicted, labels=sorted(set(gold)), average="macro", zero_division=0)
        assert metrics.macro_f1(gold, predicted) == pytest.approx(expected)


def test_macro_f1_refuses_unequal_numbers_and_no_answers() -> None:
    with pytest.raises(ValueError, match="as many predictions as right answers"):
        metrics.macro_f1(["yes"], ["yes", "no"])
    with pytest.raises(ValueError, match="as many predictions as right answers"):
        metrics.macro_f1([], [])


def test_gold_probability_is_a_softmax_and_survives_very_small_probabilities() -> None:
    logprobs = [-2.0, -1.0, -4.0]
    assert metrics.gold_probability(logprobs, 1) == pytest.approx(special.softmax(logprobs)[1])
    assert metrics.gold_probability([-2000.0, -2001.0], 0) == pytest.approx(1 / (1 + math.exp(-1)))


def squad_normalised(text: str) -> str:
    """The SQuAD script's steps one after the other."""
    lowered = text.lower()
    without_punctuation = "".join(char for char in lowered if char not in set(string.punctuation))
    without_articles = re.sub(r"\b(a|an|the)\b", " ", without_punctuation)
    return " ".join(without_articles.split())


def slow_token_f1(text: str, reference: str) -> float:
    """Precision and recall written out; shared words are struck off one by one."""
    words, left = squad_normalised(text).split(), squad_normalised(reference).split()
    num_reference, shared = len(left), 0
    for word in words:
        if word in left:
            left.remove(word)
            shared += 1
    if not words or not num_reference:
        return float(not words and not num_reference)
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / num_reference
    return 2 * precision * recall / (precision + recall)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("The  Beta-blocker.", "betablocker"),
        ("an ACE inhibitor", "ace inhibitor"),
        ("vitamin A", "vitamin"),
        ("a", ""),
        ("thesis (another)", "thesis another"),
    ],
)
def test_answers_are_normalised_as_in_squad(text: str, normalised: str) -> None:
    assert metrics.normalise_answer(text) == normalised == squad_normalised(text)


def test_token_f1_equals_its_slow_definition() -> None:
    rng = random.Random(2)
    vocabulary = ["the", "beta", "beta,", "blocker", "Dose", "dose", "a", "5 mg"]
    for _ in range(300):
        text, reference = (" ".join(rng.choices(vocabulary, k=rng.randint(0, 5))) for _ in range(2))
        assert metrics.token_f1(text, reference) == pytest.approx(slow_token_f1(text, reference))
        assert metrics.token_f1(text, reference) == metrics.token_f1(reference, text)


def test_token_f1_of_known_answers() -> None:
    assert metrics.token_f1("oral iron tablets", "Iron tablets") == pytest.approx(0.8)
    assert metrics.token_f1("iron iron", "iron") == pytest.approx(2 / 3)
    assert metrics.token_f1("", "iron") == 0
    assert metrics.token_f1("the", "a") == 1


def test_exact_match_looks_past_case_articles_and_punctuation_only() -> None:
    assert metrics.exact_match("The iron tablets.", "iron tablets")
    assert not metrics.exact_match("oral iron tablets", "iron tablets")


def test_majority_baseline_answers_the_most_frequent_label_and_position_of_training() -> None:
    train = [decision("no"), decision("no"), decision("yes"), choice(2), choice(2), choice(0)]
    assert metrics.majority_baseline(
        train, [decision("no"), decision("yes"), decision("no")]
    ) == pytest.approx(2 / 3)
    assert metrics.majority_baseline(train, [choice(2), choice(0), choice(1), decision("no")]) == 0.5


def test_majority_baseline_takes_the_first_of_equally_frequent_answers() -> None:
    train = [decision("maybe"), decision("yes"), choice(3), choice(1)]
    assert metrics.majority_baseline(train, [decision("yes"), choice(1)]) == 1


def test_majority_baseline_counts_with_chance_where_training_tells_nothing() -> None:
    assert metrics.majority_baseline([decision("no")], [choice(0), decision("no")]) == pytest.approx(0.625)
    assert metrics.majority_baseline([choice(3)], [choice(0, 2)]) == 0.5
    assert metrics.majority_baseline([decision("maybe")], [decision("no", ("yes", "no"))]) == 0.5


def test_majority_baseline_is_undefined_without_options() -> None:
    written = Question(id="f", source="made", kind="free_text", text="?", answer="iron")
    assert metrics.majority_baseline([decision("no")], [written]) is None
