"""Every source on the real files in `../shared/data`, where that folder stands beside the checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from medalign.data.catalog import read_source
from medalign.data.files import data_files, read_records
from tests.markers import slow

REAL = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not REAL.is_dir(), reason="no ../shared/data beside the checkout")

ONE_QUESTION_A_RECORD = {
    "pubmed_qa": "pubmed_qa",
    "medmcqa": "medmcqa",
    "med_qa_usmle_4_options": "med_qa",
    "mmlu_medical": "mmlu_medical",
    "bioasq_task_b": "bioasq",
    "head_qa_en": "head_qa",
    "casimedicos_en": "casimedicos",
    "mirage": "mirage",
    "medquad": "medquad",
    "k_qa": "k_qa",
    "med_safety_bench": "med_safety_bench",
}


def num_records(folder: str) -> int:
    return sum(1 for path in data_files(str(REAL / folder)) for _ in read_records(path))


@slow
@pytest.mark.parametrize("folder", ONE_QUESTION_A_RECORD)
def test_every_record_gives_a_question_or_is_counted(folder: str) -> None:
    loaded = read_source(f"{ONE_QUESTION_A_RECORD[folder]}:{REAL / folder}")
    assert len(loaded.questions) + sum(drop.count for drop in loaded.drops) == num_records(folder)
    assert len({question.id for question in loaded.questions}) == len(loaded.questions)
    assert not loaded.skipped_files


@slow
@pytest.mark.parametrize("folder", ["medmcqa_preferences", "medquad_preferences", "bioasq_yesno_preferences"])
def test_every_preference_record_gives_a_pair(folder: str) -> None:
    loaded = read_source(f"preferences:{REAL / folder}")
    assert len(loaded.pairs) == num_records(folder)
    assert len(loaded.questions) == len({question.text for question in loaded.questions})


@slow
def test_every_judged_answer_is_used_or_counted() -> None:
    loaded = read_source(f"medquad_judged:{REAL / 'medquad_judged_answers'}")
    num_used = sum(1 + len(question.aliases) for question in loaded.questions) + len(loaded.pairs)
    assert num_used + len(loaded.drops) == num_records("medquad_judged_answers")


@slow
def test_every_clinical_text_is_asked_about_and_every_wrong_one_put_right() -> None:
    questions = read_source(f"medec:{REAL / 'medec_ms'}").questions
    whether = [question for question in questions if question.kind == "decision"]
    assert len(whether) == num_records("medec_ms")
    assert len(questions) - len(whether) == sum(question.answer == "yes" for question in whether)


@slow
def test_known_repeats_of_a_case_are_in_one_group() -> None:
    """The pairs that the folder's own list gives within CasiMedicos."""
    by_split: dict[str, list[str]] = {}
    for question in read_source(f"casimedicos:{REAL / 'casimedicos_en'}").questions:
        by_split.setdefault(str(question.split), []).append(question.group)
    pairs = [
        tuple(by_split[record[f"{side}_split"]][record[f"{side}_line"]] for side in "ab")
        for _, record in read_records(REAL / "overlaps.jsonl.gz")
        if record["a_dataset"] == record["b_dataset"] == "casimedicos_en"
    ]
    assert pairs and all(one == other for one, other in pairs)
