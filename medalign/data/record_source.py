"""What most sources share: every record gives its questions, whatever the others hold."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping

from medalign.data.case_groups import case_keys, with_groups
from medalign.data.files import Row
from medalign.data.fingerprints import stable_hash
from medalign.data.row_source import RowSource
from medalign.data.sources import Drop, Loaded
from medalign.records import PreferencePair, Question, Split

Entry = Question | PreferencePair | Drop


class RecordSource(RowSource):
    """A source whose records are turned into questions one after the other."""

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
