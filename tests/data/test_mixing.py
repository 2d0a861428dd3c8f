from __future__ import annotations

import pytest

from medalign.data.mixing import in_stages, replayed, spread, stages_with_replay
from medalign.errors import DataError
from tests.data.examples import choice


def test_stages_order_by_source_and_specialty_and_keep_the_order_within() -> None:
    questions = [
        choice("1", source="b"),
        choice("2", source="a"),
        choice("3", source="c"),
        choice("4", source="a", specialty="surgery"),
        choice("5", source="a"),
    ]
    ordered, sizes = in_stages(questions, [["a"], ["b", "a/surgery"]])
    assert [question.id for question in ordered] == ["s-2", "s-5", "s-1", "s-4", "s-3"]
    assert sizes == (2, 2, 1)
    assert in_stages(questions, []) == (tuple(questions), (5,))


def test_a_stage_without_questions_is_refused() -> None:
    with pytest.raises(DataError, match=r"data.stages\[1\]: no training question of absent"):
        in_stages([choice("1", source="a")], [["a"], ["absent"]])


def test_general_text_is_drawn_by_hash_and_its_lack_is_told() -> None:
    general = [choice(f"{n}") for n in range(20)] + [choice("t", split="test")]
    drawn = replayed(general, 5, seed=0)
    assert len(drawn) == 5 and drawn == replayed(general[::-1], 5, seed=0)
    with pytest.raises(DataError, match="21 questions of general text asked for, 20 available"):
        replayed(general, 21, seed=0)


@pytest.mark.parametrize("num_general", [0, 1, 3, 8, 50])
def test_every_stage_has_its_share_of_the_general_text(num_general: int) -> None:
    stages = (6, 1, 13)
    medical = [choice(f"{place}-{number}") for number, held in enumerate(stages) for place in range(held)]
    mixed = spread([choice(f"g{place}", source="general") for place in range(num_general)], medical)
    sizes, start = stages_with_replay(stages, num_general), 0
    assert sum(sizes) == len(mixed)
    for number, size in enumerate(sizes):
        held = [question.id for question in mixed[start : start + size] if question.source != "general"]
        assert len(held) == stages[number] and all(name.endswith(f"-{number}") for name in held)
        assert abs((size - len(held)) - num_general * stages[number] / 20) < 1
        start += size


def test_general_text_lies_at_even_distances() -> None:
    mixed = spread([choice("g1"), choice("g2")], [choice(f"{n}") for n in range(4)])
    assert [question.id for question in mixed] == ["s-0", "s-g1", "s-1", "s-2", "s-g2", "s-3"]
