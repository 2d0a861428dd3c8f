"""The questions of an experiment, prepared once and kept: the same for `compare` and `prepare`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from medalign.config.experiment import Experiment
from medalign.errors import DataError, StorageError
from medalign.methods.running import TrialJob
from medalign.records import Question

if TYPE_CHECKING:
    from medalign.data.preparation import PreparedData
    from medalign.tracking.store import Tracker


def prepared_data(experiment: Experiment) -> PreparedData:
    """The questions of every split, without those that are too long for the model; prepared once and kept.

    Raises:
        InputError: A source, a setting or the model cannot be used, a split is empty, or there is a leak to refuse.
    """
    from medalign.data.catalog import find_source

    for source in experiment.data.sources:
        find_source(source)  # a misspelt name must not cost the download of a model first
    data = _open_prepared(experiment) if experiment.data.prepared else _prepare(experiment)
    for split in ("validation", "test"):
        if not any(question.is_scored for question in getattr(data, split)):
            raise DataError(
                f"data.sources: no {split} question of {', '.join(experiment.data.sources)} has options to choose "
                "from; add a source with choice or decision questions"
            )
    return data


def track_data(experiment: Experiment, data: PreparedData, files: Iterable[Path], uri: str) -> str:
    """Log prepared data to MLflow as a run of its own; the same data again goes on in the same run.

    Args:
        files: Of the card.
        uri: Of the store.

    Returns:
        The id of the run.
    """
    from medalign.tracking.location import default_artifact_root
    from medalign.tracking.store import Tracker

    tracker = Tracker(uri, default_artifact_root(uri), experiment.name, f"data-{data.fingerprint[:16]}")
    run_id = tracker.start(experiment.data.model_dump(mode="json"), {"medalign.stage": "data"})
    log_datasets(tracker, experiment, data)
    tracker.finish_data(list(files))
    if tracker.faults:
        raise StorageError(f"tracking_uri: {'; '.join(tracker.faults)}")
    return run_id


def log_datasets(tracker: Tracker, experiment: Experiment, data: PreparedData) -> None:
    """Note the splits on a run as its data sets."""
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    tracker.log_datasets(splits, data.fingerprints, ", ".join(experiment.data.sources))  # type: ignore[arg-type]


def _open_prepared(experiment: Experiment) -> PreparedData:
    """A prepared folder, whose questions must all fit this model."""
    from medalign.data.store import open_prepared

    data = open_prepared(str(experiment.data.prepared))
    count_tokens, limit = _token_rule(experiment)
    for question in (*data.train, *data.validation, *data.test):
        if count_tokens(question) > limit:
            raise DataError(
                f"data.prepared: {question.id} takes {count_tokens(question)} tokens, the model's limit is {limit}; "
                f"prepare the questions for {experiment.model.name}"
            )
    return data


def _token_rule(experiment: Experiment) -> tuple[Callable[[Question], int], int]:
    """How many tokens a question takes up at most, and how many it may: the same for every method."""
    from medalign.modeling.base_models import load_tokenizer, resolve_folder, window_tokens
    from medalign.modeling.chat import Chat

    folder = resolve_folder(experiment.model.name)
    chat = Chat(load_tokenizer(folder))

    @functools.cache
    def count_tokens(question: Question) -> int:
        return chat.longest_row_tokens(question, written_tokens=TrialJob.max_new_tokens)

    return count_tokens, experiment.data.max_prompt_tokens or window_tokens(folder)


def _prepare(experiment: Experiment) -> PreparedData:
    """Prepared from the sources, or found in the cache."""
    from medalign.data.preparation import prepare_data, read_sources
    from medalign.data.store import cached, input_key, needs_reading
    from medalign.evaluation.metrics import majority_baseline
    from medalign.modeling.base_models import resolve_folder, window_tokens
    from medalign.modeling.chat import tokenizer_digest

    settings = experiment.data
    folder = resolve_folder(experiment.model.name)
    limit = settings.max_prompt_tokens or window_tokens(folder)
    loaded = read_sources(settings) if needs_reading(settings) else None
    key = input_key(
        settings,
        seed=experiment.seed,
        loaded=loaded,
        tokenizer=tokenizer_digest(folder),
        limit=f"{limit} {TrialJob.max_new_tokens}",
    )

    def make() -> PreparedData:
        count_tokens, _ = _token_rule(experiment)
        return prepare_data(
            read_sources(settings) if loaded is None else loaded,
            settings,
            seed=experiment.seed,
            keep=lambda question: count_tokens(question) <= limit,
            count_tokens=count_tokens,
            baseline=majority_baseline,
        )

    return cached(key, make)
