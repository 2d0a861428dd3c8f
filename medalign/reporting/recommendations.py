"""Where more training questions are likeliest to pay: weak specialties, and a share of the next questions for each.

It is an allocation, not a forecast: from one training size nobody can tell how many points a question buys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from medalign.records import BASE

if TYPE_CHECKING:
    from medalign.stats.comparison import ArmSummary, ComparisonSummary

LIKELY = 0.8  # probability of being below the arm's own accuracy from which a specialty is called weak
KNOWN_WITHIN = 0.1  # half-width of an interval from which a specialty's accuracy counts as known
_NORMAL = NormalDist()

RULE = (
    "A specialty's accuracy is the partially pooled one: drawn to the accuracy of all specialties the more, the fewer "
    "questions it has. It is weak where the probability that its true accuracy lies below the arm's own is at least "
    f"{LIKELY:.0%}. As many new training questions as this comparison trained on are shared out over the weak "
    "specialties in proportion to expected shortfall (in accuracy, under the uncertainty of the pooled one) times the "
    "specialty's share of the test questions. Other specialties get none: that they are weak is not shown, and for "
    f"them more test questions (enough for an interval of +-{100 * KNOWN_WITHIN:.0f} points) come first."
)
CAVEATS = (
    "This is an allocation, not a forecast: how many points a training question buys was not measured.",
    "Specialties were looked at together; about one in five that only just passes the rule does so by chance.",
    "The test questions decided what is weak, so improvement must be measured on questions that are new.",
)


def training_recommendations(
    summary: ComparisonSummary, card: Mapping[str, Any], *, arms: Sequence[str] = ()
) -> dict[str, Any]:
    """For each arm the weak specialties, how likely each is to be weak, and how many new questions it should get.

    Args:
        card: Of the data; `splits.train.specialty` tells what each had so far.
        arms: To recommend for; all but the base by default.
    """
    counts = card.get("splits", {}).get("train", {})
    trained = counts.get("specialty", {}) if isinstance(counts, Mapping) else {}
    budget = int(counts.get("questions", 0)) if isinstance(counts, Mapping) else 0
    wanted = arms or tuple(arm.arm for arm in summary.arms if arm.arm != BASE)
    return {
        "rule": RULE,
        "caveats": list(CAVEATS),
        "num_new_questions_shared_out": budget,
        "arms": {arm.arm: _for_arm(arm, trained, budget) for arm in summary.arms if arm.arm in wanted},
    }


def _for_arm(arm: ArmSummary, trained: Mapping[str, int], budget: int) -> dict[str, Any]:
    if not arm.pooled_specialties:
        return {"why_none": arm.undefined.get("pooled_specialties", "undefined: no specialties"), "weak": []}
    rows = [_specialty(arm, name, trained) for name in arm.pooled_specialties]
    weak = [row for row in rows if row["probability_below_average"] >= LIKELY]
    for row, number in zip(weak, _shared_out(budget, [row["weight"] for row in weak]), strict=True):
        row["num_more_training_questions"] = number
    for row in rows:
        del row["weight"]
    weak.sort(key=lambda row: -row["num_more_training_questions"])
    unclear = [row for row in rows if row not in weak and row["num_more_test_questions"] > 0]
    return {
        "accuracy": arm.accuracy,
        "weak": weak,
        "not_known_well_enough": sorted(unclear, key=lambda row: -row["probability_below_average"]),
        "why_none": "" if weak else "no specialty is likely enough to be weaker than the arm as a whole",
    }


def _specialty(arm: ArmSummary, name: str, trained: Mapping[str, int]) -> dict[str, Any]:
    pooled, bare = arm.pooled_specialties[name], arm.by_specialty[name]
    width = pooled.interval.high - pooled.interval.low
    deviation = max(width / (2 * _NORMAL.inv_cdf(0.5 + pooled.interval.level / 2)), 1e-9)
    z = (arm.accuracy - pooled.mean) / deviation
    shortfall = deviation * (_NORMAL.pdf(z) + z * _NORMAL.cdf(z))
    share = bare.num_questions / arm.num_questions
    return {
        "specialty": name,
        "accuracy": pooled.mean,
        "accuracy_low": pooled.interval.low,
        "accuracy_high": pooled.interval.high,
        "bare_accuracy": bare.accuracy,
        "num_test_questions": bare.num_questions,
        "num_training_questions": trained.get(name, 0),
        "probability_below_average": _NORMAL.cdf(z),
        "expected_shortfall": shortfall,
        "num_more_training_questions": 0,
        "num_more_test_questions": max(0, _questions_to_know(pooled.mean) - bare.num_questions),
        "weight": shortfall * share,
    }


def _questions_to_know(accuracy: float) -> int:
    """Test questions for an interval of 95 % of the half-width at which a specialty counts as known."""
    return math.ceil(accuracy * (1 - accuracy) * (_NORMAL.inv_cdf(0.975) / KNOWN_WITHIN) ** 2)


def _shared_out(number: int, weights: Sequence[float]) -> list[int]:
    """Whole numbers in proportion to the weights that add up to the number (largest remainders)."""
    total = sum(weights)
    if not weights or total <= 0:
        return [0] * len(weights)
    exact = [number * weight / total for weight in weights]
    shares = [math.floor(value) for value in exact]
    by_remainder = sorted(range(len(weights)), key=lambda i: (shares[i] - exact[i], i))
    for index in by_remainder[: number - sum(shares)]:
        shares[index] += 1
    return shares
