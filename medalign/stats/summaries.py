"""What a comparison found: arms, pairs and the whole, as frozen records with plain numbers.

A statistic that is undefined is None, and the record's `undefined` says why under its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from medalign.records import Interval
from medalign.stats.pooling import PooledMean
from medalign.stats.ranks import ArmRank
from medalign.stats.winners_curse import WinnersCurse

MARGIN = 0.02  # docs/decisions says why two points

PairVerdict = Literal["better", "worse", "equivalent within m", "not enough data"]


class SpecialtyAccuracy(NamedTuple):
    """Accuracy on the scored questions of one specialty, by itself: show the pooled one where questions are few."""

    num_questions: int
    accuracy: float
    interval: Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class SpecialtyDifference:
    """Two arms on the questions of one specialty.

    Attributes:
        difference: Bare difference in accuracy, first less second.
        p: Two-sided, exact, by sign flips of groups; over questions alone.
        p_corrected: Benjamini-Hochberg over all specialties of all pairs: of what is claimed below 0.05, 5 % is
            expected to be false.
        pooled: Difference drawn to that of all specialties (`pooling.pool_partially`); None with one specialty.
    """

    num_questions: int
    difference: float
    p: float
    p_corrected: float
    pooled: PooledMean | None


class QuestionsNeeded(NamedTuple):
    """Test questions on which a difference is found with a power of 0.8 after correction.

    None where no number would do: the difference is larger than the share of questions on which arms differ, or the
    variance over seeds alone hides it; the comparison's `undefined` says which.
    """

    difference: float
    num_questions: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSummary:
    """What one arm reached on the test split; every number is a mean over the arm's seeds.

    Attributes:
        num_questions: Scored questions; free text is not among them.
        accuracy: Share of right answers under the comparison's scoring rule.
        accuracy_interval: Over questions in groups and over seeds (`two_level.accuracy_interval`); Wilson's where
            there is one seed and no group.
        accuracy_raw: With options picked by log-probability.
        accuracy_normalised: With options picked by log-probability per character.
        macro_f1: Over yes, no and maybe, on decision questions; None without them.
        token_f1: Of written answers to free-text questions; None without them.
        exact_match: Likewise.
        by_kind: Accuracy for each kind of scored question.
        by_specialty: In alphabetical order; intervals share the design effect of the whole arm.
        pooled_specialties: The same specialties, each drawn to the arm's mean as far as it has few questions; what a
            report shows. Empty with one specialty.
        winners_curse: Best validation score against the test; None where nothing was searched or the number of
            validation questions is not known.
        undefined: For each statistic that is None or could not be had in full, why.
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
    pooled_specialties: Mapping[str, PooledMean] = field(default_factory=dict)
    winners_curse: WinnersCurse | None = None
    undefined: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairSummary:
    """One arm against another on the same questions.

    Attributes:
        difference: Accuracy of the first less that of the second.
        interval: Of the difference, over questions in groups and over seeds (`two_level.estimate_difference`); for
            this pair alone, not corrected. Over questions alone where `standard_error_seeds` is None.
        p: Two-sided; the larger of `p_questions` and `p_two_level`.
        p_corrected: `p`, Holm-corrected over all pairs of the comparison.
        num_first_only: Questions that the first answers better; with one seed each, those that it alone has right.
        num_second_only: The same the other way round.
        verdict: On the first against the second; better or worse is claimed only where `p_corrected` is below 0.05, and
            equivalence only where that is not so and `p_equivalence_corrected` is below 0.05.
        interval_questions: For these trained models, over questions alone, by a paired bootstrap over groups.
        p_questions: Exact, by sign flips of groups; McNemar's with one seed and no groups. For these trained models.
        p_two_level: By a t test over questions and seeds; None where the variance over seeds is unknown.
        p_equivalence: Of two one-sided tests that the difference is not within the margin.
        p_equivalence_corrected: The same, Holm-corrected over all pairs.
        standard_error_questions: Of the difference, from the choice of questions.
        standard_error_seeds: Of the difference, from the choice of seeds; None where unknown.
        by_specialty: In alphabetical order.
        undefined: For each statistic that is None, why.
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
    interval_questions: Interval | None = None
    p_questions: float | None = None
    p_two_level: float | None = None
    p_equivalence: float | None = None
    p_equivalence_corrected: float | None = None
    standard_error_questions: float | None = None
    standard_error_seeds: float | None = None
    by_specialty: Mapping[str, SpecialtyDifference] = field(default_factory=dict)
    undefined: Mapping[str, str] = field(default_factory=dict)


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
            of 0.8 after correction, at the discordance and the variance over seeds that were seen; None if it can show
            none.
        majority_baseline: Accuracy of always answering what was most frequent in training; None if not given.
        verdict: One sentence for the person who asked.
        margin: Largest difference in accuracy that does not matter, the m of `equivalent within m`.
        ranks: The places that each arm may hold, best accuracy first; they hold together with 95 %.
        tie_groups: Largest sets of arms of which none is shown to be better than another; sets may overlap.
        questions_needed: For differences worth finding, the test questions needed to find them.
        undefined: For each statistic that is None, why.
    """

    arms: tuple[ArmSummary, ...]
    pairs: tuple[PairSummary, ...]
    num_questions: int
    num_groups: int
    discordance: float
    minimum_detectable_difference: float | None
    majority_baseline: float | None = None
    verdict: str = ""
    margin: float = MARGIN
    ranks: tuple[ArmRank, ...] = ()
    tie_groups: tuple[tuple[str, ...], ...] = ()
    questions_needed: tuple[QuestionsNeeded, ...] = ()
    undefined: Mapping[str, str] = field(default_factory=dict)
