"""The contract of a source of questions.

A new source is one file with one subclass of `Source` and one line in `catalog.py`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from medalign.records import Kind, Question


class Source(ABC):
    """Where questions come from.

    A source reads faithfully: it neither cleans, drops nor samples, so that `cleaning` can count what
    is lost. What `load` gives depends on the location alone: same order, same ids, every time.

    Attributes:
        name: Key in the catalog, and the start of every question id.
        description: One sentence on what is asked.
        licence: SPDX identifier or the licence's own words.
        citation: Paper or work to cite when results are published.
        access: Where the questions can be had, and what a location may be.
        languages: ISO 639-1 codes.
        kinds: Kinds of questions that it can give.
    """

    name: ClassVar[str]
    description: ClassVar[str]
    licence: ClassVar[str]
    citation: ClassVar[str]
    access: ClassVar[str]
    languages: ClassVar[tuple[str, ...]]
    kinds: ClassVar[tuple[Kind, ...]]

    @abstractmethod
    def load(self, location: str | None) -> list[Question]:
        """All questions, with the official split where the source has one.

        Args:
            location: Local file or folder, or a variant's name; None is the source's own default.

        Raises:
            DataError: If the location or a record in it cannot be used.
        """
