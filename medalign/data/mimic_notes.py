"""Notes of MIMIC-III: what follows from a history or from findings (Johnson et al. 2016, Scientific Data)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

from medalign.data.files import Row, SplitFiles, data_files
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Access, Drop, Service
from medalign.errors import DataError
from medalign.records import Question, Split


class _Task(NamedTuple):
    given: str
    wanted: str
    ask: str
    specialty: str


TASKS = {
    "discharge summary": _Task(
        "history of present illness",
        "discharge diagnosis",
        "What are the discharge diagnoses of this patient?",
        "hospital medicine",
    ),
    "radiology": _Task(
        "findings", "impression", "What is the impression of this radiology report?", "radiology"
    ),
}
OTHER_NOTES = "note of another kind than discharge summary and radiology"
# A heading stands at the start of a line and ends in a colon; the words are kept as they are written.
_HEADING = re.compile(r"^[ \t]*([A-Za-z][A-Za-z /&'()-]{2,60}):[ \t]*", re.MULTILINE)


class MIMICNotesSource(RecordSource):
    """Two tasks from the free-text notes, answered in writing: discharge diagnoses from the history of present
    illness, and the impression from the findings of a radiology report. All notes of a patient are one group.

    Notes marked as errors, of other kinds, or without both sections give no question and are counted.
    """

    name = "mimic_notes"
    description = (
        "Discharge diagnoses from the history, and the impression from the findings, in hospital notes."
    )
    licence = "PhysioNet Credentialed Health Data License 1.5.0"
    citation = (
        "Johnson et al. 2016, MIMIC-III, a freely accessible critical care database, Scientific Data 3; "
        "doi:10.13026/C2XW26"
    )
    access: ClassVar[Access] = "credentialed"
    origin = (
        "apply at physionet.org/content/mimiciii (a PhysioNet account with CITI training and the signed agreement), "
        "put NOTEEVENTS.csv or NOTEEVENTS.csv.gz into a folder, and name it as mimic_notes:FOLDER"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Patient data under agreement: never send it to a service outside, and never share an adapter trained on it.",
        "Dates, names and places are replaced by marks such as [**2101-10-20**].",
        "RadQA was made from the same radiology reports, and many notes repeat an earlier one.",
        "Sections are told by their headings, which differ between wards.",
        "The whole table gives some hundred thousand questions, which take several GiB of memory; cut it down first.",
        "Loader written to the published schema, without the files at hand.",
    )

    def files(self, location: str) -> SplitFiles:
        found = data_files(location)
        notes = [file for file in found if file.name.upper().startswith("NOTEEVENTS")]
        if not notes:
            held = ", ".join(file.name for file in found[:8]) or "no data file"
            raise DataError(f"data: {location!r} holds {held}; {self.origin}")
        return SplitFiles([(file, None) for file in notes], [file for file in found if file not in notes])

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        task = TASKS.get(row.text("CATEGORY").strip().lower())
        if task is None:
            yield Drop(reason=OTHER_NOTES, place=row.place)
            return
        if row.text("ISERROR").strip() == "1":
            yield Drop(reason="note marked as an error", place=row.where)
            return
        sections = sections_of(row.text("TEXT"))
        given, wanted = sections.get(task.given, ""), sections.get(task.wanted, "")
        if not given or not wanted:
            yield Drop(reason=f"no section {task.wanted if given else task.given!r}", place=row.where)
            return
        yield Question(
            id=f"{self.name}-{row.text('ROW_ID').strip()}",
            source=self.name,
            kind="free_text",
            text=f"{given}\n{task.ask}",
            answer=wanted,
            specialty=task.specialty,
            group=row.text("SUBJECT_ID").strip(),
            split=split,
        )


def sections_of(note: str) -> dict[str, str]:
    """Text by heading, in lower case; of a heading that stands several times the first with a text."""
    headings = list(_HEADING.finditer(note))
    sections: dict[str, str] = {}
    for number, heading in enumerate(headings):
        end = headings[number + 1].start() if number + 1 < len(headings) else len(note)
        text = " ".join(note[heading.end() : end].split())
        name = " ".join(heading[1].lower().split())
        if text and name not in sections:
            sections[name] = text
    return sections
