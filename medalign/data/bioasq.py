"""BioASQ Task B: biomedical questions with evidence and written answers (Krithara et al. 2023)."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from medalign.data.files import SPLIT_NAMES, Row
from medalign.data.record_source import Entry, RecordSource
from medalign.data.sources import Drop, Service
from medalign.records import Question, Split

_VERDICT = re.compile(r"^(?:yes|no)\b[\s,.:;-]*", re.IGNORECASE)


class BioASQSource(RecordSource):
    """BioASQ golden sets.

    A yes/no question is a decision, with the written answer as its rationale; factoid, list and summary
    questions are answered in writing: with the first name of the entity (its synonyms are aliases), the
    entities joined by semicolons, and the first written answer. Questions with a snippet of the same
    document are one group. The yearly `golden` files are test questions, the `training` file is train.
    """

    name = "bioasq"
    description = (
        "Questions by biomedical experts (yes/no, factoid, list, summary) with snippets of PubMed abstracts."
    )
    licence = "CC-BY-2.5 (as public dataset cards say; keep the attribution)"
    citation = "Krithara et al. 2023, BioASQ-QA: A manually curated corpus, Scientific Data 10"
    origin = (
        "Register (free of charge) at participants-area.bioasq.org and download Task B; then "
        "bioasq:LOCATION, a file or folder of the golden JSON, or JSON Lines of its questions"
    )
    serves: ClassVar[tuple[Service, ...]] = ("decision", "free text", "rationale")
    known_faults: ClassVar[tuple[str, ...]] = (
        "About 65% of the yes/no answers are yes: compare with the majority baseline and by macro-F1.",
        "The snippets of one question repeat each other and can be longer than a small model's window.",
        "Questions of several years cite the same papers, so parts by year share abstracts; they form groups.",
    )

    split_names: ClassVar[Mapping[str, Split]] = {**SPLIT_NAMES, "golden": "test"}

    def unfold(self, record: Row) -> Iterable[Row]:
        return record.parts("questions") if "questions" in record.values else (record,)

    def entries(self, row: Row, split: Split | None) -> Iterator[Entry]:
        number, form = row.text("id").strip(), row.text("type").strip()
        written = _texts(row, "ideal_answer")
        fields: dict[str, Any] = {}
        if form == "yesno":
            answer = row.text("exact_answer").strip().lower()
            if answer not in ("yes", "no"):
                raise row.wrong("exact_answer", "yes or no")
            fields = {"kind": "decision", "options": ("yes", "no"), "answer": answer}
            fields["rationale"] = _VERDICT.sub("", written[0], count=1) if written else ""
        elif form in ("factoid", "list", "summary"):
            fields = {"kind": "free_text"} | _written_answer(row, form, written)
        else:
            yield Drop(reason=f"question of type {form!r}", place=row.where, text=row.text("body"))
            return
        yield Question(
            id=f"{self.name}-{number}",
            source=self.name,
            text=row.text("body"),
            context="\n".join(_distinct(snippet.text("text") for snippet in _snippets(row))),
            specialty="biomedical research",
            group=number,
            split=split,
            **fields,
        )

    def links(self, row: Row) -> Iterable[Hashable]:
        return {snippet.text("document") for snippet in _snippets(row)}


def _written_answer(row: Row, form: str, written: list[str]) -> dict[str, Any]:
    entities = [names for names in map(_names, _entities(row)) if names] if form != "summary" else []
    if form == "list":
        return {
            "answer": "; ".join(names[0] for names in entities),
            "rationale": written[0] if written else "",
        }
    if form == "factoid":
        # Where several lists stand, each is one way to name the same entity.
        names = [name for held in entities for name in held]
        return {
            "answer": names[0] if names else "",
            "aliases": tuple(names[1:]),
            "rationale": written[0] if written else "",
        }
    return {"answer": written[0] if written else "", "aliases": tuple(written[1:])}


def _entities(row: Row) -> list[Any]:
    held = row.value("exact_answer")
    if isinstance(held, str):
        return [held]
    if not isinstance(held, list):
        raise row.wrong("exact_answer", "a list of names")
    return held


def _names(held: Any) -> list[str]:
    return [str(name).strip() for name in (held if isinstance(held, list) else [held]) if str(name).strip()]


def _texts(row: Row, name: str) -> list[str]:
    held = row.values.get(name)
    return [held] if isinstance(held, str) else list(row.texts(name))


def _snippets(row: Row) -> list[Row]:
    return list(row.parts("snippets")) if row.values.get("snippets") else []


def _distinct(texts: Iterable[str]) -> list[str]:
    """The texts in their order, without those that stand inside another."""
    held = list(dict.fromkeys(text.strip() for text in texts))
    return [text for text in held if not any(text != other and text in other for other in held)]
