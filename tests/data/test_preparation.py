from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from medalign.data.catalog import load_source
from medalign.data.preparation import PreparedData, prepare, with_shuffled_answers
from medalign.errors import DataError
from tests.data.examples import free_text

FIXTURES = Path(__file__).parent / "fixtures"


def small(*sources: str, seed: int = 0) -> PreparedData:
    return prepare(sources or ("embedded",), train_size=30, validation_size=12, test_size=24, seed=seed)


def test_prepared_data_has_the_sizes_asked_for_and_a_pair_for_each_training_question() -> None:
    data = small()
    assert (len(data.train), len(data.validation), len(data.test)) == (30, 12, 24)
    assert [pair.question_id for pair in data.pairs] == [question.id for question in data.train]


def test_fingerprints_are_the_same_for_the_same_data_and_change_with_the_seed() -> None:
    assert small().fingerprint == small().fingerprint
    assert small().fingerprints == small().fingerprints
    assert small().fingerprint != small(seed=1).fingerprint
    assert set(small().fingerprints) == {"train", "validation", "test", "pairs"}


def test_the_card_counts_each_split_and_can_be_written_as_json() -> None:
    card = json.loads(json.dumps(small().card))
    train = card["splits"]["train"]
    assert train["questions"] == 30 and sum(train["answer"].values()) == sum(train["kind"].values()) == 30
    assert train["source"] == {"embedded": 30}


def test_prepared_data_survives_pickling() -> None:
    assert pickle.loads(pickle.dumps(small())) == small()


def test_several_sources_are_mixed() -> None:
    sources = ("embedded", f"pubmed_qa:{FIXTURES / 'pubmed_qa'}", f"medmcqa:{FIXTURES / 'medmcqa'}")
    data = prepare(sources, train_size=9, validation_size=3, test_size=9, seed=0)
    assert Counter(question.source for question in data.test) == {"embedded": 3, "pubmed_qa": 3, "medmcqa": 3}
    assert data.drops == {"two equal options": 1}


def test_a_source_named_twice_is_read_once() -> None:
    assert small("embedded", "embedded").drops == {}


def test_no_source_is_refused() -> None:
    with pytest.raises(DataError, match="no source given; name one, such as embedded"):
        prepare([], train_size=1, validation_size=1, test_size=1, seed=0)


def test_shuffled_answers_keep_the_form_and_lose_the_key() -> None:
    questions = load_source("embedded")
    shuffled = with_shuffled_answers(questions, seed=0)
    assert [question.id for question in shuffled] == [question.id for question in questions]
    for kind, chance in (("choice", 1 / 4), ("decision", 1 / 3)):
        pairs = [(a, b) for a, b in zip(questions, shuffled, strict=True) if a.kind == kind]
        kept = sum(a.answer == b.answer for a, b in pairs) / len(pairs)
        assert abs(kept - chance) < 0.08
        assert Counter(a.answer_index for a, _ in pairs) == Counter(b.answer_index for _, b in pairs)
        assert all(a.options == b.options for a, b in pairs)
    assert all(question.rationale == "" for question in shuffled)
    assert all(question.answer not in question.distractors for question in shuffled)


def test_shuffled_answers_follow_the_seed() -> None:
    questions = load_source("embedded")[:90]
    assert with_shuffled_answers(questions, seed=0) == with_shuffled_answers(questions, seed=0)
    assert with_shuffled_answers(questions, seed=0) != with_shuffled_answers(questions, seed=1)


def test_the_right_written_answer_is_a_wrong_one_after_shuffling() -> None:
    questions = [free_text(f"{n}", answer=f"answer {n}") for n in range(20)]
    for before, after in zip(questions, with_shuffled_answers(questions, seed=0), strict=True):
        assert before.answer == after.answer or before.answer in after.distractors
