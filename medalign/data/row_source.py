"""Records in files named for their splits, or on the Hub: where they are found and how they are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from medalign.data.files import SPLIT_NAMES, Row, SplitFiles, read_rows, split_files
from medalign.data.hub import HubPart, hub_rows
from medalign.data.sources import Source
from medalign.errors import DataError
from medalign.records import Split


class Rows(NamedTuple):
    """Records with their official split, and the data files of the location that are left alone."""

    placed: Iterator[tuple[Row, Split | None]]
    skipped_files: tuple[str, ...]


class RowSource(Source):
    """A source of records; what they become is left to those that build upon it.

    Attributes:
        hub: The parts on the Hub that are read when no location is given; empty where there is none.
        variants: Further selections from the Hub by name, such as another language.
        split_names: What a file's name tells: word -> official split.
    """

    hub: ClassVar[tuple[HubPart, ...]] = ()
    variants: ClassVar[Mapping[str, tuple[HubPart, ...]]] = {}
    split_names: ClassVar[Mapping[str, Split]] = SPLIT_NAMES

    def files(self, location: str) -> SplitFiles:
        """The files to read at a location, with the split that each gives."""
        return split_files(location, self.split_names)

    def unfold(self, record: Row) -> Iterable[Row]:
        """The records that one record of a file holds: itself, unless the format nests them."""
        return (record,)

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
