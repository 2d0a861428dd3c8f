"""Medical words and the F1 over them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from medalign.errors import DataError
from medalign.evaluation.medical_terms import (
    CLINICAL_ENDINGS,
    DRUG_ENDINGS,
    default_words,
    medical_term_f1,
    medical_words,
    read_terms,
)
from medalign.evaluation.metrics import token_f1


def test_medical_words_are_those_of_the_list_or_with_a_medical_ending() -> None:
    assert medical_words("Start the patient on Metoprolol, 50 mg, for his tachycardia!") == [
        "metoprolol",
        "tachycardia",
    ]
    assert medical_words("newdrugolol and zymobronchitis") == ["newdrugolol", "zymobronchitis"]
    assert medical_words("beta-blocker") == medical_words("beta blocker") != []
    assert medical_words("The diploma and the photography of Oklahoma, basically a crisis") == []


@pytest.mark.parametrize("ending", ["olol", "pril", "sartan", "statin", "itis", "emia", "ectomy", "oscopy"])
def test_endings_need_a_stem_before_them(ending: str) -> None:
    assert ending in DRUG_ENDINGS.split() + CLINICAL_ENDINGS.split()
    assert medical_words(f"qqq{ending}") == [f"qqq{ending}"]
    assert medical_words(ending) == ([ending] if ending in default_words() or len(ending) > 5 else [])


def test_f1_counts_medical_words_alone() -> None:
    assert medical_term_f1("Give the patient aspirin.", "aspirin") == 1
    assert medical_term_f1("aspirin and heparin", "use aspirin or warfarin") == pytest.approx(0.5)
    assert medical_term_f1("nothing", "aspirin") == 0
    assert medical_term_f1("aspirin", "after two days") is None


def test_f1_over_terms_of_ones_own_equals_token_f1_of_texts_made_of_these_alone() -> None:
    rng = random.Random(4)
    terms = {"zorp", "blick", "quam"}
    for _ in range(100):
        text, reference = ([rng.choice([*terms, "other", "word"]) for _ in range(6)] for _ in range(2))
        kept = [" ".join(word for word in side if word in terms) for side in (text, reference)]
        found = medical_term_f1(" ".join(text), " ".join(reference), terms)
        assert found == (pytest.approx(token_f1(*kept)) if kept[1] else None)


def test_terms_are_read_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "terms.txt").write_text("# mine\nHeart failure\nEGFR\n")
    assert read_terms(tmp_path / "terms.txt") == {"heart", "failure", "egfr"}
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(DataError, match=r"empty.txt holds no word; give one term a line"):
        read_terms(tmp_path / "empty.txt")
    with pytest.raises(DataError, match=r"gone.txt cannot be read"):
        read_terms(tmp_path / "gone.txt")


def test_the_word_list_is_in_order_and_holds_words_alone() -> None:
    words = default_words()
    assert len(words) > 5000
    assert {"metoprolol", "asthma", "insulin", "heart"} <= words
    assert not {"the", "patient", "which", "treatment", "use"} & words
    assert all(word == word.lower() and word.isalpha() for word in words)
