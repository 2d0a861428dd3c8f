"""Asynchronous successive halving over the trials of each method, never across methods."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from medalign.records import Progress, TrialResult, TrialSpec


@dataclass(frozen=True, kw_only=True, slots=True)
class AshaSettings:
    """When trials are compared and how many go on.

    Attributes:
        grace_share: Share of its budget that every trial may spend; the first rung.
        reduction_factor: About one in so many goes on at each rung; the rungs are `grace_share` times its powers
            below 1.
    """

    grace_share: float = 0.5
    reduction_factor: float = 2.0

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


class Asha:
    """Says of each report whether the trial goes on.

    The stopping form of ASHA (Li et al. 2020, "A system for massively parallel hyperparameter tuning"), as Ray Tune's
    AsyncHyperBandScheduler has it with one bracket: a trial that reaches a rung is stopped if its score is below the
    top `1 / reduction_factor` quantile of the scores seen there before it. The first trial at a rung always goes on,
    and with few trials the rule is rough. Unlike Ray's, nothing is stopped at its full budget, and a score that is not
    a number counts as the lowest.

    Refits and methods without a search are never stopped. The time unit is the share of a trial's own budget, so
    that trials of one method with different budgets can be compared.
    """

    def __init__(self, settings: AshaSettings | None = None) -> None:
        self.settings = settings or AshaSettings()
        self._scores: defaultdict[tuple[str, float], dict[str, float]] = defaultdict(dict)

    def goes_on(self, spec: TrialSpec, progress: Progress) -> bool:
        """Whether the trial should continue after this report; keeps its score for the others."""
        if spec.stage != "search":
            return True
        rung = self._rung(progress.budget_share)
        if rung is None:
            return True
        seen = self._scores[spec.method, rung]
        if spec.trial_id in seen:
            return True
        score = progress.score if not math.isnan(progress.score) else -math.inf
        good_enough = not seen or score >= self._cutoff(seen)
        seen[spec.trial_id] = score
        return good_enough

    def recall(self, results: Iterable[TrialResult]) -> None:
        """Takes over the scores of an earlier run's trials, in the order in which they ended."""
        for result in results:
            for progress in result.history:
                self.goes_on(result.spec, progress)

    def _rung(self, budget_share: float) -> float | None:
        """The highest rung reached; None before the first and at the full budget."""
        if budget_share >= 1:
            return None
        # A share that was computed as steps / total may miss its rung by a rounding error.
        reached = [rung for rung in self.settings.rungs if budget_share >= rung - 1e-9]
        return reached[-1] if reached else None

    def _cutoff(self, seen: Mapping[str, float]) -> float:
        """The `1 - 1 / reduction_factor` quantile of the scores, interpolated linearly as NumPy does."""
        scores = sorted(seen.values())
        position = (1 - 1 / self.settings.reduction_factor) * (len(scores) - 1)
        below, above = scores[math.floor(position)], scores[math.ceil(position)]
        if below == above:
            return below
        return below + (above - below) * (position - math.floor(position))
