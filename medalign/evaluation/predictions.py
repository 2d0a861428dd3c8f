"""Predictions made from what a model gave, and their Parquet file."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medalign.data.specialties import common_specialty
from medalign.errors import StorageError
from medalign.evaluation import metrics
from medalign.records import Prediction, Question

if TYPE_CHECKING:
    import pandas as pd

Scoring = Literal["raw", "normalised"]

_FIELDS = tuple(field.name for field in dataclasses.fields(Prediction))


class NotFiniteError(ValueError, FloatingPointError):
    """A log-probability is not a finite number: the model has diverged. The scheduler knows the second base."""


def build_prediction(
    question: Question,
    *,
    option_logprobs: Sequence[float] | None = None,
    text: str | None = None,
    scoring: Scoring,
    demonstrated: Sequence[str] = (),
) -> Prediction:
    """The record of one answer, with everything in it that the metrics need.

    Args:
        option_logprobs: Summed log-probability (nats) of each option; for questions with options.
        text: The written answer; for free-text questions.
        scoring: Which choice counts on choice questions; on decision questions it is always the raw one.
        demonstrated: Answers of the worked examples in its prompt.

    Raises:
        ValueError: What the question's kind needs is missing, is not finite or does not fit its options.
    """
    shared: dict[str, Any] = {
        "question_id": question.id,
        "source": question.source,
        "kind": question.kind,
        "specialty": common_specialty(question),
        "group": question.group,
        "answer": question.answer,
        "demonstrated": tuple(demonstrated),
    }
    if question.is_scored:
        return Prediction(**shared, **_choices(question, option_logprobs, scoring))
    if text is None:
        raise ValueError(f"question {question.id}: a free-text question needs the text that was written")
    return Prediction(
        **shared,
        said=text,
        token_f1=max(metrics.token_f1(text, right) for right in (question.answer, *question.aliases)),
        exact_match=any(metrics.exact_match(text, right) for right in (question.answer, *question.aliases)),
    )


def _choices(question: Question, option_logprobs: Sequence[float] | None, scoring: Scoring) -> dict[str, Any]:
    logprobs = tuple(float(logprob) for logprob in option_logprobs or ())
    if len(logprobs) != len(question.options):
        raise ValueError(
            f"question {question.id}: {len(question.options)} options but {len(logprobs)} log-probabilities"
        )
    if not all(map(math.isfinite, logprobs)):
        raise NotFiniteError(f"question {question.id}: a log-probability is not finite: {logprobs}")
    if scoring not in ("raw", "normalised"):
        raise ValueError(f"scoring must be 'raw' or 'normalised', got {scoring!r}")
    chars = tuple(len(option) for option in question.options)
    raw, normalised = metrics.choose_raw(logprobs), metrics.choose_normalised(logprobs, chars)
    # Yes, no and maybe are labels, not texts: their lengths say nothing, and lm-evaluation-harness scores them raw.
    chosen = raw if scoring == "raw" or question.kind == "decision" else normalised
    return {
        "answer_index": question.answer_index,
        "option_logprobs": logprobs,
        "option_chars": chars,
        "chosen_raw": raw,
        "chosen_normalised": normalised,
        "chosen": chosen,
        "said": question.options[chosen],
        "correct": chosen == question.answer_index,
    }


def to_frame(predictions: Sequence[Prediction]) -> pd.DataFrame:
    """One row a prediction, one column a field; None where a field is undefined."""
    import pandas as pd

    rows = [[getattr(prediction, name) for name in _FIELDS] for prediction in predictions]
    # Objects throughout: pandas would turn None into NaN, and with it whole numbers into fractions.
    return pd.DataFrame(rows, columns=pd.Index(_FIELDS), dtype=object)


def write_parquet(path: str | os.PathLike[str], predictions: Sequence[Prediction]) -> None:
    """Writes predictions in one step: whoever opens the path sees all of them or the file that was there before.

    Raises:
        StorageError: The file cannot be written.
    """
    import pyarrow as pa
    from pyarrow import parquet

    columns = {name: [getattr(prediction, name) for prediction in predictions] for name in _FIELDS}
    table = pa.table({name: pa.array(columns[name], type) for name, type in _column_types().items()})
    path = Path(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        parquet.write_table(table, unfinished)
        os.replace(unfinished, path)
    except OSError as error:
        raise StorageError(
            f"{path}: predictions cannot be written ({error}); name a folder that can be written"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def read_parquet(path: str | os.PathLike[str]) -> tuple[Prediction, ...]:
    """The predictions that `write_parquet` wrote, equal in every field.

    Raises:
        StorageError: The file is missing, broken or holds something else.
    """
    import pyarrow as pa
    from pyarrow import parquet

    try:
        rows = parquet.ParquetFile(path).read().to_pylist()
        return tuple(_prediction(row) for row in rows)
    except (OSError, pa.ArrowException, TypeError, KeyError) as error:
        raise StorageError(f"{path}: no predictions can be read ({error}); write them again") from error


def _prediction(row: dict[str, Any]) -> Prediction:
    lists = {name: tuple(row[name]) for name in ("option_logprobs", "option_chars")}
    lists["demonstrated"] = tuple(row.get("demonstrated") or ())  # unknown to files of the first version
    return Prediction(**{**row, **lists})


def _column_types() -> dict[str, Any]:
    import pyarrow as pa

    types = {
        "answer_index": pa.int64(),
        "option_logprobs": pa.list_(pa.float64()),
        "option_chars": pa.list_(pa.int64()),
        "chosen_raw": pa.int64(),
        "chosen_normalised": pa.int64(),
        "chosen": pa.int64(),
        "correct": pa.bool_(),
        "token_f1": pa.float64(),
        "exact_match": pa.bool_(),
        "demonstrated": pa.list_(pa.string()),
    }
    return {name: types.get(name, pa.string()) for name in _FIELDS}
