"""The contract of a source of questions.

A new source is one file with one subclass of `Source` (mostly of `record_source.RecordSource`), one line in
`catalog.py` and one case in the contract test.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from medalign.records import Kind, PreferencePair, Question

Access = Literal["open", "credentialed"]
Service = Literal["choice", "decision", "free text", "rationale", "preference", "safety"]

SERVICES: tuple[Service, ...] = ("choice", "decision", "free text", "rationale", "preference", "safety")
KIND_OF_SERVICE: dict[Service, Kind] = {"choice": "choice", "decision": "decision", "free text": "free_text"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Drop:
    """A record that gave no question, or many alike.

    Attributes:
        reason: In words that are counted; the same for every record dropped for it.
        place: File and line, or Hub data set and number.
        text: What it asked or held, for an example in the card.
        count: How many records this stands for.
    """

    reason: str
    place: str
    text: str = ""
    count: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """What a source gave.

    Attributes:
        questions: As they stand in the source, not yet cleaned.
        pairs: Ready preference pairs; each one's question is among the questions.
        drops: Records that gave no question or pair.
        skipped_files: Data files of a folder that were not read, because their names tell no split.
    """

    questions: tuple[Question, ...]
    pairs: tuple[PreferencePair, ...] = ()
    drops: tuple[Drop, ...] = ()
    skipped_files: tuple[str, ...] = ()


class Source(ABC):
    """Where questions come from.

    A source reads faithfully: it neither cleans nor samples, and counts every record that it cannot turn into
    a question. What `load` gives depends on the location alone: same order, same ids, every time; a record
    that is added changes no id of another, and a group only through what it shares with its questions.

    Where a source asks the same of every record (a classification), what is classified stands in the
    question's text, so that questions can be told apart by their text.

    Attributes:
        name: Key in the catalog, and the start of every question id.
        description: One sentence on what is asked.
        licence: SPDX identifier or the licence's own words.
        citation: Paper or work to cite when results are published.
        access: `open`, or `credentialed` where an application and an agreement come before the files.
        origin: Where the questions can be had, and what a location may be; for a credentialed source where to
            apply and what to put where.
        languages: ISO 639-1 codes; `any` where the files decide.
        serves: What the questions can be used for.
        known_faults: What is known to be wrong with the data, one sentence each.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    access: ClassVar[Access] = "open"
    origin: ClassVar[str]
    languages: ClassVar[tuple[str, ...]] = ("en",)
    serves: ClassVar[tuple[Service, ...]]
    known_faults: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def kinds(cls) -> tuple[Kind, ...]:
        """Kinds of questions that it can give."""
        return tuple(KIND_OF_SERVICE[service] for service in cls.serves if service in KIND_OF_SERVICE)

    @abstractmethod
    def load(self, location: str | None) -> Loaded:
        """All questions, with the official split where the source has one.

        Args:
            location: Local file or folder, or a variant's name; None is the source's own default.

        Raises:
            DataError: If the location or a record in it cannot be used.
        """
