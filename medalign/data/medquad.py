"""MedQuAD: consumer health questions answered by NIH websites (Ben Abacha and Demner-Fushman 2019)."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

CITATION = (
    "Ben Abacha and Demner-Fushman 2019, A Question-Entailment Approach to Question Answering, "
    "BMC Bioinformatics 20:511"
)
# The field of the institute that wrote the page; the records name none themselves.
SPECIALTIES = {
    "CancerGov": "oncology",
    "GARD": "rare diseases",
    "GHR": "genetics",
    "NIDDK": "diabetes, digestive and kidney diseases",
    "NINDS": "neurology",
    "NHLBI": "heart, lung and blood",
    "NIHSeniorHealth": "geriatrics",
    "CDC": "infectious diseases",
}
# A concept that stands with more topics than this ("Cancer") does not make them one.
MOST_TOPICS = 3


class MedQuADSource(RecordSource):
    """MedQuAD. Questions on the same topic are one group, and so are topics that share a UMLS concept.

    A concept that a new topic makes common parts the topics that it joined. There is no official split; a local file's
    name can tell one.
    """

    name = "medquad"
    description = "Consumer health questions with the answer of an NIH website, mostly several paragraphs."
    licence = "CC-BY-4.0"
    citation = CITATION
    origin = "Hub: lavita/MedQuAD; or medquad:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Answers from collections under copyright are missing (31,034 of 47,441 records); they are dropped.",
        "Questions follow a few patterns (What is (are) X ?), so form tells much of the answer's style.",
        "Some answers are whole pages, longer than 8,000 characters; line breaks were lost in lists.",
        "No specialty is given: the field of the institute that wrote the page stands in for it.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset="lavita/MedQuAD"),)

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text, answer = row.text("question"), row.text("answer")
        number = f"{row.text('question_id').strip()}-{content_id(text, answer)[:8]}"
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=answer,
            specialty=SPECIALTIES.get(row.text("document_source").strip(), "general medicine"),
            group=row.text("question_focus").strip().casefold() or number,
            split=split,
        )

    def links(self, row: Row) -> Iterable[Hashable]:
        topic = row.text("question_focus").strip().casefold()
        concepts = row.values.get("umls_cui") or []
        held = concepts.split("|") if isinstance(concepts, str) else concepts
        return [("topic", topic)] * bool(topic) + [("concept", concept) for concept in held if concept]

    def grouped(self, questions: list[Question], links: Mapping[str, Iterable[Hashable]]) -> list[Question]:
        topics: dict[Hashable, set[str]] = {}
        for question in questions:
            for link in links[question.id]:
                topics.setdefault(link, set()).add(question.group)
        return super().grouped(
            questions,
            {
                name: [link for link in held if len(topics[link]) <= MOST_TOPICS]
                for name, held in links.items()
            },
        )
