"""Which demonstrations are picked, and in which order."""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from medalign.data.prompts import answer_text, prompt_text
from medalign.errors import ConfigError
from medalign.methods.catalog import method_named
from medalign.methods.icl import MAX_SHOTS, ORDERS, SELECTIONS, IclSettings, demonstrator
from medalign.modeling.base_models import BaseModel
from medalign.records import Question
from tests.methods.examples import choice, decision, free_text, make_run, mixed

POOL = mixed(36)
ASKED = mixed(9, start=40)
TOPICS = {
    "heart": "beta blocker heart failure rhythm pulse",
    "kidney": "dialysis kidney creatinine filtrate urine",
    "skin": "eczema psoriasis rash ointment itching",
}
# Five questions on each topic, alike within it; "heart" comes last.
TOPIC_POOL = [
    choice(
        10 * place + number,
        text=f"{words} case{number}?",
        options=("aye", "nay"),
        answer="aye",
        group=f"{topic}-{number}",
    )
    for place, (topic, words) in enumerate(reversed(TOPICS.items()))
    for number in range(5)
]


def picked(
    asked: Question, pool: Sequence[Question] = POOL, seed: int = 0, **settings: Any
) -> list[Question]:
    """The training questions that are shown before a question."""
    by_prompt = {prompt_text(question): question for question in pool}
    assert len(by_prompt) == len(pool)
    shown = demonstrator(pool, IclSettings(**settings), seed)(asked)
    return [by_prompt[demonstration.prompt] for demonstration in shown]


every_way = pytest.mark.parametrize(
    ("selection", "order"),
    [pytest.param(*way, id="-".join(way)) for way in itertools.product(SELECTIONS, ORDERS)],
)


@every_way
@pytest.mark.parametrize("shots", [0, 1, 3, MAX_SHOTS])
def test_as_many_are_shown_as_asked_for_and_none_twice(selection: str, order: str, shots: int) -> None:
    for asked in ASKED:
        shown = picked(asked, selection=selection, order=order, shots=shots)
        assert len(shown) == len(set(q.id for q in shown)) == shots


@every_way
def test_only_questions_of_the_same_kind_are_shown(selection: str, order: str) -> None:
    for asked in ASKED:
        shown = picked(asked, selection=selection, order=order, shots=4)
        assert {question.kind for question in shown} == {asked.kind}


@every_way
def test_a_question_never_shows_itself_and_another_takes_its_place(selection: str, order: str) -> None:
    for asked in POOL:
        shown = picked(asked, selection=selection, order=order, shots=4)
        assert asked.id not in {question.id for question in shown}
        assert len(shown) == 4


@every_way
def test_a_question_never_shows_another_of_its_group(selection: str, order: str) -> None:
    pool = [choice(number, group=f"fact-{number % 3}") for number in range(12)]
    asked = choice(99, group="fact-1", text=pool[1].text)
    shown = picked(asked, pool, selection=selection, order=order, shots=8)
    assert sorted(question.group for question in shown) == ["fact-0"] * 4 + ["fact-2"] * 4


def test_questions_without_a_group_do_not_make_one() -> None:
    pool = [choice(number, group="") for number in range(5)]
    assert len(picked(choice(9, group=""), pool, shots=5)) == 5


@every_way
def test_a_small_pool_is_shown_whole(selection: str, order: str) -> None:
    pool = [choice(number) for number in range(3)]
    shown = picked(choice(9), pool, selection=selection, order=order, shots=8)
    assert sorted(question.id for question in shown) == sorted(question.id for question in pool)


def test_a_kind_that_the_pool_lacks_is_asked_without_demonstrations() -> None:
    assert picked(decision(1), [choice(1), free_text(1)], shots=4) == []


@every_way
def test_the_same_seed_shows_the_same(selection: str, order: str) -> None:
    settings: dict[str, Any] = {"selection": selection, "order": order, "shots": 4}
    for asked in ASKED:
        assert picked(asked, seed=7, **settings) == picked(asked, seed=7, **settings)


@every_way
@pytest.mark.parametrize("shots", [0, 1, 4])
def test_what_is_shown_depends_on_the_seed_only_where_the_method_says_so(
    selection: str, order: str, shots: int
) -> None:
    settings: dict[str, Any] = {"selection": selection, "order": order, "shots": shots}
    shown = [[picked(asked, seed=seed, **settings) for asked in ASKED] for seed in range(4)]
    by_chance = any(other != shown[0] for other in shown[1:])
    said = method_named("icl").depends_on_seed(settings)
    assert said or not by_chance
    # One demonstration cannot be shuffled; to say that it can costs a repeated refit, not a wrong result.
    assert by_chance or not said or (shots == 1 and selection != "random")


@pytest.mark.parametrize("setting", [{"selection": "nearest"}, {"selection": "diverse"}, {"shots": 0}])
def test_scores_do_not_depend_on_the_seed_where_the_method_says_so(
    setting: dict[str, Any], base: BaseModel
) -> None:
    icl = method_named("icl")
    scored = [question for question in ASKED if question.is_scored]
    found = []
    for seed in (0, 1):
        with icl.adapted(make_run(base, POOL, setting, seed=seed)) as adapted:
            found.append(adapted.predictor.score_options(scored))
    assert not icl.depends_on_seed(setting)
    assert found[0] == found[1]


@pytest.mark.parametrize("selection", ["random", "diverse"])
def test_one_set_serves_all_questions_of_a_kind(selection: str) -> None:
    shown = [picked(asked, selection=selection, shots=4) for asked in ASKED if asked.kind == "choice"]
    assert all(each == shown[0] for each in shown)


def test_random_gives_every_question_its_turn() -> None:
    pool = [choice(number) for number in range(6)]
    counts = dict.fromkeys((question.id for question in pool), 0)
    for seed in range(300):
        for question in picked(choice(9), pool, seed=seed, shots=2):
            counts[question.id] += 1
    # 100 times each are expected, with a standard deviation of 8.2.
    assert all(abs(count - 100) < 35 for count in counts.values())


@pytest.mark.parametrize("topic", list(TOPICS))
def test_nearest_shows_the_questions_most_like_the_one_asked_the_most_alike_first(topic: str) -> None:
    alike = [question for question in TOPIC_POOL if question.group.startswith(topic)]
    asked = choice(77, text=f"Which is {alike[3].text}", options=("aye", "nay"), answer="aye")
    shown = picked(asked, TOPIC_POOL, selection="nearest", shots=5)
    assert shown[0] == alike[3]
    assert sorted(q.id for q in shown) == sorted(q.id for q in alike)


def test_nearest_is_by_cosine_similarity_of_tfidf_vectors() -> None:
    """Against every similarity computed one by one."""
    pool = [question for question in mixed(60) if question.kind == "choice"]
    asked = choice(17, id="asked", group="asked", text="Which zinc agent is meant by entry 12 or 21?")
    similarities = [tfidf_cosine(pool, asked, question) for question in pool]
    shown = picked(asked, pool, selection="nearest", shots=6)
    expected = sorted(range(len(pool)), key=lambda place: -round(similarities[place], 9))[:6]
    assert [similarities[pool.index(question)] for question in shown] == pytest.approx(
        [similarities[place] for place in expected]
    )


def test_diverse_shows_each_topic_before_any_a_second_time() -> None:
    shown = picked(choice(77), TOPIC_POOL, selection="diverse", shots=3)
    assert {question.group.split("-")[0] for question in shown} == set(TOPICS)


def test_diverse_always_takes_what_is_least_like_all_that_was_taken() -> None:
    pool = [question for question in mixed(45) if question.kind == "choice"]
    shown = picked(choice(77), pool, selection="diverse", shots=6)
    for number in range(1, len(shown)):
        likeness = {
            question.id: max(tfidf_cosine(pool, question, taken) for taken in shown[:number])
            for question in pool
            if question not in shown[:number]
        }
        assert likeness[shown[number].id] == pytest.approx(min(likeness.values()))


def tfidf_cosine(pool: Sequence[Question], a: Question, b: Question) -> float:
    """By the definition: (1 + ln tf) * (ln((1 + n) / (1 + df)) + 1) for each word and pair of words of the pool."""

    def terms(question: Question) -> Counter[str]:
        words = re.findall(r"\b\w\w+\b", prompt_text(question).lower())
        return Counter([*words, *map(" ".join, itertools.pairwise(words))])

    documents = Counter(term for question in pool for term in set(terms(question)))

    def vector(question: Question) -> dict[str, float]:
        raw = {
            term: (1 + math.log(count)) * (math.log((1 + len(pool)) / (1 + documents[term])) + 1)
            for term, count in terms(question).items()
            if term in documents
        }
        length = math.sqrt(sum(value**2 for value in raw.values()))
        return {term: value / length for term, value in raw.items()}

    first, second = vector(a), vector(b)
    return sum(value * second.get(term, 0.0) for term, value in first.items())


@pytest.mark.parametrize("selection", SELECTIONS)
def test_the_order_changes_nothing_else(selection: str) -> None:
    for asked in ASKED:
        as_selected, back, shuffled = (
            picked(asked, selection=selection, order=order, shots=5) for order in ORDERS
        )
        assert back == as_selected[::-1]
        assert sorted(q.id for q in shuffled) == sorted(q.id for q in as_selected)


def test_shuffled_gives_other_orders_under_other_seeds() -> None:
    orders = {
        tuple(q.id for q in picked(ASKED[0], seed=seed, selection="diverse", order="shuffled", shots=4))
        for seed in range(20)
    }
    assert len(orders) > 5


@pytest.mark.parametrize("with_rationale", [False, True])
def test_a_demonstration_shows_its_rationale_only_if_asked_to(with_rationale: bool) -> None:
    settings = IclSettings(shots=8, with_rationale=with_rationale)
    by_prompt = {prompt_text(question): question for question in POOL}
    shown = demonstrator(POOL, settings, 0)(ASKED[0])
    for demonstration in shown:
        question = by_prompt[demonstration.prompt]
        assert demonstration.answer == answer_text(question, with_rationale=with_rationale)
    assert any("\n" in demonstration.answer for demonstration in shown) == with_rationale


def test_demonstrations_reach_the_model_and_no_adapter_does(base: BaseModel) -> None:
    scored = [question for question in ASKED if question.is_scored]

    def scores(shots: int) -> list[tuple[float, ...]]:
        with method_named("icl").adapted(make_run(base, POOL, {"shots": shots})) as adapted:
            assert adapted.save_adapter is None
            return adapted.predictor.score_options(scored)

    with method_named("base").adapted(make_run(base, POOL, {})) as untouched:
        assert scores(0) == untouched.predictor.score_options(scored)
    assert scores(1) != scores(0)


@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        ({"shots": -1}, "icl.shots: -1 is not within 0 and 8"),
        ({"shots": 9}, "icl.shots: 9 is not within 0 and 8"),
        ({"selection": "best"}, "icl.selection: 'best'; use one of random, nearest, diverse"),
        ({"order": "sorted"}, "icl.order: 'sorted'; use one of as_selected, reversed, shuffled"),
    ],
)
def test_a_setting_out_of_its_range_is_refused(setting: dict[str, Any], fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        IclSettings(**setting)


@pytest.mark.parametrize("shots", [0, MAX_SHOTS])
def test_bounds_are_included(shots: int) -> None:
    assert IclSettings(shots=shots).shots == shots
