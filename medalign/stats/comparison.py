"""The arms of a comparison set side by side: what each reached, and which differences are real.

All arms answered the same questions, so arms are compared question by question. A question counts
with its mean over an arm's seeds, and questions of one group (one fact, abstract or case) are
taken together wherever independence is needed.

What this cannot see: how the arms would differ had other seeds, training questions or settings been
drawn. Seeds are averaged over, so intervals and p-values hold for these trained models on new questions.
"""

# S = seeds, Q = questions

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np

from medalign.errors import DataError
from medalign.records import BASE, ArmResult, Interval, Prediction
from medalign.stats.arrays import BoolArray, FloatArray, IntArray, number_groups
from medalign.stats.contract import check_same_questions
from medalign.stats.correction import holm
from medalign.stats.intervals import design_effect, paired_bootstrap_interval, wilson_interval
from medalign.stats.paired import SeedAveragedDifference, seed_averaged_difference, sign_flip_exact
from medalign.stats.power import minimum_detectable_difference
from medalign.stats.verdict import verdict_sentence

ALPHA = 0.05  # a difference is claimed only where its corrected p lies below

PairVerdict = Literal["better", "worse", "not enough data"]
Score = Callable[[Sequence[Prediction]], Mapping[str, float]]


class SpecialtyAccuracy(NamedTuple):
    """Accuracy on the scored questions of one specialty."""

    num_questions: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSummary:
    """What one arm reached on the test split; every number is a mean over the arm's seeds.

    Attributes:
        num_questions: Scored questions; free text is not among them.
        accuracy: Share of right answers under the comparison's scoring rule.
        accuracy_interval: Wilson's, widened where questions come in groups; about the mean over seeds.
        accuracy_raw: With options picked by log-probability.
        accuracy_normalised: With options picked by log-probability per character.
        macro_f1: Over yes, no and maybe, on decision questions; None without them.
        token_f1: Of written answers to free-text questions; None without them.
        exact_match: Likewise.
        by_kind: Accuracy for each kind of scored question.
        by_specialty: In alphabetical order; intervals share the design effect of the whole arm.
    """

    arm: str
    num_questions: int
    num_seeds: int
    accuracy: float
    accuracy_interval: Interval
    accuracy_by_seed: tuple[float, ...]
    accuracy_raw: float | None = None
    accuracy_normalised: float | None = None
    macro_f1: float | None = None
    token_f1: float | None = None
    exact_match: float | None = None
    by_kind: Mapping[str, float] = field(default_factory=dict)
    by_specialty: Mapping[str, SpecialtyAccuracy] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSummary:
    """One arm against another on the same questions.

    Attributes:
        difference: Accuracy of the first less that of the second.
        interval: Of the difference, by a paired bootstrap over groups; for this pair alone, not corrected.
        p: Two-sided, exact, by sign flips of groups; McNemar's with one seed and no groups.
        p_corrected: Holm-corrected over all pairs of the comparison.
        num_first_only: Questions that the first answers better; with one seed each, those that it alone has right.
        num_second_only: The same the other way round.
        verdict: On the first against the second; claimed only where `p_corrected` is below 0.05.
    """

    first: str
    second: str
    difference: float
    interval: Interval
    p: float
    p_corrected: float
    num_questions: int
    num_first_only: int
    num_second_only: int
    verdict: PairVerdict


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonSummary:
    """The answer to the comparison's question.

    Attributes:
        arms: In the order in which they were given.
        pairs: Every two arms; `base` is never the first of a pair.
        num_questions: Scored test questions, which all arms answered.
        num_groups: Groups that these fall into.
        discordance: Mean squared difference of two arms on a question, over all pairs; with one seed each the
            share of questions on which one is right and the other wrong.
        minimum_detectable_difference: Smallest difference in accuracy that this test split shows with a power
            of 0.8 after correction, at the discordance seen; None if it can show none.
        majority_baseline: Accuracy of always answering what was most frequent in training; None if not given.
        verdict: One sentence for the person who asked.
    """

    arms: tuple[ArmSummary, ...]
    pairs: tuple[PairSummary, ...]
    num_questions: int
    num_groups: int
    discordance: float
    minimum_detectable_difference: float | None
    majority_baseline: float | None = None
    verdict: str = ""


def compare_arms(
    arms: Sequence[ArmResult],
    *,
    score: Score,
    num_resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
    majority_baseline: float | None = None,
) -> ComparisonSummary:
    """Summarises every arm, tests every pair and puts the answer into words.

    Only questions with options enter accuracies and pairs; written answers are averaged apart.

    Args:
        arms: Each with its predictions on the same questions in the same order, for one or more seeds.
        score: The metrics of one seed's predictions by name; `evaluation.summary.score_split`.
        level: Of all intervals; claims are made at a corrected 0.05 whatever the level.
        seed: Of the bootstrap.
        majority_baseline: Accuracy of always answering what was most frequent in training.

    Raises:
        ContractError: Two arms, or two seeds of one, did not answer the same questions.
        DataError: No question has options, so that accuracy is undefined.
    """
    check_same_questions(arms)
    scored = [index for index, first in enumerate(arms[0].predictions[0]) if first.correct is not None]
    if not scored:
        raise DataError(
            "test split: no question has options to choose from; add choice or decision questions"
        )
    questions = [arms[0].predictions[0][index] for index in scored]
    # A question without a group stands for itself.
    groups_Q = number_groups([(p.group, "") if p.group else ("", p.question_id) for p in questions])
    correct = {arm.arm: _correct_SQ(arm, scored) for arm in arms}
    names = sorted(correct, key=lambda name: name == BASE)  # a stable sort: base goes last
    differences = {
        (first, second): seed_averaged_difference(correct[first], correct[second])
        for first, second in itertools.combinations(names, 2)
    }
    discordance, detectable = _sensitivity([found.fraction_Q for found in differences.values()], groups_Q)
    summary = ComparisonSummary(
        arms=tuple(_summarise(arm, questions, correct[arm.arm], groups_Q, score, level) for arm in arms),
        pairs=_pairs(differences, groups_Q, num_resamples=num_resamples, level=level, seed=seed),
        num_questions=len(scored),
        num_groups=int(groups_Q.max()) + 1,
        discordance=discordance,
        minimum_detectable_difference=detectable,
        majority_baseline=majority_baseline,
    )
    return dataclasses.replace(summary, verdict=verdict_sentence(summary))


def _correct_SQ(arm: ArmResult, scored: Sequence[int]) -> BoolArray:  # noqa: N802
    return np.array([[bool(of_seed[index].correct) for index in scored] for of_seed in arm.predictions])


def _summarise(
    arm: ArmResult,
    questions: Sequence[Prediction],
    correct_SQ: BoolArray,
    groups_Q: IntArray,
    score: Score,
    level: float,
) -> ArmSummary:
    correct_Q = correct_SQ.mean(axis=0)
    effect = design_effect(correct_Q, groups_Q)
    by_seed = [score(predictions) for predictions in arm.predictions]

    def interval(part_Q: FloatArray) -> Interval:
        return wilson_interval(part_Q.sum() / effect, len(part_Q) / effect, level)

    specialty_Q = np.array([question.specialty for question in questions])
    kind_Q = np.array([question.kind for question in questions])
    parts = {str(name): correct_Q[specialty_Q == name] for name in np.unique(specialty_Q)}
    return ArmSummary(
        arm=arm.arm,
        num_questions=len(questions),
        num_seeds=len(correct_SQ),
        accuracy=float(correct_Q.mean()),
        accuracy_interval=interval(correct_Q),
        accuracy_by_seed=tuple(correct_SQ.mean(axis=1).tolist()),
        accuracy_raw=_mean_of(by_seed, "accuracy_raw"),
        accuracy_normalised=_mean_of(by_seed, "accuracy_normalised"),
        macro_f1=_mean_of(by_seed, "macro_f1"),
        token_f1=_mean_of(by_seed, "token_f1"),
        exact_match=_mean_of(by_seed, "exact_match"),
        by_kind={str(kind): float(correct_Q[kind_Q == kind].mean()) for kind in np.unique(kind_Q)},
        by_specialty={
            name: SpecialtyAccuracy(len(part_Q), float(part_Q.mean()), interval(part_Q))
            for name, part_Q in parts.items()
        },
    )


def _mean_of(by_seed: Sequence[Mapping[str, float]], name: str) -> float | None:
    """Mean over seeds; None where the metric is undefined for any of them."""
    values = [scores[name] for scores in by_seed if name in scores]
    return sum(values) / len(values) if len(values) == len(by_seed) else None


def _pairs(
    differences: Mapping[tuple[str, str], SeedAveragedDifference],
    groups_Q: IntArray,
    *,
    num_resamples: int,
    level: float,
    seed: int,
) -> tuple[PairSummary, ...]:
    p_values = [sign_flip_exact(found.units_Q, groups_Q=groups_Q) for found in differences.values()]
    pairs = []
    for ((first, second), found), p, p_corrected in zip(
        differences.items(), p_values, holm(p_values), strict=True
    ):
        difference_Q = found.fraction_Q
        difference = float(difference_Q.mean())
        pair = PairSummary(
            first=first,
            second=second,
            difference=difference,
            interval=paired_bootstrap_interval(
                difference_Q, num_resamples=num_resamples, level=level, seed=seed, groups_Q=groups_Q
            ),
            p=p,
            p_corrected=p_corrected,
            num_questions=len(difference_Q),
            num_first_only=int((difference_Q > 0).sum()),
            num_second_only=int((difference_Q < 0).sum()),
            verdict=_pair_verdict(difference, p_corrected),
        )
        pairs.append(pair)
    return tuple(pairs)


def _pair_verdict(difference: float, p_corrected: float) -> PairVerdict:
    if p_corrected >= ALPHA:
        return "not enough data"
    return "better" if difference > 0 else "worse"


def _sensitivity(differences: Sequence[FloatArray], groups_Q: IntArray) -> tuple[float, float | None]:
    """Discordance over all pairs, and the smallest difference that can be shown at it."""
    if not differences:
        return 0.0, None
    discordance = float(np.mean([np.mean(difference_Q**2) for difference_Q in differences]))
    if discordance == 0:
        return 0.0, None
    # Pairs that agree on everything tell nothing about how much groups matter.
    effects = [design_effect(difference_Q, groups_Q) for difference_Q in differences if difference_Q.any()]
    detectable = minimum_detectable_difference(
        len(groups_Q) / float(np.mean(effects)), discordance=discordance, alpha=ALPHA / len(differences)
    )
    return discordance, detectable
