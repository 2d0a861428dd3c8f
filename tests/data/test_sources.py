"""The contract that every source must meet; a new source adds one case."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import NamedTuple, get_args

import pytest

from medalign.data.case_groups import case_keys, with_groups
from medalign.data.casimedicos import without_option_numbers
from medalign.data.catalog import SOURCES, find_source, load_source, read_source
from medalign.data.cleaning import clean_questions
from medalign.data.files import read_rows, split_files
from medalign.data.hub import HubPart, hub_rows
from medalign.data.medmcqa import without_option_letters
from medalign.data.mimic_notes import sections_of
from medalign.data.row_source import RowSource
from medalign.data.sources import SERVICES, Access, Loaded
from medalign.errors import ConfigError, DataError
from medalign.records import KINDS, Question, Split
from tests.data.examples import choice

FIXTURES = Path(__file__).parent / "fixtures"


class Case(NamedTuple):
    """A source with something to read.

    Attributes:
        field: A field that no record of the source can do without.
        survives: Least share of the questions that cleaning keeps.
    """

    name: str
    location: str | None
    field: str = ""
    survives: float = 0.8


def in_fixtures(name: str, field: str, *, file: str = "", survives: float = 0.8) -> Case:
    return Case(name, str(FIXTURES / name / file), field, survives)


CASES = [
    Case("embedded", None),
    Case("embedded", "shared-facts"),
    in_fixtures("pubmed_qa", "question"),
    in_fixtures("pubmed_qa", "question", file="train.jsonl"),
    in_fixtures("medmcqa", "opc"),
    in_fixtures("med_qa", "answer_idx"),
    # One question stands under two subjects, as in the original.
    in_fixtures("mmlu_medical", "choices", survives=0.7),
    in_fixtures("bioasq", "snippets.text"),
    in_fixtures("head_qa", "qtext", survives=0.7),
    in_fixtures("casimedicos", "full_question"),
    in_fixtures("mirage", "options"),
    in_fixtures("medquad", "question_focus"),
    in_fixtures("medquad_judged", "judgment"),
    in_fixtures("liveqa", "REFERENCE_ANSWERS"),
    in_fixtures("k_qa", "Must_have"),
    in_fixtures("med_safety_bench", "safe_response"),
    in_fixtures("medec", "Error Flag"),
    in_fixtures("radqa", "data.paragraphs.qas.question"),
    in_fixtures("medtext", "Prompt"),
    in_fixtures("medical_qa_datasets", "output"),
    in_fixtures("chemprot", "label"),
    in_fixtures("pubmed_rct", "text"),
    in_fixtures("mimic_notes", "TEXT"),
    in_fixtures("specialty_files", "answer"),
    in_fixtures("plain", "stem"),
    in_fixtures("preferences", "rejected"),
]


@pytest.fixture(params=CASES, ids=lambda case: name_of(case))
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


FILE_CASES = [case for case in CASES if case.field]


def copy_of(case: Case, folder: Path) -> Path:
    """A copy of the case's files, to be changed."""
    original = Path(case.location or "")
    if original.is_dir():
        shutil.copytree(original, folder / "copy")
        return folder / "copy"
    shutil.copy(original, folder)
    return folder


def first_data_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.suffix in (".jsonl", ".json", ".csv"))


def has_json_lines(case: Case) -> bool:
    location = Path(case.location or "")
    return location.suffix == ".jsonl" or any(location.glob("*.jsonl"))


def name_of(case: Case) -> str:
    return f"{case.name}:{Path(case.location or '').name}"


class TestEverySource:
    def load(self, case: Case) -> Loaded:
        return SOURCES[case.name]().load(case.location)

    def test_describes_itself(self, case: Case) -> None:
        source = SOURCES[case.name]
        assert source.name == case.name
        assert all((source.description, source.licence, source.citation, source.origin, source.languages))
        assert source.access in get_args(Access)
        assert source.serves and set(source.serves) <= set(SERVICES) and set(source.kinds()) <= set(KINDS)
        assert all(fault.endswith(".") for fault in source.known_faults)

    def test_gives_questions_of_the_kinds_that_it_names_under_its_name(self, case: Case) -> None:
        questions = self.load(case).questions
        assert {question.kind for question in questions} <= set(SOURCES[case.name].kinds())
        assert {question.source for question in questions} == {case.name}
        assert all(question.id.startswith(f"{case.name}-") for question in questions)

    def test_gives_what_it_says_that_it_serves(self, case: Case) -> None:
        loaded, serves = self.load(case), SOURCES[case.name].serves
        assert any(question.rationale for question in loaded.questions) == ("rationale" in serves)
        assert any(question.is_harmful for question in loaded.questions) == ("safety" in serves)
        has_wrong_answers = any(question.distractors for question in loaded.questions) or bool(loaded.pairs)
        assert has_wrong_answers == ("preference" in serves)

    def test_gives_the_same_questions_every_time(self, case: Case) -> None:
        assert self.load(case) == self.load(case)

    def test_gives_every_question_its_own_id_and_a_group(self, case: Case) -> None:
        questions = self.load(case).questions
        assert len({question.id for question in questions}) == len(questions)
        assert all(question.group for question in questions)

    def test_gives_pairs_that_belong_to_its_questions_and_say_how_they_were_made(self, case: Case) -> None:
        loaded = self.load(case)
        ids = {question.id for question in loaded.questions}
        assert {pair.question_id for pair in loaded.pairs} <= ids
        assert {pair.origin for pair in loaded.pairs} <= {"ready", "graded"}
        assert all(pair.chosen and pair.rejected and pair.chosen != pair.rejected for pair in loaded.pairs)

    def test_counts_what_it_drops_with_a_reason_and_a_place(self, case: Case) -> None:
        for drop in self.load(case).drops:
            assert drop.reason and drop.place and drop.count >= 1

    def test_answers_with_one_of_the_options(self, case: Case) -> None:
        for question in clean_questions(self.load(case).questions).questions:
            assert question.is_scored == (question.kind != "free_text")
            assert not question.is_scored or question.answer in question.options

    def test_survives_cleaning_almost_whole(self, case: Case) -> None:
        questions = self.load(case).questions
        assert len(clean_questions(questions).questions) >= case.survives * len(questions)

    def test_refuses_a_location_that_is_not_there(self, case: Case) -> None:
        with pytest.raises(DataError, match="nowhere"):
            SOURCES[case.name]().load("nowhere")


class TestEverySourceOfFiles:
    @pytest.mark.parametrize("case", [case for case in FILE_CASES if has_json_lines(case)], ids=name_of)
    def test_a_record_that_is_added_at_the_end_changes_no_other(self, case: Case, tmp_path: Path) -> None:
        """Nor its group: what is already split stays where it is."""
        copied = copy_of(case, tmp_path)
        file = max(copied.glob("*.jsonl"))
        whole = {question.id: question for question in SOURCES[case.name]().load(str(copied)).questions}
        lines = file.read_text().splitlines(keepends=True)
        file.write_text("".join(lines[:-1]))
        fewer = SOURCES[case.name]().load(str(copied)).questions if len(lines) > 1 else ()
        for question in fewer:
            assert (question.text, question.group) == (whole[question.id].text, whole[question.id].group)

    @pytest.mark.parametrize("case", FILE_CASES, ids=name_of)
    def test_a_broken_line_is_told_with_file_and_line(self, case: Case, tmp_path: Path) -> None:
        copied = copy_of(case, tmp_path)
        file = first_data_file(copied)
        num_lines = len(file.read_text().splitlines())
        with file.open("a") as stream:
            stream.write(
                '{"broken": \n' if file.suffix == ".jsonl" else '"x"' if file.suffix == ".csv" else "]"
            )
        with pytest.raises(DataError, match=rf"{re.escape(file.name)}:(\d+): ") as caught:
            SOURCES[case.name]().load(str(copied))
        assert "\n" not in str(caught.value)
        assert f"{file.name}:{num_lines + 1}: " in str(caught.value)

    @pytest.mark.parametrize("case", FILE_CASES, ids=name_of)
    def test_a_field_that_is_missing_is_told_with_what_was_found(self, case: Case, tmp_path: Path) -> None:
        copied = copy_of(case, tmp_path)
        file = first_data_file(copied)
        name = case.field.rpartition(".")[2]
        held = file.read_text()
        if case.name == "specialty_files":
            file = copied / "dataset_with_answers_internal_medicine.json"
            held = file.read_text()
        changed = re.sub(rf"(?<![\w ]){name}(?![\w ])", "renamed", held)
        assert changed != held
        file.write_text(changed)
        with pytest.raises(DataError, match=rf"{re.escape(file.name)}:\d+: .*no field '{name}'") as caught:
            SOURCES[case.name]().load(str(copied))
        assert "renamed" in str(caught.value) and "\n" not in str(caught.value)


def test_every_source_of_the_catalog_has_a_case() -> None:
    assert {case.name for case in CASES} == set(SOURCES)


FROM_THE_HUB = [name for name, source in SOURCES.items() if getattr(source, "hub", ())]
FROM_FILES_ALONE = [name for name in SOURCES if name not in FROM_THE_HUB and name != "embedded"]


@pytest.mark.parametrize("name", FROM_THE_HUB)
def test_an_unreachable_hub_is_told_in_one_line_with_the_way_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("Couldn't reach the Hub\nbecause of the network")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(DataError, match=f"give a local copy as {name}:FOLDER") as caught:
        load_source(name)
    assert "\n" not in str(caught.value) and isinstance(caught.value.__cause__, ConnectionError)


@pytest.mark.parametrize("name", FROM_FILES_ALONE)
def test_a_source_of_local_files_says_what_to_put_where(name: str) -> None:
    with pytest.raises(DataError, match=rf"{name} is read from local files.*{name}:") as caught:
        load_source(name)
    is_credentialed = SOURCES[name].access == "credentialed"
    assert ("apply at physionet.org" in str(caught.value)) == is_credentialed
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FROM_THE_HUB)
def test_the_hub_gives_what_files_with_the_same_records_give(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    source = SOURCES[name]
    assert issubclass(source, RowSource)
    folder = next(case.location for case in CASES if case.name == name) or ""
    records: dict[Split | None, list[dict[str, object]]] = {}
    for path, split in split_files(folder, source.split_names).named:
        records.setdefault(split, []).extend(dict(row.values) for row in read_rows(path))
    if all(part.split is None for part in source.hub):
        records = {None: [record for held in records.values() for record in held]}

    def load_dataset(
        dataset: str, config: str | None, *, split: str, data_files: dict[str, str] | None
    ) -> list[dict[str, object]]:
        file = data_files[split] if data_files else None
        asked = HubPart(dataset=dataset, config=config, name=split, file=file)
        part = next(part for part in source.hub if dataclasses.replace(part, split=None) == asked)
        return records.pop(part.split, [])

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    from_hub = {(question.id, question.answer) for question in load_source(name)}
    assert from_hub == {(question.id, question.answer) for question in load_source(f"{name}:{folder}")}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("pubmedqa", "no source named 'pubmedqa'; did you mean pubmed_qa"),
        ("zzz", "did you mean bioasq or casimedicos or chemprot or embedded"),
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


def fixture(name: str) -> Loaded:
    return read_source(f"{name}:{FIXTURES / name}")


def by_text(loaded: Loaded) -> dict[str, Question]:
    return {question.text: question for question in loaded.questions}


def dropped(loaded: Loaded) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for drop in loaded.drops:
        counts[drop.reason] += drop.count
    return dict(counts)


def test_med_qa_drops_a_record_whose_answer_is_another_option() -> None:
    loaded = fixture("med_qa")
    assert dropped(loaded) == {"answer and answer_idx disagree": 1}
    assert loaded.drops[0].place.endswith("train.jsonl:4") and "tremor" in loaded.drops[0].text
    assert {question.specialty for question in loaded.questions} == {"usmle step 1", "usmle steps 2 and 3"}


def test_mmlu_learns_from_dev_and_counts_questions_of_two_subjects() -> None:
    loaded = fixture("mmlu_medical")
    assert Counter(question.split for question in loaded.questions) == {"train": 2, "test": 6}
    repeated = [question for question in loaded.questions if question.answer == "Liver"]
    assert repeated[1].id == f"{repeated[0].id}-2" and repeated[0].group == repeated[1].group
    assert clean_questions(loaded.questions).drops == {"exact repeat of another question": 1}


def test_bioasq_answers_each_type_of_question_in_its_own_way() -> None:
    questions = {question.id: question for question in fixture("bioasq").questions}
    decision, factoid = questions["bioasq-b1"], questions["bioasq-b2"]
    assert (decision.kind, decision.options, decision.answer) == ("decision", ("yes", "no"), "yes")
    assert decision.rationale == "Drug A lowered blood pressure in one trial."
    assert decision.context == "Drug A lowered systolic pressure by 9 mmHg. It was well tolerated."
    assert (factoid.answer, factoid.aliases) == ("AT1 receptor", ("angiotensin receptor type 1",))
    assert questions["bioasq-b3"].answer == "fever; rash"
    assert questions["bioasq-b4"].aliases == ("An infection that children have.",)


def test_bioasq_keeps_questions_on_one_abstract_together() -> None:
    groups = {question.id: question.group for question in fixture("bioasq").questions}
    assert groups["bioasq-b3"] == groups["bioasq-b4"] == "b3"
    assert len(set(groups.values())) == len(groups) - 1


def test_bioasq_reads_the_golden_file_as_it_is_published(tmp_path: Path) -> None:
    records = [dict(row.values) for row in read_rows(FIXTURES / "bioasq" / "train.jsonl")]
    (tmp_path / "training.json").write_text(json.dumps({"questions": records}, indent=1))
    loaded = read_source(f"bioasq:{tmp_path}")
    assert {question.id for question in loaded.questions} == {f"bioasq-b{n}" for n in range(1, 6)}
    (tmp_path / "11B1_golden.json").write_text(json.dumps({"questions": [records[0] | {"id": "b9"}]}))
    by_id = {question.id: question for question in read_source(f"bioasq:{tmp_path}").questions}
    assert (by_id["bioasq-b9"].split, by_id["bioasq-b9"].group) == ("test", by_id["bioasq-b1"].group)
    (tmp_path / "11B1_golden.json").unlink()
    records[1]["type"] = "riddle"
    (tmp_path / "training.json").write_text(json.dumps({"questions": records}))
    assert dropped(read_source(f"bioasq:{tmp_path}")) == {"question of type 'riddle'": 1}


def test_head_qa_joins_questions_on_one_image_and_on_the_previous_patient() -> None:
    questions = fixture("head_qa").questions
    assert [question.group.rpartition("-")[2] for question in questions if question.split == "train"] == list(
        "11311"
    )
    assert [bool(question.image) for question in questions] == [False, False, True, True, False, False, False]
    assert {question.specialty for question in questions} == {"medicine", "nursing", "biology", "chemistry"}


def test_head_qa_reads_the_original_release_and_the_table_of_the_hub(tmp_path: Path) -> None:
    records = [dict(row.values) for row in read_rows(FIXTURES / "head_qa" / "test.jsonl")]
    exams = {
        str(record["name"]): {"name": record["name"], "category": record["category"], "data": [record]}
        for record in records
    }
    (tmp_path / "test.json").write_text(json.dumps({"version": "1.0", "exams": exams}))
    nested = load_source(f"head_qa:{tmp_path / 'test.json'}")
    for record in records:
        record["answers"] = {name: [each[name] for each in record["answers"]] for name in ("aid", "atext")}
        record["image"] = None
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    expected = load_source(f"head_qa:{FIXTURES / 'head_qa' / 'test.jsonl'}")
    assert nested == load_source(f"head_qa:{tmp_path / 'test.jsonl'}") == expected


def test_casimedicos_leaves_out_what_names_options_by_number() -> None:
    questions = by_text(fixture("casimedicos"))
    first, second, third, _ = sorted(questions.values(), key=lambda question: -len(question.rationale))
    assert {first.rationale, second.rationale, third.rationale} == {
        "Nodules along the lymph vessels after work with plants suggest sporotrichosis.",
        "Itraconazole for 3 months cures most patients.",
        "Raised antibodies lead you to suspect celiac disease.",
    }
    assert sorted(len(question.options) for question in questions.values()) == [4, 4, 4, 5]
    assert {question.specialty for question in questions.values()} == {
        "gastroenterology",
        "infectious diseases",
        "cardiology",
    }


@pytest.mark.parametrize(
    ("explanation", "left"),
    [
        ("Therefore, number 3 is correct.", ""),
        ("Answers 2,4 and 5 are false. The pulse is weak.", "The pulse is weak."),
        ("That leads to answer 4, a tension headache.", ""),
        ("The first option can be ruled out.", ""),
        ("The most correct option would be two.", ""),
        ("Treat for 2 years.", "Treat for 2 years."),
        ("It is a type 1 reaction.", "It is a type 1 reaction."),
        ("C5 and L4-L5 are spared; PaO2/FiO2 is low.", "C5 and L4-L5 are spared; PaO2/FiO2 is low."),
        ("A nodule of 2 cm can be punctured.", "A nodule of 2 cm can be punctured."),
        ("The INR was 2.5 then.", "The INR was 2.5 then."),
    ],
)
def test_an_explanation_loses_sentences_with_option_numbers(explanation: str, left: str) -> None:
    assert without_option_numbers(explanation) == left


def test_questions_that_share_a_case_are_one_group_across_splits() -> None:
    groups = {
        question.answer: (question.group, question.split) for question in fixture("casimedicos").questions
    }
    assert groups["Sporothrix"][0] == groups["Itraconazole"][0]
    assert {groups["Sporothrix"][1], groups["Itraconazole"][1]} == {"train", "test"}
    assert len({group for group, _ in groups.values()}) == 3


def test_groups_join_through_others_and_keep_the_name_of_the_first() -> None:
    questions = [choice(name) for name in "abcd"]
    keys = {"s-a": ["x"], "s-b": ["y"], "s-c": ["x", "y"]}
    assert [question.group for question in with_groups(questions, keys)] == ["a", "a", "a", "d"]


def test_a_phrase_of_the_trade_joins_no_cases() -> None:
    phrase = "Cardiac examination shows no murmurs or rubs or gallops today."
    own = "A {0} year old {1} from {2} has had {3} since the {4} of the {5} and cannot {6} well."
    texts = {
        str(number): f"{own.format(*(f'word{number}{place}' for place in range(7)))} {phrase}"
        for number in range(60)
    }
    assert case_keys(texts) == {}


def test_mirage_gives_decisions_for_its_yes_no_parts_and_reads_the_original_file(tmp_path: Path) -> None:
    loaded = fixture("mirage")
    assert Counter(question.kind for question in loaded.questions) == {"choice": 2, "decision": 2}
    assert {question.split for question in loaded.questions} == {"test"}
    original: dict[str, dict[str, object]] = {}
    for row in read_rows(FIXTURES / "mirage" / "test.jsonl"):
        held = dict(row.values)
        original.setdefault(held.pop("dataset"), {})[held.pop("id")] = held
    (tmp_path / "benchmark.json").write_text(json.dumps(original))
    assert read_source(f"mirage:{tmp_path / 'benchmark.json'}").questions == loaded.questions


def test_medquad_joins_topics_that_share_a_rare_concept() -> None:
    groups = {question.text: question.group for question in fixture("medquad").questions}
    assert (
        groups["What is (are) Kaposi sarcoma ?"] == groups["What are the treatments for Kaposi's Sarcoma ?"]
    )
    assert groups["What causes Migraine ?"] == groups["What are the symptoms of Migraine ?"]
    # C9 stands with four topics and joins none.
    assert len(set(groups.values())) == 5


def test_judged_answers_give_the_best_against_the_poor_and_count_the_rest() -> None:
    loaded = fixture("medquad_judged")
    (question,) = loaded.questions
    assert (question.answer, question.group) == ("With penicillin, by injection.", "4")
    assert question.aliases == ("Penicillin.",)
    assert [pair.rejected for pair in loaded.pairs] == ["A lack of vitamin C.", "A bacterium."]
    assert {pair.origin for pair in loaded.pairs} == {"graded"}
    assert dropped(loaded) == {
        "answer judged 3 beside a better one": 1,
        "the same answer again": 1,
        "answer to a question without one judged 3 or 4": 2,
    }


def test_every_judged_answer_is_used_or_counted() -> None:
    loaded = fixture("medquad_judged")
    num_used = sum(1 + len(question.aliases) for question in loaded.questions) + len(loaded.pairs)
    num_read = len(list(read_rows(FIXTURES / "medquad_judged" / "train.jsonl")))
    assert num_used + sum(dropped(loaded).values()) == num_read


def test_liveqa_asks_the_message_with_its_subject_or_else_the_summary() -> None:
    loaded = fixture("liveqa")
    first, second, third = loaded.questions
    assert first.text == "iron tablets\ncan i take iron tablets together with tea"
    assert first.aliases == ("Take iron with water or juice.",)
    assert second.text == "What are the signs of a concussion?"
    assert third.text == "how long is mumps catching"
    assert dropped(loaded) == {"no reference answer": 1}


def test_k_qa_keeps_statements_and_counts_the_unlabeled_questions() -> None:
    loaded = fixture("k_qa")
    assert loaded.questions[0].must_have[1] == "Keep to the dose of each"
    assert loaded.questions[0].nice_to_have == ("Take ibuprofen with food",)
    assert {question.split for question in loaded.questions} == {"test"}
    assert dropped(loaded) == {"no answer (an unlabeled question)": 1}


def test_files_that_are_left_alone_are_named(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "med_qa" / "train.jsonl", tmp_path)
    shutil.copy(FIXTURES / "med_qa" / "test.jsonl", tmp_path / "more.jsonl")
    assert read_source(f"med_qa:{tmp_path}").skipped_files == (str(tmp_path / "more.jsonl"),)


def test_medquad_reads_the_concepts_of_the_hub_which_stand_in_one_text(tmp_path: Path) -> None:
    records = [dict(row.values) for row in read_rows(FIXTURES / "medquad" / "train.jsonl")]
    for record in records:
        record["umls_cui"] = "|".join(record["umls_cui"])
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    assert load_source(f"medquad:{tmp_path}") == list(fixture("medquad").questions)


def test_head_qa_tells_the_split_by_year_and_counts_annulled_questions(tmp_path: Path) -> None:
    record = dict(next(read_rows(FIXTURES / "head_qa" / "test.jsonl")).values) | {"name": None}
    years = {"2014": "train", "2015": "validation", "2017": "test", "2022": None}
    records = [record | {"year": year} for year in years] + [record | {"year": "2020", "ra": 0}]
    (tmp_path / "all.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    loaded = read_source(f"head_qa:{tmp_path / 'all.jsonl'}")
    assert [question.split for question in loaded.questions] == list(years.values())
    assert dropped(loaded) == {"annulled by the examiners": 1}


def test_med_safety_bench_marks_every_request_as_harmful() -> None:
    questions = fixture("med_safety_bench").questions
    assert all(question.is_harmful for question in questions)
    assert {question.specialty[-1] for question in questions} == {"1", "2", "4"}


def test_medec_asks_whether_and_how_and_groups_both_versions_of_a_case() -> None:
    questions = {question.id: question for question in fixture("medec").questions}
    assert questions["medec-ms-val-0-whether"].answer == "yes"
    assert questions["medec-ms-val-1-whether"].answer == "no"
    assert "medec-ms-val-1-how" not in questions
    how = questions["medec-ms-val-0-how"]
    assert (how.kind, how.answer) == ("free_text", "Infection with Schistosoma mansoni is suspected.")
    assert how.distractors == ("Hepatitis A is suspected.",)
    assert {questions[f"medec-ms-val-{n}-whether"].group for n in (0, 1)} == {how.group}
    assert questions["medec-ms-val-2-whether"].group != how.group


def test_medec_reads_the_csv_that_its_authors_publish(tmp_path: Path) -> None:
    import csv

    records = [dict(row.values) for row in read_rows(FIXTURES / "medec" / "validation.jsonl")]
    with (tmp_path / "MEDEC-MS-ValidationSet-with-GroundTruth.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]))
        writer.writeheader()
        writer.writerows(records)
        writer.writerow(dict.fromkeys(records[0], ""))
    assert dropped(read_source(f"medec:{tmp_path}")) == {"blank row": 1}
    expected = [question for question in fixture("medec").questions if question.split == "validation"]
    assert load_source(f"medec:{tmp_path}") == expected


def test_radqa_takes_the_longest_span_and_counts_what_the_report_does_not_answer() -> None:
    loaded = fixture("radqa")
    first = next(question for question in loaded.questions if question.id == "radqa-1_1_O")
    assert (first.answer, first.aliases) == ("The heart is enlarged.", ("heart is enlarged",))
    assert (first.group, first.split) == ("report-1", "train")
    assert dropped(loaded) == {"not answered by the report": 1}
    assert "data[0].paragraphs[0].qas[1]" in loaded.drops[0].place


def test_medical_qa_leaves_out_instructions_that_ask_for_nothing() -> None:
    assert list(by_text(fixture("medical_qa_datasets"))) == [
        "I have had a cough for two weeks. Should I worry?",
        "What is hypoxia?",
        "Is this true or false?\nPenicillin cures influenza.",
        "What is a murmur?",
    ]


def test_chemprot_groups_a_sentence_with_other_entities_marked() -> None:
    groups = [question.group for question in fixture("chemprot").questions if question.split == "train"]
    assert groups[0] == groups[1] != groups[2]


def test_pubmed_rct_groups_by_abstract_where_it_is_known() -> None:
    loaded = fixture("pubmed_rct")
    assert Counter(question.group for question in loaded.questions)["24293578"] == 3
    assert all(question.text.endswith("is this sentence from?") for question in loaded.questions)


def test_mimic_notes_give_diagnosis_and_impression_and_count_the_other_notes() -> None:
    loaded = fixture("mimic_notes")
    first, second, third = loaded.questions
    assert first.text.startswith("A man of 70 with chest pain for two hours.\n")
    assert (first.answer, first.group) == ("Myocardial infarction", second.group)
    assert second.answer == "Heart failure is likely."
    assert third.group == "13"
    assert dropped(loaded) == {
        "no section 'impression'": 1,
        "note of another kind than discharge summary and radiology": 2,
        "note marked as an error": 1,
    }


def test_a_folder_without_the_notes_says_where_to_apply(tmp_path: Path) -> None:
    (tmp_path / "ADMISSIONS.csv").touch()
    with pytest.raises(DataError, match=r"holds ADMISSIONS\.csv; apply at physionet\.org/content/mimiciii"):
        read_source(f"mimic_notes:{tmp_path}")


def test_a_section_ends_at_the_next_heading() -> None:
    note = "INDICATION: fall\nFINDINGS:\n Ratio: 3:1.\n second line\n\nIMPRESSION: none"
    assert sections_of(note) == {"indication": "fall", "ratio": "3:1. second line", "impression": "none"}


def test_specialty_files_are_told_by_their_names(tmp_path: Path) -> None:
    loaded = fixture("specialty_files")
    assert Counter(question.specialty for question in loaded.questions) == {
        "cardiology": 2,
        "internal medicine": 2,
    }
    (tmp_path / "cardiology.json").touch()
    with pytest.raises(
        DataError, match=r"holds cardiology\.json; name files dataset_with_answers_SPECIALTY\.json"
    ):
        read_source(f"specialty_files:{tmp_path}")


def test_a_question_given_twice_in_one_object_is_not_lost_in_silence(tmp_path: Path) -> None:
    file = tmp_path / "dataset_with_answers_skin.json"
    file.write_text('{"What is acne?": "A disease.", "What is acne?": "Another answer."}')
    assert [question.answer for question in load_source(f"specialty_files:{tmp_path}")] == [
        "A disease.",
        "Another answer.",
    ]


def test_plain_files_are_read_by_their_mapping() -> None:
    first, second, third = fixture("plain").questions
    assert (first.answer, first.options) == ("C", ("A", "C", "D"))
    assert (first.specialty, first.group, first.rationale) == (
        "nutrition",
        "n1",
        "It is needed for collagen.",
    )
    assert second.options == ("Kidney", "Bladder")
    assert (third.specialty, third.split) == ("unspecified", "train")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("kind: choices", r"fields\.yaml: kind: 'choices'.*choice"),
        ("qestion: q", r"fields\.yaml: qestion: .*did you mean 'question'"),
        ("kind: choice", r"fields\.yaml: options: none mapped"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_file_and_field(tmp_path: Path, mapping: str, message: str) -> None:
    (tmp_path / "fields.yaml").write_text(mapping)
    (tmp_path / "train.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    with pytest.raises(ConfigError, match=message):
        read_source(f"plain:{tmp_path}")


@pytest.mark.parametrize(
    ("mapping", "record", "expected"),
    [
        (
            "kind: choice\noptions: o\nanswer_form: index",
            {"question": "q", "o": ["x", "y"], "answer": 1},
            "y",
        ),
        (
            "kind: choice\noptions: o\nanswer_form: number",
            {"question": "q", "o": ["x", "y"], "answer": "1"},
            "x",
        ),
        ("kind: choice\noptions: o", {"question": "q", "o": ["x", "y"], "answer": "y"}, "y"),
        ("kind: decision", {"question": "q", "answer": "Maybe"}, "maybe"),
        ("id: answer", {"question": "q", "answer": "free"}, "free"),
    ],
)
def test_plain_answers_may_be_given_in_several_forms(
    tmp_path: Path, mapping: str, record: dict[str, object], expected: str
) -> None:
    (tmp_path / "fields.yaml").write_text(mapping)
    (tmp_path / "own.jsonl").write_text(json.dumps(record))
    (question,) = load_source(f"plain:{tmp_path}")
    assert question.answer == expected and question.split is None


@pytest.mark.parametrize(
    ("mapping", "record", "message"),
    [
        (
            "kind: decision",
            {"question": "q", "answer": "perhaps"},
            "answer: holds 'perhaps'; one of yes, no, maybe",
        ),
        (
            "kind: choice\noptions: o\nanswer_form: letter",
            {"question": "q", "o": ["x", "y"], "answer": "C"},
            "answer: holds 'C'; a letter from A to B",
        ),
        (
            "kind: choice\noptions: o",
            {"question": "q", "o": "x", "answer": "x"},
            "o: holds 'x'; a list of texts",
        ),
        (
            "split: part",
            {"question": "q", "answer": "a", "part": "exam"},
            "part: holds 'exam'; train, validation",
        ),
    ],
)
def test_a_plain_record_that_does_not_fit_is_told(
    tmp_path: Path, mapping: str, record: dict[str, object], message: str
) -> None:
    (tmp_path / "fields.yaml").write_text(mapping)
    (tmp_path / "own.jsonl").write_text(json.dumps(record))
    with pytest.raises(DataError, match=rf"own\.jsonl:1: {message}"):
        load_source(f"plain:{tmp_path}")


def test_preference_files_give_one_question_a_prompt_and_every_pair() -> None:
    loaded = fixture("preferences")
    questions = by_text(loaded)
    assert questions["What causes scurvy?"].distractors == ("A lack of iron.", "A virus of cattle.")
    assert [pair.chosen for pair in loaded.pairs[:2]] == ["A lack of vitamin C.", "Too little vitamin C."]
    assert {pair.question_id for pair in loaded.pairs[:2]} == {questions["What causes scurvy?"].id}
    assert questions["What is a stroke?"].group == questions["What are the signs of a stroke?"].group
    assert dropped(loaded) == {
        "pair whose chosen and rejected answers are the same": 1,
        "pair without rejected": 1,
    }


def test_records_come_through_the_datasets_library_as_they_stand_in_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nested fields too, and one file of a folder whose files have different fields."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    head_qa = HubPart(dataset=str(FIXTURES / "head_qa"))
    assert [dict(row.values) for row in hub_rows(head_qa, source="head_qa")] == [
        dict(row.values) for row in read_rows(FIXTURES / "head_qa" / "train.jsonl")
    ]
    k_qa = HubPart(dataset=str(FIXTURES / "k_qa"), name="test", file="test.jsonl")
    assert [row.text("Question") for row in hub_rows(k_qa, source="k_qa")] == [
        row.text("Question") for row in read_rows(FIXTURES / "k_qa" / "test.jsonl")
    ]


def test_a_hub_that_fails_on_its_data_is_told_with_the_cause() -> None:
    part = HubPart(dataset=str(FIXTURES / "mimic_notes"), name="train", file="nowhere.csv")
    with pytest.raises(DataError, match=r"cannot get .*mimic_notes \(train\).*nowhere") as caught:
        list(hub_rows(part, source="mimic_notes"))
    assert "\n" not in str(caught.value)


def test_another_language_is_a_variant_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked = []

    def load_dataset(dataset: str, config: str, *, split: str, data_files: None) -> list[object]:
        asked.append((dataset, config, split))
        return []

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert load_source("casimedicos:it") == []
    assert asked == [("HiTZ/casimedicos-exp", "it", split) for split in ("train", "validation", "test")]


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "message"),
    [
        (
            "med_qa",
            "train.jsonl",
            '"answer_idx": "B"',
            '"answer_idx": "E"',
            ":1: answer_idx: holds 'E'; one of A, B, C, D",
        ),
        (
            "mmlu_medical",
            "test.jsonl",
            '"answer": 1}',
            '"answer": 4}',
            ":1: answer: holds 4; 0 to 3 is wanted",
        ),
        (
            "bioasq",
            "train.jsonl",
            '"exact_answer": "yes"',
            '"exact_answer": "perhaps"',
            ":1: exact_answer: holds 'perhaps'; yes or no",
        ),
        (
            "bioasq",
            "train.jsonl",
            '[{"text"',
            '[7, {"text"',
            ":1: snippets: holds .*a list of objects is wanted",
        ),
        (
            "head_qa",
            "train.jsonl",
            '"ra": 2',
            '"ra": 7',
            ":1: ra: holds 7; the aid of an answer, one of 1, 2, 3, 4",
        ),
        (
            "casimedicos",
            "train.jsonl",
            '"correct_option": 4',
            '"correct_option": 5',
            ":1: correct_option: holds 5; one of 1, 2, 3, 4",
        ),
        (
            "mirage",
            "test.jsonl",
            '"answer": "B"',
            '"answer": "Z"',
            ":1: answer: holds 'Z'; one of A, B, C, D",
        ),
        ("medquad_judged", "train.jsonl", '"judgment": 3', '"judgment": 9', ":1: judgment: holds 9; 1 to 4"),
        (
            "k_qa",
            "test.jsonl",
            '"Must_have": [',
            '"Must_have": [3, ',
            ":1: Must_have: holds .*a list of texts is wanted",
        ),
        (
            "med_safety_bench",
            "train.jsonl",
            '"category": 1',
            '"category": true',
            ":1: category: holds True; 1 to 9",
        ),
        (
            "medec",
            "validation.jsonl",
            '"Error Flag": 1',
            '"Error Flag": 2',
            ":1: Error Flag: holds 2; 0 to 1",
        ),
        (
            "radqa",
            "train.json",
            '"Is the heart enlarged?"',
            "[1]",
            r":1: data\[0\].paragraphs\[0\].qas\[0\]: question: holds \[1\]; text",
        ),
        (
            "chemprot",
            "train.jsonl",
            "INHIBITOR",
            "FRIEND",
            ":1: label: holds 'FRIEND'; one of activator, agonist",
        ),
        (
            "pubmed_rct",
            "train.jsonl",
            "OBJECTIVE",
            "AIM",
            ":1: label: holds 'AIM'; one of background, objective",
        ),
    ],
)
def test_a_wrong_value_is_told_with_what_was_expected_and_found(
    tmp_path: Path, name: str, file: str, old: str, new: str, message: str
) -> None:
    text = (FIXTURES / name / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=re.escape(file) + message) as caught:
        read_source(f"{name}:{tmp_path}")
    assert "\n" not in str(caught.value)
