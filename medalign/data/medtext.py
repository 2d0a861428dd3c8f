"""MedText: short patient presentations with a worked answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "BI55/MedText"


class MedTextSource(RecordSource):
    """MedText. There is one part and no official split."""

    name = "medtext"
    description = "About 1,400 patient presentations with diagnosis and treatment in a paragraph."
    licence = "CC-BY-4.0 (as its Hub card says)"
    citation = "MedText, BI55 on the Hugging Face Hub, 2023; no paper"
    origin = f"Hub: {HUB}; or medtext:LOCATION, a file or folder of Prompt, Completion"
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "How the answers were reviewed is not documented record by record; treat them as unverified.",
        "One part only: lm-evaluation-harness trains, validates and tests on it.",
        "No specialty is given.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset=HUB),)

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text = row.text("Prompt")
        number = content_id(text)
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=row.text("Completion"),
            group=number,
            split=split,
        )
