"""RadQA: questions on radiology reports of MIMIC-III (Soni et al. 2022, LREC)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Access, Drop, Service
from medalign.records import Question, Split


class RadQASource(RecordSource):
    """RadQA, whose files have the form of SQuAD 2.0. Questions on one report are one group.

    The answer is the longest of the annotated spans, the others are aliases. Questions that the report does not
    answer are counted and left out: there is no text to learn or score.
    """

    name = "radqa"
    description = "Questions of physicians on the findings and impression of a radiology report."
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    citation = (
        "Soni et al. 2022, RadQA: A Question Answering Dataset to Improve Comprehension of Radiology Reports, "
        "LREC; doi:10.13026/ckkp-6y19"
    )
    access: ClassVar[Access] = "credentialed"
    origin = (
        "apply at physionet.org/content/radqa (a PhysioNet account with CITI training and the signed agreement), put "
        "train.json, dev.json and test.json into a folder, and name it as radqa:FOLDER"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Patient data under agreement: never send it to a service outside, and never share an adapter trained on it.",
        "Many questions have no answer in their part of the report; they are left out and counted.",
        "Each question is asked of the findings and of the impression: only with its passage it is unique.",
        "Loader written to the published form (SQuAD 2.0), without the files at hand.",
    )

    def unfold(self, record: Row) -> Iterable[Row]:
        for article in record.parts("data"):
            report = article.text("title")
            for paragraph in article.parts("paragraphs"):
                context = paragraph.text("context")
                for question in paragraph.parts("qas"):
                    held = dict(question.values) | {"report": report, "context": context}
                    yield Row(place=question.place, line=question.line, values=held, within=question.within)

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        text, number = row.text("question"), row.text("id").strip()
        spans = {part.text("text").strip() for part in row.parts("answers")} - {""}
        if not spans:
            yield Drop(reason="not answered by the report", place=row.where, text=text)
            return
        answer, *others = sorted(spans, key=lambda span: (-len(span), span))
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=answer,
            aliases=tuple(others),
            context=row.text("context"),
            specialty="radiology",
            group=row.text("report").strip() or number,
            split=split,
        )
