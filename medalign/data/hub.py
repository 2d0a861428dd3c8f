"""Records out of the Hugging Face Hub; the one place that calls `datasets`."""

from __future__ import annotations

from collections.abc import Iterator

from medalign.data.files import Row
from medalign.errors import DataError


def hub_rows(dataset: str, *, config: str | None, split: str, source: str) -> Iterator[Row]:
    """Yields the records of one split of a data set on the Hub (or in its local cache).

    Args:
        source: Name of the source, for the advice in the error.

    Raises:
        DataError: If the Hub cannot be reached and the cache has no copy, or the split cannot be read.
    """
    import datasets

    try:
        table = datasets.load_dataset(dataset, config, split=split)
    # datasets, huggingface_hub, httpx and fsspec raise a dozen kinds of errors here, none with a common base.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(
            f"data: cannot get {dataset} ({split}) from the Hugging Face Hub ({reason}); "
            f"connect to the internet, or give a local copy as {source}:FOLDER"
        ) from error
    for number, record in enumerate(table, start=1):
        yield Row(place=f"{dataset}/{split}", line=number, values=dict(record))
