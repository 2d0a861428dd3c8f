"""The curated table of medical facts, one YAML file a specialty, read strictly."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

from medalign.errors import DataError
from medalign.records import DECISIONS

_FACT_KEYS = ("id", "topic", "statement", "source", "as_of", "choice", "decision", "free_text")
_CHOICE_KEYS = ("stems", "answer", "distractors", "rationale")
_OPTION_LETTER = re.compile(r"\b(?:option|choice|answer)\s+\(?[A-E]\b")


class Phrase(NamedTuple):
    """A question in words, with the reason for its answer."""

    question: str
    rationale: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    """One settled medical fact and the words to ask for it.

    Attributes:
        id: `<specialty>-NN`.
        statement: The fact in one sentence.
        source: Label section, guideline or textbook chapter that states it.
        as_of: Month (YYYY-MM) in which it was last checked.
        stems: Two choice questions in different words with the same `answer`.
        distractors: Four or five wrong answers of the same class.
        passage: Evidence that settles the yes- and the no-question and leaves the maybe-question open.
        decisions: For each of yes, no and maybe the question that it answers.
        free_text: The open question that `answer` answers too.
    """

    id: str
    specialty: str
    topic: str
    statement: str
    source: str
    as_of: str
    stems: tuple[str, str]
    answer: str
    distractors: tuple[str, ...]
    rationale: str
    passage: str
    decisions: Mapping[str, Phrase]
    free_text: Phrase


@cache
def load_facts() -> tuple[Fact, ...]:
    """All facts of the package, ordered by specialty and id.

    Raises:
        DataError: If a file breaks the schema; the message names the fact and the field.
    """
    facts = [fact for name, content in _fact_files() for fact in parse_facts(content, name)]
    _check_distinct((fact.id for fact in facts), "facts", "ids")
    return tuple(sorted(facts, key=lambda fact: fact.id))


def table_fingerprint() -> str:
    """SHA-256 (hex) over the names and bytes of the fact files."""
    digest = hashlib.sha256()
    for name, content in _fact_files():
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def _fact_files() -> list[tuple[str, bytes]]:
    folder = resources.files("medalign.data.embedded") / "facts"
    files = [file for file in folder.iterdir() if file.name.endswith(".yaml")]
    return sorted((file.name, file.read_bytes()) for file in files)


def parse_facts(content: str | bytes, name: str) -> list[Fact]:
    """The facts of one file.

    Args:
        name: File name, for messages.

    Raises:
        DataError: If the file breaks the schema.
    """
    try:
        # The C loader reads the whole table in about a tenth of the pure one's time.
        held = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise DataError(f"{name}: not valid YAML ({' '.join(str(error).split())})") from error
    table = _mapping(held, name, ("specialty", "facts"))
    specialty = _text(table, "specialty", name)
    if not isinstance(table["facts"], list) or not table["facts"]:
        raise DataError(f"{name}.facts: holds no list of facts")
    return [
        _fact(entry, specialty, f"{name}: fact {number}") for number, entry in enumerate(table["facts"], 1)
    ]


def _fact(entry: Any, specialty: str, where: str) -> Fact:
    # From here on a fault is found by the fact's id, if it has one.
    where = entry["id"] if isinstance(entry, Mapping) and isinstance(entry.get("id"), str) else where
    fields = _mapping(entry, where, _FACT_KEYS)
    if not re.fullmatch(rf"{re.escape(specialty)}-\d\d", _text(fields, "id", where)):
        raise DataError(f"{where}.id: wants the form {specialty}-NN")
    if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", _text(fields, "as_of", where)):
        raise DataError(f"{where}.as_of: holds {fields['as_of']!r}; a month like 2026-11 is wanted")
    choice = _mapping(fields["choice"], f"{where}.choice", _CHOICE_KEYS)
    decision = _mapping(fields["decision"], f"{where}.decision", ("passage", *DECISIONS))
    stems = _texts(choice, "stems", f"{where}.choice", (2,))
    fact = Fact(
        id=where,
        specialty=specialty.replace("_", " "),
        topic=_text(fields, "topic", where),
        statement=_text(fields, "statement", where),
        source=_text(fields, "source", where),
        as_of=fields["as_of"],
        stems=(stems[0], stems[1]),
        answer=_text(choice, "answer", f"{where}.choice"),
        distractors=_texts(choice, "distractors", f"{where}.choice", (4, 5)),
        rationale=_text(choice, "rationale", f"{where}.choice"),
        passage=_text(decision, "passage", f"{where}.decision"),
        decisions={label: _phrase(decision[label], f"{where}.decision.{label}") for label in DECISIONS},
        free_text=_phrase(fields["free_text"], f"{where}.free_text"),
    )
    _check_fact(fact)
    return fact


def _check_fact(fact: Fact) -> None:
    phrases = [*fact.decisions.values(), fact.free_text]
    _check_distinct((fact.answer, *fact.distractors), fact.id, "answer and distractors")
    _check_distinct((*fact.stems, *(phrase.question for phrase in phrases)), fact.id, "questions")
    for question in (*fact.stems, *(phrase.question for phrase in phrases)):
        if not question.endswith("?"):
            raise DataError(f"{fact.id}: the question {question!r} does not end with '?'")
    for rationale in (fact.rationale, *(phrase.rationale for phrase in phrases)):
        if _OPTION_LETTER.search(rationale) or re.match(r"(?:yes|no|maybe)\b", rationale, re.IGNORECASE):
            raise DataError(f"{fact.id}: the rationale {rationale!r} names an option letter or a decision")


def _check_distinct(texts: Iterable[str], where: str, what: str) -> None:
    folded = [text.casefold() for text in texts]
    repeated = sorted({text for text in folded if folded.count(text) > 1})
    if repeated:
        raise DataError(
            f"{where}: {what} must differ, but {', '.join(map(repr, repeated))} stands there twice"
        )


def _mapping(held: Any, where: str, keys: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(held, Mapping):
        raise DataError(f"{where}: holds {type(held).__name__}; a mapping with {', '.join(keys)} is wanted")
    if set(held) != set(keys):
        missing = ", ".join(key for key in keys if key not in held) or "none"
        unknown = ", ".join(str(key) for key in held if key not in keys) or "none"
        raise DataError(f"{where}: wrong keys; missing: {missing}; unknown: {unknown}")
    return held


def _phrase(held: Any, where: str) -> Phrase:
    fields = _mapping(held, where, ("question", "rationale"))
    return Phrase(_text(fields, "question", where), _text(fields, "rationale", where))


def _text(fields: Mapping[str, Any], key: str, where: str) -> str:
    return _checked_text(fields[key], f"{where}.{key}")


def _texts(fields: Mapping[str, Any], key: str, where: str, counts: tuple[int, ...]) -> tuple[str, ...]:
    held = fields[key]
    if not isinstance(held, list) or len(held) not in counts:
        wanted = " or ".join(map(str, counts))
        raise DataError(f"{where}.{key}: a list of {wanted} texts is wanted")
    return tuple(_checked_text(item, f"{where}.{key}[{number}]") for number, item in enumerate(held))


def _checked_text(held: Any, where: str) -> str:
    if not isinstance(held, str) or not held.strip() or held != held.strip():
        raise DataError(f"{where}: holds {held!r}; text without blanks around it is wanted")
    if not held.isascii():
        raise DataError(f"{where}: holds {held!r}; ASCII is wanted")
    return held
