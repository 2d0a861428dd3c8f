"""MedQA-USMLE with four options: United States licensing questions (Jin et al. 2020, arXiv:2009.13081)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import Entry, RecordSource, content_id
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

HUB = "GBaker/MedQA-USMLE-4-options"
STEPS = {"step1": "usmle step 1", "step2&3": "usmle steps 2 and 3"}


class MedQASource(RecordSource):
    """MedQA, the English part with four options. The records name no specialty but the step of the exam."""

    name = "med_qa"
    description = "Four-option clinical vignettes in the style of the United States licensing exam (USMLE)."
    licence = "MIT (the repository); the Hub copy's card says CC-BY-4.0"
    citation = (
        "Jin et al. 2020, What Disease does this Patient Have? A Large-scale Open Domain Question "
        "Answering Dataset from Medical Exams, arXiv:2009.13081"
    )
    origin = f"Hub: {HUB}; or med_qa:LOCATION, a file or folder with the same fields"
    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "MEDEC was made from these questions and shows the diagnosis written out; the leak check finds shared cases.",
        "No specialty is given: questions are stratified by the step of the exam.",
        "The Hub copy has no validation part; ours is drawn from its training part.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (
        HubPart(dataset=HUB, name="train", split="train"),
        HubPart(dataset=HUB, name="test", split="test"),
    )

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        text, letter = row.text("question"), row.text("answer_idx").strip()
        options = row.texts_by_name("options")
        if letter not in options:
            raise row.wrong("answer_idx", f"one of {', '.join(options)}")
        if options[letter] != row.text("answer"):
            yield Drop(reason="answer and answer_idx disagree", place=row.where, text=text)
            return
        number = content_id(text, *sorted(options.values()))
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=text,
            answer=options[letter],
            options=tuple(options.values()),
            specialty=STEPS.get(row.text("meta_info").strip(), "unspecified"),
            group=number,
            split=split,
        )
