"""Pairs of the base model's own wrong answers in prepared data."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from medalign.config.experiment import Augment, DataSettings
from medalign.data.augmentation import original_id
from medalign.data.pair_statistics import pair_statistics
from medalign.data.preparation import PreparedData, prepare_data, read_sources
from medalign.data.sampled_pairs import questions_to_sample, with_sampled_pairs
from medalign.data.store import derived_key, read_prepared, write_prepared
from medalign.records import Question

ABOUT = {"model": "m", "answers_each": 2, "temperature": 0.7}


def own_questions(number: int) -> list[dict[str, str]]:
    """Of words that no two of them share, so that none nearly repeats another."""
    letters = random.Random(0)

    def words(count: int) -> str:
        return " ".join("".join(letters.choices("abcdefghilmnoprstu", k=7)) for _ in range(count))

    return [{"question": f"{words(6)}?", "answer": f"{words(2)[:14]}."} for _ in range(number)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> PreparedData:
    folder = tmp_path_factory.mktemp("own")
    (folder / "questions.json").write_text(json.dumps(own_questions(60)))
    settings = DataSettings(
        sources=("embedded", f"plain:{folder}"),
        train_size=40,
        validation_size=6,
        test_size=6,
        augment=Augment(paraphrases=1),
    )
    return prepare_data(read_sources(settings), settings, seed=0)


def sampled(data: PreparedData, answer: str, questions: tuple[Question, ...] | None = None) -> PreparedData:
    asked = questions_to_sample(data) if questions is None else questions
    texts = {question.id: ("", answer) for question in asked}
    return with_sampled_pairs(
        data,
        texts,
        lambda text, reference: float(text == reference),
        lambda text: False,
        seed=0,
        about=ABOUT,
    )


def test_asked_are_the_questions_without_a_wrong_answer_of_their_own_once_each(data: PreparedData) -> None:
    asked = questions_to_sample(data)
    weak = {original_id(q) for q in data.train if q.source == "plain"}
    assert {question.id for question in asked} == weak and len(asked) == len(weak) > 10


def test_samples_take_the_place_of_answers_to_other_questions_and_of_nothing_else(data: PreparedData) -> None:
    after = sampled(data, "no such agent.")
    assert [pair.question_id for pair in after.pairs] == [question.id for question in after.train]
    before, now = (Counter(pair.origin for pair in held.pairs) for held in (data, after))
    assert now["sampled"] == before["other_answer"] > 20 and not now["other_answer"]
    kept = [(a, b) for a, b in zip(data.pairs, after.pairs, strict=True) if a.origin != "other_answer"]
    assert all(a == b for a, b in kept) and len(kept) > 20
    assert (after.train, after.validation, after.test) == (data.train, data.validation, data.test)


def test_the_card_and_the_fingerprints_follow(data: PreparedData) -> None:
    after, again = (sampled(data, "no such agent.") for _ in range(2))
    assert after == again and after.fingerprint != data.fingerprint
    changed = {name for name in data.fingerprints if data.fingerprints[name] != after.fingerprints[name]}
    assert changed == {"pairs"}
    number = len(questions_to_sample(data))
    assert after.card["sampled_answers"] == {
        "questions": number,
        "pairs": number,
        "all_answers_good": 0,
        "none_of_like_length": 0,
        "reference_too_long": 0,
        **ABOUT,
    }
    assert after.card["pairs"] == pair_statistics(after.pairs) != data.card["pairs"]
    assert after.card["fingerprint"] == after.fingerprint


def test_what_gives_no_pair_keeps_the_other_rule_and_is_counted(data: PreparedData) -> None:
    asked = questions_to_sample(data)
    after = sampled(data, "No.", asked[:-3])
    counts = after.card["sampled_answers"]
    assert (counts["none_of_like_length"], counts["reference_too_long"]) == (len(asked) - 3, 3)
    good = sampled(data, "")
    assert good.card["sampled_answers"]["all_answers_good"] == len(asked)
    assert after.pairs == good.pairs == data.pairs


def test_it_is_stored_like_any_prepared_data_under_a_key_of_all_that_it_depends_on(
    data: PreparedData, tmp_path: Path
) -> None:
    after = sampled(data, "no such agent.")
    write_prepared(after, tmp_path / "stored")
    assert read_prepared(tmp_path / "stored") == after
    keys = {derived_key(data, base="x"), derived_key(data, base="y"), derived_key(after, base="x")}
    assert len(keys) == 3 and derived_key(data, base="x") in keys
