"""The questions that come with the package, phrased from the table of facts.

Six questions a fact: two of choice, three of decision (yes, no, maybe on one passage) and one of free text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import ClassVar

from medalign.data.embedded.options import ChoiceKey, lay_out_options
from medalign.data.embedded.table import Fact, load_facts
from medalign.data.fingerprints import stable_hash
from medalign.data.sources import Loaded, Service, Source
from medalign.errors import DataError
from medalign.records import DECISIONS, Question, Split

SHARED_FACTS = "shared-facts"

# All orders of the labels over train, validation and test, cycled over the facts: each label is
# equally frequent in each split.
_LABEL_ORDERS = (
    ("yes", "no", "maybe"),
    ("no", "maybe", "yes"),
    ("maybe", "yes", "no"),
    ("yes", "maybe", "no"),
    ("maybe", "no", "yes"),
    ("no", "yes", "maybe"),
)
# Splits of the two choice questions and of the free-text question, cycled over the facts.
_CHOICE_SPLITS: tuple[tuple[Split, Split], ...] = (
    ("train", "test"),
    ("test", "train"),
    ("train", "validation"),
    ("test", "train"),
    ("train", "test"),
    ("validation", "train"),
)
_FREE_TEXT_SPLITS: tuple[Split, ...] = ("train", "validation", "test")


class EmbeddedSource(Source):
    """An original set of exam-level questions over many specialties; each fact names its source.

    What the splits share:

    - `embedded` (the default): a fact is a group, so train, validation and test share no fact. A
      method can gain there by form, reading and general knowledge, not by having seen the fact.
    - `embedded:shared-facts`: every fact is in train and in test, in other words: never the same question,
      but the same fact, answer and (for decision questions) the same passage with another question and
      another label. Of each fact one decision question is in each split; the two choice questions
      are in train and test for two facts of three, in train and validation for the third; the free-text
      question is in each split for a third of the facts. Every label is equally frequent in each split.
      A method can gain there by learning the facts. Questions of one fact that differ in a
      word or two are kept apart by the check for near-duplicates, which leaves a few out of train.
    """

    name = "embedded"
    description = (
        "Original exam-level questions phrased from a curated table of medical facts with named sources."
    )
    licence = "CC-BY-4.0"
    citation = "The medalign embedded question set, part of medalign"
    origin = f"Comes with the package; embedded, or embedded:{SHARED_FACTS} where train and test share facts"
    serves: ClassVar[tuple[Service, ...]] = ("choice", "decision", "free text", "rationale", "preference")

    def load(self, location: str | None) -> Loaded:
        if location not in (None, SHARED_FACTS):
            raise DataError(
                f"data: embedded has no variant {location!r}; write embedded or embedded:{SHARED_FACTS}"
            )
        facts = load_facts()
        questions = phrase_questions(facts)
        return Loaded(
            questions=tuple(questions if location is None else _with_shared_facts(questions, facts))
        )


def phrase_questions(facts: Iterable[Fact]) -> list[Question]:
    """Six questions a fact, in the order of the facts; the fact is the group, and no split is set."""
    facts = tuple(facts)
    keys = [
        ChoiceKey(_choice_id(fact, number), fact.specialty, fact.answer, fact.distractors)
        for fact in facts
        for number in range(len(fact.stems))
    ]
    options = lay_out_options(keys)
    return [question for fact in facts for question in _questions_of(fact, options)]


def _choice_id(fact: Fact, number: int) -> str:
    return f"embedded-{fact.id}-choice-{number}"


def _questions_of(fact: Fact, options: dict[str, tuple[str, ...]]) -> list[Question]:
    choices = [
        Question(
            id=_choice_id(fact, number),
            source="embedded",
            kind="choice",
            text=stem,
            answer=fact.answer,
            options=options[_choice_id(fact, number)],
            rationale=fact.rationale,
            specialty=fact.specialty,
            group=fact.id,
        )
        for number, stem in enumerate(fact.stems)
    ]
    decisions = [
        Question(
            id=f"embedded-{fact.id}-decision-{label}",
            source="embedded",
            kind="decision",
            text=fact.decisions[label].question,
            answer=label,
            options=DECISIONS,
            context=fact.passage,
            rationale=fact.decisions[label].rationale,
            specialty=fact.specialty,
            group=fact.id,
        )
        for label in DECISIONS
    ]
    free_text = Question(
        id=f"embedded-{fact.id}-free_text",
        source="embedded",
        kind="free_text",
        text=fact.free_text.question,
        answer=fact.answer,
        rationale=fact.free_text.rationale,
        distractors=fact.distractors,
        specialty=fact.specialty,
        group=fact.id,
    )
    return [*choices, *decisions, free_text]


def _with_shared_facts(questions: list[Question], facts: tuple[Fact, ...]) -> list[Question]:
    splits: dict[str, Split] = {}
    for number, fact in enumerate(sorted(facts, key=lambda fact: stable_hash(SHARED_FACTS, fact.id))):
        splits |= _splits_of(fact, number)
    return [
        dataclasses.replace(question, group=question.id, split=splits[question.id]) for question in questions
    ]


def _splits_of(fact: Fact, number: int) -> dict[str, Split]:
    """Split by question id; each cycle turns at its own pace, so that every combination occurs."""
    in_train, in_validation, in_test = _LABEL_ORDERS[number // 6 % len(_LABEL_ORDERS)]
    first, second = _CHOICE_SPLITS[number % len(_CHOICE_SPLITS)]
    return {
        f"embedded-{fact.id}-decision-{in_train}": "train",
        f"embedded-{fact.id}-decision-{in_validation}": "validation",
        f"embedded-{fact.id}-decision-{in_test}": "test",
        _choice_id(fact, 0): first,
        _choice_id(fact, 1): second,
        f"embedded-{fact.id}-free_text": _FREE_TEXT_SPLITS[(number + number // 6) % 3],
    }
