"""PubMedQA: yes, no or maybe, from the abstract of a paper (Jin et al. 2019, arXiv:1909.06146)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

from medalign.data.files import Row, read_rows, split_files
from medalign.data.hub import hub_rows
from medalign.data.sources import Source
from medalign.records import DECISIONS, Question, Split


class PubMedQASource(Source):
    """The expert-labelled part of PubMedQA.

    File names tell the official split (`train`, `validation`, `test`). On the Hub the 1,000 labelled
    questions stand in one split and none is standard, so all of them come without one. The records
    name no specialty: all are given as "biomedical research".
    """

    name = "pubmed_qa"
    description = (
        "Research questions answered yes, no or maybe from a PubMed abstract without its conclusion."
    )
    licence = "MIT"
    citation = "Jin et al. 2019, PubMedQA: A Dataset for Biomedical Research Question Answering, EMNLP-IJCNLP"
    access = (
        "Hub: qiaojin/PubMedQA (pqa_labeled); or pubmed_qa:LOCATION, a file or folder with the same fields"
    )
    languages = ("en",)
    kinds = ("decision",)

    def load(self, location: str | None) -> list[Question]:
        if location is None:
            rows: Iterable[Row] = hub_rows(
                "qiaojin/PubMedQA", config="pqa_labeled", split="train", source=self.name
            )
            return [_question(row, None) for row in rows]
        return [
            _question(row, cast("Split | None", split))
            for path, split in split_files(location)
            for row in read_rows(path)
        ]


def _question(row: Row, split: Split | None) -> Question:
    pubid = row.text("pubid").strip()
    answer = row.text("final_decision").strip().lower()
    if answer and answer not in DECISIONS:
        raise row.fault(f"final_decision: holds {answer!r}; yes, no or maybe is wanted")
    return Question(
        id=f"pubmed_qa-{pubid}",
        source="pubmed_qa",
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
