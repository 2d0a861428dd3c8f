"""Answers that hold, or do not, when a question is put in another way."""

from __future__ import annotations

import pytest

from medalign.errors import DataError
from medalign.evaluation.consistency import consistency
from tests.evaluation.samples import choice, say, take, written

OPTIONS = ("iron", "zinc", "copper", "folate")


def test_what_is_said_counts_and_not_its_position() -> None:
    always_first = [take(choice("a", 1), 0)]
    turned = [take(choice("a#1", 0, options=OPTIONS[1:] + OPTIONS[:1]), 0)]
    found = consistency(always_first, turned, {"a#1": "a"})
    assert (found.agreement, found.unanimous, found.changed) == (0, 0, ("a",))
    same_words = [take(choice("a#1", 0, options=OPTIONS[1:] + OPTIONS[:1]), 3)]
    assert consistency(always_first, same_words, {"a#1": "a"}).agreement == 1


def test_shares_are_means_over_questions() -> None:
    original = [take(choice("a", 0), 0), take(choice("b", 0), 1), take(choice("c", 0), 0)]
    variants = [
        take(choice("a#1", 0), 0),
        take(choice("a#2", 0), 1),
        take(choice("b#1", 0), 1),
    ]
    found = consistency(original, variants, {"a#1": "a", "a#2": "a", "b#1": "b"})
    assert (found.num_questions, found.num_variants) == (2, 3)
    assert found.agreement == pytest.approx(0.75)
    assert found.unanimous == 0.5
    assert (found.accuracy, found.variant_accuracy, found.robust_accuracy) == (0.5, 0.25, 0)
    assert found.changed == ("a",)


def test_written_answers_agree_after_normalisation() -> None:
    found = consistency(
        [say(written("a"), "Oral iron."), say(written("b"), "zinc")],
        [say(written("a#1"), "the oral iron"), say(written("b#1"), "iron")],
        {"a#1": "a", "b#1": "b"},
    )
    assert found.agreement == 0.5
    assert found.accuracy is found.variant_accuracy is found.robust_accuracy is None


def test_variants_without_their_question_are_refused() -> None:
    answered = [take(choice("a"), 0)]
    with pytest.raises(DataError, match="variant 'b#1': its question 'b' was not answered"):
        consistency(answered, [take(choice("b#1"), 0)], {"b#1": "b"})
    with pytest.raises(DataError, match="variant 'b#1': its question None was not answered"):
        consistency(answered, [take(choice("b#1"), 0)], {})
    with pytest.raises(DataError, match="variant 'a#1': answered twice"):
        consistency(answered, [take(choice("a#1"), 0)] * 2, {"a#1": "a"})
    with pytest.raises(DataError, match="variants: none was answered"):
        consistency(answered, [], {})
