"""PubMedQA: yes, no or maybe, from the abstract of a paper (Jin et al. 2019, arXiv:1909.06146)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource
from medalign.data.sources import Service
from medalign.records import DECISIONS, Question, Split


class PubMedQASource(RecordSource):
    """The expert-labelled part of PubMedQA.

    File names tell the official split. On the Hub the 1,000 labelled questions stand in one split and none is
    standard, so all of them come without one. The records name no specialty: all are given as "biomedical
    research".
    """

    name = "pubmed_qa"
    description = (
        "Research questions answered yes, no or maybe from a PubMed abstract without its conclusion."
    )
    licence = "MIT"
    citation = "Jin et al. 2019, PubMedQA: A Dataset for Biomedical Research Question Answering, EMNLP-IJCNLP"
    origin = (
        "Hub: qiaojin/PubMedQA (pqa_labeled); or pubmed_qa:LOCATION, a file or folder with the same fields"
    )
    serves: ClassVar[tuple[Service, ...]] = ("decision", "rationale")
    known_faults: ClassVar[tuple[str, ...]] = (
        "55% of the labels are yes: compare with the majority baseline and by macro-F1.",
        "The labelled questions stand in several published instruction sets, which a base model may have seen.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset="qiaojin/PubMedQA", config="pqa_labeled"),)

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        pubid = row.text("pubid").strip()
        answer = row.text("final_decision").strip().lower()
        if answer and answer not in DECISIONS:
            raise row.wrong("final_decision", "yes, no or maybe")
        yield Question(
            id=f"{self.name}-{pubid}",
            source=self.name,
            kind="decision",
            text=row.text("question"),
            answer=answer,
            options=DECISIONS,
            context="\n".join(_paragraphs(row)),
            rationale=row.text("long_answer"),
            specialty="biomedical research",
            group=pubid,
            split=split,
        )


def _paragraphs(row: Row) -> list[str]:
    context = row.value("context")
    paragraphs = context.get("contexts") if isinstance(context, Mapping) else None
    is_list = isinstance(paragraphs, Sequence) and not isinstance(paragraphs, str)
    if not is_list or not all(isinstance(paragraph, str) for paragraph in paragraphs or ()):
        raise row.fault("context: no list of texts under 'contexts'; an object with that field is wanted")
    return list(paragraphs or ())
