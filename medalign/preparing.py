"""The questions of an experiment, prepared once and kept: the same for `compare` and `prepare`."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medalign.config.experiment import Experiment
from medalign.errors import DataError, StorageError
from medalign.methods.catalog import METHODS
from medalign.methods.running import TrialJob
from medalign.records import Cost, Question

if TYPE_CHECKING:
    from medalign.data.preparation import PreparedData
    from medalign.scheduling.slots import Slots
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


def with_sampled_answers(
    experiment: Experiment, data: PreparedData, slots: Callable[[], Slots], say: Callable[[str], None]
) -> PreparedData:
    """The data with wrong answers of the base model's own in its pairs, where there are only weaker ones.

    They are written once and kept. A prepared folder keeps the pairs that it has.

    Args:
        slots: In one of them the model writes; asked for only then.
        say: Told before it does.

    Raises:
        MedalignError: The model cannot be loaded, or its process has died.
    """
    from medalign.data.sampled_pairs import questions_to_sample
    from medalign.data.store import cached, derived_key
    from medalign.modeling.base_models import fingerprint_folder, resolve_folder

    number, asked = experiment.data.sampled_answers, questions_to_sample(data)
    if experiment.data.prepared or not number or not asked or not learners_from_pairs(experiment):
        return data
    key = derived_key(
        data,
        number=number,
        temperature=experiment.data.sampling_temperature,
        seed=experiment.seed,
        precision=experiment.model.precision,
        base=fingerprint_folder(resolve_folder(experiment.model.name)),
        code=_digest_of_modules(),
    )

    def make() -> PreparedData:
        say(f"writing {number} answer(s) to each of {len(asked)} question(s), for preference pairs ...")
        return _with_pairs_of_samples(experiment, data, asked, slots())

    return cached(key, make)


def learners_from_pairs(experiment: Experiment) -> list[str]:
    """The methods of an experiment that train on preference pairs."""
    return [name for name in experiment.methods if METHODS[name].learns_from_pairs]


def pairs_cost(data: PreparedData) -> Cost | None:
    """What was spent on the pairs before any trial; None where no model was asked."""
    held = data.card.get("sampled_answers")
    return Cost(**held["cost"]) if held else None


def _with_pairs_of_samples(
    experiment: Experiment, data: PreparedData, asked: Sequence[Question], slots: Slots
) -> PreparedData:
    from medalign.data.sampled_pairs import with_sampled_pairs
    from medalign.evaluation.metrics import token_f1
    from medalign.evaluation.patterns import is_refusal
    from medalign.modeling.base_models import absolute_name
    from medalign.modeling.sampling import load_and_sample
    from medalign.scheduling.slot_task import run_in_slot

    settings = experiment.data
    work = functools.partial(
        load_and_sample,
        absolute_name(experiment.model.name),
        experiment.model.precision,
        asked,
        number=settings.sampled_answers,
        temperature=settings.sampling_temperature,
        seed=experiment.seed,
    )
    written = run_in_slot(work, slots, address=experiment.ray_address)
    about = {
        "model": experiment.model.name,
        "answers_each": settings.sampled_answers,
        "temperature": settings.sampling_temperature,
        "cost": dataclasses.asdict(written.cost),
    }
    return with_sampled_pairs(data, written.texts, token_f1, is_refusal, seed=experiment.seed, about=about)


def _digest_of_modules() -> str:
    """Of the code outside of the data layer that decides what is written and how it is graded."""
    here = Path(__file__).resolve().parent
    files = [here / "modeling" / name for name in ("sampling.py", "predictor.py", "chat.py")]
    files += [here / "evaluation" / name for name in ("metrics.py", "patterns.py")]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


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
