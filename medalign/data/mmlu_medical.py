"""The medical subjects of MMLU (Hendrycks et al. 2021, arXiv:2009.03300)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

SUBJECTS = (
    "anatomy",
    "clinical_knowledge",
    "college_biology",
    "college_medicine",
    "human_aging",
    "medical_genetics",
    "nutrition",
    "professional_medicine",
    "virology",
)


class MMLUMedicalSource(RecordSource):
    """Nine subjects of MMLU. Its `dev` part (five a subject) is there to learn from, so it is our train."""

    name = "mmlu_medical"
    description = "Four-option questions of the nine medical and biological subjects of MMLU."
    licence = "MIT"
    citation = "Hendrycks et al. 2021, Measuring Massive Multitask Language Understanding, ICLR"
    origin = "Hub: cais/mmlu (nine subjects); or mmlu_medical:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "61 questions stand in the test part under two subjects; one of each pair is kept and the other counted.",
        "Some keys are wrong or disputed, virology most of all (Gema et al. 2024, Are We Done with MMLU?).",
        "A public test since 2020: base models have most likely seen it.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = tuple(
        HubPart(dataset="cais/mmlu", config=subject, name=name, split=split)  # type: ignore[arg-type]
        for subject in SUBJECTS
        for name, split in (("dev", "train"), ("validation", "validation"), ("test", "test"))
    )
    split_names: ClassVar[Mapping[str, Split]] = {
        "dev": "train",
        "train": "train",
        "validation": "validation",
        "val": "validation",
        "test": "test",
    }

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text, options = row.text("question"), row.texts("choices")
        index = row.whole_number("answer", 0, len(options) - 1)
        number = content_id(text, *options)
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=text,
            answer=options[index],
            options=options,
            specialty=row.text("subject").replace("_", " ").strip() or "unspecified",
            group=number,
            split=split,
        )
