from __future__ import annotations

import pytest

from medalign.data.catalog import load_source
from medalign.data.cleaning import clean_questions
from medalign.data.words import normalise
from medalign.errors import DataError
from medalign.records import Question
from tests.data.examples import choice, decision, free_text


def test_normalised_text_keeps_superscripts_and_loses_invisible_characters() -> None:
    assert normalise("  10\u00b2\u200b cells\n\tper  cafe\u0301 ") == "10\u00b2 cells per caf\u00e9"


def test_a_clean_question_is_left_alone() -> None:
    cleaned = clean_questions([choice("a")])
    assert (cleaned.questions, cleaned.drops) == ((choice("a"),), {})


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (choice("a", text=" \u200b"), "no question text"),
        (choice("a", image="plate.png"), "needs an image"),
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
    cleaned = clean_questions([question, choice("b")])
    assert (cleaned.questions, cleaned.drops) == ((choice("b"),), {reason: 1})
    assert cleaned.log.examples[reason][0]["id"] == "s-a"


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
    cleaned = clean_questions(questions)
    assert (cleaned.questions, cleaned.drops) == (tuple(questions), {})


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


def test_copies_that_offer_each_others_answers_contradict_each_other_whatever_else_they_offer() -> None:
    text = "Which lobe is it?"
    one = choice("a", text=text, answer="frontal", options=("frontal", "parietal", "temporal"))
    other = choice("b", text="which lobe is IT", answer="parietal", options=("parietal", "frontal", "limbic"))
    apart = choice("c", text=text, answer="limbic", options=("limbic", "insular", "occipital"))
    cleaned = clean_questions([one, other, apart])
    assert [question.id for question in cleaned.questions] == ["s-c"]
    assert cleaned.log.examples["same question with different answers"][0]["like_id"] == "s-b"


VIGNETTE = (
    "A woman of sixty asks which tablet lowers her blood pressure while sparing her swollen ankles at night"
)


@pytest.mark.parametrize(
    ("text", "changes", "is_dropped"),
    [
        (VIGNETTE.replace("swollen", "swolen"), {}, True),
        (VIGNETTE.replace("asks which", "asks what"), {}, True),
        (VIGNETTE.replace("woman", "man"), {}, False),
        (VIGNETTE.replace("lowers", "increases"), {}, False),
        (f"{VIGNETTE} of 5", {}, False),
        (VIGNETTE.replace("swollen", "swolen"), {"answer": "wrong"}, False),
    ],
)
def test_a_copy_but_for_a_word_is_dropped_unless_the_word_can_turn_it_around(
    text: str, changes: dict[str, str], is_dropped: bool
) -> None:
    cleaned = clean_questions([choice("a", text=f"{VIGNETTE}?"), choice("b", text=f"{text}?", **changes)])
    reason = "repeats another question but for a word or a letter"
    assert cleaned.drops == ({reason: 1} if is_dropped else {})


def test_of_near_copies_the_official_test_question_is_kept() -> None:
    train = choice("a", text=f"{VIGNETTE}?", split="train")
    test = choice("b", text=f"{VIGNETTE.replace('swollen', 'swolen')}?", split="test")
    assert [question.id for question in clean_questions([train, test]).questions] == ["s-b"]


def test_cleaning_what_is_clean_changes_nothing() -> None:
    once = clean_questions(load_source("embedded"))
    assert once.drops == {}
    assert clean_questions(once.questions).questions == once.questions


def test_nothing_and_what_has_hardly_a_word_is_cleaned_too() -> None:
    assert clean_questions([]).questions == ()
    signs = [choice("a", text="?", options=("+", "right")), choice("b", text="??", options=("-", "right"))]
    assert clean_questions(signs).questions == tuple(signs)
