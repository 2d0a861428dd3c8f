from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from medalign.data.catalog import load_source
from medalign.data.specialties import OF_SOURCE, OTHER_NAMES, common_specialty
from tests.data.examples import choice

SHARED = Path(__file__).parents[3] / "shared" / "data"
FOLDERS = {
    "medmcqa": "medmcqa",
    "mmlu_medical": "mmlu_medical",
    "head_qa": "head_qa_en",
    "casimedicos": "casimedicos_en",
}


@pytest.mark.parametrize(
    ("given", "common"),
    [
        ("gynaecology & obstetrics", "obstetrics and gynecology"),
        ("Obstetrics and Gynecology", "obstetrics and gynecology"),
        ("ent", "otolaryngology"),
        ("social_&_preventive medicine", "preventive medicine"),
        ("cardiology", "cardiology"),
        ("a ward of our own", "a ward of our own"),
        ("unspecified", "unspecified"),
    ],
)
def test_a_specialty_goes_by_one_name_and_one_that_is_not_known_by_its_own(given: str, common: str) -> None:
    assert common_specialty(choice("1", specialty=given)) == common


def test_a_name_means_what_its_source_means_by_it() -> None:
    assert common_specialty(choice("1", source="medmcqa", specialty="medicine")) == "internal medicine"
    assert common_specialty(choice("1", source="head_qa", specialty="medicine")) == "medicine"


def test_no_name_stands_for_two_and_no_common_name_is_changed_again() -> None:
    others = [other for held in OTHER_NAMES.values() for other in held]
    assert len(others) == len(set(others)) and not set(others) & set(OTHER_NAMES)
    for name in (*OTHER_NAMES, *OF_SOURCE.values()):
        assert common_specialty(choice("1", specialty=name)) == name


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the real files in ../shared/data")
def test_real_sources_share_the_names_of_what_they_share() -> None:
    sources: dict[str, set[str]] = defaultdict(set)
    for source, folder in FOLDERS.items():
        for question in load_source(f"{source}:{SHARED / folder}"):
            sources[common_specialty(question)].add(source)
    for question in load_source("embedded"):
        sources[common_specialty(question)].add("embedded")
    shared = {name for name, held in sources.items() if len(held) > 1}
    assert shared >= {
        "obstetrics and gynecology",
        "pediatrics",
        "pharmacology",
        "otolaryngology",
        "dermatology",
        "orthopedics",
        "preventive medicine",
        "genetics",
        "microbiology",
        "infectious diseases",
        "pulmonology",
    }
    assert {"casimedicos", "embedded", "medmcqa"} <= sources["obstetrics and gynecology"]
