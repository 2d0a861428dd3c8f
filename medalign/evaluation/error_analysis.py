"""Who errs where: what one arm fixes and breaks of another's answers, and what all arms together would reach.

Only questions with options enter: there an answer is right or wrong. With several seeds a question counts with
the share of seeds that have it right, and is called right where more than half do.
"""

# A = arms, Q = questions

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from medalign.errors import DataError
from medalign.evaluation.calibration import FloatArray
from medalign.evaluation.checking import check_arms
from medalign.evaluation.confidence import confidences, scored_only, scoring_rule
from medalign.evaluation.features import FEATURES, question_features
from medalign.evaluation.patterns import Pattern, find_patterns
from medalign.records import BASE, ArmResult, Prediction, Question

CONFIDENT = 0.8  # probability from which a wrong answer is called confident
MAX_EXAMPLES = 50


class Slice(NamedTuple):
    """Two arms on the questions that share a feature.

    Attributes:
        feature: One of `features.FEATURES`.
        value: What these questions have in common, such as a specialty.
        num_fixed: Right with the first arm and not with the second.
        num_broken: Right with the second arm and not with the first.
        first_accuracy: Mean over seeds, a fraction.
        question_ids: In their order, for an interval over them.
    """

    feature: str
    value: str
    num_questions: int
    num_fixed: int
    num_broken: int
    first_accuracy: float
    second_accuracy: float
    question_ids: tuple[str, ...]

    @property
    def difference(self) -> float:
        """Accuracy of the first arm less that of the second."""
        return self.first_accuracy - self.second_accuracy


@dataclass(frozen=True, kw_only=True, slots=True)
class PairErrors:
    """What the first arm makes of the second's answers.

    Attributes:
        fixed: Ids of questions that only the first has right; those that the second has confidently wrong come first.
        broken: Ids of questions that only the second has right; those that the first has confidently wrong come first.
        both_right: Number of questions.
        both_wrong: Number of questions.
        difference_by_question: Id -> share of seeds right with the first less that with the second, in [-1, 1].
        slices: By each feature, the largest losses of the first arm first.
    """

    first: str
    second: str
    fixed: tuple[str, ...]
    broken: tuple[str, ...]
    both_right: int
    both_wrong: int
    difference_by_question: Mapping[str, float]
    slices: tuple[Slice, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Oracle:
    """What could be had by taking for every question the arm that does best on it; nobody knows which beforehand.

    Attributes:
        accuracy: Mean over questions of the best arm's share of right seeds.
        independent: What it would be if these arms erred independently of each other: 1 less the product of their
            error rates. An oracle far below it says that arms err on the same questions.
        best_arm: The single arm with the largest accuracy, the first of equals.
        num_none: Questions that no arm has right under any seed.
        num_all: Questions that every arm has right under every seed.
        only: Arm -> ids of questions that it alone has right.
    """

    accuracy: float
    independent: float
    best_arm: str
    best_accuracy: float
    num_questions: int
    num_none: int
    num_all: int
    only: Mapping[str, tuple[str, ...]]


class ConfidentError(NamedTuple):
    """A wrong answer that was given with a high probability."""

    arm: str
    seed: int
    question_id: str
    confidence: float
    said: str
    answer: str
    specialty: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorAnalysis:
    """Everything about the errors of a comparison's arms.

    Attributes:
        pairs: Every two arms; `base` is never the first of a pair.
        confident_errors: Wrong answers with a confidence of at least 0.8, the most confident first, 50 at most.
        num_confident_errors: Arm -> number of such answers, every seed counted.
        num_answers: Arm -> number of scored answers, every seed counted.
        patterns: For each arm every pattern that was looked for, those not found with a count of 0.
    """

    num_questions: int
    pairs: tuple[PairErrors, ...]
    oracle: Oracle
    confident_errors: tuple[ConfidentError, ...]
    num_confident_errors: Mapping[str, int]
    num_answers: Mapping[str, int]
    patterns: tuple[Pattern, ...]


def analyse_errors(
    arms: Sequence[ArmResult], questions: Mapping[str, Question] | None = None
) -> ErrorAnalysis:
    """Looks at the errors of every arm, of every pair of arms and of all arms together.

    Args:
        arms: One or more, each with one or more seeds, on the same questions.
        questions: The questions by id; without them the features and patterns that need their text are left out.

    Raises:
        DataError: The arms did not answer the same questions, one has no seed, or no question has options.
    """
    check_arms(arms)
    table = _Table(arms, questions or {})
    order = sorted(range(len(arms)), key=lambda index: arms[index].arm == BASE)  # base last
    errors = _confident_errors(arms)
    return ErrorAnalysis(
        num_questions=len(table.ids),
        pairs=tuple(table.pair(first, second) for first, second in itertools.combinations(order, 2)),
        oracle=table.oracle(),
        confident_errors=tuple(errors[:MAX_EXAMPLES]),
        num_confident_errors={arm.arm: sum(e.arm == arm.arm for e in errors) for arm in arms},
        num_answers={arm.arm: sum(len(scored_only(of_seed)) for of_seed in arm.predictions) for arm in arms},
        patterns=tuple(p for arm in arms for p in find_patterns(arm, questions or {})),
    )


class _Table:
    """Every arm's share of right seeds on every scored question."""

    def __init__(self, arms: Sequence[ArmResult], questions: Mapping[str, Question]) -> None:
        first = scored_only(arms[0].predictions[0])
        if not first:
            raise DataError(
                "errors: no question has options to choose from; add choice or decision questions"
            )
        self.ids = [p.question_id for p in first]
        self._names = [arm.arm for arm in arms]
        self._features = [question_features(p, questions.get(p.question_id)) for p in first]
        self._right_AQ = np.array([_share_right(arm, self.ids) for arm in arms])
        self._confidence_AQ = np.array([_mean_confidence(arm, self.ids) for arm in arms])

    def pair(self, first: int, second: int) -> PairErrors:
        right_first, right_second = self._right_AQ[first] > 0.5, self._right_AQ[second] > 0.5
        fixed, broken = right_first & ~right_second, right_second & ~right_first
        difference_Q = self._right_AQ[first] - self._right_AQ[second]
        return PairErrors(
            first=self._names[first],
            second=self._names[second],
            fixed=self._ids_where(fixed, self._confidence_AQ[second]),
            broken=self._ids_where(broken, self._confidence_AQ[first]),
            both_right=int((right_first & right_second).sum()),
            both_wrong=int((~right_first & ~right_second).sum()),
            difference_by_question=dict(zip(self.ids, difference_Q.tolist(), strict=True)),
            slices=tuple(self._slices(first, second, fixed, broken)),
        )

    def _ids_where(self, chosen_Q: FloatArray, confidence_Q: FloatArray) -> tuple[str, ...]:
        positions = np.flatnonzero(chosen_Q)
        return tuple(self.ids[i] for i in positions[np.argsort(-confidence_Q[positions], kind="stable")])

    def _slices(self, first: int, second: int, fixed: FloatArray, broken: FloatArray) -> list[Slice]:
        found = []
        for feature in FEATURES:
            values = [features.get(feature) for features in self._features]
            for value in sorted({v for v in values if v is not None}):
                part = np.array([v == value for v in values])
                found.append(
                    Slice(
                        feature=feature,
                        value=value,
                        num_questions=int(part.sum()),
                        num_fixed=int(fixed[part].sum()),
                        num_broken=int(broken[part].sum()),
                        first_accuracy=float(self._right_AQ[first][part].mean()),
                        second_accuracy=float(self._right_AQ[second][part].mean()),
                        question_ids=tuple(itertools.compress(self.ids, part)),
                    )
                )
        return sorted(found, key=lambda s: (FEATURES.index(s.feature), s.difference, s.value))

    def oracle(self) -> Oracle:
        accuracy_A = self._right_AQ.mean(axis=1)
        best = int(np.argmax(accuracy_A))
        right_AQ = self._right_AQ > 0.5
        alone_AQ = right_AQ & (right_AQ.sum(axis=0) == 1)
        return Oracle(
            accuracy=float(self._right_AQ.max(axis=0).mean()),
            independent=1 - math.prod(1 - float(accuracy) for accuracy in accuracy_A),
            best_arm=self._names[best],
            best_accuracy=float(accuracy_A[best]),
            num_questions=len(self.ids),
            num_none=int((self._right_AQ.max(axis=0) == 0).sum()),
            num_all=int((self._right_AQ.min(axis=0) == 1).sum()),
            only={
                name: tuple(itertools.compress(self.ids, alone))
                for name, alone in zip(self._names, alone_AQ, strict=True)
            },
        )


def _share_right(arm: ArmResult, ids: Sequence[str]) -> FloatArray:
    by_seed = [{p.question_id: bool(p.correct) for p in scored_only(of_seed)} for of_seed in arm.predictions]
    return np.array([[right[name] for name in ids] for right in by_seed], dtype=np.float64).mean(axis=0)


def _mean_confidence(arm: ArmResult, ids: Sequence[str]) -> FloatArray:
    by_seed = [
        dict(zip((p.question_id for p in scored_only(of_seed)), confidences(of_seed), strict=True))
        for of_seed in arm.predictions
    ]
    return np.array([[found[name] for name in ids] for found in by_seed], dtype=np.float64).mean(axis=0)


def _confident_errors(arms: Sequence[ArmResult]) -> list[ConfidentError]:
    found = []
    for arm in arms:
        for seed, predictions in zip(arm.seeds, arm.predictions, strict=True):
            scored: list[Prediction] = scored_only(predictions)
            sure_Q = confidences(scored, scoring=scoring_rule(scored))
            for prediction, sure in zip(scored, sure_Q.tolist(), strict=True):
                if not prediction.correct and sure >= CONFIDENT:
                    found.append(
                        ConfidentError(
                            arm=arm.arm,
                            seed=seed,
                            question_id=prediction.question_id,
                            confidence=sure,
                            said=prediction.said,
                            answer=prediction.answer,
                            specialty=prediction.specialty,
                        )
                    )
    return sorted(found, key=lambda e: (-e.confidence, e.question_id, e.arm, e.seed))
