"""Which trial runs next: the searches of all methods, then the refits of what they found, in one fair order.

Knows no Ray and starts nothing: a runner asks for the next trial and tells what became of it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medalign.config.search_space import SearchSpace
from medalign.records import Progress, Stage, TrialResult, TrialSpec
from medalign.scheduling.search_space import contains
from medalign.scheduling.stored_study import StoredStudy, open_store
from medalign.scheduling.suggestion import KnownTrial, has_failed, num_settings, suggest


@dataclass(frozen=True, kw_only=True, slots=True)
class MethodPlan:
    """What is to be run of one method.

    Attributes:
        space: Where its search looks; None for a method without a search (`base`), whose refits have no setting.
        num_trials: Search trials; fewer are run only if the space holds fewer settings.
        num_seeds: Refits of the best setting, with the seeds `seed`, `seed + 1`, ...
        seed: Of the search and of all its trials.
        first_setting: Tried first if it lies in the space, so that the search never ends below it (the method's
            defaults); what it says of other settings is ignored.
        depends_on_seed: Whether a setting can give other answers with another seed; where it cannot, one refit is
            run. None means that every setting can.
        second_setting: Tried second, in the same way: the best one of an earlier comparison.
        earlier: Search trials of an earlier comparison under the same contract, for the sampler to start with.
        budget_seconds: That all its trials together may take, refits included; None for no limit. A trial is not
            begun if what is left would then not do for the refits, by the mean of the trials that have ended; until
            one has, there is one at a time. The first trial and one refit are always run.
    """

    method: str
    space: SearchSpace | None = None
    num_trials: int = 0
    num_seeds: int = 1
    seed: int = 0
    first_setting: Mapping[str, Any] | None = None
    depends_on_seed: Callable[[Mapping[str, Any]], bool] | None = None
    second_setting: Mapping[str, Any] | None = None
    earlier: tuple[KnownTrial, ...] = ()
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        if self.space is not None and self.num_trials < 1:
            raise ValueError(f"num_trials: {self.num_trials} for {self.method}; a search needs at least 1")
        if self.space is None and self.num_trials:
            raise ValueError(
                f"num_trials: {self.num_trials} for {self.method}, which has no search space; use 0"
            )
        if self.space is not None and self.space.method != self.method:
            raise ValueError(f"space: is of {self.space.method}, but the method is {self.method}")
        if self.num_seeds < 1:
            raise ValueError(f"num_seeds: {self.num_seeds} for {self.method}; use at least 1")


class Plan:
    """Hands out the trials of a comparison, one at a time, and learns from their results.

    Order: searches before refits, because more becomes ready after them; then the method with the fewest running
    trials, in the given order among equals, so the caller sorts them longest first. A method's refits wait for the
    last of its search. What has no search (`base`) fills a slot for which nothing else is ready, or comes last.

    The same seeds and scores give the same trials as long as each method has one search trial at a time, however
    many slots there are and whatever the other methods do; that is what `max_concurrent_per_method` holds to by
    default where slots do not outnumber the searching methods twice. `generation` gives the same with many slots.

    A plan made again on the same folder continues: results in `finished` are not repeated, a trial that was
    running when the driver was killed comes again under its id with its setting.

    Args:
        methods: In the order of precedence.
        folder: Where the Optuna store lies or is made.
        num_slots: How many trials can run at once.
        max_concurrent_per_method: Search trials of one method at once. None is 1 where slots do not outnumber the
            searching methods twice; with more slots each method that still searches gets twice as many as the next
            in order, so that the longest one ends first and its refits run beside the searches of the others.
        finished: Results of an earlier run of the same plan.
        generation: A method's search goes in steps of so many trials, of which the next begins when all of one have
            ended: what is tried then depends on seeds and scores alone, whatever ran side by side. None lets
            each suggestion know of all that has ended by then.

    Raises:
        StorageError: The Optuna store cannot be used or belongs to other search spaces.
    """

    def __init__(
        self,
        methods: Sequence[MethodPlan],
        folder: Path,
        *,
        num_slots: int = 1,
        max_concurrent_per_method: int | None = None,
        finished: Sequence[TrialResult] = (),
        generation: int | None = None,
    ) -> None:
        if len({plan.method for plan in methods}) != len(methods):
            raise ValueError(f"methods: {[plan.method for plan in methods]} names one twice")
        num_searching = sum(plan.space is not None for plan in methods)
        store = open_store(folder) if num_searching else None
        if generation is not None and generation < 1:
            raise ValueError(f"generation: {generation}; use at least 1, or None")
        self._num_slots = num_slots
        self.max_concurrent_per_method = max_concurrent_per_method or generation
        if self.max_concurrent_per_method is None and num_slots < 2 * num_searching:
            self.max_concurrent_per_method = 1
        self.finished = tuple(finished)
        self._arms = {
            plan.method: _Arm(
                plan,
                StoredStudy(store, plan.space) if store is not None and plan.space is not None else None,
                [result for result in finished if result.spec.method == plan.method],
                generation,
            )
            for plan in methods
        }

    @property
    def is_finished(self) -> bool:
        """Whether every trial has ended."""
        return all(arm.is_finished for arm in self._arms.values())

    @property
    def num_trials(self) -> int:
        """Trials in all, finished ones included; refits of a method whose search failed are not counted."""
        return sum(arm.num_trials for arm in self._arms.values())

    @property
    def without_refit(self) -> dict[str, str]:
        """Methods that have no setting to refit, each with the reason."""
        return {method: arm.dead_end for method, arm in self._arms.items() if arm.dead_end}

    @property
    def cut_short(self) -> dict[str, str]:
        """Methods of which less was run than planned because their budget was spent, each with what was run."""
        return {method: arm.cut_short for method, arm in self._arms.items() if arm.cut_short}

    def affords(self, trial_id: str) -> bool:
        """Whether a running trial is still within its method's budget; refits are."""
        return self._running_arm(trial_id).affords(trial_id)

    def best(self, method: str) -> TrialResult | None:
        """The best search trial of a method so far, by score, then tie-break, then lowest number."""
        return self._arms[method].best

    def results(self) -> tuple[TrialResult, ...]:
        """All results so far, by method, stage and number."""
        return tuple(result for arm in self._arms.values() for result in arm.results())

    def next_trial(self) -> TrialSpec | None:
        """The trial to be started now; None if a running one must end first, or if all have ended."""
        limits = self._limits()
        for method, arm in sorted(self._arms.items(), key=lambda item: item[1].precedence()):
            if spec := arm.next_trial(limits.get(method, self._num_slots)):
                return spec
        return None

    def _limits(self) -> dict[str, int]:
        """How many search trials of each method that still searches may run at once."""
        searching = [method for method, arm in self._arms.items() if not arm.search_ended]
        if self.max_concurrent_per_method is not None:
            return dict.fromkeys(searching, self.max_concurrent_per_method)
        weights = [0.5**place for place in range(len(searching))]
        shares = (self._num_slots * weight / sum(weights) for weight in weights)
        return dict(zip(searching, map(math.ceil, shares), strict=True))

    def on_progress(self, trial_id: str, progress: Progress) -> None:
        """Keeps one report of a running trial."""
        self._running_arm(trial_id).on_progress(trial_id, progress)

    def on_result(self, result: TrialResult) -> None:
        """Keeps how a running trial ended.

        Raises:
            ValueError: No trial of that id is running.
        """
        self._running_arm(result.spec.trial_id).on_result(result)

    def _running_arm(self, trial_id: str) -> _Arm:
        for arm in self._arms.values():
            if trial_id in arm.running:
                return arm
        running = [trial_id for arm in self._arms.values() for trial_id in arm.running]
        raise ValueError(f"trial_id: {trial_id} is not running; running are {running}")


class _Arm:
    """One method's part of the plan."""

    def __init__(
        self,
        plan: MethodPlan,
        study: StoredStudy | None,
        finished: Sequence[TrialResult],
        generation: int | None = None,
    ) -> None:
        self.plan = plan
        self.running: dict[str, TrialSpec] = {}
        self._generation = generation
        self._running_seconds: dict[str, float] = {}
        self._study = study
        self._results: dict[Stage, dict[int, TrialResult]] = {"search": {}, "refit": {}}
        self._num_search = 0
        if plan.space is not None:
            self._num_search = int(min(plan.num_trials, num_settings(plan.space)))
        for result in finished:
            self._results[result.spec.stage][result.spec.number] = result
            if study is not None and result.spec.stage == "search":
                study.end(result, self._params(result.spec))

    @property
    def is_finished(self) -> bool:
        if self.running or not self.search_ended:
            return False
        return bool(self.dead_end) or self._next_refit is None

    @property
    def num_trials(self) -> int:
        return self._num_search + (0 if self.dead_end else self._num_refits)

    @property
    def dead_end(self) -> str:
        """Why there is nothing to refit, or empty."""
        if self.plan.space is None or not self.search_ended or self.best is not None:
            return ""
        last = self._results["search"][max(self._results["search"])]
        reason = last.reason or "no score"
        return f"all {len(self._results['search'])} search trials failed, the last with: {reason}"

    @property
    def best(self) -> TrialResult | None:
        ranked = [result for result in self._results["search"].values() if not has_failed(result)]
        # A stopped trial's score comes from less training; it counts only where nothing ran to its end.
        ranked = [result for result in ranked if result.status == "completed"] or ranked
        return max(ranked, key=_rank, default=None)

    def results(self) -> Iterator[TrialResult]:
        for by_number in self._results.values():
            yield from (by_number[number] for number in sorted(by_number))

    def precedence(self) -> tuple[bool, bool, int]:
        return self.plan.space is None, self.search_ended, len(self.running)

    def next_trial(self, max_concurrent: int) -> TrialSpec | None:
        if not self.search_ended:
            number = self._next_number("search", self._num_search)
            if number is None or len(self.running) >= max_concurrent or not self._may_begin(number):
                return None
            return self._start_search(number)
        number = None if self.dead_end else self._next_refit
        if number is None:
            return None
        setting = self._best_setting
        return self._started("refit", number, setting, self.plan.seed + number)

    @property
    def cut_short(self) -> str:
        if not self.is_finished or self.dead_end:
            return ""
        done = {stage: len(results) for stage, results in self._results.items()}
        if done["search"] >= self._num_search and done["refit"] >= self._num_refits:
            return ""
        return (
            f"{done['search']} of {self._num_search} settings tried and {done['refit']} of {self._num_refits} "
            "seeds run: its share of the budget is spent"
        )

    def affords(self, trial_id: str) -> bool:
        budget = self.plan.budget_seconds
        return budget is None or self.running[trial_id].stage == "refit" or self._spent_seconds <= budget

    def on_progress(self, trial_id: str, progress: Progress) -> None:
        self._running_seconds[trial_id] = progress.cost.wall_seconds
        if self._study is not None and self.running[trial_id].stage == "search":
            self._study.report(trial_id, progress)

    def on_result(self, result: TrialResult) -> None:
        spec = self.running.pop(result.spec.trial_id)
        self._running_seconds.pop(spec.trial_id, None)
        # The setting that was handed out is the truth, also when a runner returns a changed copy of its spec.
        result = dataclasses.replace(result, spec=spec)
        self._results[spec.stage][spec.number] = result
        if self._study is not None and spec.stage == "search":
            self._study.end(result, self._params(spec))

    @property
    def _best_setting(self) -> Mapping[str, Any]:
        return self.best.spec.setting if self.best is not None else {}

    @property
    def _num_refits(self) -> int:
        depends = self.plan.depends_on_seed
        if depends is None or not self.search_ended or depends(self._best_setting):
            return self.plan.num_seeds
        return 1

    @property
    def search_ended(self) -> bool:
        if len(self._results["search"]) >= self._num_search:
            return True
        is_searching = any(spec.stage == "search" for spec in self.running.values())
        return not is_searching and not self._has_budget_for_search

    @property
    def _next_refit(self) -> int | None:
        """The number of the refit to be run next; None if there is none, or no budget for it."""
        number = self._next_number("refit", self._num_refits)
        budget = self.plan.budget_seconds
        if number is None or number == 0 or budget is None:
            return number
        return number if self._spent_seconds + self._unfinished_seconds(1) <= budget else None

    def _may_begin(self, number: int) -> bool:
        """Whether a search trial may begin now, or must wait for others."""
        size = self._generation
        if size is not None and any(
            other not in self._results["search"] for other in range(number // size * size)
        ):
            return False
        if self.plan.budget_seconds is None or not self.running:
            return self._has_budget_for_search
        return bool(self._ended_seconds) and self._has_budget_for_search

    @property
    def _has_budget_for_search(self) -> bool:
        if self.plan.budget_seconds is None or not (self._ended_seconds or self.running):
            return True
        needed = self._unfinished_seconds(1 + self.plan.num_seeds)
        return self._spent_seconds + needed <= self.plan.budget_seconds

    @property
    def _ended_seconds(self) -> list[float]:
        return [
            result.cost.wall_seconds for by_number in self._results.values() for result in by_number.values()
        ]

    @property
    def _spent_seconds(self) -> float:
        return sum(self._ended_seconds) + sum(self._running_seconds.values())

    def _unfinished_seconds(self, num_more: int) -> float:
        """What the running trials and so many more are expected to take from now on."""
        ended = self._ended_seconds
        mean = sum(ended) / len(ended) if ended else 0.0
        left = (max(mean - self._running_seconds.get(trial_id, 0.0), 0.0) for trial_id in self.running)
        return sum(left) + num_more * mean

    def _next_number(self, stage: Stage, num_wanted: int) -> int | None:
        taken = {spec.number for spec in self.running.values() if spec.stage == stage}
        taken |= self._results[stage].keys()
        return next((number for number in range(num_wanted) if number not in taken), None)

    def _start_search(self, number: int) -> TrialSpec:
        assert self._study is not None and self.plan.space is not None
        params = self._choose(self._study, self.plan.space, number)
        spec = self._started("search", number, {**self.plan.space.fixed, **params}, self.plan.seed)
        self._study.start(spec.trial_id, params)
        return spec

    def _choose(self, study: StoredStudy, space: SearchSpace, number: int) -> Mapping[str, Any]:
        interrupted = study.params.get(self._trial_id("search", number))
        if interrupted is not None:
            return interrupted
        named = [self._named(space, wanted) for wanted in (self.plan.first_setting, self.plan.second_setting)]
        fitting = [
            params for position, params in enumerate(named) if params and params not in named[:position]
        ]
        if number < len(fitting):
            return fitting[number]
        params = suggest(
            space,
            self._known(number),
            number=number,
            seed=self.plan.seed,
            num_trials=self.plan.num_trials,
            earlier=self.plan.earlier,
        )
        assert params is not None, "no more trials are planned than the space has settings"
        return params

    def _named(self, space: SearchSpace, setting: Mapping[str, Any] | None) -> Mapping[str, Any]:
        """The searched part of a setting; empty if it does not lie in the space."""
        params = {name: value for name, value in (setting or {}).items() if name in space.parameters}
        return params if contains(space, params) else {}

    def _known(self, number: int) -> list[KnownTrial]:
        """The trials that a suggestion with this number may know of."""
        size = self._generation
        if size is not None:
            earlier = range(number // size * size)
            ended = {other: self._results["search"][other] for other in earlier}
            known = [KnownTrial(params=self._params(result.spec), result=result) for result in ended.values()]
            # Its own generation is drawn without results, but none of it twice.
            siblings = range(number // size * size, number)
            return [*known, *(KnownTrial(params=self._drawn(other)) for other in siblings)]
        by_number = {
            number: KnownTrial(params=self._params(result.spec), result=result)
            for number, result in self._results["search"].items()
        }
        for spec in self.running.values():
            by_number[spec.number] = KnownTrial(params=self._params(spec))
        return [by_number[number] for number in sorted(by_number)]

    def _drawn(self, number: int) -> dict[str, Any]:
        """What was drawn for a trial that runs or has ended."""
        if number in self._results["search"]:
            return self._params(self._results["search"][number].spec)
        return self._params(self.running[self._trial_id("search", number)])

    def _params(self, spec: TrialSpec) -> dict[str, Any]:
        searched = self.plan.space.parameters if self.plan.space is not None else ()
        return {name: value for name, value in spec.setting.items() if name in searched}

    def _started(self, stage: Stage, number: int, setting: Mapping[str, Any], seed: int) -> TrialSpec:
        spec = TrialSpec(
            trial_id=self._trial_id(stage, number),
            method=self.plan.method,
            stage=stage,
            setting=dict(setting),
            seed=seed,
            number=number,
        )
        self.running[spec.trial_id] = spec
        return spec

    def _trial_id(self, stage: Stage, number: int) -> str:
        return f"{self.plan.method}-{stage}-{number:03d}"


def _rank(result: TrialResult) -> tuple[float, float, int]:
    assert result.score is not None
    tie_break = result.tie_break if result.tie_break is not None else float("-inf")
    return result.score, tie_break, -result.spec.number
