"""What a comparison tries: every method's search space, its trials and refits, and when a weak trial is ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from medalign.config.experiment import Experiment
from medalign.config.search_space import SearchSpace, load_search_space
from medalign.errors import ConfigError
from medalign.methods.catalog import METHODS, default_setting, method_named, setting_names
from medalign.records import BASE, Cost
from medalign.scheduling.early_stopping import AshaSettings, WilcoxonSettings
from medalign.scheduling.planning import MethodPlan
from medalign.scheduling.suggestion import known_trials
from medalign.tracking.warm_start import WarmStart

# Trials of a method between two looks at their scores, where the search is to be deterministic.
GENERATION = 4


def search_spaces(experiment: Experiment, kept: Mapping[str, Path]) -> dict[str, SearchSpace]:
    """Every method's search space, each of its bounds tried on the method's own checks.

    Args:
        kept: Files that win over those that the experiment names.
    """
    spaces = {}
    for method in experiment.methods:
        if method == BASE or method not in METHODS:
            method_named(method)
            raise ConfigError("methods: base always takes part; name only what is to be compared with it")
        path = kept.get(method) or experiment.search_space_path(method)
        space = load_search_space(path, known=setting_names(method), method=method)
        for edge in space.edges():
            try:
                method_named(method).settings(edge)
            except ConfigError as error:
                raise ConfigError(*(f"{path}: {fault}" for fault in error.faults)) from error
        spaces[method] = space
    return spaces


def method_plans(
    experiment: Experiment,
    spaces: Mapping[str, SearchSpace],
    warm_start: WarmStart | None = None,
    paid_for_pairs: Cost | None = None,
) -> list[MethodPlan]:
    """The base and every method, the longest trials first, so that slots are full to the end.

    Args:
        paid_for_pairs: What a method that learns from pairs has spent of its budget already.
    """
    budget_seconds = None
    spent = paid_for_pairs.wall_seconds if paid_for_pairs else 0.0
    if experiment.budget_gpu_hours is not None:
        slot_seconds = 3600 * experiment.budget_gpu_hours / len(experiment.methods)
        budget_seconds = slot_seconds / experiment.slots_per_trial
    earlier = warm_start.trials if warm_start is not None else {}
    searching = sorted(experiment.methods, key=lambda name: METHODS[name].relative_cost, reverse=True)
    plans = [
        MethodPlan(
            method=name,
            space=spaces[name],
            num_trials=experiment.trials,
            num_seeds=experiment.seeds,
            seed=experiment.seed,
            first_setting=default_setting(name),
            depends_on_seed=METHODS[name].depends_on_seed,
            second_setting=earlier[name][0].spec.setting if name in earlier else None,
            earlier=known_trials(earlier[name], spaces[name])
            if warm_start is not None and warm_start.is_comparable
            else (),
            budget_seconds=max(0.0, budget_seconds - spent)
            if budget_seconds is not None and METHODS[name].learns_from_pairs
            else budget_seconds,
        )
        for name in searching
    ]
    return [*plans, MethodPlan(method=BASE, seed=experiment.seed)]


def stopping_of(experiment: Experiment) -> AshaSettings:
    """When trials are compared, and how."""
    kind = WilcoxonSettings if experiment.pruner == "wilcoxon" else AshaSettings
    return kind(
        grace_share=experiment.grace_share,
        reduction_factor=experiment.reduction_factor,
        generation=GENERATION if experiment.deterministic else None,
    )
