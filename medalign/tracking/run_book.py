"""The runs of one comparison in the store: found again, opened, ended, and each point of a curve written once.

The comparison's run holds those of the methods, each of which holds its trials and refits. All of them carry the
comparison's id as a tag, by which a later session finds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from medalign.records import TrialSpec
from medalign.tracking.runs import Point, RunStatus, RunStore

COMPARISON_ID = "medalign.comparison_id"
STAGE = "medalign.stage"
METHOD = "medalign.method"
TRIAL_ID = "medalign.trial_id"
STATUS = "medalign.status"
REASON = "medalign.reason"
REMEDY = "medalign.remedy"

_OUTCOME = (STATUS, REASON, REMEDY)
_COMPARISON = "comparison"


@dataclass(slots=True)
class Run:
    """A run as this session knows it.

    Attributes:
        points: Those that it is known to hold, by metric, so that none is written twice; what is held of a metric
            that is missing here must be asked for.
        params: Those that it is known to hold; None must be asked for.
    """

    id: str
    is_open: bool
    is_recorded: bool = False
    is_new: bool = False
    points: dict[str, set[Point]] = field(default_factory=dict)
    params: dict[str, str] | None = None


class RunBook:
    """Every run of a comparison, as far as this session knows the store.

    Raises:
        StorageError: The store cannot be read.
    """

    def __init__(self, store: RunStore, comparison_id: str) -> None:
        self._store = store
        self._comparison_id = comparison_id
        self._runs: dict[str, Run] = {}
        # The runs of an earlier session of the same comparison, all of them closed or left behind by it.
        for found in self._found():
            self._runs.setdefault(_key(found), _known_run(found))

    @property
    def comparison(self) -> Run:
        """The comparison's own run; there is one after `open_comparison`."""
        return self._runs[_COMPARISON]

    @property
    def has_comparison(self) -> bool:
        """Whether there is one yet."""
        return _COMPARISON in self._runs

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def methods(self) -> dict[str, Run]:
        """The runs of methods by the names of these."""
        start = "method/"
        return {key.removeprefix(start): run for key, run in self._runs.items() if key.startswith(start)}

    def is_recorded(self, spec: TrialSpec) -> bool:
        """Whether the trial's run is known to hold how it ended."""
        run = self._runs.get(_trial_key(spec))
        return run is not None and run.is_recorded

    def open_comparison(self) -> Run:
        """The comparison's run, made or reopened."""
        return self._open(_COMPARISON, self._comparison_id, {STAGE: "comparison"}, parent=None)

    def method(self, name: str) -> Run:
        """A method's run, made or reopened."""
        tags = {STAGE: "method", METHOD: name}
        return self._open(f"method/{name}", name, tags, parent=self.comparison.id)

    def trial(self, spec: TrialSpec) -> Run:
        """A trial's run, made when it is first asked for; a closed one stays closed."""
        key = _trial_key(spec)
        if key in self._runs:
            return self._runs[key]
        parent = self.method(spec.method)
        tags = {
            STAGE: spec.stage,
            METHOD: spec.method,
            TRIAL_ID: spec.trial_id,
            "medalign.number": str(spec.number),
        }
        return self._open(key, spec.trial_id, tags, parent=parent.id)

    def _open(self, key: str, name: str, tags: Mapping[str, str], parent: str | None) -> Run:
        run = self._runs.get(key)
        if run is None:
            all_tags = {COMPARISON_ID: self._comparison_id, **tags}
            run = Run(id=self._store.create(name, all_tags, parent), is_open=True, is_new=True, params={})
            self._runs[key] = run
        else:
            self.reopen(run)
        return run

    def reopen(self, run: Run) -> None:
        """Makes a closed run one that is under way, without an outcome."""
        if not run.is_open:
            self._store.set_status(run.id, "RUNNING")
            self._store.delete_tags(run.id, _OUTCOME)
            run.is_open, run.is_recorded = True, False

    def end(self, run: Run, status: RunStatus, at_ms: int) -> None:
        """Closes a run at a time in milliseconds since 1970."""
        self._store.set_status(run.id, status, at_ms)
        run.is_open = False

    def set_params(self, run: Run, params: Mapping[str, str]) -> None:
        """Writes the parameters that the run does not hold."""
        run.params = self._store.log_params(run.id, params, run.params)

    def add(
        self,
        run: Run,
        metrics: Mapping[str, float],
        step: int,
        at_ms: int,
        *,
        each_step_once: bool = False,
    ) -> None:
        """Adds one point to the curve of each metric."""
        points = [Point(name, step, value) for name, value in metrics.items()]
        self.add_points(run, points, at_ms, each_step_once=each_step_once)

    def add_points(
        self,
        run: Run,
        points: Sequence[Point],
        at_ms: int,
        *,
        each_step_once: bool = False,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Adds those points that the run does not hold.

        Args:
            tags: Set after the points, in the same request.
            each_step_once: A step that a metric holds is left as it is, whatever its value: a part of a trial that is
                run again has other seconds.
        """
        for metric in {point.metric for point in points}:
            if metric not in run.points:
                run.points[metric] = set() if run.is_new else set(self._store.points(run.id, metric))
        new = [
            point
            for point in points
            if point not in run.points[point.metric]
            and not (each_step_once and any(held.step == point.step for held in run.points[point.metric]))
        ]
        if new or tags:
            self._store.log_points(run.id, new, at_ms, tags)
        for point in new:
            run.points[point.metric].add(point)

    def forget(self) -> None:
        """After a request that may or may not have been carried out, only the store knows what it holds.

        One that was given up as lost may have made a run all the same, and its repetition a second one.
        """
        for found in self._found():
            run = self._runs.setdefault(_key(found), _known_run(found))
            if run.id != found.info.run_id:
                self._store.delete(found.info.run_id)
        for run in self._runs.values():
            run.is_new = False
            run.params = None
            run.points.clear()

    def _found(self) -> list[Any]:
        return self._store.find(COMPARISON_ID, self._comparison_id)


def _key(found: Any) -> str:
    """Under which this session knows a run of the store."""
    tags = found.data.tags
    return {"comparison": _COMPARISON, "method": f"method/{tags.get(METHOD)}"}.get(
        tags.get(STAGE, ""), f"trial/{tags.get(TRIAL_ID)}"
    )


def _known_run(found: Any) -> Run:
    is_open = found.info.status == "RUNNING"
    return Run(found.info.run_id, is_open, not is_open and STATUS in found.data.tags)


def _trial_key(spec: TrialSpec) -> str:
    return f"trial/{spec.trial_id}"
