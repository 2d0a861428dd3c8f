"""Sentences with one label each, in the raw form that AdaptLLM uploads: text and label."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar

from medalign.data.files import Row
from medalign.data.hub import HubPart
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.records import Question, Split


class LabelledSentencesSource(RecordSource):
    """A classification of sentences; every question has all labels as its options.

    Attributes:
        labels: In lower case, in the order in which they are offered.
        asks: What is asked of every sentence; stands below it.
    """

    serves: ClassVar[tuple[Service, ...]] = ("choice",)
    labels: ClassVar[tuple[str, ...]]
    asks: ClassVar[str]

    @abstractmethod
    def group(self, row: Row, sentence: str) -> str:
        """What sentences that must not stand in different splits have in common."""

    def number(self, row: Row, sentence: str) -> str:
        """What tells the sentence from the others of the source."""
        return content_id(sentence)

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        sentence, label = row.text("text").strip(), row.text("label").strip().lower()
        if label not in self.labels:
            raise row.wrong("label", f"one of {', '.join(self.labels)}")
        yield Question(
            id=f"{self.name}-{self.number(row, sentence)}",
            source=self.name,
            kind="choice",
            text=f"{sentence}\n{self.asks}",
            answer=label,
            options=self.labels,
            specialty="biomedical research",
            group=self.group(row, sentence),
            split=split,
        )


def official_parts(dataset: str) -> tuple[HubPart, ...]:
    """The three parts of a data set on the Hub whose names are those of the splits."""
    return (
        HubPart(dataset=dataset, name="train", split="train"),
        HubPart(dataset=dataset, name="validation", split="validation"),
        HubPart(dataset=dataset, name="test", split="test"),
    )
