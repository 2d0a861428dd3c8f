"""One comparison, from an experiment file to its verdict: plan, prepare, search, refit, test, compare, report.

Search and refits are one schedule: as soon as a method's search has ended, its best setting is
trained again over seeds, in whatever slot is free, and answers the test split. Search trials never
see the test split.
"""

from __future__ import annotations

import contextlib
import functools
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.config.experiment import Experiment
from medalign.config.locations import shown
from medalign.config.search_space import SearchSpace
from medalign.config.secrets import redacted, without_secrets
from medalign.config.storage import Storage
from medalign.errors import MedalignError, StorageError
from medalign.methods.catalog import default_setting
from medalign.methods.checkpoints import latest_step
from medalign.methods.contract import check_same_contract, make_contract
from medalign.methods.running import TrialJob, TrialRunner
from medalign.placing import check_cluster, check_overlap, cluster, slots_of, storage_of
from medalign.preparing import log_datasets, pairs_cost, prepared_data, with_sampled_answers
from medalign.records import BASE, ArmResult, Progress, TrialResult, TrialSpec
from medalign.reporting.live import LiveView
from medalign.scheduling.planning import Plan
from medalign.scheduling.slots import Slots
from medalign.searching import GENERATION, method_plans, search_spaces, stopping_of
from medalign.stating import detectable_difference, environment, plan_text
from medalign.tracking.folder import ComparisonFolder
from medalign.tracking.location import (
    browse_command,
    check_store,
    default_artifact_root,
    default_uri,
    without_password,
)
from medalign.tracking.warm_start import WarmStart, find_warm_start

if TYPE_CHECKING:
    from medalign.data.preparation import PreparedData
    from medalign.stats.comparison import ComparisonSummary
    from medalign.tracking.store import Tracker


Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ComparisonOutcome:
    """How a comparison ended.

    Attributes:
        folder: Everything it left.
        report: The report's HTML file.
    """

    summary: ComparisonSummary
    arms: tuple[ArmResult, ...]
    folder: Path
    report: Path


def run_comparison(
    experiment: Experiment, *, resume: str | None = None, dry_run: bool = False
) -> ComparisonOutcome | None:
    """Run a comparison, or go on with one.

    Args:
        resume: Id of a comparison in the results folder, or `newest`; it goes on under its own settings.
        dry_run: Print the plan and what it could detect, then stop; nothing is written but the model's cache.

    Returns:
        The outcome; None after a dry run.

    Raises:
        InputError: Anything given cannot be used; nothing was spent.
        ContractError: The comparison to go on with was begun under another contract.
        MedalignError: No two arms are left to compare.
    """
    folder = ComparisonFolder.find(Path(experiment.results_folder), resume) if resume else None
    if folder is not None:
        experiment = folder.experiment
        if folder.is_finished:
            _send_what_waits(folder)
            return None
        say(f"going on with {folder.id}, under its own settings")
    experiment = _without_secrets(experiment)
    spaces = search_spaces(experiment, folder.search_spaces if folder is not None else {})
    with cluster(experiment):
        slots = slots_of(experiment)
        check_overlap(experiment, slots)
        say("reading the questions and the model ...")
        data = prepared_data(experiment)
        say(plan_text(experiment, data, slots))
        if dry_run:
            return None
        uri = tracking_uri(experiment)
        check_store(uri, default_artifact_root(uri))  # before a folder is made that could only stay empty
        data = with_sampled_answers(experiment, data, lambda: slots, say)
        contract = _contract(experiment, data)
        warm_start = _warm_start(experiment, folder, contract)
        if folder is None:
            folder = ComparisonFolder.create(experiment, redacted(_command()))
        with folder.held():
            if folder.contract is not None:
                check_same_contract(folder.contract, contract)
            check_cluster(experiment, folder, contract)
            folder.write_contract(contract)
            if warm_start is not None:
                warm_start.write(folder.path)
            say(f"results    {shown(folder.path)}; go on after a break with --resume {folder.id}")
            return _Comparison(experiment, folder, spaces, slots, data, contract, warm_start).run()


def _without_secrets(experiment: Experiment) -> Experiment:
    """The experiment with the passwords in its addresses moved to the environment."""
    import os

    if named := os.environ.get("MLFLOW_TRACKING_URI"):
        os.environ["MLFLOW_TRACKING_URI"] = without_secrets(named, "MLFLOW_TRACKING_URI")
    addresses = {
        name: without_secrets(uri, name)
        for name in ("tracking_uri", "storage_path", "ray_address")
        if (uri := getattr(experiment, name))
    }
    return experiment.model_copy(update=addresses)


def _warm_start(
    experiment: Experiment, folder: ComparisonFolder | None, contract: Mapping[str, Any]
) -> WarmStart | None:
    """What the searches start from: as kept with a comparison that goes on, else as named."""
    if folder is not None and (kept := WarmStart.kept_in(folder.path)):
        return kept
    if experiment.warm_start is None:
        return None
    found = find_warm_start(
        experiment.warm_start, Path(experiment.results_folder), experiment.methods, contract
    )
    what = "its trials and its best settings" if found.is_comparable else "its best settings alone, since"
    why = "" if found.is_comparable else " its scores were taken on other questions or another base"
    say(f"warm start from {found.comparison_id}: {what}{why}")
    return found


def _send_what_waits(folder: ComparisonFolder) -> None:
    """Tells the store what it was away for when the comparison ended.

    Raises:
        StorageError: It is away still.
    """
    from medalign.tracking.store import Tracker

    experiment = folder.experiment
    uri = tracking_uri(experiment)
    say(f"{folder.id} is finished; sending what waits for {without_password(uri)} ...")
    tracker = Tracker(uri, default_artifact_root(uri), experiment.name, folder.id, folder.outbox)
    if not tracker.catch_up(wait_seconds=600.0):
        raise StorageError(f"tracking_uri: {'; '.join(tracker.faults)}; try again later")
    say("all is written")


class _Comparison:
    """A comparison whose plan is made and whose folder is there."""

    def __init__(
        self,
        experiment: Experiment,
        folder: ComparisonFolder,
        spaces: Mapping[str, SearchSpace],
        slots: Slots,
        data: PreparedData,
        contract: Mapping[str, Any],
        warm_start: WarmStart | None = None,
    ) -> None:
        self._experiment = experiment
        self._folder = folder
        self._slots = slots
        self._data = data
        self._contract = contract
        self._plan = Plan(
            method_plans(experiment, spaces, warm_start, pairs_cost(data)),
            folder.path,
            num_slots=slots.num_slots,
            finished=folder.results(),
            generation=GENERATION if experiment.deterministic else None,
        )

    def run(self) -> ComparisonOutcome:
        self._keep_surroundings()
        tracker = self._tracker()
        try:
            self._run_trials(tracker)
            outcome = self._conclude(tracker)
        except KeyboardInterrupt:
            tracker.interrupted()
            say(f"\nInterrupted. What is finished is kept; go on with --resume {self._folder.id}")
            raise
        except Exception as error:
            tracker.fail(redacted(" ".join(str(error).split()))[:500])
            raise
        for fault in tracker.faults:
            say(f"MLflow: {fault}")
        if self._folder.outbox.exists():
            say(f"MLflow: send what waits, once the store is back, with --resume {self._folder.id}")
        return outcome

    def _tracker(self) -> Tracker:
        """The store with the comparison's run and its methods', made before any trial starts."""
        from medalign.tracking.store import Tracker

        uri = tracking_uri(self._experiment)
        tracker = Tracker(
            uri, default_artifact_root(uri), self._experiment.name, self._folder.id, self._folder.outbox
        )
        tracker.start(
            self._experiment.model_dump(mode="json"), {"medalign.command": self._folder.state["command"]}
        )
        for method in self._method_names:
            tracker.method(method)
        log_datasets(tracker, self._experiment, self._data)
        tracker.log_contract(self._contract)
        return tracker

    @property
    def _method_names(self) -> tuple[str, ...]:
        return (BASE, *self._experiment.methods)

    def _run_trials(self, tracker: Tracker) -> None:
        from medalign.modeling.base_models import absolute_name
        from medalign.scheduling.gpu_sharing import overlapping_processes
        from medalign.scheduling.ray_tune import run_ray

        experiment = self._experiment
        asha = stopping_of(experiment)
        storage = storage_of(experiment, self._folder)
        job = TrialJob(
            model=absolute_name(experiment.model.name),
            precision=experiment.model.precision,
            train=self._data.train,
            validation=self._data.validation,
            test=self._data.test,
            pairs=self._data.pairs,
            scoring=experiment.scoring,
            checkpoints=asha.rungs if experiment.early_stopping else (),
            folder=str(self._folder.path),
            checkpoint_seconds=experiment.checkpoint_seconds,
            storage=storage.uri if storage else None,
            stages=self._data.stages,
            pairs_cost=pairs_cost(self._data),
        )
        finished = self._folder.results()
        for result in finished:  # what a kill between the folder and the store left out
            tracker.trial_finished(result, self._folder.trial_folder(result.spec.trial_id))
        overlap = overlapping_processes() if experiment.overlap else contextlib.nullcontext()
        with overlap, LiveView(self._plan.num_trials, num_finished=len(finished)) as view:
            run_ray(
                self._plan,
                functools.partial(TrialRunner, job),
                [_Keeper(self._folder, storage), _Recorder(tracker, self._folder), view],
                self._slots,
                asha if experiment.early_stopping else None,
                address=experiment.ray_address,
                storage=self._folder.path,
                resume_point=functools.partial(latest_step, self._folder.path),
                silence_seconds=experiment.silence_seconds,
            )

    def _conclude(self, tracker: Tracker) -> ComparisonOutcome:
        """Compare the arms, write the report, tell the tracker and the person."""
        from medalign.conclusion import conclude
        from medalign.reporting.data_card import write_card
        from medalign.reporting.rows import arm_rows
        from medalign.reporting.tables import render_text
        from medalign.reporting.wording import sentence

        if len(self._plan.without_refit) == len(self._experiment.methods):
            reasons = "; ".join(f"{name}: {why}" for name, why in self._plan.without_refit.items())
            raise MedalignError(f"no method is left to compare with the base ({reasons})")
        concluded = conclude(self._folder)
        summary, arms = concluded.summary, concluded.arms
        files = [
            *concluded.files,
            write_card(self._folder.path, self._experiment.name, self._data.card),
        ]
        tracker.finish(summary, arms, files, root=self._folder.path)
        page = tracker.page
        self._folder.mark_finished()
        say("\n" + render_text(arm_rows(summary, arms)))
        for name, why in self._plan.without_refit.items():
            say(f"{name} is missing: {why}")
        for name, what in self._plan.cut_short.items():
            say(f"{name}: {what}")
        say(f"{sentence(summary.verdict, self._method_names)}\n")
        say(f"report     {shown(files[0])}")
        say(f"results    {shown(self._folder.path)}")
        say(f"browse     {browse_command(tracking_uri(self._experiment))}")
        say(f"           then open {page}")
        return ComparisonOutcome(summary=summary, arms=arms, folder=self._folder.path, report=files[0])

    def _keep_surroundings(self) -> None:
        """What the report needs beside trials and predictions, so that it can be built from the folder alone."""
        from medalign.data.card import brief
        from medalign.evaluation.metrics import majority_baseline
        from medalign.reporting.stored import Surroundings, write_surroundings

        state = self._folder.state
        surroundings = Surroundings(
            experiment=self._experiment.model_dump(mode="json"),
            command=state["command"],
            begun=state["begun"],
            card=brief(self._data.card),
            environment=environment(self._slots),
            questions=self._data.test,
            majority_baseline=majority_baseline(self._data.train, self._data.test),
            stated_detectable_difference=detectable_difference(self._data.test, len(self._method_names)),
        )
        write_surroundings(self._folder.path, surroundings)


class _Keeper:
    """Writes every result to disk, with what its trial left elsewhere, before anything else learns of it."""

    def __init__(self, folder: ComparisonFolder, storage: Storage | None = None) -> None:
        self._folder = folder
        self._storage = storage

    def trial_started(self, spec: TrialSpec) -> None:
        """Nothing to keep yet."""

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        """Nothing to keep either: a result holds its history."""

    def trial_finished(self, result: TrialResult) -> None:
        if self._storage is not None and result.folder:
            self._storage.fetch_folder(result.folder, self._folder.path / result.folder)
        self._folder.write_result(result)


class _Recorder:
    """Passes on to the tracker, with the folder of what a trial left."""

    def __init__(self, tracker: Tracker, folder: ComparisonFolder) -> None:
        self._tracker = tracker
        self._folder = folder

    def trial_started(self, spec: TrialSpec) -> None:
        self._tracker.trial_started(spec)

    def progress(self, spec: TrialSpec, progress: Progress) -> None:
        self._tracker.progress(spec, progress)

    def trial_finished(self, result: TrialResult) -> None:
        self._tracker.trial_finished(result, self._folder.trial_folder(result.spec.trial_id))


def say(text: str) -> None:
    """Tell the person at the terminal."""
    print(text, flush=True)


def _contract(experiment: Experiment, data: PreparedData) -> dict[str, Any]:
    from medalign.modeling.base_models import fingerprint_folder, resolve_folder

    return make_contract(
        model=experiment.model.name,
        precision=experiment.model.precision,
        base_fingerprint=fingerprint_folder(resolve_folder(experiment.model.name)),
        data=data,
        scoring=experiment.scoring,
        max_new_tokens=TrialJob.max_new_tokens,
        defaults={name: default_setting(name) for name in experiment.methods},
    )


def tracking_uri(experiment: Experiment) -> str:
    """The MLflow store of an experiment: as set, else of the environment, else of this folder."""
    import os

    return experiment.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(Path.cwd())


def _command() -> str:
    """The command line as it was typed, in a form that a shell takes."""
    return shlex.join(["python", "-m", "medalign.compare", *sys.argv[1:]])
