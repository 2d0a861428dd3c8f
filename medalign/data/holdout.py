"""A test split that stays the same for ever: its questions are named in a file."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from medalign.data.fingerprints import fingerprint
from medalign.data.specialties import common_specialty
from medalign.errors import DataError
from medalign.records import Question

# Of each specialty, where nothing else is asked for.
USUAL = 10
# Specialties that must have `TIMES` as many questions, for a test split of the usual holdout to be large enough.
ENOUGH_SPECIALTIES, TIMES = 5, 5


def usual_holdout(questions: Iterable[Question]) -> int | None:
    """How many questions of each specialty are held out where nothing else is asked for.

    None where too few specialties could spare them, as where a source names none: a test of one specialty would have
    10 questions.
    """
    counts = Counter(map(common_specialty, questions))
    num_large = sum(number >= TIMES * USUAL for number in counts.values())
    return USUAL if num_large >= ENOUGH_SPECIALTIES else None


def read_holdout(file: str, questions: Sequence[Question]) -> frozenset[str]:
    """Ids of the questions that the file holds out; none if there is no such file yet.

    Raises:
        DataError: If the file is broken, or a question that it names is not there any more or reads differently.
    """
    path = Path(file).expanduser()
    if not path.exists():
        return frozenset()
    known = {question.id: question for question in questions}
    ids = set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
            name, digest = record["id"], record["sha256"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}:{number}: not a line of a holdout file; an object with id and sha256 is wanted"
            ) from error
        if name not in known:
            raise DataError(
                f"{path}:{number}: {name!r} is not among the cleaned questions; add its source, or begin a new "
                "holdout file"
            )
        if fingerprint([known[name]]) != digest:
            raise DataError(
                f"{path}:{number}: {name!r} reads differently now; restore the source, or begin a new holdout file"
            )
        ids.add(name)
    if not ids:
        raise DataError(f"{path}: names no question; remove the file to begin a new one")
    return frozenset(ids)


def write_holdout(file: str, questions: Sequence[Question]) -> None:
    """Names the questions in the file, whole or not at all.

    Raises:
        DataError: If the file cannot be written.
    """
    path = Path(file).expanduser()
    lines = [
        json.dumps({"id": q.id, "specialty": q.specialty, "sha256": fingerprint([q])}, ensure_ascii=True)
        for q in sorted(questions, key=lambda question: question.id)
    ]
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror}); name another holdout_file") from error
