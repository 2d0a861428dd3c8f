"""Agreement beyond chance between what was said and what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def cohen_kappa(gold: Sequence[str], predicted: Sequence[str]) -> float:
    """Cohen's kappa: (observed - expected agreement) / (1 - expected agreement).

    Expected agreement is that of two raters who use each label as often as these do, but independently. 0 is
    agreement by chance, 1 is complete, and it can be negative. Assumes that labels are classes: positions of a
    four-option question are none. With very unequal labels it is low even where most answers agree.

    Raises:
        ValueError: There are no answers, the two differ in number, or both hold one and the same label
            throughout, so that agreement by chance is complete and kappa is undefined.

    Source: Cohen (1960), A coefficient of agreement for nominal scales, Educ. Psychol. Meas. 20, 37-46; as
    scikit-learn's `cohen_kappa_score`.
    """
    if not gold or len(gold) != len(predicted):
        raise ValueError(
            f"kappa needs as many predictions as right answers, got {len(predicted)} for {len(gold)}"
        )
    num = len(gold)
    num_gold, num_predicted = Counter(gold), Counter(predicted)
    num_agreed = sum(right == found for right, found in zip(gold, predicted, strict=True))
    # Whole numbers up to the last step: expected agreement is `by_chance / num**2`.
    by_chance = sum(num_gold[label] * num_predicted[label] for label in num_gold)
    if by_chance == num * num:
        raise ValueError(f"kappa is undefined where all answers are one label ({gold[0]!r}) on both sides")
    return (num * num_agreed - by_chance) / (num * num - by_chance)
