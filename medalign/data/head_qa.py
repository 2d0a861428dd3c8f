"""HEAD-QA: Spanish exams for specialised health care (Vilares and Gomez-Rodriguez 2019, ACL)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

# Version 2 in Parquet, one part with the exams of 2013 to 2022; dvilares/head_qa needs a script, which none runs now.
HUB = "alesi12/head_qa_v2"
SPLIT_OF_YEAR: Mapping[str, Split] = {
    "2013": "train",
    "2014": "train",
    "2015": "validation",
    "2016": "test",
    "2017": "test",
}
SPECIALTIES = {"nursery": "nursing"}
# "In the previous patient, which treatment": the case stands in the question before.
_BACKWARD = re.compile(
    r"\b(?:previous|preceding|same) (?:patient|case|question)\b|\bcase described above\b"
    r"|\b(?:paciente|caso|pregunta) anterior\b|\bmismo paciente\b",
    re.IGNORECASE,
)


class HeadQASource(RecordSource):
    """HEAD-QA, English by default; `head_qa:es` is the Spanish original on the Hub.

    The official splits are years: 2013 and 2014 train, 2015 validation, 2016 and 2017 test. A file's name tells the
    split; where it tells none, as on the Hub, the year does, and later years have none.
    Questions of one exam on the same image, and a question that speaks of the previous one, are one group.
    """

    name = "head_qa"
    description = (
        "Four- and five-option questions of Spanish exams in medicine, nursing, psychology, chemistry, "
        "pharmacology and biology."
    )
    licence = "MIT"
    citation = (
        "Vilares and Gomez-Rodriguez 2019, HEAD-QA: A Healthcare Dataset for Complex Reasoning, ACL; "
        "version 2: arXiv:2511.15355"
    )
    origin = (
        f"Hub: {HUB} (en; head_qa:es for Spanish); or head_qa:LOCATION, a file or folder with the same fields"
    )
    languages = ("en", "es")
    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "The English text is machine-translated; some options and stems are hard to understand.",
        "About 150 questions refer to an image, of which only the path is given (`image` is set).",
        "A few questions speak of the patient of the previous question and cannot be answered alone.",
        "Many of its questions are also in CasiMedicos, in another translation.",
        "The Hub has version 2, another translation than the release of 2019: scores cannot be compared.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = (HubPart(dataset=HUB, config="en"),)
    variants: ClassVar[Mapping[str, tuple[HubPart, ...]]] = {"es": (HubPart(dataset=HUB, config="es"),)}

    def unfold(self, record: Row) -> Iterable[Row]:
        """The original release nests an exam's questions in `exams`."""
        exams = record.values.get("exams")
        if not isinstance(exams, Mapping):
            return (record,)
        return (
            Row(
                place=row.place,
                line=row.line,
                values={"name": name} | {key: exam[key] for key in exam if key != "data"} | dict(row.values),
                within=row.within,
            )
            for name, exam in exams.items()
            for row in record.part(f"exams.{name}", exam).parts("data")
        )

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        options = _options(row)
        right = row.text("ra").strip()
        if right == "0":
            yield Drop(reason="annulled by the examiners", place=row.where, text=row.text("qtext"))
            return
        if right not in options:
            raise row.wrong("ra", f"the aid of an answer, one of {', '.join(options)},")
        number = f"{_exam(row)}-{row.text('qid').strip()}"
        category = row.text("category").strip().lower()
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=row.text("qtext"),
            answer=options[right],
            options=tuple(options.values()),
            specialty=SPECIALTIES.get(category, category) or "unspecified",
            group=number,
            split=split or SPLIT_OF_YEAR.get(row.text("year").strip()),
            image=_image(row.values.get("image")),
        )

    def links(self, row: Row) -> Iterable[Hashable]:
        exam, number, image = _exam(row), row.text("qid").strip(), row.values.get("image")
        found: list[Hashable] = [(exam, number)]
        if isinstance(image, str) and image.strip():
            found.append((exam, "image", image.strip()))
        if number.isdigit() and _BACKWARD.search(row.text("qtext")):
            found.append((exam, str(int(number) - 1)))
        return found


def _options(row: Row) -> dict[str, str]:
    held = row.value("answers")
    # The Hub's table gives a struct of lists where the files have a list of structs.
    if isinstance(held, Mapping) and {"aid", "atext"} <= held.keys():
        return {str(aid): str(text) for aid, text in zip(held["aid"], held["atext"], strict=True)}
    return {part.text("aid").strip(): part.text("atext").strip() for part in row.parts("answers")}


def _exam(row: Row) -> str:
    told = str(row.values.get("name") or "").strip()
    return told or f"{row.text('category').strip()}_{row.text('year').strip()}"


def _image(held: Any) -> str:
    """The path where one is given, `image` where the picture itself is."""
    return held.strip() if isinstance(held, str) else "image" if held else ""
