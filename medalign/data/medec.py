"""MEDEC: finding and correcting a medical error in a clinical text (Ben Abacha et al. 2025)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

ASK_WHETHER = "Does this clinical text contain a medical error?"
ASK_HOW = "One sentence of this clinical text is medically wrong. Write the sentence as it should be."

# The types of errors are written causalOrganism, in one word.
_SMALL_TO_LARGE = re.compile(r"(?<=[a-z])(?=[A-Z])")


class MEDECSource(RecordSource):
    """The MS collection of MEDEC.

    Every text gives a decision (is there an error?), and a text with an error a second question, answered with the
    corrected sentence; the wrong sentence is its distractor. Texts on the same case are one group.
    """

    name = "medec"
    description = (
        "Clinical texts in which one sentence may be wrong: whether it is, and the sentence put right."
    )
    licence = "CC-BY-4.0 (the MS collection; the UW collection is had on application)"
    citation = (
        "Ben Abacha et al. 2025, MEDEC: A Benchmark for Medical Error Detection and Correction in Clinical "
        "Notes, Findings of ACL"
    )
    origin = "medec:LOCATION, a file or folder of MEDEC-MS from github.com/abachaa/MEDEC, CSV or JSON Lines"
    serves: ClassVar[tuple[Service, ...]] = ("decision", "free text", "preference")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Made from MedQA questions: many texts share the vignette of a MedQA question, its diagnosis written out.",
        "Most vignettes stand there several times, with and without the error.",
        "The sentence in question was mostly put last, or second to last, of the text by the editors.",
        "Blank rows and wrongly encoded characters in parts of the original files.",
    )

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        if not any(str(held or "").strip() for held in row.values.values()):
            yield Drop(reason="blank row", place=row.where)
            return
        number, note = row.text("Text ID").strip(), row.text("Text").strip()
        has_error = row.whole_number("Error Flag", 0, 1) == 1
        kind = _SMALL_TO_LARGE.sub(" ", str(row.values.get("Error Type") or "").strip()).lower()
        shared = {
            "source": self.name,
            "specialty": "clinical notes",
            "group": number,
            "split": split,
        }
        yield Question(
            id=f"{self.name}-{number}-whether",
            kind="decision",
            text=f"{note}\n{ASK_WHETHER}",
            answer="yes" if has_error else "no",
            options=("yes", "no"),
            **shared,  # type: ignore[arg-type]
        )
        if has_error:
            yield Question(
                id=f"{self.name}-{number}-how",
                kind="free_text",
                text=f"{note}\n{ASK_HOW}",
                answer=row.text("Corrected Sentence").strip(),
                distractors=(row.text("Error Sentence").strip(),),
                **(shared | {"specialty": f"clinical notes, {kind}" if kind else "clinical notes"}),  # type: ignore[arg-type]
            )

    def case(self, question: Question) -> str:
        return question.text.rpartition("\n")[0]
