"""A split as one of MLflow's data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from medalign.records import Question, Split

# MLflow takes up to 36; its pages show so many whole.
_DIGEST_CHARS = 16


def described_dataset(
    split: Split, questions: Sequence[Question], fingerprint: str, source: str
) -> dict[str, str]:
    """What the store shall know of a split, in texts that can wait in a file.

    Args:
        fingerprint: A hash of the split's content; its beginning is the digest of the data set.
        source: The sources as they were named on the command line.
    """
    columns = ("id", "source", "kind", "text", "context", "options", "answer", "specialty")
    schema = {"mlflow_colspec": [{"name": name, "type": "string", "required": True} for name in columns]}
    profile = {
        "num_rows": len(questions),
        "num_groups": len({question.group or question.id for question in questions}),
        "num_specialties": len({question.specialty for question in questions}),
    }
    return {
        "split": split,
        "digest": fingerprint[:_DIGEST_CHARS],
        "source": json.dumps({"sources": source}),
        "schema": json.dumps(schema),
        "profile": json.dumps(profile),
    }


def dataset_input(described: Mapping[str, str]) -> Any:
    """MLflow's own form of a described data set."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=f"{described['split']} questions",
        digest=described["digest"],
        source_type="medalign",
        source=described["source"],
        schema=described["schema"],
        profile=described["profile"],
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", described["split"])])
