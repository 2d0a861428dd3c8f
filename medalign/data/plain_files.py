"""Your own questions: a folder of JSON Lines, JSON, CSV or Parquet, with a mapping of its fields."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from medalign.config.loading import Settings, check, load_yaml
from medalign.config.locations import shown
from medalign.data.files import SPLIT_NAMES, Row, SplitFiles, data_files, split_of
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Loaded, Service
from medalign.errors import ConfigError
from medalign.records import DECISIONS, Kind, Question, Split

MAPPING_FILE = "fields.yaml"
LETTERS = "ABCDEFGHIJ"

AnswerForm = Literal["text", "index", "number", "letter"]


class FieldMapping(Settings):
    """What the fields of the records are called; kept in `fields.yaml` beside them.

    Attributes:
        kind: Of every record.
        options: One field that holds the list of options, or the fields of the options in order. A decision has yes,
            no and maybe, unless options are given.
        answer_form: How the answer is given: the option's `text`, its `index` from 0, its `number` from 1 or its
            `letter` from A.
        split: Field that tells the split; where it is None, the file's name does.
    """

    kind: Kind = "free_text"
    question: str = "question"
    answer: str = "answer"
    answer_form: AnswerForm = "text"
    options: str | Annotated[tuple[str, ...], Field(strict=False)] | None = None
    context: str | None = None
    rationale: str | None = None
    specialty: str | None = None
    group: str | None = None
    id: str | None = None
    split: str | None = None


class PlainFilesSource(RecordSource):
    """All data files of a folder, read as `fields.yaml` in it says; without it the fields are question and answer."""

    name = "plain"
    description = "Your own questions of one kind, with your own field names."
    licence = "As your files say"
    citation = "The source of your files"
    origin = (
        f"plain:LOCATION, a file or folder, with {MAPPING_FILE} beside the files that maps kind, question, answer, "
        "answer_form, options, context, rationale, specialty, group, id, split"
    )
    languages = ("any",)
    serves: ClassVar[tuple[Service, ...]] = ("choice", "decision", "free text", "rationale")
    known_faults: ClassVar[tuple[str, ...]] = (
        "Where no group is mapped every question is its own: questions on one case can then cross splits.",
    )

    def __init__(self) -> None:
        self._fields = FieldMapping()

    def load(self, location: str | None) -> Loaded:
        if location is not None:
            self._fields = read_mapping(location)
        return super().load(location)

    def files(self, location: str) -> SplitFiles:
        return SplitFiles([(path, split_of(path)) for path in data_files(location)], [])

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        fields = self._fields
        text, options = row.text(fields.question), _options(row, fields)
        answer = _answer(row, fields, options)
        given = row.text(fields.id).strip() if fields.id else content_id(text, answer, *options)
        yield Question(
            id=f"{self.name}-{given}",
            source=self.name,
            kind=fields.kind,
            text=text,
            answer=answer,
            options=options,
            context=row.text(fields.context) if fields.context else "",
            rationale=row.text(fields.rationale) if fields.rationale else "",
            specialty=(row.text(fields.specialty).strip().lower() if fields.specialty else "")
            or "unspecified",
            group=(row.text(fields.group).strip() if fields.group else "") or given,
            split=_split(row, fields.split) if fields.split else split,
        )


def read_mapping(location: str) -> FieldMapping:
    """The mapping beside the files; the default one where there is none.

    Raises:
        ConfigError: With one line for every fault of the mapping.
    """
    path = Path(location).expanduser()
    file = (path if path.is_dir() else path.parent) / MAPPING_FILE
    if not file.is_file():
        return FieldMapping()
    mapping, faults = check(FieldMapping, load_yaml(file) or {})
    if mapping is None or faults:
        raise ConfigError(*(fault.line(shown(file)) for fault in faults))
    if mapping.kind == "choice" and not mapping.options:
        raise ConfigError(f"{shown(file)}: options: none mapped; a choice needs the fields of its options")
    return mapping


def _options(row: Row, fields: FieldMapping) -> tuple[str, ...]:
    if isinstance(fields.options, str):
        return tuple(text.strip() for text in row.texts(fields.options))
    if fields.options:
        texts = (row.text(name).strip() for name in fields.options)
        return tuple(text for text in texts if text)
    return DECISIONS if fields.kind == "decision" else ()


def _answer(row: Row, fields: FieldMapping, options: Sequence[str]) -> str:
    if fields.answer_form == "text" or not options:
        answer = row.text(fields.answer).strip()
        answer = answer.lower() if fields.kind == "decision" else answer
        if options and answer and answer not in options:
            raise row.wrong(fields.answer, f"one of {', '.join(options)}")
        return answer
    if fields.answer_form == "letter":
        letter = row.text(fields.answer).strip().upper()
        if len(letter) != 1 or letter not in LETTERS[: len(options)]:
            raise row.wrong(fields.answer, f"a letter from A to {LETTERS[len(options) - 1]}")
        return options[LETTERS.index(letter)]
    first = 0 if fields.answer_form == "index" else 1
    return options[row.whole_number(fields.answer, first, first + len(options) - 1) - first]


def _split(row: Row, name: str) -> Split | None:
    held: Any = row.text(name).strip().lower()
    if held and held not in SPLIT_NAMES:
        raise row.wrong(name, "train, validation, test or nothing")
    return SPLIT_NAMES.get(held)
