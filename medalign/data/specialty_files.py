"""One JSON file a specialty: dataset_with_answers_{specialty}.json, an object of questions and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from medalign.data.files import Row, SplitFiles, data_files
from medalign.data.record_source import RecordSource, content_id
from medalign.data.sources import Service
from medalign.errors import DataError
from medalign.records import Question, Split

_NAME = re.compile(r"dataset_with_answers_(?P<specialty>.+)\.json", re.IGNORECASE)


class _Pairs(dict[str, Any]):
    """A JSON object that remembers a key given twice, which `json` would keep once without a word."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.pairs = pairs


class SpecialtyFilesSource(RecordSource):
    """A file holds an object, question -> answer, or a list of objects with `question` and `answer` (or `response`).

    The specialty is the rest of the file's name, with blanks for underscores. There is no official split.
    """

    name = "specialty_files"
    description = "Your own question-answer pairs, one JSON file a specialty."
    licence = "As your files say"
    citation = "The source of your files"
    origin = "specialty_files:FOLDER with files such as dataset_with_answers_cardiology.json"
    serves: ClassVar[tuple[Service, ...]] = ("free text",)
    known_faults: ClassVar[tuple[str, ...]] = (
        "Answers of such files are mostly written by a model; who checked them is not told.",
    )

    def files(self, location: str) -> SplitFiles:
        found = data_files(location)
        named = [file for file in found if _NAME.fullmatch(file.name)]
        if not named:
            held = ", ".join(file.name for file in found[:8]) or "no data file"
            raise DataError(
                f"data: {location!r} holds {held}; name files dataset_with_answers_SPECIALTY.json, one a specialty"
            )
        return SplitFiles([(file, None) for file in named], [file for file in found if file not in named])

    def read_file(self, path: Path) -> Iterator[Row]:
        try:
            held = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=_Pairs)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}:{error.lineno}: not valid JSON ({error.msg} at column {error.colno})"
            ) from error
        except UnicodeDecodeError as error:
            raise DataError(f"{path}: not valid UTF-8 ({error.reason} at byte {error.start})") from error
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
        match = _NAME.fullmatch(path.name)
        specialty = match["specialty"] if match else path.stem
        for number, record in enumerate(_records(held, path), start=1):
            yield Row(place=str(path), line=number, values=dict(record) | {"specialty": specialty})

    def entries(self, row: Row, split: Split | None) -> Iterator[Question]:
        text = row.text("question")
        answer = row.text("answer" if "answer" in row.values or "response" not in row.values else "response")
        specialty = " ".join(row.text("specialty").replace("_", " ").lower().split())
        yield Question(
            id=f"{self.name}-{content_id(specialty, text, answer)}",
            source=self.name,
            kind="free_text",
            text=text,
            answer=answer,
            specialty=specialty,
            group=content_id(" ".join(text.casefold().split())),
            split=split,
        )


def _records(held: Any, path: Path) -> Iterator[Mapping[str, Any]]:
    if isinstance(held, _Pairs):
        for question, answer in held.pairs:
            yield {"question": question, "answer": answer}
        return
    for number, record in enumerate(held if isinstance(held, list) else [held], start=1):
        if not isinstance(record, Mapping):
            raise DataError(f"{path}:{number}: holds a JSON {type(record).__name__}; an object is wanted")
        yield record
