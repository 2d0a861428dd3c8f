"""What a model writes when its answers are drawn at random."""

from __future__ import annotations

from pathlib import Path

import pytest

from medalign.modeling.base_models import BaseModel, load_base
from medalign.modeling.sampling import LONGEST_TOKENS, load_and_sample, sample_answers
from medalign.records import Question
from tests.tiny_models import make_tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny(tmp_path_factory.mktemp("models") / "llama", "llama", window=256)


@pytest.fixture(scope="module")
def base(folder: Path) -> BaseModel:
    return load_base(str(folder), "fp32", "cpu")


def asked(name: str, answer: str) -> Question:
    return Question(id=name, source="own", kind="free_text", text=f"What is meant by {name}?", answer=answer)


QUESTIONS = (asked("a", "zinc"), asked("b", "iron"), asked("c", "The agent is given once a day." * 2))


def test_each_question_gets_its_answers_and_the_same_seed_the_same_ones(base: BaseModel) -> None:
    first, again, other = (
        sample_answers(base, QUESTIONS, number=3, temperature=1.0, seed=seed) for seed in (0, 0, 1)
    )
    assert set(first.texts) == {"a", "b", "c"} and {len(texts) for texts in first.texts.values()} == {3}
    assert first.texts == again.texts != other.texts
    assert len(set(first.texts["a"])) > 1


def test_what_is_written_is_paid_for(base: BaseModel) -> None:
    cost = sample_answers(base, QUESTIONS[:2], number=2, temperature=1.0, seed=0).cost
    assert 0 < cost.tokens_generated <= 4 * 16 and cost.score_flops > 0 and cost.wall_seconds > 0


def test_at_a_temperature_near_0_all_answers_are_the_greedy_one(base: BaseModel) -> None:
    texts = sample_answers(base, QUESTIONS[:1], number=3, temperature=1e-4, seed=0).texts["a"]
    assert len(set(texts)) == 1


def test_a_question_whose_reference_is_too_long_is_left_out(base: BaseModel) -> None:
    long = asked("long", "word " * LONGEST_TOKENS)
    beyond_window = asked("wide", "The agent is given once a day. " * 6)
    texts = sample_answers(base, (*QUESTIONS, long, beyond_window), number=1, temperature=1.0, seed=0).texts
    assert set(texts) == {"a", "b", "c"}


def test_a_model_is_found_by_its_name(folder: Path, base: BaseModel) -> None:
    found = load_and_sample(str(folder), "fp32", QUESTIONS, number=2, temperature=1.0, seed=0)
    assert set(found.texts) == {"a", "b", "c"}
