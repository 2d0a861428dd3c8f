"""Ready preference pairs: files of prompt, chosen, rejected."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Iterator
from typing import ClassVar

from medalign.data.files import Row, SplitFiles, data_files, split_of
from medalign.data.record_source import Entry, RecordSource, content_id
from medalign.data.sources import Drop, Loaded, Service
from medalign.records import PreferencePair, Question, Split

# What a record may tell about what it belongs with, beyond its prompt.
GROUP_FIELDS = ("group", "id", "liveqa_question_id")


class PreferencesSource(RecordSource):
    """Each prompt is one question: its first chosen answer is the answer, all rejected ones are distractors.

    A file whose name tells no split gives questions without one. Records that share a field `group`, `id` or
    `liveqa_question_id`, and records with the same prompt, are one group.
    """

    name = "preferences"
    description = "Your own preference pairs: prompt, chosen, rejected, in words."
    licence = "As your files say"
    citation = "The source of your files"
    origin = (
        "preferences:LOCATION, a file or folder of prompt, chosen, rejected and, if known, specialty, group"
    )
    serves: ClassVar[tuple[Service, ...]] = ("free text", "preference")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Pairs of unknown making often differ in length or style; look at the card's length-only classifier.",
    )

    def files(self, location: str) -> SplitFiles:
        return SplitFiles([(path, split_of(path)) for path in data_files(location)], [])

    def load(self, location: str | None) -> Loaded:
        read = super().load(location)
        return dataclasses.replace(read, questions=tuple(_one_a_prompt(read.questions)))

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        prompt, chosen, rejected = (row.text(name).strip() for name in ("prompt", "chosen", "rejected"))
        fault = _fault(prompt, chosen, rejected)
        if fault:
            yield Drop(reason=fault, place=row.where, text=prompt or chosen)
            return
        question = Question(
            id=f"{self.name}-{content_id(prompt, split)}",
            source=self.name,
            kind="free_text",
            text=prompt,
            answer=chosen,
            distractors=(rejected,),
            specialty=str(row.values.get("specialty") or "").strip().lower() or "unspecified",
            group=content_id(prompt),
            split=split,
        )
        yield question
        yield PreferencePair(question_id=question.id, chosen=chosen, rejected=rejected, origin="ready")

    def links(self, row: Row) -> Iterable[Hashable]:
        told = [
            (name, str(row.values[name])) for name in GROUP_FIELDS if row.values.get(name) not in (None, "")
        ]
        return [("prompt", row.text("prompt").strip()), *told]


def _fault(prompt: str, chosen: str, rejected: str) -> str | None:
    for name, text in {"prompt": prompt, "chosen": chosen, "rejected": rejected}.items():
        if not text:
            return f"pair without {name}"
    return "pair whose chosen and rejected answers are the same" if chosen == rejected else None


def _one_a_prompt(questions: Iterable[Question]) -> Iterator[Question]:
    held: dict[tuple[str, Split | None], list[Question]] = {}
    for question in questions:
        held.setdefault((question.text, question.split), []).append(question)
    for first, *others in held.values():
        rejected = dict.fromkeys(text for question in (first, *others) for text in question.distractors)
        yield dataclasses.replace(first, distractors=tuple(rejected))
