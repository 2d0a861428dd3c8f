"""All trials of a comparison in one Ray Tune run, one to a slot, in processes that go from trial to trial.

Three adapters join Tune to the rest of this package, and decide nothing themselves: a Searcher that asks the Plan,
a TrialScheduler that asks Asha, and a Trainable around a TrialThread. What each must know of the other is in
`_Driver`, which knows no Ray.

Early stopping does not use Tune's own STOP, after which a trial has no last word. The trial is told to stop
before it is asked for its next report, and so ends with a result like every other.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import pickle
import signal
import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from medalign.errors import ClusterError, ContractError, InputError, MedalignError
from medalign.records import Progress, TrialResult, TrialSpec
from medalign.scheduling import private_ray
from medalign.scheduling.early_stopping import AshaSettings, stopping_rule
from medalign.scheduling.events import Observer, Observers
from medalign.scheduling.planning import Plan
from medalign.scheduling.ray_session import ray_session, tune_environment
from medalign.scheduling.silence import Silence
from medalign.scheduling.slots import (
    NODE_VARIABLE,
    NodeSlots,
    Slot,
    Slots,
    apply_slot,
    place_resource,
    worker_environment,
)
from medalign.scheduling.trial_run import BUDGET_SPENT, OUT_OF_MEMORY, MakeRunner, Runner, failed_result
from medalign.scheduling.trial_thread import TrialThread

T = TypeVar("T")
ResumePoint = Callable[[str], Hashable]

PROCESS_DIED = "its process was killed or crashed, as the system does to one that takes too much memory"
PROCESS_SILENT = "its process gave no sign of life for silence_seconds, and was killed"
LESS_BUSY = "a larger silence_seconds, or fewer slots if the machine is too busy"
_PAYLOAD = "payload"

# A process gives a sign of life so often; one that gives none for so long is taken for dead and killed.
PULSE_SECONDS = 10.0
SILENCE_SECONDS = 180.0
# Deaths of one trial, whatever the reasons.
MAX_DEATHS = 10
# Deaths of one trial at one place from which it goes on all the same. Where there are several nodes a trial can be sent
# to one that has just died and is not missed yet, which looks like a death of its own.
DEATHS_AT_ONE_PLACE = {"one node": 1, "several nodes": 3}
_NODE_DIED = "its node has died"


def run_ray(
    plan: Plan,
    make_runner: MakeRunner,
    observers: Sequence[Observer] = (),
    slots: Slots | None = None,
    asha: AshaSettings | None = None,
    *,
    address: str | None = None,
    storage: Path,
    resume_point: ResumePoint | None = None,
    silence_seconds: float = SILENCE_SECONDS,
) -> None:
    """Runs every trial of the plan; a trial that fails is a result and ends nothing.

    A trial whose process dies goes on in another one. It has failed if it dies twice without having got any further,
    as from too little memory, and in any case after `MAX_DEATHS`. The loss of a whole node counts for the latter alone.

    Ctrl-C, and an exception of an observer, end the running trials without a result and reach the caller.

    Args:
        make_runner: Sent to each process and called there once, before its first trial; what it loads serves all
            trials of that process.
        slots: None for one slot of one core.
        asha: How trials are stopped early, `WilcoxonSettings` among them; None stops none.
        address: Of a running Ray cluster; None starts a private one, unless this process is connected already.
        storage: Tune's own folder is made in here.
        resume_point: For a trial id where it would go on from, to tell whether it got further; None if all trials
            start anew.
        silence_seconds: A process that gives no sign of life for so long is killed.

    Raises:
        InputError, ContractError: From `make_runner`: no trial can be run at all.
        MedalignError: Ray itself has died; or a process cannot be started, because this package cannot be imported
            there, for example.
        ClusterError: Ray cannot be started or reached.
    """
    if plan.is_finished:
        return
    slots = slots or Slots()
    driver = _Driver(plan, Observers(observers), asha, resume_point)
    with ray_session(slots, address=address), tune_environment(), _signals_kept():
        scheduler = _scheduler(driver, slots, silence_seconds)
        if _num_nodes() > 1:
            driver.deaths_at_one_place = DEATHS_AT_ONE_PLACE["several nodes"]
        try:
            trainable = _trainable(make_runner, slots, min(PULSE_SECONDS, silence_seconds / 4))
            _run_tune(driver, scheduler, trainable, slots, storage.resolve())
        except BaseException:
            if not private_ray.dead_part():
                scheduler.end_processes()
            if driver.error is not None:
                # Tune wraps what a callback raised into an exception of its own, with the traceback as text.
                raise driver.error from None
            raise
        if driver.error is not None:
            raise driver.error


def _num_nodes() -> int:
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())


def _run_tune(driver: _Driver, scheduler: Any, trainable: Any, slots: Slots, storage: Path) -> None:
    from ray import tune
    from ray.util import client

    if client.ray.is_connected():
        from ray.train._internal import storage as internal

        # This process has no node of its own, in whose folder Tune would keep what no trial of ours leaves.
        tunes_storage: Any = internal
        tunes_storage._get_ray_train_session_dir = lambda: str(storage / "tune-session")
    tune.run(
        trainable,
        name="tune",
        search_alg=_searcher(driver),
        scheduler=scheduler,
        callbacks=[_callback(driver)],
        num_samples=-1,
        max_concurrent_trials=slots.num_slots,
        resources_per_trial=slots.resources,
        reuse_actors=True,
        storage_path=str(storage),
        checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
        trial_name_creator=_trial_name,
        trial_dirname_creator=_trial_name,
        raise_on_failed_trial=False,
        max_failures=0,
        log_to_file=False,
        verbose=0,
        # Through Ray's client server too: Tune would have itself sent to the head, with the plan and all observers.
        _remote=False,
    )


class _Driver:
    """The driver's side of all trials, by Tune's trial ids.

    Attributes:
        error: What an observer, the plan or `make_runner` raised first; ends the run.
        deaths_at_one_place: Of one trial that do not end it yet.
    """

    def __init__(
        self,
        plan: Plan,
        observers: Observers,
        asha: AshaSettings | None,
        resume_point: ResumePoint | None = None,
    ) -> None:
        self.error: BaseException | None = None
        self.deaths_at_one_place = DEATHS_AT_ONE_PLACE["one node"]
        self._plan = plan
        self._observers = observers
        self._rule = stopping_rule(asha)
        if self._rule is not None:
            self._rule.recall(plan.finished)
        self._specs: dict[str, TrialSpec] = {}
        self._resume_point = resume_point or (lambda trial_id: None)
        # By the trials' own ids, which outlive their processes.
        self._history: dict[str, list[Progress]] = {}
        self._start_seconds: dict[str, float] = {}
        self._stopped: set[str] = set()
        self._orphans: list[TrialSpec] = []
        self._deaths: dict[str, list[Hashable]] = {}
        self._over_budget: set[str] = set()
        self._silent: set[str] = set()
        self._begun: set[str] = set()

    @property
    def is_finished(self) -> bool:
        return self._plan.is_finished

    def next_trial(self, tune_id: str) -> TrialSpec | None:
        if self.error is not None:
            # The plan was not told of the last trial, and Tune would wait here for it to end.
            raise self.error
        spec = self._orphans.pop(0) if self._orphans else self._guarded(self._plan.next_trial)
        if spec is not None:
            self._specs[tune_id] = spec
            self._history.setdefault(spec.trial_id, [])
        return spec

    def num_deaths(self, spec: TrialSpec) -> int:
        return len(self._deaths.get(spec.trial_id, ()))

    def on_start(self, tune_id: str) -> None:
        self._begun.add(tune_id)
        self._start_seconds.setdefault(self._specs[tune_id].trial_id, time.monotonic())
        self._guarded(lambda: self._observers.trial_started(self._specs[tune_id]))

    def on_progress(self, tune_id: str, progress: Progress) -> bool:
        """Returns: whether the trial goes on."""
        spec = self._specs[tune_id]
        history = self._history[spec.trial_id]
        if history and progress.budget_share <= history[-1].budget_share:
            # Told again by a process that goes on in place of a dead one.
            return spec.trial_id not in self._stopped
        history.append(progress)

        def tell() -> bool:
            self._observers.progress(spec, progress)
            self._plan.on_progress(spec.trial_id, progress)
            goes_on = self._rule is None or self._rule.goes_on(spec, progress)
            if self._plan.affords(spec.trial_id):
                return goes_on
            self._over_budget.add(spec.trial_id)
            return False

        goes_on = self._guarded(tell)
        if not goes_on:
            self._stopped.add(spec.trial_id)
        return goes_on

    def on_end(self, tune_id: str, event: TrialResult | Exception) -> None:
        if isinstance(event, Exception):
            self.error = self.error or event
            return
        spec = self._specs.pop(tune_id)
        if event.status == "stopped" and spec.trial_id in self._over_budget:
            event = dataclasses.replace(event, reason=BUDGET_SPENT)
        result = event

        def tell() -> None:
            self._observers.trial_finished(result)
            self._plan.on_result(result)

        self._guarded(tell)

    def on_silence(self, tune_id: str) -> None:
        """The trial's process has been silent for too long and is killed, of which `on_death` will be told."""
        self._silent.add(tune_id)

    def on_death(self, tune_id: str, error: BaseException | None) -> None:
        """The trial ended without a result of its own: its process died or could not be made.

        Args:
            error: Ray's; None if it is not known.
        """
        if self.error is not None or tune_id not in self._specs:
            return
        if getattr(error, "actor_init_failed", False):
            # Nothing of the trial has run; what keeps this process from starting keeps every other.
            self.error = MedalignError(f"a trial's process could not be started: {_last_line(error)}")
            return
        spec = self._specs[tune_id]
        if self._may_go_on(tune_id, spec, error):
            del self._specs[tune_id]
            self._orphans.append(spec)
            return
        now = time.monotonic()
        wall_seconds = now - self._start_seconds.get(spec.trial_id, now)
        history = self._history[spec.trial_id]
        is_silent = tune_id in self._silent
        reason, remedy = (PROCESS_SILENT, LESS_BUSY) if is_silent else (PROCESS_DIED, OUT_OF_MEMORY)
        self.on_end(tune_id, failed_result(spec, reason, remedy, history, wall_seconds))

    def _may_go_on(self, tune_id: str, spec: TrialSpec, error: BaseException | None) -> bool:
        """Whether the trial had got any further than the last time that its process died.

        A trial that met a process which had died while it was idle has not even begun there.
        """
        deaths = self._deaths.setdefault(spec.trial_id, [])
        place: Hashable = (len(self._history[spec.trial_id]), self._resume_point(spec.trial_id))
        lost_node = _NODE_DIED in str(error)
        is_innocent = lost_node or tune_id not in self._begun
        is_stuck = not is_innocent and deaths.count(place) >= self.deaths_at_one_place
        deaths.append(_NODE_DIED if is_innocent else place)
        return not is_stuck and len(deaths) < MAX_DEATHS

    def _guarded(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except BaseException as error:
            self.error = self.error or error
            raise


def _searcher(driver: _Driver) -> Any:
    from ray.tune.search import Searcher

    class PlanSearcher(Searcher):
        """Tune's way to the plan."""

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            spec = driver.next_trial(trial_id)
            if spec is not None:
                return {"spec": spec, "num_deaths": driver.num_deaths(spec)}
            return Searcher.FINISHED if driver.is_finished else None

        def on_trial_complete(
            self, trial_id: str, result: Mapping[str, Any] | None = None, error: bool = False
        ) -> None:
            event = pickle.loads(result[_PAYLOAD]) if result and _PAYLOAD in result and not error else None
            if isinstance(event, TrialResult | Exception):
                driver.on_end(trial_id, event)
            else:
                driver.on_death(trial_id, None)

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the plan keeps its own records."""

        def restore(self, checkpoint_path: str) -> None:
            """Nothing likewise."""

        def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
            """Nothing likewise; the inherited one expects `save` to have written a file."""

    return PlanSearcher(metric="score", mode="max")


def _scheduler(driver: _Driver, slots: Slots, silence_seconds: float) -> Any:
    import ray
    from ray.tune.schedulers import FIFOScheduler

    class PlanScheduler(FIFOScheduler):
        """Tune's way to early stopping, and ours to Tune's processes."""

        def __init__(self) -> None:
            super().__init__()
            self._controller: Any = None
            self._was_added = False
            self._silence = Silence(silence_seconds)
            self._watch = private_ray.Watch()

        def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
            if not self._was_added:
                self._was_added = True
                self._controller = getattr(tune_controller, "_tune_controller", tune_controller)
                self._keep_processes(trial)

        def choose_trial_to_run(self, tune_controller: Any) -> Any:
            # Called in every round and not guarded by Tune, so that this ends the run at once.
            if driver.error is not None:
                self.end_processes()
                raise driver.error
            if part := self._watch.dead_part(time.monotonic()):
                driver.error = MedalignError(
                    f"Ray has died on this machine ({part}); what is finished is kept: go on with --resume"
                )
                # Tune would give back to Ray's head what it had reserved, and wait for the answer.
                self._controller.cleanup = lambda: None
                raise driver.error
            self._kill_silent()
            return super().choose_trial_to_run(tune_controller)

        def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
            # Called before the searcher learns, which is not told what happened.
            driver.on_death(trial.trial_id, trial.get_pickled_error())

        def on_trial_result(self, tune_controller: Any, trial: Any, result: Mapping[str, Any]) -> str:
            self._silence.heard(trial.trial_id)
            event = pickle.loads(result[_PAYLOAD])
            if isinstance(event, Progress) and not driver.on_progress(trial.trial_id, event):
                # Tasks of one process run in the order of their calls: this one before the next `train`.
                trial.temporary_state.ray_actor.request_stop.remote()
            return str(FIFOScheduler.CONTINUE)

        def _kill_silent(self) -> None:
            trials = self._controller.get_live_trials() if self._controller is not None else ()
            found = {trial.trial_id: self._process_of(trial) for trial in trials}
            actors = {trial_id: actor for trial_id, actor in found.items() if actor is not None}
            for trial_id in self._silence.too_long(actors, time.monotonic()):
                driver.on_silence(trial_id)
                ray.kill(actors[trial_id])

        def _process_of(self, trial: Any) -> Any:
            """The process that runs a trial or, idle until now, is to run it; None if it has none yet."""
            if trial.status == "RUNNING":
                return trial.temporary_state.ray_actor
            if trial not in getattr(self._controller, "_resetting_trials", ()):
                return None
            tracked = self._controller._trial_to_actor.get(trial)
            live = self._controller._actor_manager._live_actors_to_ray_actors_resources
            return live[tracked][0] if tracked in live else None

        def end_processes(self) -> None:
            """Kills every process that runs a trial, then has Tune give back what it had reserved.

            Tune does the second by itself, but not after Ctrl-C, and waits up to 15 s for processes that live.
            """
            controller, self._controller = self._controller, None
            if controller is None:
                return
            for trial in controller.get_trials():
                actor = trial.temporary_state.ray_actor
                if actor is not None:
                    ray.kill(actor)
            controller.cleanup()

        def _keep_processes(self, trial: Any) -> None:
            # Tune keeps one idle process and ends the others, which would have to load the base again as soon as
            # the refits become available. All trials ask for the same resources, so idle ones block nobody.
            cache = getattr(self._controller, "_actor_cache", None)
            if cache is not None:
                cache.increase_max(trial.placement_group_factory, by=slots.num_slots)

    return PlanScheduler()


def _callback(driver: _Driver) -> Any:
    from ray.tune import Callback

    class StartCallback(Callback):
        def on_trial_start(self, iteration: int, trials: Any, trial: Any, **info: Any) -> None:
            driver.on_start(trial.trial_id)

    return StartCallback()


def _trainable(make_runner: MakeRunner, slots: Slots, pulse_seconds: float) -> Any:
    from ray import tune

    class SlotTrainable(tune.Trainable):
        """One process in one slot. It is sent there by value, `make_runner` by the object store, once a node."""

        def setup(self, config: dict[str, Any], make_runner: MakeRunner) -> None:
            # On a cluster that others started, Tune has moved us into the trial's folder already.
            os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"
            with contextlib.suppress(OSError):  # another machine need not have the driver's working directory
                os.chdir(os.environ.get("TUNE_ORIG_WORKING_DIR", "."))
            self._slot = slot_of_process(slots)
            os.environ.update(worker_environment(self._slot))
            self._stop_requested = False
            self._runner_maker = make_runner
            self._thread = TrialThread(self._make_runner)
            self._thread.start(config["spec"])

        def step(self) -> dict[str, Any]:
            goes_on, self._stop_requested = not self._stop_requested, False
            event: Progress | TrialResult | Exception | None
            try:
                event = self._thread.advance(goes_on, wait_seconds=pulse_seconds)
            except (InputError, ContractError) as error:
                event = error
            score = None if event is None or isinstance(event, Exception) else event.score
            budget_share = event.budget_share if isinstance(event, Progress) else float(event is not None)
            return {
                "score": score,
                "budget_share": budget_share,
                "done": not (event is None or isinstance(event, Progress)),
                _PAYLOAD: pickle.dumps(event),
            }

        def request_stop(self) -> None:
            """Makes the trial end at the report at which it waits."""
            self._stop_requested = True

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._thread.start(new_config["spec"])
            return True

        def _make_runner(self) -> Runner:
            apply_slot(self._slot)
            runner = self._runner_maker()
            apply_slot(self._slot)
            # Libraries and base model stay to the end: looking for garbage in them costs every trial a second.
            gc.collect()
            gc.freeze()
            return runner

    trainable = tune.with_parameters(SlotTrainable, make_runner=make_runner)
    trainable.__name__ = trainable.__qualname__ = SlotTrainable.__name__  # the name of its processes
    return trainable


def slot_of_process(slots: Slots) -> Slot:
    """The slot that Ray has given to this process, by the number of its place on the node."""
    offer = os.environ.get(NODE_VARIABLE)
    if offer is None:
        raise ClusterError("this node offers no slots; start it with `medalign node start`")
    from ray._private.worker import global_worker

    name = place_resource(slots)
    places = global_worker.get_accelerator_ids_for_accelerator_resource(name, f"^{name}_group_[0-9A-Za-z]+$")
    return NodeSlots.from_text(offer).slot_of(min(map(int, places)), slots.slots_per_trial)


def _last_line(error: BaseException | None) -> str:
    """Ray's texts carry the worker's traceback, whose last line says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def _trial_name(trial: Any) -> str:
    again = trial.config["num_deaths"]
    return f"{trial.config['spec'].trial_id}{f'-again-{again}' if again else ''}"


@contextmanager
def _signals_kept() -> Iterator[None]:
    """Undoes Tune's handler for SIGUSR1 afterwards; it cannot set one outside the main thread."""
    before = signal.getsignal(signal.SIGUSR1) if hasattr(signal, "SIGUSR1") else None
    try:
        yield
    finally:
        if before is not None and signal.getsignal(signal.SIGUSR1) is not before:
            signal.signal(signal.SIGUSR1, before)
