from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from medalign.data.assignment import group_key
from medalign.data.augmentation import augment, is_copy, original_id
from tests.data.examples import choice, decision, free_text

QUESTIONS = [
    choice("a"),
    decision("b"),
    free_text("c", text="Braces {0} and {text} stay?"),
    choice("d", options=("right", "x")),
]


@settings(max_examples=40, deadline=None)
@given(shuffles=st.integers(0, 5), paraphrases=st.integers(0, 3), seed=st.integers(0, 9))
def test_copies_keep_group_answer_and_key_and_have_ids_of_their_own(
    shuffles: int, paraphrases: int, seed: int
) -> None:
    originals = {question.id: question for question in QUESTIONS}
    augmented = augment(QUESTIONS, shuffles=shuffles, paraphrases=paraphrases, seed=seed)
    assert [question for question in augmented if not is_copy(question)] == QUESTIONS
    assert len({question.id for question in augmented}) == len(augmented)
    for copy in augmented:
        original = originals[original_id(copy)]
        assert group_key(copy) == group_key(original)
        assert (copy.answer, copy.kind, sorted(copy.options)) == (
            original.answer,
            original.kind,
            sorted(original.options),
        )
        assert original.text in copy.text


def test_orders_differ_from_each_other_and_there_are_no_more_than_exist() -> None:
    orders = [question.options for question in augment([choice("a")], shuffles=5, paraphrases=0, seed=0)]
    assert len(orders) == len(set(orders)) == 6
    assert len(augment([choice("d", options=("right", "x"))], shuffles=5, paraphrases=0, seed=0)) == 2
