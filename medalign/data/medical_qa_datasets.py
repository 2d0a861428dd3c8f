"""lavita/medical-qa-datasets: instruction data gathered from two dozen medical sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "lavita/medical-qa-datasets"
# The subsets in the form instruction, input, output; the others are sources of their own here.
SUBSETS = (
    "all-processed",
    "chatdoctor_healthcaremagic",
    "medical_meadow_cord19",
    "medical_meadow_health_advice",
    "medical_meadow_medical_flashcards",
    "medical_meadow_mediqa",
    "medical_meadow_medqa",
    "medical_meadow_mmmlu",
    "medical_meadow_pubmed_causal",
    "medical_meadow_wikidoc",
    "medical_meadow_wikidoc_patient_information",
)


class MedicalQADatasetsSource(RecordSource):
    """The processed mixture by default; `medical_qa_datasets:medical_meadow_wikidoc` and so on give a subset.

    `input` is the question; an `instruction` that asks nothing but an answer to it is left out, any other one comes
    first. Records on the same input are one group.
    """

    name = "medical_qa_datasets"
    description = "239,000 instructions and answers from ChatDoctor, Medical Meadow and exam sets, mixed."
    licence = "None stated for the whole; each part keeps its own"
    citation = "lavita/medical-qa-datasets on the Hugging Face Hub, 2023; cite the parts that you use"
    origin = (
        f"Hub: {HUB} (all-processed; a subset as medical_qa_datasets:SUBSET); or medical_qa_datasets:LOCATION, a file "
        "or folder of instruction, input, output"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Gathered from MedQA, MedMCQA, MMLU and PubMedQA among others, without telling their splits: do not test on "
        "those after training on it without the leak check.",
        "ChatDoctor answers come from online consultations, unreviewed, with greetings and boilerplate.",
        "The parts' origins are not told record by record, nor is a specialty.",
        "Loader written to the published schema, without the files at hand.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset=HUB, config=SUBSETS[0]),)
    variants: ClassVar[Mapping[str, tuple[HubPart, ...]]] = {
        subset: (HubPart(dataset=HUB, config=subset),) for subset in SUBSETS
    }

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        asked, instruction = row.text("input").strip(), row.text("instruction").strip()
        answer = row.text("output")
        text = _joined(instruction, asked)
        yield Question(
            id=f"{self.name}-{content_id(text, answer)}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=answer,
            group=content_id(asked or instruction),
            split=split,
        )


def _joined(instruction: str, asked: str) -> str:
    """The question, with an instruction first that says more than to answer it."""
    is_empty_form = instruction.lower().startswith(
        ("if you are a doctor", "answer this question", "answer the question")
    )
    if not asked or not instruction:
        return asked or instruction
    return asked if is_empty_form else f"{instruction}\n{asked}"
