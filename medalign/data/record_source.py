"""What most sources share: records in files named for their splits, or on the Hub, one after the other."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from medalign.data.case_groups import case_keys, with_groups
from medalign.data.files import SPLIT_NAMES, Row, SplitFiles, read_rows, split_files
from medalign.data.fingerprints import stable_hash
from medalign.data.hub import HubPart, hub_rows
from medalign.data.sources import Drop, Loaded, Source
from medalign.errors import DataError
from medalign.records import PreferencePair, Question, Split

Entry = Question | PreferencePair | Drop


class Rows(NamedTuple):
    """Records with their official split, and the data files of the location that are left alone."""

    placed: Iterator[tuple[Row, Split | None]]
    skipped_files: tuple[str, ...]


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
        rows = self.rows(location)
        questions: list[Question] = []
        pairs: list[PreferencePair] = []
        drops: Counter[Drop] = Counter()
        links: dict[str, Iterable[Hashable]] = {}
        for row, split in rows.placed:
            for entry in self.entries(row, split):
                if isinstance(entry, Question):
                    questions.append(entry)
                    links[entry.id] = self.links(row)
                elif isinstance(entry, PreferencePair):
                    pairs.append(entry)
                else:
                    drops[entry] += entry.count
        return Loaded(
            questions=tuple(with_own_ids(self.grouped(questions, links))),
            pairs=tuple(pairs),
            drops=tuple(dataclasses.replace(drop, count=count) for drop, count in drops.items()),
            skipped_files=rows.skipped_files,
        )

    def files(self, location: str) -> SplitFiles:
        """The files to read at a location, with the split that each gives."""
        return split_files(location, self.split_names)

    def unfold(self, record: Row) -> Iterable[Row]:
        """The records that one record of a file holds: itself, unless the format nests them."""
        return (record,)

    @abstractmethod
    def entries(self, row: Row, split: Split | None) -> Iterable[Entry]:
        """The questions and pairs that a record gives, or why it gives none."""

    def links(self, row: Row) -> Iterable[Hashable]:
        """What the record's questions have in common with others: those with a common link are one group."""
        return ()

    def case(self, question: Question) -> str:
        """The text by whose words questions on the same case are told; empty where that is not asked for."""
        return ""

    def grouped(self, questions: list[Question], links: Mapping[str, Iterable[Hashable]]) -> list[Question]:
        """The same questions, in the groups that their links and cases tell.

        Args:
            links: Question id -> what it has in common with others.
        """
        cases = {question.id: text for question in questions if (text := self.case(question))}
        shared = case_keys(cases)
        keys = {name: [*held, *shared.get(name, ())] for name, held in links.items()}
        return with_groups(questions, keys) if any(keys.values()) else questions

    def rows(self, location: str | None) -> Rows:
        """All records, unfolded, with the split that their file or part gives; read as they are asked for.

        Raises:
            DataError: If the location cannot be used.
        """
        hub = self.hub if location is None else self.variants.get(location, ())
        if hub:
            parts: list[tuple[Iterable[Row], Split | None]]
            parts = [(hub_rows(part, source=self.name), part.split) for part in hub]
            return Rows(self._placed(parts), ())
        if location is None:
            raise DataError(f"data: {self.name} is read from local files, and none is named; {self.origin}")
        found = self.files(location)
        return Rows(
            self._placed((self.read_file(path), split) for path, split in found.named),
            tuple(str(path) for path in found.skipped),
        )

    def read_file(self, path: Path) -> Iterable[Row]:
        """The records of one file."""
        return read_rows(path)

    def _placed(
        self, parts: Iterable[tuple[Iterable[Row], Split | None]]
    ) -> Iterator[tuple[Row, Split | None]]:
        return ((row, split) for records, split in parts for record in records for row in self.unfold(record))


def content_id(*parts: object) -> str:
    """An id for a record that has none: 16 hexadecimal digits that depend on its content alone."""
    return f"{stable_hash(*parts):016x}"


def with_own_ids(questions: Iterable[Question]) -> Iterator[Question]:
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
    """Whether cleaning will find the two to be the same question."""
    shown = [(each.kind, each.text, each.context, each.options, each.answer) for each in (one, other)]
    return shown[0] == shown[1]
