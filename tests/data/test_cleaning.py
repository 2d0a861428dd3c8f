from __future__ import annotations

import pytest

from medalign.data.cleaning import clean_questions, normalise
from medalign.errors import DataError
from medalign.records import Question
from tests.data.examples import choice, decision, free_text


def test_normalised_text_keeps_superscripts_and_loses_invisible_characters() -> None:
    assert normalise("  10\u00b2\u200b cells\n\tper  cafe\u0301 ") == "10\u00b2 cells per caf\u00e9"


def test_a_clean_question_is_left_alone() -> None:
    assert clean_questions([choice("a")]) == ((choice("a"),), {})


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (choice("a", text=" \u200b"), "no question text"),
        (choice("a", answer=""), "no valid answer"),
        (choice("a", answer="absent"), "no valid answer"),
        (choice("a", options=("Right", "right", "other", "wrong")), "two equal options"),
        (choice("a", options=("right", "right ", "other", "wrong")), "two equal options"),
        (choice("a", options=("right", "")), "fewer than two options or an empty one"),
        (choice("a", options=("right",)), "fewer than two options or an empty one"),
        (decision("a", options=("yes", "never")), "options other than yes, no and maybe"),
        (free_text("a", options=("right", "x")), "options on a free-text question"),
    ],
)
def test_what_cannot_be_asked_is_dropped_and_counted(question: Question, reason: str) -> None:
    assert clean_questions([question, choice("b")]) == ((choice("b"),), {reason: 1})


def test_of_exact_repeats_the_official_test_question_is_kept() -> None:
    one = choice("a", text="Which one is it?", split="train")
    other = choice(
        "b", text="Which  one is IT?", split="test", options=("right", "wrong", "false one", "other")
    )
    cleaned = clean_questions([one, other])
    assert [question.id for question in cleaned.questions] == ["s-b"]
    assert cleaned.drops == {"exact repeat of another question": 1}


def test_equal_words_with_other_options_passage_or_signs_are_no_repeat() -> None:
    text = "Which value is > 5?"
    questions = [
        choice("a", text=text),
        choice("b", text=text, options=("right", "else", "wrong", "none")),
        choice("c", text=text, context="A passage."),
        choice("d", text="Which value is < 5?"),
    ]
    assert clean_questions(questions) == (tuple(questions), {})


def test_repeats_that_contradict_each_other_are_all_dropped() -> None:
    text = "Is it so?"
    cleaned = clean_questions([decision("a", "yes", text=text), decision("b", "no", text=text), choice("c")])
    assert [question.id for question in cleaned.questions] == ["s-c"]
    assert cleaned.drops == {"same question with different answers": 2}


def test_one_open_question_may_have_two_written_answers() -> None:
    questions = (free_text("a", text="What helps?"), free_text("b", text="What helps?", answer="rest"))
    assert clean_questions(questions).questions == questions


def test_two_questions_with_one_id_are_refused() -> None:
    with pytest.raises(DataError, match="two different questions have the id 's-a'"):
        clean_questions([choice("a"), choice("a", text="Another one?")])
