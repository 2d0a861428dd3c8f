"""PubMed-RCT as in AdaptLLM: the role of a sentence in the abstract of a trial (Dernoncourt and Lee 2017)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "AdaptLLM/RCT"
ROLES = ("background", "objective", "methods", "results", "conclusions")


class PubMedRCTSource(RecordSource):
    """PubMed-RCT 20k in the raw form that AdaptLLM uploads: text and label. Sentences of one abstract are one group."""

    name = "pubmed_rct"
    description = "Which of five roles a sentence has in the abstract of a randomised controlled trial."
    licence = "None stated by AdaptLLM; abstracts are PubMed's"
    citation = (
        "Dernoncourt and Lee 2017, PubMed 200k RCT, IJCNLP; in the form of Cheng et al. 2024, Adapting Large Language "
        "Models to Domains via Reading Comprehension, ICLR"
    )
    origin = f"Hub: {HUB}; or pubmed_rct:LOCATION, a file or folder of text, label and, if known, abstract_id"
    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Where no abstract_id is given every sentence is its own group; the official parts share no abstract.",
        "Numbers are replaced by @ in some copies.",
        "Background and objective are hard to tell apart, for people too.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (
        HubPart(dataset=HUB, name="train", split="train"),
        HubPart(dataset=HUB, name="validation", split="validation"),
        HubPart(dataset=HUB, name="test", split="test"),
    )

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text, label = row.text("text").strip(), row.text("label").strip().lower()
        if label not in ROLES:
            raise row.wrong("label", f"one of {', '.join(ROLES)}")
        number = content_id(_abstract(row), text)
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=f"{text}\nWhich part of the abstract of a trial is this sentence from?",
            answer=label,
            options=ROLES,
            specialty="biomedical research",
            group=_abstract(row) or number,
            split=split,
        )


def _abstract(row: Row) -> str:
    details = row.values.get("metadata")
    held = details.get("abstract_id") if isinstance(details, Mapping) else row.values.get("abstract_id")
    return "" if held is None else str(held).strip()
