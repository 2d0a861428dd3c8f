"""Kappa against scikit-learn."""

from __future__ import annotations

import random

import pytest
from sklearn.metrics import cohen_kappa_score

from medalign.evaluation.agreement import cohen_kappa
from medalign.records import DECISIONS


def test_kappa_equals_scikit_learn() -> None:
    rng = random.Random(1)
    for _ in range(40):
        number = rng.randint(4, 400)
        gold = rng.choices(DECISIONS, weights=[5, 3, 1], k=number)
        found = [right if rng.random() < 0.4 else rng.choice([*DECISIONS, "other"]) for right in gold]
        if len({*gold, *found}) > 1:
            assert cohen_kappa(gold, found) == pytest.approx(cohen_kappa_score(gold, found), abs=1e-12)
            assert cohen_kappa(gold, found) == cohen_kappa(found, gold)


def test_kappa_of_known_answers() -> None:
    assert cohen_kappa(["yes", "no"], ["yes", "no"]) == 1
    assert cohen_kappa(["yes", "no"], ["no", "yes"]) == -1
    assert cohen_kappa(["yes", "no", "yes", "no"], ["yes"] * 4) == 0


def test_kappa_is_undefined_where_one_label_is_all_there_is() -> None:
    with pytest.raises(ValueError, match=r"undefined where all answers are one label \('yes'\)"):
        cohen_kappa(["yes", "yes"], ["yes", "yes"])
    with pytest.raises(ValueError, match="as many predictions as right answers, got 2 for 1"):
        cohen_kappa(["yes"], ["yes", "no"])
    with pytest.raises(ValueError, match="got 0 for 0"):
        cohen_kappa([], [])
