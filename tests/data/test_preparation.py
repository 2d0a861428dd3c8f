from __future__ import annotations

import json
import pickle
from collections import Counter
from pathlib import Path

import pytest

from medalign.config.experiment import Augment, DataSettings, Replay, Shares
from medalign.data.augmentation import is_copy, original_id
from medalign.data.catalog import load_source
from medalign.data.leaks import find_leaks
from medalign.data.pair_statistics import length_auc
from medalign.data.preparation import (
    PreparedData,
    prepare,
    prepare_data,
    read_sources,
    with_shuffled_answers,
)
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


def from_settings(**settings: object) -> PreparedData:
    held = DataSettings(train_size=40, validation_size=12, test_size=24).model_copy(update=settings)
    return prepare_data(read_sources(held), held, seed=0, count_tokens=lambda question: len(question.text))


def test_the_card_names_sources_drops_leaks_and_pairs_and_measures_lengths() -> None:
    card = json.loads(json.dumps(from_settings().card))
    assert card["leaks"]["found_between_the_splits"] == 0
    assert card["about_the_sources"][0]["licence"] == "CC-BY-4.0"
    tokens = card["splits"]["train"]["tokens"]
    assert tokens["measured"] == 40 and tokens["shortest"] <= tokens["median"] <= tokens["longest"]
    assert sum(card["token_histograms"]["questions"]["test"]) == 24
    assert 0.4 < card["pairs"]["all"]["length_auc"] < 0.6


def test_augmented_copies_stay_in_train_and_have_pairs() -> None:
    plain, data = from_settings(), from_settings(augment=Augment(option_shuffles=2, paraphrases=1))
    assert (data.validation, data.test) == (plain.validation, plain.test)
    assert [question for question in data.train if not is_copy(question)] == list(plain.train)
    assert {original_id(question) for question in data.train} == {question.id for question in plain.train}
    assert [pair.question_id for pair in data.pairs] == [question.id for question in data.train]
    assert (
        data.stages == (len(data.train),) and data.card["splits"]["train"]["copies"] == len(data.train) - 40
    )


def test_stages_replay_and_copies_go_together() -> None:
    settings = {
        "sources": ("embedded", f"medmcqa:{FIXTURES / 'medmcqa'}"),
        "train_size": 20,
        "validation_size": 3,
        "test_size": 6,
        "stages": (("embedded",),),
        "augment": Augment(paraphrases=1),
    }
    data = from_settings(**settings)
    assert sum(data.stages) == len(data.train) == 40
    assert {question.source for question in data.train[: data.stages[0]]} == {"embedded"}
    assert "embedded" not in {question.source for question in data.train[data.stages[0] :]}
    with_text = from_settings(train_size=20, replay=Replay(source="embedded:shared-facts", share=0.25))
    assert len(with_text.train) == 20


def test_shares_leave_a_pool_and_a_holdout_of_each_specialty() -> None:
    data = from_settings(
        train_size="all",
        validation_size="all",
        shares=Shares(train=0.5, validation=0.1, test=0.3),
        holdout_per_specialty=4,
    )
    assert set(Counter(question.specialty for question in data.test).values()) == {4}
    assert len(data.train) > 300 and len(data.pool) > 50
    splits = {"train": (*data.train, *data.pool), "validation": data.validation, "test": data.test}
    assert find_leaks(splits) == []
    assert 0.45 <= (length_auc(data.pairs) or 0) <= 0.55


def test_with_shares_alone_ten_of_each_specialty_are_the_test_split() -> None:
    shares = {"train": 0.4, "validation": 0.1, "test": 0.3}
    settings = DataSettings.model_validate({"shares": shares, "train_size": 50, "validation_size": 20})
    data = prepare_data(read_sources(settings), settings, seed=0)
    counts = data.card["splits"]["test"]["specialty"]
    assert len(counts) == 15 and max(counts.values()) == 10 and "obstetrics and gynecology" in counts
    assert data.card["holdout_short_of"] == {name: held for name, held in counts.items() if held < 10}


def test_a_holdout_file_fixes_the_test_split(tmp_path: Path) -> None:
    shares = Shares(train=0.5, validation=0.1, test=0.3)
    settings = {"shares": shares, "holdout_per_specialty": 2, "holdout_file": str(tmp_path / "held.jsonl")}
    first = from_settings(**settings)
    again = from_settings(**settings, sources=("embedded", f"medmcqa:{FIXTURES / 'medmcqa'}"))
    assert set(again.test) == set(first.test)


def test_a_leak_between_official_splits_is_dropped_or_refused(tmp_path: Path) -> None:
    record = {
        "id": "1",
        "question": "Which nerve is hurt by a fracture of the surgical neck of the humerus?",
        "cop": 0,
    }
    record |= {
        "opa": "axillary",
        "opb": "radial",
        "opc": "ulnar",
        "opd": "median",
        "exp": "",
        "subject_name": "x",
    }
    reworded = record | {
        "id": "9",
        "question": "A fracture of the humerus at its surgical neck: which nerve is hurt?",
    }
    letters = ("opa", "opb", "opc", "opd")
    others = [
        "insulin glucagon amylin leptin",
        "femur tibia fibula talus",
        "gout lupus mumps zoster",
        "ACTH TSH LH GH",
    ]
    lines = [
        json.dumps(
            record
            | {"id": name, "question": f"Name {name}?"}
            | dict(zip(letters, names.split(), strict=True))
        )
        for name, names in zip(("hormone", "bone", "disease", "peptide"), others, strict=True)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join([*lines, json.dumps(reworded)]))
    (tmp_path / "validation.jsonl").write_text(json.dumps(record))
    settings = {"sources": (f"medmcqa:{tmp_path}",), "train_size": 2, "validation_size": 1, "test_size": 1}
    data = from_settings(**settings)
    assert "medmcqa-9" not in {question.id for question in (*data.train, *data.validation, *data.pool)}
    assert data.drops == {"nearly the same as a question of another split": 1}
    assert data.card["leaks"]["examples"][0]["kept_out_id"] == "medmcqa-9"
    with pytest.raises(
        DataError, match=r"medmcqa-1 \(test\) and medmcqa-9 \(train\) are nearly .*leaks: drop"
    ):
        from_settings(**settings, leaks="refuse")


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
