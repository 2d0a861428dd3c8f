"""The arms of a comparison set side by side: what each reached, and which differences are real.

All arms answered the same questions, so arms are compared question by question. A question counts
with its mean over an arm's seeds, and questions of one group (one fact, abstract or case) are
taken together wherever independence is needed.

A claim must hold for other questions and for other training seeds: its p is the larger of an exact test over
questions and of a t test over questions and seeds. Where an arm that depends on its seed has only one, the second is
undefined, and what is claimed holds for these trained models on new questions; `undefined` says so.

What this cannot see: how the arms would differ had other training questions or settings been drawn.
"""

# S = seeds, Q = questions

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medalign.errors import DataError
from medalign.records import BASE, ArmResult, Interval, Prediction
from medalign.stats.arrays import BoolArray, FloatArray, IntArray, number_groups
from medalign.stats.contract import check_same_questions
from medalign.stats.correction import benjamini_hochberg, holm
from medalign.stats.equivalence import equivalence_p
from medalign.stats.intervals import design_effect, paired_bootstrap_interval, wilson_interval
from medalign.stats.paired import seed_averaged_difference, sign_flip_exact
from medalign.stats.pooling import PooledMean, pool_partially
from medalign.stats.power import PairedDesign, exact_detectable_difference
from medalign.stats.ranks import rank_ranges, tie_groups
from medalign.stats.summaries import (
    MARGIN,
    ArmSummary,
    ComparisonSummary,
    PairSummary,
    PairVerdict,
    QuestionsNeeded,
    SpecialtyAccuracy,
    SpecialtyDifference,
)
from medalign.stats.two_level import (
    TwoLevelEstimate,
    accuracy_interval,
    accuracy_variances,
    estimate_difference,
)
from medalign.stats.verdict import verdict_sentence
from medalign.stats.winners_curse import WinnersCurse, winners_curse

__all__ = (
    "ArmSummary",
    "ComparisonSummary",
    "PairSummary",
    "PairVerdict",
    "QuestionsNeeded",
    "SpecialtyAccuracy",
    "SpecialtyDifference",
    "compare_arms",
)

ALPHA = 0.05  # a difference is claimed only where its corrected p lies below
WANTED_DIFFERENCES = (0.02, 0.05, 0.1)  # for which the number of questions needed is told

Score = Callable[[Sequence[Prediction]], Mapping[str, float]]


class _Pair(NamedTuple):
    """What is reckoned once for two arms."""

    units_Q: IntArray
    difference_Q: FloatArray
    estimate: TwoLevelEstimate | None
    one_seed: tuple[str, ...]


class _Setting(NamedTuple):
    """What is the same for all arms and pairs."""

    questions: Sequence[Prediction]
    groups_Q: IntArray
    specialty_Q: np.ndarray
    seed_free: Collection[str]
    margin: float
    num_resamples: int
    level: float
    seed: int


def compare_arms(
    arms: Sequence[ArmResult],
    *,
    score: Score,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    majority_baseline: float | None = None,
    margin: float = MARGIN,
    seed_free: Collection[str] = (BASE,),
    num_validation: int | None = None,
) -> ComparisonSummary:
    """Summarises every arm, tests every pair and puts the answer into words.

    Only questions with options enter accuracies and pairs; written answers are averaged apart.

    Args:
        arms: Each with its predictions on the same questions in the same order, for one or more seeds.
        score: The metrics of one seed's predictions by name; `evaluation.summary.score_split`.
        level: Of all intervals; claims are made at a corrected 0.05 whatever the level.
        seed: Of the bootstrap.
        majority_baseline: Accuracy of always answering what was most frequent in training.
        margin: Largest difference in accuracy that does not matter, in (0, 1).
        seed_free: Arms whose answers do not depend on their seed, so that one seed is all there is to know.
        num_validation: Scored validation questions, for the winner's curse.

    Raises:
        DataError: Two arms, or two seeds of one, did not answer the same questions; an arm has no seed; a question is
            answered twice or scored with no number; fewer than two questions have options.
        ContractError: Two records of one question differ in what belongs to the question.
        ValueError: The margin or the level is out of its range.
    """
    if not 0 < margin < 1:
        raise ValueError(f"margin must lie between 0 and 1, got {margin}")
    check_same_questions(arms)
    scored = [index for index, first in enumerate(arms[0].predictions[0]) if first.correct is not None]
    if len(scored) < 2:
        raise DataError(
            f"test split: {'no' if not scored else 'only one'} question has options to choose from; add choice or "
            "decision questions, two at least"
        )
    questions = [arms[0].predictions[0][index] for index in scored]
    setting = _Setting(
        questions=questions,
        # A question without a group stands for itself.
        groups_Q=number_groups([(p.group, "") if p.group else ("", p.question_id) for p in questions]),
        specialty_Q=np.array([question.specialty for question in questions]),
        seed_free=seed_free,
        margin=margin,
        num_resamples=num_resamples,
        level=level,
        seed=seed,
    )
    correct = {arm.arm: _correct_SQ(arm, scored) for arm in arms}
    found = _measured(correct, setting)
    pairs = _pairs(found, setting)
    summary = ComparisonSummary(
        arms=tuple(_summarise(arm, correct[arm.arm], setting, score, num_validation) for arm in arms),
        pairs=pairs,
        num_questions=len(scored),
        num_groups=int(setting.groups_Q.max()) + 1,
        **_sensitivity(list(found.values()), setting.groups_Q),
        majority_baseline=majority_baseline,
        margin=margin,
    )
    by_accuracy = [arm.arm for arm in sorted(summary.arms, key=lambda arm: -arm.accuracy)]
    summary = dataclasses.replace(
        summary,
        ranks=rank_ranges(by_accuracy, _wins(pairs)),
        tie_groups=tie_groups(
            by_accuracy, [(p.first, p.second) for p in pairs if p.verdict not in ("better", "worse")]
        ),
    )
    return dataclasses.replace(summary, verdict=verdict_sentence(summary))


def _correct_SQ(arm: ArmResult, scored: Sequence[int]) -> BoolArray:  # noqa: N802
    return np.array([[bool(of_seed[index].correct) for index in scored] for of_seed in arm.predictions])


def _summarise(
    arm: ArmResult,
    correct_SQ: BoolArray,
    setting: _Setting,
    score: Score,
    num_validation: int | None,
) -> ArmSummary:
    correct_Q = correct_SQ.mean(axis=0)
    effect = design_effect(correct_Q, setting.groups_Q)
    varies = arm.arm not in setting.seed_free
    by_seed = [score(predictions) for predictions in arm.predictions]
    interval = accuracy_interval(correct_SQ, groups_Q=setting.groups_Q, varies=varies, level=setting.level)
    kind_Q = np.array([question.kind for question in setting.questions])
    parts = {str(name): correct_Q[setting.specialty_Q == name] for name in np.unique(setting.specialty_Q)}
    curse = _winners_curse(arm, float(correct_Q.mean()), interval, num_validation)
    metrics = {name: _mean_of(by_seed, name) for name in _METRICS}
    undefined = {name: why for name, why in _METRICS.items() if metrics[name] is None}
    if len(parts) < 2:
        undefined["pooled_specialties"] = (
            f"undefined: all questions are of one specialty ({next(iter(parts))})"
        )
    if isinstance(curse, str):
        undefined["winners_curse"] = curse
    if varies and len(correct_SQ) < 2:
        undefined["accuracy_interval over seeds"] = _one_seed([arm.arm])
    return ArmSummary(
        arm=arm.arm,
        num_questions=len(correct_Q),
        num_seeds=len(correct_SQ),
        accuracy=float(correct_Q.mean()),
        accuracy_interval=interval,
        accuracy_by_seed=tuple(correct_SQ.mean(axis=1).tolist()),
        **metrics,
        by_kind={str(kind): float(correct_Q[kind_Q == kind].mean()) for kind in np.unique(kind_Q)},
        by_specialty={
            name: SpecialtyAccuracy(
                len(part_Q),
                float(part_Q.mean()),
                wilson_interval(part_Q.sum() / effect, len(part_Q) / effect, setting.level),
            )
            for name, part_Q in parts.items()
        },
        pooled_specialties=_pooled_accuracies(correct_SQ, parts, setting, varies),
        winners_curse=None if isinstance(curse, str) else curse,
        undefined=undefined,
    )


# Metrics beside the accuracy, and why they are missing where they are.
_METRICS = {
    "accuracy_raw": "undefined: not among the metrics of every seed",
    "accuracy_normalised": "undefined: not among the metrics of every seed",
    "macro_f1": "undefined: no yes/no/maybe question was answered by every seed",
    "token_f1": "undefined: no free-text question was answered by every seed",
    "exact_match": "undefined: no free-text question was answered by every seed",
}


def _mean_of(by_seed: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Mean over seeds; None where the metric is undefined for any of them."""
    values = [scores[name] for scores in by_seed if name in scores]
    return sum(values) / len(values) if len(values) == len(by_seed) else None


def _one_seed(arms: Sequence[str]) -> str:
    return f"undefined: one seed of {' and '.join(arms)}; how much another seed changes needs two or more"


def _pooled_accuracies(
    correct_SQ: BoolArray, parts: Mapping[str, FloatArray], setting: _Setting, varies: bool
) -> dict[str, PooledMean]:
    if len(parts) < 2:
        return {}
    over_questions, over_seeds = accuracy_variances(correct_SQ, groups_Q=setting.groups_Q, varies=varies)
    pooled = pool_partially(
        [part_Q.mean() for part_Q in parts.values()],
        [over_questions * correct_SQ.shape[1] / len(part_Q) for part_Q in parts.values()],
        common_variance=over_seeds or 0.0,
        level=setting.level,
    )
    return dict(zip(parts, pooled, strict=True))


def _winners_curse(
    arm: ArmResult, accuracy: float, interval: Interval, num_validation: int | None
) -> WinnersCurse | str:
    if arm.validation_score is None or not arm.num_trials:
        return f"undefined: nothing was searched for {arm.arm}"
    if not num_validation:
        return "undefined: the number of validation questions is not given"
    return winners_curse(arm.validation_score, num_validation, accuracy, interval, arm.num_trials)


def _measured(correct: Mapping[str, BoolArray], setting: _Setting) -> dict[tuple[str, str], _Pair]:
    """Every two arms, the base never first, with the differences on each question and their two variances."""
    names = sorted(correct, key=lambda name: name == BASE)  # a stable sort: base goes last
    found = {}
    for first, second in itertools.combinations(names, 2):
        units = seed_averaged_difference(correct[first], correct[second])
        estimate = estimate_difference(
            correct[first],
            correct[second],
            groups_Q=setting.groups_Q,
            first_varies=first not in setting.seed_free,
            second_varies=second not in setting.seed_free,
        )
        one_seed = [
            name for name in (first, second) if name not in setting.seed_free and len(correct[name]) < 2
        ]
        found[first, second] = _Pair(units.units_Q, units.fraction_Q, estimate, tuple(one_seed))
    return found


def _pairs(found: Mapping[tuple[str, str], _Pair], setting: _Setting) -> tuple[PairSummary, ...]:
    summaries = [_pair(first, second, pair, setting) for (first, second), pair in found.items()]
    p_corrected = holm([pair.p for pair in summaries])
    # One group alone can show nothing, and an undefined p counts as 1.
    equivalence = holm([1.0 if pair.p_equivalence is None else pair.p_equivalence for pair in summaries])
    specialties = _specialties(found, setting)
    return tuple(
        dataclasses.replace(
            pair,
            p_corrected=p,
            p_equivalence_corrected=None if pair.p_equivalence is None else p_equivalence,
            verdict=_pair_verdict(pair.difference, p, p_equivalence),
            by_specialty=specialties[pair.first, pair.second],
        )
        for pair, p, p_equivalence in zip(summaries, p_corrected, equivalence, strict=True)
    )


def _pair(first: str, second: str, pair: _Pair, setting: _Setting) -> PairSummary:
    """All but what needs the other pairs: p-values are not corrected, and there is no verdict yet."""
    estimate = pair.estimate
    interval_questions = paired_bootstrap_interval(
        pair.difference_Q,
        num_resamples=setting.num_resamples,
        level=setting.level,
        seed=setting.seed,
        groups_Q=setting.groups_Q,
    )
    p_questions = sign_flip_exact(pair.units_Q, groups_Q=setting.groups_Q)
    has_seeds = estimate is not None and estimate.variance_seeds is not None
    p_two_level = estimate.p_value() if estimate and has_seeds else None
    return PairSummary(
        first=first,
        second=second,
        difference=float(pair.difference_Q.mean()),
        interval=estimate.interval(setting.level) if estimate else Interval(-1.0, 1.0, setting.level),
        p=max(p_questions, p_two_level or 0.0),
        p_corrected=1.0,
        num_questions=len(pair.units_Q),
        num_first_only=int((pair.units_Q > 0).sum()),
        num_second_only=int((pair.units_Q < 0).sum()),
        verdict="not enough data",
        interval_questions=interval_questions,
        p_questions=p_questions,
        p_two_level=p_two_level,
        p_equivalence=equivalence_p(estimate, setting.margin) if estimate else None,
        standard_error_questions=estimate.variance_questions**0.5 if estimate else None,
        standard_error_seeds=(estimate.variance_seeds or 0.0) ** 0.5 if estimate and has_seeds else None,
        undefined=_undefined(pair, setting),
    )


def _undefined(pair: _Pair, setting: _Setting) -> dict[str, str]:
    found = {}
    if len(np.unique(setting.specialty_Q)) < 2:
        found["by_specialty pooled"] = "undefined: all questions are of one specialty"
    if pair.estimate is None:
        names = ("p_two_level", "p_equivalence", "standard_error_questions", "standard_error_seeds")
        found |= dict.fromkeys(names, "undefined: all questions are of one group")
        found |= dict.fromkeys(
            ("interval", "interval_questions"),
            "undefined: all questions are of one group; what is given holds every difference that can be",
        )
    elif pair.one_seed:
        found |= dict.fromkeys(("p_two_level", "standard_error_seeds"), _one_seed(pair.one_seed))
    return found


def _specialties(
    found: Mapping[tuple[str, str], _Pair], setting: _Setting
) -> dict[tuple[str, str], dict[str, SpecialtyDifference]]:
    """Each pair on each specialty; p-values are corrected over all of them together."""
    names = [str(name) for name in np.unique(setting.specialty_Q)]
    inside = {name: setting.specialty_Q == name for name in names}
    p_values = {
        (pair, name): sign_flip_exact(of_pair.units_Q[inside[name]], groups_Q=setting.groups_Q[inside[name]])
        for pair, of_pair in found.items()
        for name in names
    }
    corrected = dict(zip(p_values, benjamini_hochberg(list(p_values.values())), strict=True))
    pooled = {pair: _pooled_differences(of_pair, inside, setting) for pair, of_pair in found.items()}
    return {
        pair: {
            name: SpecialtyDifference(
                num_questions=int(inside[name].sum()),
                difference=float(of_pair.difference_Q[inside[name]].mean()),
                p=p_values[pair, name],
                p_corrected=corrected[pair, name],
                pooled=pooled[pair].get(name),
            )
            for name in names
        }
        for pair, of_pair in found.items()
    }


def _pooled_differences(
    pair: _Pair, inside: Mapping[str, BoolArray], setting: _Setting
) -> dict[str, PooledMean]:
    if pair.estimate is None or len(inside) < 2:
        return {}
    of_one_question = pair.estimate.variance_questions * len(pair.units_Q)
    pooled = pool_partially(
        [pair.difference_Q[inside_Q].mean() for inside_Q in inside.values()],
        [of_one_question / inside_Q.sum() for inside_Q in inside.values()],
        common_variance=pair.estimate.variance_seeds or 0.0,
        bounds=(-1.0, 1.0),
        level=setting.level,
    )
    return dict(zip(inside, pooled, strict=True))


def _pair_verdict(difference: float, p_corrected: float, p_equivalence: float) -> PairVerdict:
    if p_corrected < ALPHA:
        return "better" if difference > 0 else "worse"
    return "equivalent within m" if p_equivalence < ALPHA else "not enough data"


def _wins(pairs: Sequence[PairSummary]) -> list[tuple[str, str]]:
    better = [(pair.first, pair.second) for pair in pairs if pair.verdict == "better"]
    return better + [(pair.second, pair.first) for pair in pairs if pair.verdict == "worse"]


def _sensitivity(pairs: Sequence[_Pair], groups_Q: IntArray) -> dict[str, Any]:
    """Discordance over all pairs, the smallest difference that can be shown at it, and questions for wanted ones."""
    discordance = float(np.mean([np.mean(pair.difference_Q**2) for pair in pairs])) if pairs else 0.0
    if discordance == 0:
        why = "undefined: the arms agree on every question" if pairs else "undefined: there is only one arm"
        names = ("minimum_detectable_difference", "questions_needed")
        return {
            "discordance": 0.0,
            "minimum_detectable_difference": None,
            "undefined": dict.fromkeys(names, why),
        }
    # Pairs that agree on everything tell nothing about how much groups matter.
    effects = [design_effect(pair.difference_Q, groups_Q) for pair in pairs if pair.difference_Q.any()]
    effect = float(np.mean(effects))
    known = [pair.estimate.variance_seeds or 0.0 for pair in pairs if pair.estimate]
    seed_variance = float(np.mean(known)) if known else 0.0
    alpha = ALPHA / len(pairs)
    worth = len(groups_Q) / effect
    design = PairedDesign(discordance=discordance, alpha=alpha, seed_variance=seed_variance)
    found = (
        design.detectable_difference(worth)
        if seed_variance
        else exact_detectable_difference(int(worth), discordance=discordance, alpha=alpha)
    )
    undefined = {}
    if found is None:
        undefined["minimum_detectable_difference"] = (
            "undefined: no difference can be shown with so few questions"
        )
    needed = []
    for wanted in WANTED_DIFFERENCES:
        number, why = None, "undefined: the arms differ on fewer questions than that"
        if wanted <= discordance:
            number = design.num_questions_needed(wanted)
            why = "undefined: the variance over seeds alone hides it; more seeds are needed"
        if number is None:
            undefined[f"questions_needed for {wanted:g}"] = why
        needed.append(QuestionsNeeded(wanted, None if number is None else math.ceil(number * effect)))
    return {
        "discordance": discordance,
        "minimum_detectable_difference": found,
        "questions_needed": tuple(needed),
        "undefined": undefined,
    }
