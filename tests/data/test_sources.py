"""The contract that every source must meet; a new source adds one case."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from medalign.data import catalog
from medalign.data.catalog import SOURCES, find_source, load_source
from medalign.data.cleaning import clean_questions
from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.medmcqa import without_option_letters
from medalign.data.sources import SERVICES, Access
from medalign.errors import DataError
from medalign.records import KINDS, Question

FIXTURES = Path(__file__).parent / "fixtures"


class Case(NamedTuple):
    name: str
    location: str | None


CASES = [
    Case("embedded", None),
    Case("embedded", "shared-facts"),
    Case("pubmed_qa", str(FIXTURES / "pubmed_qa")),
    Case("pubmed_qa", str(FIXTURES / "pubmed_qa" / "train.jsonl")),
    Case("medmcqa", str(FIXTURES / "medmcqa")),
]


@pytest.fixture(params=CASES, ids=lambda case: f"{case.name}:{Path(case.location or '').name}")
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


class TestEverySource:
    def load(self, case: Case) -> list[Question]:
        return list(SOURCES[case.name]().load(case.location).questions)

    def test_describes_itself(self, case: Case) -> None:
        source = SOURCES[case.name]
        assert source.name == case.name
        assert all((source.description, source.licence, source.citation, source.origin, source.languages))
        assert source.access in get_args(Access)
        assert set(source.serves) <= set(SERVICES) and set(source.kinds()) <= set(KINDS)

    def test_gives_questions_of_the_kinds_that_it_names_under_its_name(self, case: Case) -> None:
        questions = self.load(case)
        assert {question.kind for question in questions} <= set(SOURCES[case.name].kinds())
        assert {question.source for question in questions} == {case.name}
        assert all(question.id.startswith(f"{case.name}-") for question in questions)

    def test_gives_the_same_questions_every_time(self, case: Case) -> None:
        assert self.load(case) == self.load(case)

    def test_gives_every_question_its_own_id_and_a_group(self, case: Case) -> None:
        questions = self.load(case)
        assert len({question.id for question in questions}) == len(questions)
        assert all(question.group for question in questions)

    def test_answers_with_one_of_the_options(self, case: Case) -> None:
        for question in clean_questions(self.load(case)).questions:
            assert question.is_scored == (question.kind != "free_text")
            assert not question.is_scored or question.answer in question.options

    def test_survives_cleaning_almost_whole(self, case: Case) -> None:
        questions = self.load(case)
        assert len(clean_questions(questions).questions) >= 0.8 * len(questions)

    def test_refuses_a_location_that_is_not_there(self, case: Case) -> None:
        with pytest.raises(DataError, match="nowhere"):
            SOURCES[case.name]().load("nowhere")


def test_every_source_of_the_catalog_has_a_case() -> None:
    assert {case.name for case in CASES} == set(SOURCES)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pubmedqa", "no source named 'pubmedqa'; did you mean pubmed_qa"),
        ("zzz", "did you mean embedded or medmcqa or pubmed_qa"),
        ("medmcqa:", "names no location after the colon"),
        ("embedded:shared", "write embedded or embedded:shared-facts"),
    ],
)
def test_a_wrong_source_is_answered_with_what_would_do(spec: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_source(spec)


def test_a_location_may_hold_colons() -> None:
    assert find_source("medmcqa:C:/data")[1] == "C:/data"


def test_pubmed_qa_keeps_official_splits_context_and_conclusion() -> None:
    questions = load_source(f"pubmed_qa:{FIXTURES / 'pubmed_qa'}")
    first = next(question for question in questions if question.group == "101")
    assert [question.split for question in questions] == ["test"] * 3 + ["train"] * 6
    assert first.options == ("yes", "no", "maybe")
    assert "64% without" in first.context and "200 patients" in first.context
    assert first.rationale == "A reminder call raised attendance."


def test_medmcqa_tests_on_its_validation_part() -> None:
    questions = {question.group: question for question in load_source(f"medmcqa:{FIXTURES / 'medmcqa'}")}
    assert questions["m1"].split == "train" and questions["m21"].split == "test"
    assert questions["m1"].answer == "Vitamin K" and questions["m1"].specialty == "biochemistry"
    assert questions["m3"].rationale == ""


def test_medmcqa_drops_equal_options_and_hidden_labels_by_count(tmp_path: Path) -> None:
    row = (FIXTURES / "medmcqa" / "train.jsonl").read_text().splitlines()[0]
    (tmp_path / "test.jsonl").write_text(row.replace('"cop": 2', '"cop": -1'))
    hidden = load_source(f"medmcqa:{tmp_path}")
    shown = load_source(f"medmcqa:{FIXTURES / 'medmcqa'}")
    assert clean_questions(hidden).drops == {"no valid answer": 1}
    assert clean_questions(shown).drops == {"two equal options": 1}


@pytest.mark.parametrize(
    ("explanation", "left"),
    [
        ("Ans. is 'a' i.e., Insulin lowers glucose", "Insulin lowers glucose"),
        ("Answer- B. Parietal cells", "Parietal cells"),
        ("Ans: C (Ref Park)", "Ref Park)"),
        ("Ans.B.Male sex", "Male sex"),
        ("Answer- DThyrotoxic crisis", "Thyrotoxic crisis"),
        ("B i.e. Lupus vulgaris", "Lupus vulgaris"),
        ("Flumazenil (option a) is for benzodiazepines.", ""),
        ("Option C is false as the rod is wider", ""),
        ("A history of anuria suggests renal failure.", "A history of anuria suggests renal failure."),
        ("An answer depends on dose.", "An answer depends on dose."),
    ],
)
def test_an_explanation_loses_its_option_letter_or_all(explanation: str, left: str) -> None:
    assert without_option_letters(explanation) == left


def test_medmcqa_rationale_does_not_repeat_the_answer_of_its_lead() -> None:
    questions = {question.group: question for question in load_source(f"medmcqa:{FIXTURES / 'medmcqa'}")}
    assert questions["m2"].rationale == "Parietal cells hold the proton pump."
    assert questions["m4"].rationale == ""


@pytest.mark.parametrize(
    ("name", "field", "old", "new", "message"),
    [
        (
            "pubmed_qa",
            "final_decision",
            '"yes"',
            '"perhaps"',
            r"train.jsonl:1: final_decision: holds 'perhaps'",
        ),
        (
            "pubmed_qa",
            "pubid",
            '"pubid"',
            '"pmid"',
            r"train.jsonl:1: no field 'pubid'; the fields found are pmid,",
        ),
        ("pubmed_qa", "context", '"contexts"', '"parts"', r"train.jsonl:1: context: no list of texts"),
        ("medmcqa", "cop", '"cop": 2', '"cop": 4', r"train.jsonl:1: cop: holds 4; 0 to 3 is wanted"),
        (
            "medmcqa",
            "opa",
            '"Vitamin A"',
            '["Vitamin A"]',
            r"train.jsonl:1: opa: holds \['Vitamin A'\]; text",
        ),
    ],
)
def test_a_bad_record_is_told_with_file_line_and_field(
    tmp_path: Path, name: str, field: str, old: str, new: str, message: str
) -> None:
    text = (FIXTURES / name / "train.jsonl").read_text()
    assert old in text.splitlines()[0], field
    (tmp_path / "train.jsonl").write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message):
        load_source(f"{name}:{tmp_path}")


def test_the_hub_is_read_when_no_location_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(part: HubPart, *, source: str) -> list[Row]:
        assert part == HubPart(dataset="qiaojin/PubMedQA", config="pqa_labeled", name="train")
        values = {
            "pubid": 7,
            "question": "Is it?",
            "context": {"contexts": ["It is."]},
            "long_answer": "It is.",
            "final_decision": "yes",
        }
        return [Row(place="hub", line=1, values=values)]

    monkeypatch.setattr("medalign.data.record_source.hub_rows", rows)
    (question,) = catalog.load_source("pubmed_qa")
    assert question.group == "7" and question.split is None


def test_an_unreachable_hub_is_told_in_one_line_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nbecause of the network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match="give a local copy as medmcqa:FOLDER") as caught:
        load_source("medmcqa")
    assert "\n" not in str(caught.value) and isinstance(caught.value.__cause__, ConnectionError)
