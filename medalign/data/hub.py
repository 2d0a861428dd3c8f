"""Records out of the Hugging Face Hub; the one place that calls `datasets`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medalign.data.files import Row
from medalign.errors import DataError
from medalign.records import Split


@dataclass(frozen=True, kw_only=True, slots=True)
class HubPart:
    """One split of a data set on the Hub, and what it is officially.

    Attributes:
        dataset: Repository, `owner/name`.
        config: Configuration (subset), or None for the only one.
        name: The split's name there.
        split: Our split; None where the data set has no official one, or its records tell it.
        file: The one file to read of a repository whose files have different fields.
    """

    dataset: str
    config: str | None = None
    name: str = "train"
    split: Split | None = None
    file: str | None = None


def hub_rows(part: HubPart, *, source: str) -> Iterator[Row]:
    """Yields the records of one split of a data set on the Hub (or in its local cache).

    Only data files are read (Parquet, JSON, CSV); no code of the repository is ever run.

    Args:
        source: Name of the source, for the advice in the error.

    Raises:
        DataError: If the Hub cannot be reached and the cache has no copy, or the split cannot be read.
    """
    import datasets

    files = None if part.file is None else {part.name: part.file}
    try:
        table = datasets.load_dataset(part.dataset, part.config, split=part.name, data_files=files)
    # datasets, huggingface_hub, httpx and fsspec raise a dozen kinds of errors here, none with a common base.
    except Exception as error:
        told = f"{error}: {error.__cause__}" if error.__cause__ else str(error)
        reason = " ".join(told.split())[:160] or type(error).__name__
        raise DataError(
            f"data: cannot get {part.dataset} ({part.name}) from the Hugging Face Hub ({reason}); "
            f"connect to the internet, or give a local copy as {source}:FOLDER"
        ) from error
    place = f"{part.dataset}/{part.config or 'default'}/{part.name}"
    for number, record in enumerate(table, start=1):
        yield Row(place=place, line=number, values=dict(record))
