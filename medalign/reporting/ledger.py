"""The cost ledger: what every trial, every arm and the shared work used, and what a point of accuracy cost.

Stopped and failed trials are in it: they were paid for. Work whose result several trials use is a row of its own
in the ledger and counted once in the grand total; an arm's own total holds all of the shared work that it needs, since
that arm alone would have needed it too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from medalign.records import BASE, ArmResult, Cost, Stage, TrialResult

if TYPE_CHECKING:
    from medalign.stats.comparison import ComparisonSummary

Row = dict[str, Any]
Axis = Literal["price", "device_seconds", "cpu_seconds"]
_HOUR = 3600


class Price(NamedTuple):
    """Rates for machine time; see `PriceSettings`."""

    device_hour: float | None = None
    core_hour: float | None = None
    currency: str = "USD"

    @property
    def is_given(self) -> bool:
        return self.device_hour is not None or self.core_hour is not None

    def of(self, cost: Cost) -> float | None:
        """What a cost comes to; None without a rate."""
        if not self.is_given:
            return None
        devices = cost.device_seconds / _HOUR * (self.device_hour or 0.0)
        return devices + cost.cpu_seconds / _HOUR * (self.core_hour or 0.0)


@dataclass(frozen=True, kw_only=True)
class SharedWork:
    """Work that was done once for all trials that use it.

    Attributes:
        paid_by: The trials that did it; more than one where they began at the same time.
        used_by: All trials that used it.
        methods: Of these trials.
    """

    name: str
    cost: Cost
    paid_by: tuple[str, ...]
    used_by: tuple[str, ...]
    methods: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ArmCost:
    """What an arm took.

    Attributes:
        search: Of all its search trials, stopped and failed ones included.
        refits: Of all its refits, failed ones included.
        shared: Of the shared work that it needs, in full.
        answer_flops: Floating-point operations for one test question; None where they were not counted.
        answer_seconds: Likewise seconds, batched as in this comparison.
    """

    arm: str
    search: Cost
    refits: Cost
    shared: Cost
    answer_flops: float | None = None
    answer_seconds: float | None = None

    @property
    def total(self) -> Cost:
        return self.search + self.refits + self.shared


@dataclass(frozen=True, kw_only=True)
class PointCost:
    """The cost of one point of accuracy above the base, in the unit of the ledger's axis.

    Attributes:
        low: At the largest gain that fits the data; None where even that is no gain.
        middle: At the gain that was seen; None where there was none.
        high: At the smallest gain that fits; None where that is no gain, so that the cost has no upper bound.
    """

    low: float | None
    middle: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """Everything that a comparison cost.

    Attributes:
        axis: By what arms are compared: price where a rate is given, else GPU time, else CPU time.
        points: For each arm but the base.
        grand_total: Of all trials, shared work counted once.
    """

    price: Price
    axis: Axis
    trials: tuple[TrialResult, ...]
    arms: Mapping[str, ArmCost]
    shared: tuple[SharedWork, ...]
    points: Mapping[str, PointCost]
    grand_total: Cost

    def on_axis(self, cost: Cost) -> float:
        """A cost in the unit of the axis."""
        if self.axis == "price":
            return self.price.of(cost) or 0.0
        return cost.device_seconds if self.axis == "device_seconds" else cost.cpu_seconds


def make_ledger(
    trials: Sequence[TrialResult],
    arms: Sequence[ArmResult],
    summary: ComparisonSummary,
    price: Price,
) -> Ledger:
    """Gathers all costs; methods without an arm stand in the grand total alone."""
    shared = _shared_work(trials)
    by_arm = {arm.arm: _arm_cost(arm, trials, shared) for arm in arms}
    total = sum((trial.cost for trial in trials), start=Cost())
    total = sum((work.cost for work in shared), start=total)
    axis: Axis = "price" if price.is_given else "device_seconds" if total.device_seconds else "cpu_seconds"
    ledger = Ledger(
        price=price,
        axis=axis,
        trials=tuple(trials),
        arms=by_arm,
        shared=shared,
        points={},
        grand_total=total,
    )
    points = {
        pair.first: _point_cost(ledger.on_axis(by_arm[pair.first].total), pair.difference, *pair.interval[:2])
        for pair in summary.pairs
        if pair.second == BASE and pair.first in by_arm
    }
    return Ledger(
        price=price,
        axis=axis,
        trials=tuple(trials),
        arms=by_arm,
        shared=shared,
        points=points,
        grand_total=total,
    )


def trial_rows(ledger: Ledger) -> list[Row]:
    """One row a trial, then one for each piece of shared work, then the grand total."""
    rows = [
        _row(t.spec.trial_id, t.spec.method, t.spec.stage, t.status, t.cost, ledger) for t in ledger.trials
    ]
    for work in ledger.shared:
        name = f"shared: {work.name}"
        rows.append(_row(name, " ".join(work.methods), "shared", "completed", work.cost, ledger))
    return [*rows, _row("all", "", "total", "", ledger.grand_total, ledger)]


def arm_rows(ledger: Ledger) -> list[Row]:
    """One row an arm: its totals and what a point of accuracy cost."""
    rows = []
    for arm, cost in ledger.arms.items():
        point = ledger.points.get(arm)
        rows.append(
            {
                **_row(arm, arm, "all", "", cost.total, ledger),
                "search_wall_seconds": cost.search.wall_seconds,
                "refit_wall_seconds": cost.refits.wall_seconds,
                "shared_wall_seconds": cost.shared.wall_seconds,
                "axis": ledger.axis,
                "cost": ledger.on_axis(cost.total),
                "cost_per_point": point.middle if point else None,
                "cost_per_point_low": point.low if point else None,
                "cost_per_point_high": point.high if point else None,
                "flops_per_answer": cost.answer_flops,
                "seconds_per_answer": cost.answer_seconds,
            }
        )
    return rows


def _row(name: str, method: str, stage: str, status: str, cost: Cost, ledger: Ledger) -> Row:
    return {
        "name": name,
        "method": method,
        "stage": stage,
        "status": status,
        "wall_seconds": cost.wall_seconds,
        "device_seconds": cost.device_seconds,
        "cpu_seconds": cost.cpu_seconds,
        "train_seconds": cost.train_seconds,
        "score_seconds": cost.score_seconds,
        "tokens_trained": cost.tokens_trained,
        "tokens_scored": cost.tokens_scored,
        "tokens_generated": cost.tokens_generated,
        "train_flops": cost.train_flops,
        "score_flops": cost.score_flops,
        "peak_gib": cost.peak_gib or None,
        "energy_joules": cost.energy_joules,
        "price": ledger.price.of(cost),
        "currency": ledger.price.currency if ledger.price.is_given else None,
    }


def _shared_work(trials: Iterable[TrialResult]) -> tuple[SharedWork, ...]:
    users: dict[str, list[TrialResult]] = {}
    for trial in trials:
        for name in trial.shared:
            users.setdefault(name, []).append(trial)
    return tuple(
        SharedWork(
            name=name,
            cost=sum((trial.shared[name] for trial in using), start=Cost()),
            paid_by=tuple(t.spec.trial_id for t in using if t.shared[name].wall_seconds > 0),
            used_by=tuple(t.spec.trial_id for t in using),
            methods=tuple(dict.fromkeys(t.spec.method for t in using)),
        )
        for name, using in users.items()
    )


def _arm_cost(arm: ArmResult, trials: Sequence[TrialResult], shared: Sequence[SharedWork]) -> ArmCost:
    def summed(stage: Stage) -> Cost:
        of_stage = [t.cost for t in trials if t.spec.method == arm.arm and t.spec.stage == stage]
        return sum(of_stage, start=Cost())

    search, refits = summed("search"), summed("refit")
    if not any(trial.spec.method == arm.arm for trial in trials):
        search, refits = arm.search_cost, arm.cost
    answered = [t for t in trials if t.spec.method == arm.arm and t.spec.stage == "refit" and t.folder]
    asked = sum(len(of_seed) for of_seed in arm.predictions)
    # A refit that has a validation score answered those questions too.
    asked += sum(int(t.history[-1].metrics.get("num_scored", 0)) for t in answered if t.history)
    spent = sum((t.cost for t in answered), start=Cost())
    return ArmCost(
        arm=arm.arm,
        search=search,
        refits=refits,
        shared=sum((work.cost for work in shared if arm.arm in work.methods), start=Cost()),
        answer_flops=spent.score_flops / asked if asked and spent.score_flops else None,
        answer_seconds=spent.score_seconds / asked if asked and spent.score_seconds else None,
    )


def _point_cost(cost: float, gain: float, low: float, high: float) -> PointCost:
    """Cost over gain; the cost is taken as known, so its interval is that of the gain turned round."""

    def over(gained: float) -> float | None:
        return cost / (100 * gained) if gained > 0 else None

    return PointCost(low=over(high), middle=over(gain), high=over(low))
