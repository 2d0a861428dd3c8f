"""Variants of questions: the same right answer, an id that leads back, and something that is really different."""

from __future__ import annotations

import pytest

from medalign.data.variants import original_id, permuted, reworded, variants
from medalign.records import DECISIONS, Question

CHOICE = Question(
    id="made-1",
    source="made",
    kind="choice",
    text="Which of the following is given?",
    answer="zinc",
    options=("iron", "zinc", "copper", "folate"),
)
DECISION = Question(
    id="made-2", source="made", kind="decision", text="Does it?", answer="no", options=DECISIONS
)
WRITTEN = Question(id="made-3", source="made", kind="free_text", text="What is given?", answer="zinc")


def test_all_orders_together_put_every_option_into_every_place() -> None:
    orders = [CHOICE.options, *(permuted(CHOICE, number=number).options for number in (1, 2, 3))]
    assert [set(column) for column in zip(*orders, strict=True)] == [set(CHOICE.options)] * 4
    assert permuted(CHOICE, seed=1).options != CHOICE.options


def test_the_right_answer_stays_and_the_id_leads_back() -> None:
    for variant in variants([CHOICE, DECISION, WRITTEN], num_orders=9):
        original = {"made-1": CHOICE, "made-2": DECISION, "made-3": WRITTEN}[original_id(variant.id)]
        assert (variant.answer, variant.kind, set(variant.options)) == (
            original.answer,
            original.kind,
            set(original.options),
        )
        assert variant.text != original.text or variant.options != original.options
    assert original_id("made-1") == "made-1"


def test_as_many_variants_as_there_are_orders_and_one_in_other_words() -> None:
    found = variants([CHOICE, DECISION, WRITTEN], num_orders=9)
    assert [original_id(v.id) for v in found] == ["made-1"] * 4 + ["made-2"] * 3 + ["made-3"]
    assert len({v.id for v in found}) == 8


def test_only_stock_phrases_and_the_frame_are_reworded() -> None:
    assert reworded(CHOICE).text == "Which of these is given?"
    assert reworded(DECISION).text == "Please answer this: Does it?"
    assert reworded(CHOICE, "Name what is given.").text == "Name what is given."
    assert variants([CHOICE], num_orders=0, paraphrases={"made-1": "Name it."})[0].text == "Name it."


@pytest.mark.parametrize("number", [0, 4])
def test_numbers_without_an_order_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="question made-1: number must be 1 to 3 for 4 options, got"):
        permuted(CHOICE, number=number)
    with pytest.raises(ValueError, match="question made-3: number must be 1 to -1 for 0 options"):
        permuted(WRITTEN)
