"""From the names of sources to the questions and pairs that all methods share."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalign.config.experiment import AUTO, DataSettings
from medalign.data.augmentation import augment, original_id
from medalign.data.card import (
    Baseline,
    CountTokens,
    drop_card,
    leak_card,
    source_cards,
    split_counts,
    token_histograms,
)
from medalign.data.catalog import read_source
from medalign.data.cleaning import Drops, clean_questions
from medalign.data.drops import DropLog
from medalign.data.fingerprints import fingerprint, stable_hash
from medalign.data.holdout import read_holdout, usual_holdout, write_holdout
from medalign.data.leaks import find_leaks, refuse_leaks
from medalign.data.mixing import in_stages, replay_size, replayed, spread, stages_with_replay
from medalign.data.pair_statistics import pair_statistics
from medalign.data.preferences import build_pairs
from medalign.data.similarity import Similarity
from medalign.data.sources import Loaded
from medalign.data.splitting import NEAR_DUPLICATE, REFUSED, SplitPlan, Splits, split_questions
from medalign.errors import DataError
from medalign.records import PreferencePair, Question

Keep = Callable[[Question], bool]


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedData:
    """What every method is given, and the proof that it was the same.

    Attributes:
        train: In the order of the stages, copies behind their originals.
        pairs: One preference pair for each training question, in their order.
        pool: Training questions left for later rounds; not examined for length.
        drops: Reason -> number of questions that were dropped.
        fingerprint: SHA-256 over the splits and the pairs.
        fingerprints: SHA-256 over each split's questions, and over the pairs.
        card: Counts for each split by source, specialty, kind and answer, what was dropped with examples, leaks,
            pairs and the sources asked for; plain types only.
        stages: How many training questions each stage of the curriculum has, in their order.
    """

    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    pairs: tuple[PreferencePair, ...]
    pool: Sequence[Question]
    drops: Drops
    fingerprint: str
    fingerprints: Mapping[str, str]
    card: Mapping[str, Any]
    stages: tuple[int, ...] = ()


def prepare(
    sources: Sequence[str],
    *,
    train_size: int,
    validation_size: int,
    test_size: int,
    seed: int,
    keep: Keep | None = None,
) -> PreparedData:
    """Loads, cleans and splits the questions, and builds the preference pairs.

    Args:
        sources: `name` or `name:location` each; several are mixed in equal shares as far as they last.
        keep: Whether a question may be used (the token limit); the same rule for every method and split.

    Raises:
        DataError: If a source cannot be used or holds too few questions.
    """
    if not sources:
        raise DataError("data: no source given; name one, such as embedded")
    settings = DataSettings(
        sources=tuple(dict.fromkeys(sources)),
        train_size=train_size,
        validation_size=validation_size,
        test_size=test_size,
    )
    return prepare_data(read_sources(settings), settings, seed=seed, keep=keep)


def read_sources(settings: DataSettings) -> dict[str, Loaded]:
    """What every source gives, by how it was named; the source of general text last.

    Raises:
        DataError: If a source cannot be used.
    """
    specs = [*settings.sources, *([settings.replay.source] if settings.replay else [])]
    return {spec: read_source(spec) for spec in dict.fromkeys(specs)}


def prepare_data(
    loaded: Mapping[str, Loaded],
    settings: DataSettings,
    *,
    seed: int,
    keep: Keep | None = None,
    count_tokens: CountTokens | None = None,
    baseline: Baseline | None = None,
) -> PreparedData:
    """Cleans and splits what the sources gave, mixes the training questions, and builds the pairs.

    Args:
        loaded: As `read_sources` gives it for these settings.
        keep: Whether a question may be used (the token limit); the same rule for every method and split.
        count_tokens: How long a question is, for the card.
        baseline: What always giving the most frequent answer of the first questions scores on the second.

    Raises:
        DataError: If too few questions are left for a split, or a leak is to be refused.
    """
    log = DropLog()
    asked = [loaded[spec] for spec in dict.fromkeys(settings.sources)]
    for each in asked:
        for drop in each.drops:
            log.note_record(drop)
    cleaned = clean_questions(question for each in asked for question in each.questions)
    log.note_examples(cleaned.log)
    splits = _split(cleaned.questions, settings, seed, keep)
    log.note_examples(splits.log)
    if settings.leaks == "refuse":
        remedy = "take one of them out, or write data.leaks: drop to leave the training side out"
        refuse_leaks(splits.leaks, remedy)
    train, stages = in_stages(splits.train, settings.stages)
    if settings.replay is not None:
        num_medical = len(train)
        train = _with_replay(train, splits, loaded[settings.replay.source], settings, seed, keep, log)
        stages = stages_with_replay(stages, len(train) - num_medical)
    by_split = {"train": train, "validation": splits.validation, "test": splits.test}
    leaks = find_leaks(by_split)
    refuse_leaks(leaks, "this should not happen after the drawing; please report it")
    copies = settings.augment
    train, stages = _with_copies(train, stages, copies.option_shuffles, copies.paraphrases, seed)
    by_split["train"] = train
    ready = [pair for each in asked for pair in each.pairs]
    pairs = tuple(build_pairs(train, seed=seed, ready=_for_copies(ready, train)))
    fingerprints = {name: fingerprint(held) for name, held in by_split.items()} | {
        "pairs": fingerprint(pairs)
    }
    whole = hashlib.sha256("".join(fingerprints.values()).encode("ascii")).hexdigest()
    drops, examples = drop_card(log)
    card = {
        "sources": list(settings.sources),
        "seed": seed,
        "settings": settings.model_dump(mode="json"),
        "fingerprint": whole,
        "splits": {name: split_counts(held, count_tokens) for name, held in by_split.items()},
        "pool": {"questions": len(splits.pool), "held_in_reserve": splits.reserve},
        "stages": list(stages),
        "drops": drops,
        "drop_examples": examples,
        "leaks": leak_card(splits.leaks, leaks, {name: len(held) for name, held in by_split.items()}),
        "holdout_short_of": dict(splits.short),
        "majority_baseline": {
            name: baseline(train, held)
            for name, held in by_split.items()
            if baseline is not None and name != "train" and held
        },
        "pairs": pair_statistics(pairs),
        "skipped_files": [Path(file).name for each in asked for file in each.skipped_files],
        "about_the_sources": source_cards(settings.sources),
    }
    if count_tokens is not None:
        card["token_histograms"] = token_histograms(by_split, count_tokens)
    return PreparedData(
        train=train,
        validation=splits.validation,
        test=splits.test,
        pairs=pairs,
        pool=splits.pool,
        drops=drops,
        fingerprint=whole,
        fingerprints=fingerprints,
        card=card,
        stages=stages,
    )


def _split(questions: Sequence[Question], settings: DataSettings, seed: int, keep: Keep | None) -> Splits:
    def size(held: int | str) -> int | None:
        return None if isinstance(held, str) else held

    file = settings.holdout_file
    held_out = read_holdout(file, questions) if file else frozenset()
    holdout = settings.holdout_per_specialty
    plan = SplitPlan(
        train_size=size(settings.train_size),
        validation_size=size(settings.validation_size),
        test_size=size(settings.test_size),
        shares=settings.shares.model_dump() if settings.shares else None,  # type: ignore[arg-type]
        holdout_per_specialty=usual_holdout(questions) if holdout == AUTO else holdout,  # type: ignore[arg-type]
        holdout_ids=held_out,
        weights=settings.weights,
        seed=seed,
    )
    if settings.replay and plan.train_size is not None:
        medical = plan.train_size - replay_size(plan.train_size, settings.replay.share)
        plan = dataclasses.replace(plan, train_size=medical)
    splits = split_questions(questions, plan, keep=keep)
    if file and not held_out:
        write_holdout(file, splits.test)
    return splits


def _with_replay(
    train: tuple[Question, ...],
    splits: Splits,
    general: Loaded,
    settings: DataSettings,
    seed: int,
    keep: Keep | None,
    log: DropLog,
) -> tuple[Question, ...]:
    """The training questions with general ones at even distances among them."""
    assert settings.replay is not None
    share = settings.replay.share
    size = round(len(train) * share / (1 - share))
    cleaned = clean_questions(general.questions)
    log.note_examples(cleaned.log)
    asked = [*splits.test, *splits.validation]
    everything = [*asked, *cleaned.questions]
    near = {
        pair.second: everything[pair.first]
        for pair in Similarity(everything).near_pairs(range(len(asked)), range(len(asked), len(everything)))
    }
    usable = []
    for place, question in enumerate(cleaned.questions, start=len(asked)):
        if place in near:
            log.note(NEAR_DUPLICATE, question, near[place])
        elif keep is not None and not keep(question):
            log.note(REFUSED, question)
        else:
            usable.append(question)
    return tuple(spread(replayed(usable, size, seed=seed), train)) if size else train


def _with_copies(
    train: tuple[Question, ...], stages: tuple[int, ...], shuffles: int, paraphrases: int, seed: int
) -> tuple[tuple[Question, ...], tuple[int, ...]]:
    """Every stage with the copies of its questions."""
    copied, sizes, start = [], [], 0
    for size in stages:
        held = augment(train[start : start + size], shuffles=shuffles, paraphrases=paraphrases, seed=seed)
        copied += held
        sizes.append(len(held))
        start += size
    return tuple(copied), tuple(sizes)


def _for_copies(ready: Iterable[PreferencePair], train: Sequence[Question]) -> list[PreferencePair]:
    """The ready pairs, also for the copies of their questions."""
    by_question: dict[str, list[PreferencePair]] = {}
    for pair in ready:
        by_question.setdefault(pair.question_id, []).append(pair)
    return [
        dataclasses.replace(pair, question_id=question.id)
        for question in train
        for pair in by_question.get(original_id(question), ())
    ]


def with_shuffled_answers(questions: Sequence[Question], *, seed: int) -> list[Question]:
    """The same questions with the answer key permuted within each kind, to test that labels are learnt from.

    Positions of right options are permuted among choice questions with as many options, labels among decision
    questions with the same options, answers among free-text questions. By chance some keep
    their answer (of four options a quarter), so the key then tells nothing, rather than
    the contrary of the truth. Rationales would give the truth away and are dropped.
    """
    key_of = {}
    for members in _alike(questions).values():
        order = sorted(members, key=lambda question: stable_hash(seed, "shuffled answers", question.id))
        for question, giver in zip(members, order, strict=True):
            key_of[question.id] = giver
    return [_with_answer_of(question, key_of[question.id]) for question in questions]


def _alike(questions: Iterable[Question]) -> dict[tuple[object, ...], list[Question]]:
    alike: dict[tuple[object, ...], list[Question]] = {}
    for question in questions:
        shown = question.options if question.kind == "decision" else len(question.options)
        alike.setdefault((question.kind, shown), []).append(question)
    return alike


def _with_answer_of(question: Question, giver: Question) -> Question:
    if giver.answer_index is not None:
        return dataclasses.replace(question, answer=question.options[giver.answer_index], rationale="")
    wrong = (*question.distractors, question.answer)
    distractors = tuple(dict.fromkeys(text for text in wrong if text.casefold() != giver.answer.casefold()))
    return dataclasses.replace(question, answer=giver.answer, distractors=distractors, rationale="")
