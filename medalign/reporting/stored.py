"""What a report needs beside trials and predictions, kept in the comparison's folder so that it can be built again.

    report_data.json        settings, command, data card, environment, baselines; plain values
    test_questions.jsonl    the test questions with their texts, one a line

Both are written before the first trial. Together with `contract.json`, `trials/` and `optuna.db` they are all that
`medalign report` reads: no model, no data source and no search space file.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medalign.errors import StorageError
from medalign.records import Question
from medalign.reporting.files import write_whole

DATA_FILE = "report_data.json"
QUESTIONS_FILE = "test_questions.jsonl"
FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Surroundings:
    """All of a comparison that neither its trials nor its predictions tell.

    Attributes:
        experiment: Every setting, as `Experiment.model_dump` gives it.
        command: The command line that began the comparison.
        begun: When, in ISO form.
        card: Of the prepared questions.
        environment: Versions and the machine.
        questions: The test questions.
        majority_baseline: Accuracy on the test of always answering what was most frequent in training.
        stated_detectable_difference: What was said before the search, a fraction; None if nothing could be shown.
    """

    experiment: Mapping[str, Any]
    command: str
    begun: str
    card: Mapping[str, Any]
    environment: Mapping[str, Any]
    questions: Sequence[Question]
    majority_baseline: float | None = None
    stated_detectable_difference: float | None = None


def write_surroundings(folder: Path, surroundings: Surroundings) -> None:
    """Puts both files in place, each whole or not at all.

    Raises:
        StorageError: The folder cannot be written.
    """
    plain = {field.name: getattr(surroundings, field.name) for field in dataclasses.fields(surroundings)}
    del plain["questions"]
    lines = [
        json.dumps(dataclasses.asdict(question), ensure_ascii=False) for question in surroundings.questions
    ]
    contents = {
        QUESTIONS_FILE: "".join(f"{line}\n" for line in lines),
        DATA_FILE: json.dumps({"format": FORMAT, **plain}, indent=2, allow_nan=False) + "\n",
    }
    try:
        for name, content in contents.items():
            write_whole(folder / name, content)
    except OSError as error:
        raise StorageError(f"results: {folder} cannot be written ({error.strerror})") from error


def read_surroundings(folder: Path) -> Surroundings:
    """The inverse of `write_surroundings`.

    Raises:
        StorageError: A file is missing, broken, or of a newer medalign.
    """
    file, questions = folder / DATA_FILE, folder / QUESTIONS_FILE
    if not file.is_file():
        raise StorageError(
            f"{folder}: holds no {DATA_FILE}, which every comparison writes before its first trial; "
            "name the folder of one comparison"
        )
    try:
        raw = json.loads(file.read_text(encoding="utf-8"))
        version = raw.pop("format")
        if version != FORMAT:
            raise StorageError(
                f"{file}: is of format {version}, this medalign reads {FORMAT}; use the version that wrote it"
            )
        with questions.open(encoding="utf-8") as lines:
            return Surroundings(**raw, questions=[_question(json.loads(line)) for line in lines])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StorageError(f"{folder}: {file.name} or {questions.name} cannot be read ({error})") from error


def _question(raw: Mapping[str, Any]) -> Question:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()
    }
    return Question(**fields)
