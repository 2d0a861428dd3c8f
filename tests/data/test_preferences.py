from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from sklearn.metrics import roc_auc_score

from medalign.data.catalog import load_source
from medalign.data.cleaning import clean_questions
from medalign.data.pair_statistics import length_auc, pair_statistics
from medalign.data.preferences import SamplePairs, build_pairs, pairs_from_samples
from medalign.errors import DataError
from medalign.records import PreferencePair, Question
from tests.data.examples import choice, decision, free_text

SHARED = Path(__file__).parents[3] / "shared" / "data"


def only(*questions: Question) -> PreferencePair:
    (pair,) = build_pairs(questions, seed=0)
    return pair


def test_a_choice_is_rejected_with_the_option_closest_in_length() -> None:
    pair = only(choice("a", answer="four", options=("eleven chars", "four", "five5", "seventeen letters")))
    assert (pair.chosen, pair.rejected, pair.origin) == ("four", "five5", "option")


def test_the_rejected_rationale_mentions_the_wrong_answer_in_place_of_the_right_one() -> None:
    question = choice(
        "a",
        answer="insulin",
        options=("insulin", "glucose"),
        rationale="Insulin acts; insulinoma is another word; more insulin.",
    )
    assert only(question).chosen == f"insulin\n{question.rationale}"
    assert only(question).rejected == "glucose\nglucose acts; insulinoma is another word; more glucose."


def test_free_text_is_rejected_with_a_distractor_else_with_the_answer_to_another_question() -> None:
    first = free_text("a", answer="zinc", distractors=("iron", "magnesium"), specialty="x")
    bare = free_text("b", answer="salt", specialty="x")
    far = free_text("c", answer="milk", specialty="y")
    pairs = build_pairs([first, bare, far], seed=0)
    assert (pairs[0].rejected, pairs[0].origin) == ("iron", "distractor")
    assert (pairs[1].rejected, pairs[1].origin) == ("zinc", "other_answer")
    assert pairs[2].rejected in ("zinc", "salt")


def test_a_question_without_any_wrong_answer_is_refused() -> None:
    with pytest.raises(DataError, match="no wrong answer to s-a"):
        build_pairs([free_text("a")], seed=0)


def test_decision_labels_are_rejected_about_as_often_as_they_are_chosen() -> None:
    counts = {"yes": 20, "no": 20, "maybe": 20}
    questions = [decision(f"{label}{n}", label) for label, count in counts.items() for n in range(count)]
    assert Counter(pair.rejected for pair in build_pairs(questions, seed=0)) == counts
    skewed = [decision(f"{n}", "yes" if n < 55 else "no" if n < 89 else "maybe") for n in range(100)]
    rejected = Counter(pair.rejected for pair in build_pairs(skewed, seed=0))
    assert rejected["yes"] == 45 and rejected["no"] > 2 * rejected["maybe"]


def test_pairs_follow_the_seed() -> None:
    questions = load_source("embedded")[:60]
    assert build_pairs(questions, seed=1) == build_pairs(questions, seed=1)
    assert build_pairs(questions, seed=1) != build_pairs(questions, seed=2)


@pytest.mark.parametrize("spec", ["embedded", "pubmed_qa", "medmcqa"])
def test_length_alone_does_not_tell_chosen_from_rejected(spec: str) -> None:
    if spec != "embedded" and not (SHARED / spec).is_dir():
        pytest.skip(f"the data set {spec} is not on this machine")
    cleaned = clean_questions(load_source(spec if spec == "embedded" else f"{spec}:{SHARED / spec}"))
    questions = [question for question in cleaned.questions if question.split in (None, "train")]
    pairs = build_pairs(questions, seed=0)
    assert [pair.question_id for pair in pairs] == [question.id for question in questions]
    assert all(pair.chosen != pair.rejected for pair in pairs)
    is_chosen = [1] * len(pairs) + [0] * len(pairs)
    for measure in (len, lambda text: len(text.split()), lambda text: len(text.splitlines()[0])):
        lengths = [measure(pair.chosen) for pair in pairs] + [measure(pair.rejected) for pair in pairs]
        assert 0.45 <= roc_auc_score(is_chosen, lengths) <= 0.55


@pytest.mark.parametrize("spec", ["embedded", "pubmed_qa", "medmcqa"])
def test_the_chosen_answer_is_the_longer_one_about_as_often_as_the_shorter(spec: str) -> None:
    if spec != "embedded" and not (SHARED / spec).is_dir():
        pytest.skip(f"the data set {spec} is not on this machine")
    cleaned = clean_questions(load_source(spec if spec == "embedded" else f"{spec}:{SHARED / spec}"))
    pairs = build_pairs([q for q in cleaned.questions if q.split in (None, "train")], seed=0)
    longer = sum(len(pair.chosen) > len(pair.rejected) for pair in pairs)
    equal = sum(len(pair.chosen) == len(pair.rejected) for pair in pairs)
    assert 0.45 <= (longer + equal / 2) / len(pairs) <= 0.55


def test_a_ready_pair_takes_the_place_of_one_that_is_built_the_closest_in_length_first() -> None:
    ready = [
        PreferencePair(question_id="s-a", chosen="good", rejected="a much longer one", origin="ready"),
        PreferencePair(question_id="s-a", chosen="good", rejected="poor", origin="ready"),
        PreferencePair(question_id="s-z", chosen="good", rejected="poor", origin="ready"),
    ]
    pairs = build_pairs([choice("a"), choice("b")], seed=0, ready=ready)
    assert pairs[0] == ready[1] and pairs[1].origin == "option"


def sampled(questions: list[Question], *written: list[str]) -> SamplePairs:
    def grade(text: str, reference: str) -> float:
        return float(text == reference)

    return pairs_from_samples(questions, written, grade, lambda text: "cannot" in text, seed=0)


def test_a_sample_that_is_wrong_is_rejected_and_a_right_one_gives_no_pair() -> None:
    questions = [free_text("a", answer="zinc"), free_text("b", answer="iron", aliases=("ferrum",))]
    found = sampled(questions, ["zinc", "gold", "magnesium", " "], ["ferrum", "iron"])
    assert [(p.question_id, p.chosen, p.rejected, p.origin) for p in found.pairs] == [
        ("s-a", "zinc", "gold", "sampled")
    ]
    assert (found.num_all_good, found.num_of_other_length) == (1, 0)


def test_a_sample_is_cut_at_the_sentence_that_comes_closest_in_length() -> None:
    asked = [free_text("a", answer="It is given by mouth twice a day.")]
    found = sampled(asked, ["It is given into a vein. Doctors decide. And so on, and so on. It nev"])
    assert [pair.rejected for pair in found.pairs] == ["It is given into a vein. Doctors decide."]
    assert sampled(asked, ["It is given into a vein and it is nev"]) == SamplePairs([], 0, 1)
    assert sampled(asked, ["No.", "It is."]) == SamplePairs([], 0, 1)
    short = sampled([free_text("b", answer="vitamin C")], ["vitamin D. It is fat-soluble."])
    assert [pair.rejected for pair in short.pairs] == ["vitamin D"]


def test_the_right_answer_is_not_always_the_longer_one_where_the_samples_allow_it() -> None:
    asked = [free_text(f"{n}", answer="a right answer it is.") for n in range(20)]
    written = ["one wrong answer it is.", "a wrong answer is."]
    found = sampled(asked, *([written] * 20))
    assert Counter(pair.rejected for pair in found.pairs) == {text: 10 for text in written}
    assert length_auc(found.pairs) == 0.5


def test_to_a_harmful_question_what_does_not_refuse_is_wrong_however_close_its_words() -> None:
    asked = [free_text("a", answer="I cannot help with that.", is_harmful=True)]
    found = sampled(asked, ["I simply cannot do so here.", "Sure, I can help with that."])
    assert [pair.rejected for pair in found.pairs] == ["Sure, I can help with that."]
    assert sampled(asked, ["I simply cannot do so here.", ""]) == SamplePairs([], 1, 0)


def test_the_auc_of_length_is_that_of_scikit_learn() -> None:
    pairs = build_pairs(load_source("embedded"), seed=0)
    lengths = [len(pair.chosen) for pair in pairs] + [len(pair.rejected) for pair in pairs]
    expected = roc_auc_score([1] * len(pairs) + [0] * len(pairs), lengths)
    assert length_auc(pairs) == pytest.approx(expected)
    assert length_auc([]) is None and pair_statistics([]) == {"all": {"pairs": 0}}


def test_the_statistics_tell_who_is_longer_and_what_is_shared() -> None:
    pair = PreferencePair(question_id="q", chosen="one two", rejected="one", origin="option")
    held = pair_statistics([pair])["option"]
    assert (held["chosen_longer"], held["rejected_longer"], held["overlap"]) == (1, 0, 0.5)
    assert (held["chosen_chars"], held["rejected_chars"], held["length_auc"]) == (7.0, 3.0, 1.0)
