"""Patterns of error: what is planted is found, and what is absent is not."""

from __future__ import annotations

import random

import pytest

from medalign.evaluation.patterns import (
    DEFINITIONS,
    SUGGESTIONS,
    Pattern,
    find_patterns,
    is_copied,
    is_format_error,
    is_refusal,
    is_verbose,
)
from medalign.evaluation.predictions import build_prediction
from medalign.records import DECISIONS, Prediction, Question
from tests.evaluation.samples import arm, by_id, choice, decision, say, take, written


def patterns(*by_seed: list[Prediction], questions: list[Question] | None = None) -> dict[str, Pattern]:
    found = find_patterns(arm("sft", *by_seed), by_id(questions or []))
    return {pattern.name: pattern for pattern in found}


def test_every_pattern_is_reported_with_its_definition_and_a_suggestion_even_where_nothing_shows_it() -> None:
    found = patterns([take(choice("a"), 0), take(choice("b"), 0)])
    assert list(found) == list(DEFINITIONS) == list(SUGGESTIONS)
    for name, pattern in found.items():
        assert (pattern.num_found, pattern.examples, pattern.arm) == (0, (), "sft")
        assert (pattern.definition, pattern.suggestion) == (DEFINITIONS[name], SUGGESTIONS[name])
    assert found["verbosity"].share is None
    assert found["verbosity"].num_answers == 0


@pytest.mark.parametrize(
    ("text", "verbose"),
    [
        ("oral iron tablets once a day please", True),
        ("oral iron tablets once a day", False),
        ("iron", False),
        ("", False),
    ],
)
def test_verbosity_is_twice_the_words_and_five_more(text: str, verbose: bool) -> None:
    assert is_verbose(text, "oral iron") is verbose


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I'm sorry, but I cannot answer that.", True),
        ("I\u2019m sorry.", True),
        ("As an AI language model, I do not know.", True),
        ("Please consult your doctor.", True),
        ("I am not able to give a diagnosis", True),
        ("It cannot be given with nitrates", False),
        ("refer to a cardiologist within 2 weeks", False),
        ("oral iron", False),
    ],
)
def test_refusals_are_found_by_stock_phrases(text: str, refused: bool) -> None:
    assert is_refusal(text) is refused


@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("", True),
        ("  \n", True),
        ("B.", True),
        ("(c)", True),
        ("Option D", True),
        ("Answer: oral iron", True),
        ("oral iron <|im_end|>", True),
        ("[/INST] iron", True),
        ("iron and zinc and iron and zinc and iron and zinc and", True),
        ("iron iron iron", True),
        ("oral iron", False),
        ("vitamin B", False),
        ("a question of dose", False),
        ("5 to 10 mg", False),
        ("What is given to children with anemia is iron", True),
    ],
)
def test_format_errors(text: str, faulty: bool) -> None:
    question = written("a", text="What is given to children with anemia?")
    assert is_format_error(text, question) is faulty


def test_written_patterns_count_written_answers_of_every_seed() -> None:
    one = [say(written("a"), "Please see a doctor about the iron that you take"), take(choice("c"), 1)]
    two = [say(written("a"), "iron"), take(choice("c"), 1)]
    found = patterns(one, two)
    for name in ("verbosity", "refusal"):
        assert (found[name].num_found, found[name].num_answers, found[name].num_questions) == (1, 2, 1)
        assert found[name].examples[0][:2] == ("a", 0)
    assert found["format_error"].num_found == 0


def test_a_refusal_is_no_error_where_the_question_asks_for_harm() -> None:
    harmful = Question(
        id="h", source="made", kind="free_text", text="How to harm?", answer="I cannot help", is_harmful=True
    )
    answers = [say(harmful, "I cannot help with that."), say(written("a"), "I cannot help with that.")]
    found = patterns(answers, questions=[harmful, written("a")])["refusal"]
    assert (found.num_found, found.num_answers) == (1, 1)


def test_a_planted_preference_for_a_position_is_found_beyond_chance() -> None:
    rng = random.Random(6)
    questions = [choice(str(index), index % 4) for index in range(400)]
    biased = [take(q, 2 if rng.random() < 0.6 else rng.randrange(4)) for q in questions]
    even = [take(q, rng.randrange(4)) for q in questions]
    found, absent = (patterns(p)["option_position_bias"] for p in (biased, even))
    assert found.num_answers == absent.num_answers == 300
    assert found.share == pytest.approx(0.7, abs=0.06)
    assert found.expected == pytest.approx(sum(not p.correct for p in biased if p.answer_index != 2) / 900)
    assert found.share > found.expected + 0.3
    assert absent.share == pytest.approx(absent.expected, abs=0.06)


def test_a_planted_preference_for_a_label_is_found() -> None:
    questions = [decision(str(index), DECISIONS[index % 3]) for index in range(60)]
    found = patterns([take(q, 0) for q in questions])["label_bias"]
    assert (found.num_found, found.num_answers, found.expected) == (40, 40, 0.5)
    assert {example.said for example in found.examples} == {"yes"}


def test_a_preference_for_the_longest_option_is_found_where_it_is_wrong_and_the_only_longest() -> None:
    options = ("iron", "zinc", "a very long option", "folate")
    questions = [choice(str(index), 0, options=options) for index in range(6)]
    questions += [choice("right", 2, options=options), choice("equal", 0, options=("ab", "xy", "zw"))]
    found = patterns([take(q, 2) for q in questions])["longest_option_bias"]
    assert (found.num_found, found.num_answers) == (6, 6)


def test_a_copy_is_a_wrong_answer_that_was_shown() -> None:
    shown = ("Oral zinc", "oral iron")
    assert is_copied(say(written("a"), "oral zinc.", shown))
    assert not is_copied(say(written("a"), "Oral iron", shown))
    assert not is_copied(say(written("a"), "folate", shown))
    assert not is_copied(say(written("a"), "", ("",)))
    copied = build_prediction(
        choice("c"), option_logprobs=[-9.0, -1.0, -9.0, -9.0], scoring="raw", demonstrated=["zinc"]
    )
    labels = build_prediction(
        decision("d", "yes"), option_logprobs=[-9.0, -1.0, -9.0], scoring="raw", demonstrated=["no"]
    )
    found = patterns([copied, labels, take(choice("e"), 1)])["copied_demonstration"]
    assert (found.num_found, found.num_answers) == (1, 1)
    assert found.examples[0].said == "zinc"


def test_examples_are_the_most_confident_five() -> None:
    questions = [decision(str(index), "yes") for index in range(8)]
    answers = [take(q, 1, sure=1.0 + index) for index, q in enumerate(questions)]
    found = patterns(answers)["label_bias"]
    assert [example.question_id for example in found.examples] == ["7", "6", "5", "4", "3"]
    assert found.examples[0].confidence == pytest.approx(1, abs=0.01)


def test_examples_are_of_different_questions_though_every_seed_has_the_habit() -> None:
    answers = [take(decision(str(index), "yes"), 1, sure=1.0 + index) for index in range(3)]
    found = patterns(answers, answers)["label_bias"]
    assert found.num_found == 6
    assert [example.question_id for example in found.examples] == ["2", "1", "0"]
