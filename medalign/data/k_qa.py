"""K-QA: real questions of patients, with statements that an answer must or may hold (Manes et al. 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row, SplitFiles, data_files
from medalign.data.hub import HubPart
from medalign.data.record_source import Entry, RecordSource, content_id
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

HUB = "Itaykhealth/K-QA"


class KQASource(RecordSource):
    """The answered questions of K-QA; all are test questions. Its unlabeled ones have no answer and are counted."""

    name = "k_qa"
    description = (
        "Questions of patients on a health platform, answered by doctors and broken down into statements."
    )
    licence = "MIT"
    citation = "Manes et al. 2024, K-QA: A Real-World Medical Q&A Benchmark, BioNLP"
    origin = f"Hub: {HUB}; or k_qa:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "About 200 questions: small differences cannot be seen.",
        "Questions come from the middle of a conversation; some cannot be understood without it.",
        "No specialty is given, and a diagnosis for about half of the questions only.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (
        HubPart(dataset=HUB, name="test", split="test", file="questions_w_answers.jsonl"),
    )

    def files(self, location: str) -> SplitFiles:
        return SplitFiles([(path, "test") for path in data_files(location)], [])

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        text = row.text("Question")
        if "Free_form_answer" not in row.values and "matched_entity" in row.values:
            yield Drop(reason="no answer (an unlabeled question)", place=row.where, text=text)
            return
        number = content_id(text)
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=row.text("Free_form_answer"),
            must_have=row.texts("Must_have"),
            nice_to_have=row.texts("Nice_to_have"),
            group=number,
            split=split,
        )
