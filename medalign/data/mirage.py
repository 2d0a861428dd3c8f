"""MIRAGE: five medical test sets in one form, without context (Xiong et al. 2024, Findings of ACL)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from medalign.data.files import Row, SplitFiles, data_files
from medalign.data.record_source import RecordSource
from medalign.data.sources import Service
from medalign.records import Question, Split

SPECIALTIES = {"pubmedqa": "biomedical research", "bioasq": "biomedical research"}


class MIRAGESource(RecordSource):
    """MIRAGE's `benchmark.json`, or its questions one a record; all are test questions.

    Those of PubMedQA and BioASQ are decisions, without their abstract: only what the model knows counts.
    """

    name = "mirage"
    description = "Test questions of MedQA, MedMCQA, MMLU, PubMedQA and BioASQ in one form, without evidence."
    licence = "Public-domain notice of the National Library of Medicine (MIRAGE); each part keeps its own"
    citation = "Xiong et al. 2024, Benchmarking Retrieval-Augmented Generation for Medicine, Findings of ACL"
    origin = (
        "mirage:LOCATION, benchmark.json of github.com/Teddy-XiongGZ/MIRAGE, or a file or folder of dataset, id, "
        "question, options, answer"
    )
    serves: ClassVar[tuple[Service, ...]] = ("choice", "decision")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Repeats the test questions of med_qa, medmcqa, mmlu_medical, pubmed_qa and bioasq: use it instead of them.",
        "Decisions have no evidence here, so that knowing the paper is all that helps.",
        "No specialty is given: questions are stratified by the part they come from.",
    )

    def files(self, location: str) -> SplitFiles:
        return SplitFiles([(path, "test") for path in data_files(location)], [])

    def unfold(self, record: Row) -> Iterable[Row]:
        """The original file is an object: part -> id -> question."""
        if "dataset" in record.values:
            return (record,)
        return (
            record.part(f"{part}.{number}", dict(values) | {"dataset": part, "id": number})
            for part, held in record.values.items()
            for number, values in _items(record, part, held)
        )

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        part, number = row.text("dataset").strip(), row.text("id").strip()
        options, letter = row.texts_by_name("options"), row.text("answer").strip()
        if letter not in options:
            raise row.wrong("answer", f"one of {', '.join(options)}")
        yield Question(
            id=f"{self.name}-{part}-{number}",
            source=self.name,
            kind="decision" if part in ("pubmedqa", "bioasq") else "choice",
            text=row.text("question"),
            answer=options[letter],
            options=tuple(options.values()),
            specialty=SPECIALTIES.get(part, part),
            group=f"{part}-{number}",
            split=split,
        )


def _items(record: Row, part: str, held: Any) -> Iterable[tuple[str, Mapping[str, Any]]]:
    if not isinstance(held, Mapping) or not all(isinstance(item, Mapping) for item in held.values()):
        raise record.fault(f"{part}: an object of questions by id is wanted")
    return held.items()
