from __future__ import annotations

import math
from collections import Counter
from itertools import combinations
from typing import Any

import pytest

from medalign.data.catalog import load_source
from medalign.data.similarity import (
    LARGEST_LETTER_COSINE,
    LARGEST_RUN_SHARE,
    LARGEST_WORD_COSINE,
    LEAST_COSINE_FOR_RUNS,
    NOMINATED,
    Similarity,
)
from medalign.data.word_weights import RARE_WORD, word_weights
from medalign.data.words import words_of
from medalign.records import Question
from tests.data.examples import choice, decision

STEM = "Which drug of the list slows the sinus node without lowering the blood pressure?"


def measure_of(one: Question, other: Question) -> str | None:
    found = Similarity([one, other]).near_pairs([0], [1])
    return found[0].measure if found else None


@pytest.mark.parametrize(
    ("text", "changes", "measure"),
    [
        (STEM, {}, "same words"),
        (STEM.upper().replace("?", " ..."), {}, "same words"),
        (f"In heart failure, w{STEM[1:]}", {}, "telling words"),
        (
            STEM.replace("lowering", "lowring").replace("slows", "slowes").replace("sinus", "sinuus"),
            {},
            "letters",
        ),
        ("Which vessel of the neck carries most of the blood to the brain in adults?", {}, None),
        (
            STEM,
            {"answer": "best", "options": ("ivabradine", "best", "digoxin", "verapamil")},
            "runs of words",
        ),
    ],
)
def test_questions_are_nearly_the_same_by_words_runs_or_letters(
    text: str, changes: dict[str, Any], measure: str | None
) -> None:
    assert measure_of(choice("a", text=STEM), choice("b", text=text, **changes)) == measure


def test_a_reworded_question_is_found_where_telling_words_stay() -> None:
    one = choice(
        "a", text="Non-pulsatile dose of GnRH agonist is used in all the following conditions except"
    )
    other = choice("b", text="Continuous GnRH therapy is used in all EXCEPT")
    options = ("Endometriosis", "Infertility", "Precocious puberty", "Prostate cancer")
    shown = {"options": options, "answer": options[1]}
    assert (
        measure_of(choice("a", text=one.text, **shown), choice("b", text=other.text, **shown))
        == "telling words"
    )


def test_short_questions_with_other_key_words_are_apart() -> None:
    gout = choice(
        "a",
        text="Drug of choice for gout?",
        options=("colchicine", "x ray", "allopurinol"),
        answer="colchicine",
    )
    scabies = choice(
        "b", text="Drug of choice for scabies?", options=("permethrin", "ivermectin"), answer="permethrin"
    )
    assert measure_of(gout, scabies) is None


def test_a_passage_counts_unless_two_questions_of_one_source_share_it() -> None:
    passage = "Forty patients with sepsis received hydrocortisone or placebo; lactate fell faster in both arms alike."
    one = decision("a", text="Does hydrocortisone hasten the fall of lactate?", context=passage)
    twin = decision("b", text="Were there forty participants?", context=passage)
    assert measure_of(one, twin) is None
    assert measure_of(one, decision("b", text=twin.text, context=passage, source="other")) == "telling words"
    assert measure_of(one, choice("c", text=one.text, options=("a", "right"))) is not None


def test_pairs_are_found_once_and_never_with_themselves() -> None:
    questions = [choice("a", text=STEM), choice("b", text=STEM), choice("c", text=STEM)]
    rows = range(3)
    found = Similarity(questions).near_pairs(rows, rows)
    assert [(pair.first, pair.second) for pair in found] == [(0, 1), (0, 2), (1, 2)]
    assert Similarity(questions).near_pairs([2], [0]) == [found[1]._replace(first=2, second=0)]


def test_what_is_found_does_not_depend_on_what_else_is_there() -> None:
    questions = list(load_source("embedded"))[:240]
    whole = Similarity(questions).near_pairs(range(240), range(240))
    half = Similarity(questions[:120]).near_pairs(range(120), range(120))
    assert half == [pair for pair in whole if pair.second < 120]


def test_the_measures_agree_with_their_slow_definitions() -> None:
    questions = [q for q in load_source("embedded") if q.kind == "choice"][:150]
    questions += [
        choice("x", text=f"Now {questions[0].text}", options=questions[0].options, answer=questions[0].answer)
    ]
    found = {(p.first, p.second) for p in Similarity(questions).near_pairs(range(151), range(151))}
    slow = {(a, b) for a, b in combinations(range(151), 2) if slowly_near(questions[a], questions[b])}
    assert found == slow and (0, 150) in found


def slowly_near(one: Question, other: Question) -> bool:
    words = cosine(vector(one), vector(other))
    is_run = words >= LEAST_COSINE_FOR_RUNS and run_share(one, other) >= LARGEST_RUN_SHARE
    is_letters = words >= NOMINATED and cosine(letters(one), letters(other)) >= LARGEST_LETTER_COSINE
    return words >= LARGEST_WORD_COSINE or is_run or is_letters


def vector(question: Question) -> dict[str, float]:
    counts = Counter(words_of("\n".join((question.text, *question.options))))
    weights = word_weights()
    return {word: (1 + math.log(count)) * weights.get(word, RARE_WORD) for word, count in counts.items()}


def letters(question: Question) -> dict[str, float]:
    held: Counter[str] = Counter()
    for word, weight in vector(question).items():
        triples = {f"<{word}>"[at : at + 3] for at in range(max(1, len(word)))}
        for triple in triples:
            held[triple] += weight / math.sqrt(len(triples))
    return held


def cosine(one: dict[str, float], other: dict[str, float]) -> float:
    dot = sum(value * other.get(key, 0.0) for key, value in one.items())
    return dot / math.sqrt(sum(v * v for v in one.values()) * sum(v * v for v in other.values()))


def run_share(one: Question, other: Question) -> float:
    runs, other_runs = (
        {tuple(w[at : at + 8]) for at in range(max(1, len(w) - 7))}
        for w in map(words_of, (one.text, other.text))
    )
    options, other_options = ({o.casefold() for o in q.options} for q in (one, other))
    shared, fewest = len(runs & other_runs), min(len(runs), len(other_runs))
    all_shared = shared + len(options & other_options)
    return min(shared / fewest, all_shared / (fewest + min(len(options), len(other_options))))
