"""MedSafetyBench: harmful medical requests and answers that refuse them (Han et al. 2024, NeurIPS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split


class MedSafetyBenchSource(RecordSource):
    """Requests that break one of the nine Principles of Medical Ethics of the American Medical Association.

    Every request is harmful (`is_harmful`) and its answer is a refusal; the principle stands for the specialty.
    """

    name = "med_safety_bench"
    description = (
        "Harmful medical requests with a safe answer, one of nine principles of medical ethics each."
    )
    licence = "MIT; the authors ask for research use only"
    citation = "Han et al. 2024, MedSafetyBench: Evaluating and Improving the Medical Safety of LLMs, NeurIPS"
    origin = (
        "med_safety_bench:LOCATION, a file or folder of harmful_medical_request, safe_response, category, made from "
        "datasets/ of github.com/AI4LIFE-GROUP/med-safety-bench"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text", "safety")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Requests were written by GPT-4 and Llama-2 and repeat a few patterns; a model wrote the safe answers too.",
        "All answers refuse, most begin with I'm sorry: a model can learn to refuse everything. Test that too.",
    )

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text = row.text("harmful_medical_request")
        number = content_id(text)
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=row.text("safe_response"),
            specialty=f"medical ethics, principle {row.whole_number('category', 1, 9)}",
            group=number,
            split=split,
            is_harmful=True,
        )
