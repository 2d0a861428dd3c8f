"""The next setting of one method, as a pure function of its search space, its seed and what is known so far.

A suggestion is asked from a working copy of the study in memory and not from the stored study, because

- the copy holds a failed trial as pruned before its first report, the worst outcome that TPE knows. Optuna's own
  state for it, FAIL, is invisible to TPE, which then goes on suggesting what runs out of memory;
- the sampler is seeded anew for every trial with (seed, method, number), so that nothing is lost when the driver is
  killed: the same known trials give the same suggestion, whatever other methods did meanwhile;
- a setting that was tried before is drawn again without leaving a trace in the stored study.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medalign.config.search_space import SearchSpace
from medalign.records import Progress, TrialResult
from medalign.scheduling.search_space import contains, grid, to_optuna

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

MAX_REDRAWS = 20
STEPS_PER_BUDGET = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownTrial:
    """A search trial that was handed out, for the sampler to learn from.

    Attributes:
        params: Values of the searched parameters alone.
        result: How it ended; None while it runs.
    """

    params: Mapping[str, Any]
    result: TrialResult | None = None


def suggest(
    space: SearchSpace,
    known: Sequence[KnownTrial],
    *,
    number: int,
    seed: int,
    num_trials: int,
    earlier: Sequence[KnownTrial] = (),
) -> dict[str, Any] | None:
    """Values for the searched parameters of a method's next trial.

    TPE (Bergstra et al. 2011) after a start of random draws. With one trial of a method at a time the whole search
    is a function of its seed and its scores; with more it also depends on which trials were running when this one
    was asked for.

    Args:
        known: The method's other trials, by number.
        number: Of the trial that is asked for.
        num_trials: Of the whole search; a third of them, 2 to 10, are random draws to start with.
        earlier: Trials of an earlier search whose scores can be compared with this one's.

    Returns:
        A setting not in `known`, nor in `earlier` as long as others are easily drawn; None if there is none left,
        which only a space without real numbers can come to.
    """
    distributions = to_optuna(space)
    tried = {_key(trial.params) for trial in known}
    tried_earlier = {_key(trial.params) for trial in earlier}
    learnt = [*earlier, *known]
    params: dict[str, Any] = {}
    for redraw in range(MAX_REDRAWS):
        params = _draw(distributions, learnt, derived_seed(seed, space.method, number, redraw), num_trials)
        if _key(params) not in tried | tried_earlier:
            return params
    values = grid(space)
    if values is None:
        # A range of a few neighbouring floats: the repetition does no harm that stopping here would mend.
        return params
    return _untried(values, tried, derived_seed(seed, space.method, number, MAX_REDRAWS))


def known_trials(results: Iterable[TrialResult], space: SearchSpace) -> tuple[KnownTrial, ...]:
    """Trials of an earlier search as the sampler knows them, without those that lie outside this space."""
    known = []
    for result in results:
        params = {name: value for name, value in result.spec.setting.items() if name in space.parameters}
        if contains(space, params):
            known.append(KnownTrial(params=params, result=result))
    return tuple(known)


def num_settings(space: SearchSpace) -> float:
    """How many settings the space holds: infinite if one parameter is a real number."""
    values = grid(space)
    return math.inf if values is None else math.prod(len(column) for column in values.values())


def step_of(progress: Progress) -> int:
    """The whole-number step under which Optuna keeps a report: thousandths of the trial's budget."""
    return round(STEPS_PER_BUDGET * progress.budget_share)


def has_failed(result: TrialResult) -> bool:
    """Whether a trial ended without a score that can be ranked."""
    return result.status == "failed" or result.score is None or not math.isfinite(result.score)


def derived_seed(*parts: int | str) -> int:
    """A seed in [0, 2**32) that is the same in every process, unlike `hash` of a string."""
    digest = hashlib.sha256(":".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:4], "big")


def _draw(
    distributions: dict[str, BaseDistribution], known: Iterable[KnownTrial], seed: int, num_trials: int
) -> dict[str, Any]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=max(2, min(10, num_trials // 3)))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(_frozen(trial, distributions) for trial in known)
    return dict(study.ask(fixed_distributions=distributions).params)


def _frozen(trial: KnownTrial, distributions: dict[str, BaseDistribution]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    result = trial.result
    shared: dict[str, Any] = {"params": dict(trial.params), "distributions": distributions}
    if result is None:
        return create_trial(state=TrialState.RUNNING, **shared)
    if has_failed(result):
        return create_trial(state=TrialState.PRUNED, **shared)
    reports = {step_of(progress): progress.score for progress in result.history}
    if result.status == "stopped":
        return create_trial(state=TrialState.PRUNED, intermediate_values=reports, **shared)
    return create_trial(state=TrialState.COMPLETE, value=result.score, intermediate_values=reports, **shared)


def _untried(values: Mapping[str, Sequence[Any]], tried: set[str], seed: int) -> dict[str, Any] | None:
    """The first setting of the grid that was not tried, the grid's columns being shuffled."""
    generator = random.Random(seed)
    columns = [generator.sample(list(column), len(column)) for column in values.values()]
    settings = (dict(zip(values, row, strict=True)) for row in itertools.product(*columns))
    return next((setting for setting in settings if _key(setting) not in tried), None)


def _key(params: Mapping[str, Any]) -> str:
    return repr(sorted(params.items()))
