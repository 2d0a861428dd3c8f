"""What the embedded questions promise: enough of them, balanced, and not to be guessed from their form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.naive_bayes import MultinomialNB
from sklearn.pipeline import make_pipeline

from medalign.data.catalog import load_source
from medalign.data.cleaning import clean_questions
from medalign.data.embedded.options import ChoiceKey, answer_positions, lay_out_options
from medalign.records import KINDS, Question

# Accuracy of guessing the label from the question without its passage. A third is chance and the aim is 0.45;
# 0.48 was measured when the table was first written, words such as "effective" leaning to one label.
LARGEST_GUESSED_DECISIONS = 0.50


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return load_source("embedded")


@pytest.fixture(scope="module")
def choices(questions: list[Question]) -> list[Question]:
    return [question for question in questions if question.kind == "choice"]


@pytest.fixture(scope="module")
def decisions(questions: list[Question]) -> list[Question]:
    return [question for question in questions if question.kind == "decision"]


def guessing_accuracy(questions: list[Question], score: Callable[[Question, str], float]) -> float:
    """Accuracy of always picking the option with the largest score, ties broken at random."""
    shares = []
    for question in questions:
        scores = [score(question, option) for option in question.options]
        shares.append((score(question, question.answer) == max(scores)) / scores.count(max(scores)))
    return float(np.mean(shares))


def test_there_are_enough_questions_over_enough_specialties_of_all_kinds(questions: list[Question]) -> None:
    assert len(questions) >= 600
    assert len({question.specialty for question in questions}) >= 12
    assert {question.kind for question in questions} == set(KINDS)


def test_cleaning_drops_none_and_no_two_texts_are_equal(questions: list[Question]) -> None:
    assert clean_questions(questions).drops == {}
    assert len({question.text.casefold() for question in questions}) == len(questions)


def test_the_right_answer_stands_in_each_place_equally_often(choices: list[Question]) -> None:
    specialties = {question.specialty for question in choices}
    for held in (choices, *([q for q in choices if q.specialty == name] for name in specialties)):
        places = Counter(question.answer_index for question in held)
        assert max(places.values()) - min(places[place] for place in range(4)) <= 1


def test_places_are_even_for_any_number_of_questions() -> None:
    keys = [ChoiceKey(f"{field}{n}", field, "a", ("b", "c", "d", "e")) for field in "xyz" for n in range(7)]
    places = Counter(answer_positions(keys).values())
    assert max(places.values()) - min(places.values()) <= 1


def test_distractors_are_chosen_so_that_the_answer_is_longest_as_often_as_chance_has_it() -> None:
    # Drawn at random, one triple of ten would leave the answer the longest.
    keys = [ChoiceKey(f"q{n}", "x", "aaa", ("b", "c", "d", "eeeee", "fffff")) for n in range(40)]
    longest = sum(max(map(len, options)) == 3 for options in lay_out_options(keys).values())
    assert longest == 10


def test_options_do_not_depend_on_the_order_of_the_facts() -> None:
    keys = [
        ChoiceKey(f"q{n}", "x", "a" * (n % 5 + 1), ("b", "cc", "ddd", "eeee", "fffff")) for n in range(20)
    ]
    assert lay_out_options(keys) == lay_out_options(keys[::-1])


@pytest.mark.parametrize("sign", [1, -1], ids=["longest", "shortest"])
@pytest.mark.parametrize("length", [len, lambda option: len(option.split())], ids=["characters", "words"])
def test_the_length_of_an_option_does_not_give_it_away(
    choices: list[Question], sign: int, length: Callable[[str], int]
) -> None:
    assert abs(guessing_accuracy(choices, lambda _, option: sign * length(option)) - 0.25) <= 0.06


def test_words_shared_with_the_stem_do_not_give_an_option_away(choices: list[Question]) -> None:
    def shared(question: Question, option: str) -> float:
        return len(set(option.lower().split()) & set(question.text.lower().split()))

    assert abs(guessing_accuracy(choices, shared) - 0.25) <= 0.06


def test_the_wording_of_options_does_not_give_the_answer_away(choices: list[Question]) -> None:
    options = [option for question in choices for option in question.options]
    is_right = [option == question.answer for question in choices for option in question.options]
    groups = [question.group for question in choices for _ in question.options]
    model = make_pipeline(CountVectorizer(), LogisticRegression(class_weight="balanced", max_iter=1000))
    score_N = cross_val_predict(
        model, options, is_right, groups=groups, cv=GroupKFold(5), method="predict_proba"
    )
    picked_Q = score_N[:, 1].reshape(-1, 4).argmax(axis=1)
    right_Q = np.array([question.answer_index for question in choices])
    assert (picked_Q == right_Q).mean() <= 0.32


def test_no_decision_label_is_much_more_frequent_than_another(decisions: list[Question]) -> None:
    assert max(Counter(question.answer for question in decisions).values()) <= 0.40 * len(decisions)


def test_the_wording_of_decision_questions_tells_little_without_the_passage(
    decisions: list[Question],
) -> None:
    texts, labels = [q.text for q in decisions], np.array([q.answer for q in decisions])
    groups = [question.group for question in decisions]
    model = make_pipeline(CountVectorizer(), MultinomialNB())
    accuracies = []
    for seed in range(8):
        folds = GroupKFold(5, shuffle=True, random_state=seed)
        accuracies.append((cross_val_predict(model, texts, labels, groups=groups, cv=folds) == labels).mean())
    assert np.mean(accuracies) <= LARGEST_GUESSED_DECISIONS


def test_distractors_never_equal_the_answer(questions: list[Question]) -> None:
    for question in questions:
        assert question.answer.casefold() not in {text.casefold() for text in question.distractors}
        assert question.kind != "free_text" or len(question.distractors) >= 4


def test_the_answer_does_not_stand_in_the_question(questions: list[Question]) -> None:
    open_or_choice = [question for question in questions if question.kind != "decision"]
    assert not [q.id for q in open_or_choice if q.answer.casefold() in q.text.casefold()]


def test_texts_are_short_and_in_ascii(questions: list[Question]) -> None:
    for question in questions:
        assert max(len(question.text.split()), len(question.rationale.split())) <= 40, question.id
        assert len(question.context.split()) <= 70, question.id
        assert "".join((question.text, question.context, question.rationale, *question.options)).isascii()


def test_shared_facts_puts_each_fact_into_train_and_test_with_even_labels() -> None:
    shared = load_source("embedded:shared-facts")
    facts: dict[str, set[str | None]] = {}
    for question in shared:
        facts.setdefault("-".join(question.id.split("-")[1:3]), set()).add(question.split)
    assert all({"train", "test"} <= splits for splits in facts.values())
    labels = Counter((q.split, q.answer) for q in shared if q.kind == "decision")
    for split in ("train", "validation", "test"):
        counts = [labels[split, label] for label in ("yes", "no", "maybe")]
        assert max(counts) - min(counts) <= 6
