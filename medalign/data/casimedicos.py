"""CasiMedicos: clinical cases of the Spanish MIR exam, explained by doctors (Sviridova et al. 2024, EMNLP)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split

HUB = "HiTZ/casimedicos-exp"
PARTS: tuple[tuple[str, Split], ...] = (("train", "train"), ("validation", "validation"), ("test", "test"))
LANGUAGES = ("en", "es", "fr", "it")

# The last comma or "and" counts: "DERMATOLOGY, VENEREOLOGY AND PLASTIC SURGERY" is filed under dermatology.
_FIRST_FIELD = re.compile(r"\s*(?:,| AND | \()", re.IGNORECASE)
SPECIALTIES = {
    "digestive": "gastroenterology",
    "digestive system": "gastroenterology",
    "digestive tract": "gastroenterology",
    "infectious": "infectious diseases",
    "infectology": "infectious diseases",
    "pneumology": "pulmonology",
    "critical": "critical care",
    "anesthesiology": "critical care",
    "obstetrics": "gynecology",
    "orthopedic surgery": "traumatology",
    "otolaryngology": "otorhinolaryngology",
    "pathological anatomy": "pathology",
    "anatomic pathology": "pathology",
    "medical oncology": "oncology",
    "general surgery": "surgery",
    "statistics": "biostatistics",
    "preventive medicine": "epidemiology",
}
# A digit from 1 to 5 that stands alone, as the number of an option does, not before a unit or after a name.
_OPTION_NUMBER = re.compile(
    r"(?<![\w.,/+<>=%-])(?<!type )(?<!stage )(?<!grade )(?<!phase )(?<!factor )(?<!group )(?<!class )[1-5]"
    r"(?![\w/%+]|[.,]\d|-\d|\s*(?:%|mg|g|kg|ml|cc|cm|mm|mmol|l|u|ui|iu|meq|times|years?|months?|weeks?|days?|hours?"
    r"|h|min|minutes?|points?|cases?|patients?|doses?|episodes?|children|drugs|x|to|-)\b)",
    re.IGNORECASE,
)
_ORDINAL = re.compile(
    r"\b(?:first|second|third|fourth|fifth|last) (?:answer|option|one|choice)\b"
    r"|\b(?:answer|option|alternative)s? [a-e]\b"
    r"|\b(?:answer|option|alternative)s?\b[^.]{0,20}\b(?:one|two|three|four|five)\b",
    re.IGNORECASE,
)


class CasiMedicosSource(RecordSource):
    """CasiMedicos, English by default; `casimedicos:es`, `:fr` and `:it` are the other languages on the Hub.

    Options are shown in words, so the sentences of an explanation that name options by number are left out of
    the rationale. Several questions share a case, mostly reworded: they are one group.
    """

    name = "casimedicos"
    description = (
        "Clinical cases of the Spanish residency exam with up to five options and an explanation by a doctor."
    )
    licence = "CC-BY-4.0 (its repository's LICENSE file says CC0-1.0; the stricter is taken)"
    citation = (
        "Sviridova et al. 2024, CasiMedicos-Arg: A Medical Question Answering Dataset Annotated with "
        "Explanatory Argumentative Structures, EMNLP"
    )
    origin = f"Hub: {HUB} (en; casimedicos:es, fr, it); or casimedicos:LOCATION, a file or folder with the same fields"
    languages = LANGUAGES
    serves: ClassVar[tuple[Service, ...]] = ("choice", "rationale")
    known_faults: ClassVar[tuple[str, ...]] = (
        "About two in five questions are also in HEAD-QA, in another translation and often across splits.",
        "Its own parts share cases in several wordings, train with test too.",
        "Explanations name options by number; those sentences are left out, which takes some explanations whole.",
    )
    hub: ClassVar[tuple[HubPart, ...]] = tuple(
        HubPart(dataset=HUB, config="en", name=name, split=split) for name, split in PARTS
    )
    variants: ClassVar[Mapping[str, tuple[HubPart, ...]]] = {
        language: tuple(
            HubPart(dataset=HUB, config=language, name=name, split=split) for name, split in PARTS
        )
        for language in LANGUAGES
    }

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text, options = row.text("full_question"), _options(row)
        right = row.text("correct_option").strip()
        if right not in options:
            raise row.wrong("correct_option", f"one of {', '.join(options)}")
        number = content_id(text, *options.values())
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            kind="choice",
            text=text,
            answer=options[right],
            options=tuple(options.values()),
            rationale=without_option_numbers(row.text("full_answer")),
            specialty=_specialty(row.text("type")),
            group=number,
            split=split,
        )

    def case(self, question: Question) -> str:
        return question.text


def without_option_numbers(explanation: str) -> str:
    """The sentences of the explanation that do not speak of an option by its number."""
    sentences = [
        sentence.strip()
        for line in explanation.splitlines()
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", line)
    ]
    kept = [
        sentence
        for sentence in sentences
        if sentence and not _OPTION_NUMBER.search(sentence) and not _ORDINAL.search(sentence)
    ]
    return "\n".join(kept)


def _options(row: Row) -> dict[str, str]:
    # Exams have four or five; where there are four the fifth is null or empty.
    return {number: text for number, text in row.texts_by_name("options").items() if text}


def _specialty(field: str) -> str:
    first = _FIRST_FIELD.split(field.strip(), maxsplit=1)[0].strip().lower()
    return SPECIALTIES.get(first, first) or "unspecified"
