"""Which trials are ended early: by rank or by a paired test among those of their method, never across methods."""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medalign.records import Progress, TrialResult, TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class AshaSettings:
    """When trials are compared and how many go on.

    Attributes:
        grace_share: Share of its budget that every trial may spend; the first rung.
        reduction_factor: About one in so many goes on at each rung; the rungs are `grace_share` times its powers
            below 1.
        generation: Trials are compared with those of earlier generations of so many numbers alone, so that what
            happens does not depend on which trials ran side by side; None compares with whoever came first.
    """

    grace_share: float = 0.5
    reduction_factor: float = 2.0
    generation: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.grace_share <= 1:
            raise ValueError(
                f"grace_share: {self.grace_share}; must be above 0 and at most 1 (no early stopping)"
            )
        if not 1 < self.reduction_factor < math.inf:
            raise ValueError(f"reduction_factor: {self.reduction_factor}; must be above 1")

    @property
    def rungs(self) -> tuple[float, ...]:
        """Shares of the budget at which trials are compared, ascending."""
        rungs = []
        rung = self.grace_share
        while rung < 1:
            rungs.append(rung)
            rung *= self.reduction_factor
        return tuple(rungs)


@dataclass(frozen=True, kw_only=True, slots=True)
class WilcoxonSettings(AshaSettings):
    """The same rungs, at which each trial is tested against the best one there.

    Attributes:
        p_threshold: A trial is ended where the test finds it worse with a smaller p.
    """

    p_threshold: float = 0.1

    def __post_init__(self) -> None:
        # Without arguments `super` does not find its class where a dataclass has slots.
        AshaSettings.__post_init__(self)
        if not 0 < self.p_threshold < 1:
            raise ValueError(f"p_threshold: {self.p_threshold}; must be above 0 and below 1")


class StoppingRule(ABC):
    """Says of each report whether the trial goes on.

    Refits and methods without a search are never stopped, nor is anything at its full budget. The time unit is the
    share of a trial's own budget, so that trials of one method with different budgets can be compared.
    """

    def __init__(self, settings: AshaSettings) -> None:
        self.settings = settings
        self._seen: defaultdict[tuple[str, float], dict[int, Progress]] = defaultdict(dict)

    def goes_on(self, spec: TrialSpec, progress: Progress) -> bool:
        """Whether the trial should continue after this report, which is kept for the others."""
        if spec.stage != "search":
            return True
        rung = self._rung(progress.budget_share)
        if rung is None:
            return True
        seen = self._seen[spec.method, rung]
        if spec.number in seen:
            return True
        others = [report for number, report in sorted(seen.items()) if self._may_compare(spec.number, number)]
        good_enough = not others or self._good_enough(progress, others)
        seen[spec.number] = progress
        return good_enough

    def recall(self, results: Iterable[TrialResult]) -> None:
        """Takes over the reports of trials that an earlier run of the same comparison ended."""
        for result in results:
            for progress in result.history:
                rung = self._rung(progress.budget_share)
                if rung is not None and result.spec.stage == "search":
                    self._seen[result.spec.method, rung].setdefault(result.spec.number, progress)

    @abstractmethod
    def _good_enough(self, progress: Progress, others: Sequence[Progress]) -> bool:
        """Whether a trial with this report goes on, given the reports of others at the same rung."""

    def _may_compare(self, number: int, other: int) -> bool:
        size = self.settings.generation
        return size is None or other // size < number // size

    def _rung(self, budget_share: float) -> float | None:
        """The highest rung reached; None before the first and at the full budget."""
        if budget_share >= 1:
            return None
        # A share that was computed as steps / total may miss its rung by a rounding error.
        reached = [rung for rung in self.settings.rungs if budget_share >= rung - 1e-9]
        return reached[-1] if reached else None


class Asha(StoppingRule):
    """Goes on with the better part at each rung.

    The stopping form of ASHA (Li et al. 2020, "A system for massively parallel hyperparameter tuning"), as Ray Tune's
    AsyncHyperBandScheduler has it with one bracket: a trial that reaches a rung is stopped if its score is below the
    top `1 / reduction_factor` quantile of the scores seen there before it. The first trial at a rung always goes on,
    and with few trials the rule is rough. Unlike Ray's, nothing is stopped at its full budget, and a score that is not
    a number counts as the lowest.
    """

    def __init__(self, settings: AshaSettings | None = None) -> None:
        super().__init__(settings or AshaSettings())

    def _good_enough(self, progress: Progress, others: Sequence[Progress]) -> bool:
        return _rankable(progress.score) >= self._cutoff([_rankable(other.score) for other in others])

    def _cutoff(self, seen: Iterable[float]) -> float:
        """The `1 - 1 / reduction_factor` quantile of the scores, interpolated linearly as NumPy does."""
        scores = sorted(seen)
        position = (1 - 1 / self.settings.reduction_factor) * (len(scores) - 1)
        below, above = scores[math.floor(position)], scores[math.ceil(position)]
        if below == above:
            return below
        return below + (above - below) * (position - math.floor(position))


class Wilcoxon(StoppingRule):
    """Ends a trial that a signed-rank test over the validation questions finds worse than the best at its rung.

    Optuna's WilcoxonPruner, given for each trial the probability of the right answer to every question at that
    rung. With few or noisy questions it stops less than ASHA, which stops by rank whether or not the difference is
    real. A trial whose accuracy is no lower than the best one's is never stopped.

    The test is one of many over a search: `p_threshold` is no error rate of the whole. It takes the questions
    as independent; several from one passage make it stop a little too easily.
    """

    def __init__(self, settings: WilcoxonSettings | None = None) -> None:
        super().__init__(settings or WilcoxonSettings())
        self._p_threshold = getattr(self.settings, "p_threshold", WilcoxonSettings().p_threshold)

    def _good_enough(self, progress: Progress, others: Sequence[Progress]) -> bool:
        import optuna
        from optuna.trial import TrialState, create_trial

        best = max(others, key=lambda other: _rankable(other.score))
        if math.isnan(progress.score):
            return False
        if progress.score >= best.score or not (progress.question_scores and best.question_scores):
            return True
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(direction="maximize")
        study.add_trial(
            create_trial(value=best.score, intermediate_values=dict(enumerate(best.question_scores)))
        )
        running = create_trial(
            state=TrialState.RUNNING, intermediate_values=dict(enumerate(progress.question_scores))
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            pruner = optuna.pruners.WilcoxonPruner(p_threshold=self._p_threshold)
        return not pruner.prune(study, running)


def stopping_rule(settings: AshaSettings | None) -> StoppingRule | None:
    """The rule that the settings are of; None for none."""
    if settings is None:
        return None
    return Wilcoxon(settings) if isinstance(settings, WilcoxonSettings) else Asha(settings)


def _rankable(score: float) -> float:
    return -math.inf if math.isnan(score) else score
