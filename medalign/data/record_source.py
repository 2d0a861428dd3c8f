"""What most sources share: records in files named for their splits, or on the Hub, one after the other."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, NamedTuple

from medalign.data.files import SPLIT_NAMES, Row, read_rows, split_files
from medalign.data.fingerprints import stable_hash
from medalign.data.hub import HubPart, hub_rows
from medalign.data.sources import Drop, Loaded, Source
from medalign.errors import DataError
from medalign.records import PreferencePair, Question, Split

Entry = Question | PreferencePair | Drop


class _Part(NamedTuple):
    rows: Iterable[Row]
    split: Split | None


class RecordSource(Source):
    """A source that is read record by record.

    Attributes:
        hub: The parts on the Hub that are read when no location is given; empty where there is none.
        variants: Further selections from the Hub by name, such as another language.
        split_names: What a file's name tells: word -> official split.
    """

    hub: ClassVar[tuple[HubPart, ...]] = ()
    variants: ClassVar[Mapping[str, tuple[HubPart, ...]]] = {}
    split_names: ClassVar[Mapping[str, Split]] = SPLIT_NAMES

    def load(self, location: str | None) -> Loaded:
        parts, skipped_files = self._parts(location)
        entries = [
            entry
            for part in parts
            for record in part.rows
            for row in self.unfold(record)
            for entry in self.entries(row, part.split)
        ]
        questions = self.grouped([entry for entry in entries if isinstance(entry, Question)])
        return Loaded(
            questions=tuple(_with_own_ids(questions)),
            pairs=tuple(entry for entry in entries if isinstance(entry, PreferencePair)),
            drops=tuple(entry for entry in entries if isinstance(entry, Drop)),
            skipped_files=skipped_files,
        )

    def unfold(self, record: Row) -> Iterable[Row]:
        """The records that one record of a file holds: itself, unless the format nests them."""
        return (record,)

    @abstractmethod
    def entries(self, row: Row, split: Split | None) -> Iterable[Entry]:
        """The questions and pairs that a record gives, or why it gives none."""

    def grouped(self, questions: list[Question]) -> list[Question]:
        """The same questions, in groups that can only be told when all are known."""
        return questions

    def _parts(self, location: str | None) -> tuple[list[_Part], tuple[str, ...]]:
        hub = self.hub if location is None else self.variants.get(location, ())
        if hub:
            return [_Part(hub_rows(part, source=self.name), part.split) for part in hub], ()
        if location is None:
            raise DataError(f"data: {self.name} needs local files; {self.origin}")
        found = split_files(location, self.split_names)
        return (
            [_Part(read_rows(path), split) for path, split in found.named],
            tuple(str(path) for path in found.skipped),
        )


def content_id(*parts: object) -> str:
    """An id for a record that has none: 16 hexadecimal digits that depend on its content alone."""
    return f"{stable_hash(*parts):016x}"


def _with_own_ids(questions: Iterable[Question]) -> Iterator[Question]:
    """Numbers the ids of exact repeats; cleaning then finds and counts them."""
    first: dict[str, Question] = {}
    repeats: Counter[str] = Counter()
    for question in questions:
        known = first.setdefault(question.id, question)
        if known is question or not _is_repeat(question, known):
            yield question
            continue
        repeats[question.id] += 1
        yield dataclasses.replace(question, id=f"{question.id}-{repeats[question.id] + 1}")


def _is_repeat(one: Question, other: Question) -> bool:
    return dataclasses.replace(one, split=None, group="") == dataclasses.replace(other, split=None, group="")
