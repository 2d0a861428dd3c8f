"""LiveQA-Medical, TREC 2017: questions that people sent to the National Library of Medicine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

HUB = "hyesunyun/liveqa_medical_trec2017"


class LiveQASource(RecordSource):
    """The 104 test questions of LiveQA-Medical with reference answers; all are test questions.

    The message as it was sent is the question, its subject line first; where it is empty, the summary or the
    paraphrase. The first reference answer is the answer, the others are aliases.
    """

    name = "liveqa"
    description = "Consumer health questions as people wrote them, with reference answers by experts."
    licence = "None stated (National Library of Medicine); check before you share what is made from it"
    citation = (
        "Ben Abacha et al. 2017, Overview of the Medical Question Answering Task at TREC 2017 LiveQA, TREC"
    )
    origin = f"Hub: {HUB} (test); or liveqa:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "104 questions: small differences cannot be seen.",
        "Messages have misspellings and several questions in one; answers cover the main one.",
        "Only the test part is read: the training files pair sub-questions with answers found automatically.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset=HUB, name="test", split="test"),)
    split_names: ClassVar[Mapping[str, Split]] = {"test": "test"}

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        number = row.text("QUESTION_ID").strip()
        text = _asked(row)
        answers = [part.text("ANSWER").strip() for part in row.parts("REFERENCE_ANSWERS")]
        given = list(dict.fromkeys(answer for answer in answers if answer))
        if not given:
            yield Drop(reason="no reference answer", place=row.where, text=text)
            return
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=given[0],
            aliases=tuple(given[1:]),
            group=number,
            split="test",
        )


def _asked(row: Row) -> str:
    message = row.text("ORIGINAL_QUESTION_MESSAGE").strip()
    subject = str(row.values.get("ORIGINAL_QUESTION_SUBJECT") or "").strip()
    if message:
        return f"{subject}\n{message}" if subject else message
    summaries = (str(row.values.get(name) or "").strip() for name in ("NLM_SUMMARY", "NIST_PARAPHRASE"))
    return next((summary for summary in summaries if summary), subject)
