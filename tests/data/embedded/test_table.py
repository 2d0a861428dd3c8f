from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from medalign.data.embedded.table import load_facts, parse_facts, table_fingerprint
from medalign.errors import DataError


def table() -> dict[str, Any]:
    """A table of one made-up fact."""
    phrase = {"question": "Does it {}?", "rationale": "The passage tells it."}
    return {
        "specialty": "allergy",
        "facts": [
            {
                "id": "allergy-01",
                "topic": "pollen",
                "statement": "Birch pollen flies in spring.",
                "source": "A textbook, chapter 1",
                "as_of": "2026-11",
                "choice": {
                    "stems": ["Which pollen flies in spring?", "Sneezing in April points to which pollen?"],
                    "answer": "Birch",
                    "distractors": ["Grass", "Mugwort", "Ragweed", "Nettle"],
                    "rationale": "Birch flowers in spring.",
                },
                "decision": {
                    "passage": "Birch pollen flies in spring.",
                    **{
                        label: {**phrase, "question": f"Does it fly in {label}?"}
                        for label in ("yes", "no", "maybe")
                    },
                },
                "free_text": {
                    "question": "What tree's pollen flies in spring?",
                    "rationale": "It flowers then.",
                },
            }
        ],
    }


def parse(held: dict[str, Any]) -> Any:
    return parse_facts(yaml.safe_dump(held), "allergy.yaml")


def test_a_valid_table_is_read() -> None:
    (fact,) = parse(table())
    assert (fact.id, fact.answer, fact.decisions["no"].question) == (
        "allergy-01",
        "Birch",
        "Does it fly in no?",
    )


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("id",), "allergy-1", "allergy-1.id: wants the form allergy-NN"),
        (("as_of",), "2026", "allergy-01.as_of: holds '2026'; a month like 2026-11"),
        (("topic",), "", "allergy-01.topic: holds ''"),
        (("source",), "caf\u00e9", "allergy-01.source: holds .*ASCII is wanted"),
        (("colour",), "red", "allergy-01: wrong keys; missing: none; unknown: colour"),
        (("choice", "stems"), ["One?"], r"allergy-01.choice.stems: a list of 2 texts"),
        (("choice", "stems"), ["One?", "one?"], "allergy-01: questions must differ, but 'one"),
        (("choice", "distractors"), ["a", "b", "c"], "allergy-01.choice.distractors: a list of 4 or 5 texts"),
        (
            ("choice", "distractors"),
            ["birch", "b", "c", "d"],
            "answer and distractors must differ, but 'birch'",
        ),
        (("choice", "answer"), 36, "allergy-01.choice.answer: holds 36; text"),
        (("choice", "rationale"), "It is option B here.", "names an option letter or a decision"),
        (("decision", "no", "rationale"), "No, it is not.", "names an option letter or a decision"),
        (("free_text", "question"), "Tell me.", "does not end with"),
        (("decision", False), {}, "allergy-01.decision: wrong keys; missing: none; unknown: False"),
    ],
)
def test_a_broken_table_is_told_with_the_fact_and_the_field(
    path: tuple[Any, ...], value: object, message: str
) -> None:
    held = copy.deepcopy(table())
    inner = held["facts"][0]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(DataError, match=message):
        parse(held)


def test_broken_yaml_is_told_in_one_line() -> None:
    with pytest.raises(DataError, match=r"allergy\.yaml: not valid YAML") as caught:
        parse_facts('specialty: "allergy\nfacts: [', "allergy.yaml")
    assert "\n" not in str(caught.value)


def test_every_fact_names_its_source_and_when_it_was_checked() -> None:
    assert len(load_facts()) >= 100
    assert all(fact.source and fact.as_of >= "2026-01" for fact in load_facts())


def test_the_fingerprint_of_the_table_is_a_sha256_and_stays() -> None:
    assert len(table_fingerprint()) == 64 and table_fingerprint() == table_fingerprint()
