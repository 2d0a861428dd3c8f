"""Trials lost and work repeated when processes die, stop and lose their disk at seeded random moments.

    python benchmarks/faults.py --runs 30 --seed 0 [--slots 2] [--keep FOLDER]

Runs one small comparison undisturbed, then the same one again and again, each time with one fault; one that a fault
ended is continued with --resume. A run is well if it ends with the same table, the same answers (log-probabilities
included) and the same ends of its trials as the undisturbed one. `repeated` is the largest share of a trial's budget
that was trained twice, `reports` how many reports lie in it: more than one would be more than one report interval.
Prints a line a run, then a table in Markdown; needs some 40 s of one core a run.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cluster.rack import Rack
from tests.cluster.servers import Postgres
from tests.faults.injector import FAULTS, Fault, SmallDisk, at_random_moment
from tests.faults.network import Hosts
from tests.faults.servers import MlflowServer
from tests.faults.workplace import NAME, Left, Repeated, Session, Workplace, repeated_steps
from tests.markers import NotHereError

FULL_DISK = "fill the disk of the results"
KILL_SERVER = "kill the MLflow server for a while"
STOP_SERVER = "stop the MLflow server for a while"
KILL_DATABASE = "kill PostgreSQL behind the MLflow server for a while"
CUT_FOR_A_WHILE = "cut a node's network for a while"
CUT_FOR_GOOD = "cut a node's network for good"
KINDS = (*FAULTS, FULL_DISK, KILL_SERVER, STOP_SERVER, KILL_DATABASE, CUT_FOR_A_WHILE, CUT_FOR_GOOD)
DISK_MIB = 48
# Ray gives its processes 30 s to start, which on a machine that others use may be too short.
_RAY_IS_LATE = "a private Ray cannot be started: The current node timed out"
_STARTS = 5


@dataclass(frozen=True)
class Outcome:
    """One disturbed run.

    Attributes:
        struck: Whether the fault came before the comparison had ended.
        sessions: Processes of the command that it took.
        lost: Trials without the result that the undisturbed run has.
    """

    kind: str
    struck: bool
    sessions: int
    lost: tuple[str, ...]
    same_table: bool
    repeated: tuple[Repeated, ...]
    seconds: float
    note: str = ""

    @property
    def is_well(self) -> bool:
        return not self.lost and self.same_table and not self.note


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--first", type=int, default=0, help="number of the first run, to go on with a series"
    )
    parser.add_argument("--slots", type=int, default=2, help="trials at once")
    parser.add_argument("--only", help="one kind of fault")
    parser.add_argument("--keep", type=Path, help="folder to work in, which stays")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    with contextlib.ExitStack() as stack:
        folder = given.keep or Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="medalign-faults-"))
        )
        runs = Runs(folder.absolute(), stack, given.slots)
        outcomes, loads = [], [os.getloadavg()[0]]
        for number in range(given.first, given.first + given.runs):
            generator = random.Random(f"{given.seed}-{number}")
            kind = given.only or KINDS[number % len(KINDS)]
            try:
                outcomes.append(runs.run(kind, generator, name=f"run-{number:02}"))
            except NotHereError as error:
                print(f"{number:2} left out: {error}", flush=True)
                continue
            loads.append(os.getloadavg()[0])
            print(f"{number:2} {line(outcomes[-1])}", flush=True)
    print(
        f"\nundisturbed: {runs.undisturbed_seconds:.0f} s; cores: {os.cpu_count()}; load of the machine: "
        f"{min(loads):.1f} to {max(loads):.1f}, median {statistics.median(loads):.1f}\n\n{table(outcomes)}"
    )
    return 0 if all(outcome.is_well for outcome in outcomes) else 1


class Runs:
    """The undisturbed run, and disturbed ones to be compared with it."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack, num_slots: int = 2) -> None:
        self._work = Workplace(folder, num_slots)
        self._stack = stack
        stack.callback(self._work.end)
        self._server: MlflowServer | None = None
        self._database: Postgres | None = None
        for attempt in range(_STARTS):
            start = time.monotonic()
            session = self._work.begin("undisturbed")
            if session.wait() == 0:
                break
            if _RAY_IS_LATE not in session.err or attempt == _STARTS - 1:
                raise SystemExit(session.out + session.err)
        self.undisturbed_seconds = time.monotonic() - start
        self._left = Left.of(session.comparison)

    def run(self, kind: str, generator: random.Random, *, name: str) -> Outcome:
        """One comparison with one fault.

        Raises:
            NotHereError: This machine does not have or allow what the fault needs.
        """
        for _ in range(_STARTS):
            (self._work.folder / f"{name}.steps").unlink(missing_ok=True)
            outcome = self._once(kind, generator, name)
            if outcome is not None:
                break
            print(f"   {kind}: {_RAY_IS_LATE}; begun again", flush=True)
        assert outcome is not None, f"Ray was not started in time in {_STARTS} sessions"
        return outcome

    def _once(self, kind: str, generator: random.Random, name: str) -> Outcome | None:
        """None if Ray was not started in time, as on a machine that is busy, so that there was nothing to disturb."""
        start = time.monotonic()
        with contextlib.ExitStack() as stack:
            if kind == FULL_DISK:
                session, struck, note = self._with_full_disk(name, generator, stack)
            elif kind in (KILL_SERVER, STOP_SERVER, KILL_DATABASE):
                session, struck, note = self._with_store_away(name, kind, generator, stack)
            elif kind in (CUT_FOR_A_WHILE, CUT_FOR_GOOD):
                session, struck, note = self._with_network_cut(name, kind, generator, stack)
            else:
                session, struck, note = self._with_fault(name, FAULTS[kind], generator)
            if not struck and _RAY_IS_LATE in session.err:
                return None
            sessions = 1
            if struck and session.process.returncode != 0 and not note:
                session = self._continued(session, name)
                sessions, code = 2, session.process.returncode
                note = "" if code == 0 else f"exit code {code} when continued: {session.err.strip()[-300:]}"
            outcome = self._judged(kind, name, struck, sessions, session, time.monotonic() - start, note)
            shutil.rmtree(session.comparison.path, ignore_errors=True)
        return outcome

    def _continued(self, session: Session, name: str) -> Session:
        comparison, results = session.comparison.id, str(session.comparison.path.parent)
        for _ in range(_STARTS):
            session = self._work.session(
                f"{name}-resumed", "--results", results, "--resume", comparison, steps=name
            )
            session.wait()
            if _RAY_IS_LATE not in session.err:
                break
        return session

    def _judged(
        self, kind: str, name: str, struck: bool, sessions: int, session: Session, seconds: float, note: str
    ) -> Outcome:
        shared = {"kind": kind, "struck": struck, "sessions": sessions, "seconds": seconds}
        if note:
            return Outcome(**shared, lost=(), same_table=False, repeated=(), note=note)
        left = Left.of(session.comparison)
        lost = tuple(
            trial_id
            for trial_id, status in self._left.statuses.items()
            if left.statuses.get(trial_id) != status
            or left.answers.get(trial_id) != self._left.answers.get(trial_id)
        )
        repeated = tuple(repeated_steps(self._work.folder / f"{name}.steps"))
        same = left.table == self._left.table
        checkpoints = session.comparison.path / "checkpoints"
        note = "checkpoints were left behind" if checkpoints.exists() else ""
        return Outcome(**shared, lost=lost, same_table=same, repeated=repeated, note=note)

    def _with_fault(self, name: str, fault: Fault, generator: random.Random) -> tuple[Session, bool, str]:
        session = self._work.begin(name)
        struck = at_random_moment(session, generator) and fault.strike(session, generator)
        code = session.wait()
        hung = "it hung" if code is None else ""
        if struck and not fault.ends and code != 0:
            return session, struck, hung or f"exit code {code}: {session.err.strip()[-300:]}"
        return session, struck, hung

    def _with_full_disk(
        self, name: str, generator: random.Random, stack: contextlib.ExitStack
    ) -> tuple[Session, bool, str]:
        disk = stack.enter_context(SmallDisk.mounted(self._work.folder / f"{name}-disk", DISK_MIB))
        session = self._work.begin(name, "--results", str(disk.folder))
        struck = at_random_moment(session, generator)
        if struck:
            disk.fill()
        code = session.wait()
        finished = len(session.comparison.results()) if struck else 0  # read while the disk is still full
        disk.empty()
        lines = session.err.strip().splitlines()
        if struck and code != 0 and (code != 2 or len(lines) != 1 or "the disk is full" not in lines[0]):
            return session, struck, f"exit code {code}, {finished} results: {session.err.strip()[-300:]}"
        return session, struck, "it hung" if code is None else ""

    def _with_network_cut(
        self, name: str, kind: str, generator: random.Random, stack: contextlib.ExitStack
    ) -> tuple[Session, bool, str]:
        """On a cluster of two hosts of one slot each: the driver's, and the one that is cut off."""
        hosts = stack.enter_context(Hosts.made())
        traced = self._work.traced(name)
        rack = stack.enter_context(Rack((1, 1), hosts=hosts, patience_ms=4000, environment=traced))
        session = self._work.begin(
            name, "--address", rack.address, before=hosts.command_on(0), environment=rack.environment
        )
        struck = at_random_moment(session, generator)
        hosts.cut()
        if kind == CUT_FOR_A_WHILE:
            time.sleep(generator.uniform(1.0, 15.0))
            hosts.mend()
        code = session.wait()
        return session, struck, f"exit code {code}: {session.err.strip()[-300:]}" if code != 0 else ""

    def _with_store_away(
        self, name: str, kind: str, generator: random.Random, stack: contextlib.ExitStack
    ) -> tuple[Session, bool, str]:
        server = self._server_on_postgres(stack) if kind == KILL_DATABASE else self._running_server()
        session = self._work.begin(name, "--tracking-uri", server.uri)
        struck = at_random_moment(session, generator)
        away_seconds = generator.uniform(1.0, 15.0)
        if kind == KILL_DATABASE:
            assert self._database is not None
            self._database.kill()
            time.sleep(away_seconds)
            self._database.start()
        elif kind == KILL_SERVER:
            server.kill()
            time.sleep(away_seconds)
            server.start()
        else:
            server.send(signal.SIGSTOP)
            time.sleep(away_seconds)
            server.send(signal.SIGCONT)
        code = session.wait()
        if code is None or code:
            return session, struck, f"exit code {code}: {session.err.strip()[-300:]}"
        if session.comparison.outbox.exists():
            self._work.session(f"{name}-sent", "--resume", session.comparison.id).wait()
        return session, struck, tracker_faults(server, session)

    def _running_server(self) -> MlflowServer:
        if self._server is None:
            self._server = MlflowServer(self._work.folder / "server")
            self._server.start()
            self._stack.callback(self._server.kill)
        return self._server

    def _server_on_postgres(self, stack: contextlib.ExitStack) -> MlflowServer:
        if self._database is None:
            self._database = Postgres()
            self._stack.callback(self._database.end)
        folder = self._work.folder / "server-on-postgres"
        server = MlflowServer(folder, self._database.uri, self._database.password)
        server.start()
        stack.callback(server.kill)
        return server


def tracker_faults(server: MlflowServer, session: Session) -> str:
    """What is missing, or stands twice, in the store; empty if nothing is."""
    from mlflow import MlflowClient

    comparison = session.comparison
    if comparison.outbox.exists():
        return f"still waiting: {session.out[-300:]}"
    client = MlflowClient(tracking_uri=server.uri)
    experiment = client.get_experiment_by_name(NAME)
    assert experiment is not None
    wanted = f"tags.`medalign.comparison_id` = '{comparison.id}'"
    found = client.search_runs([experiment.experiment_id], filter_string=wanted)
    runs = {run.info.run_name: run for run in found}
    if len(runs) != len(found):
        return f"runs stand twice: {sorted(run.info.run_name for run in found)}"
    status = {"completed": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
    for result in comparison.results():
        run = runs.get(result.spec.trial_id)
        if run is None or run.info.status != status[result.status]:
            return f"{result.spec.trial_id} is {run.info.status if run else 'missing'}"
        points = client.get_metric_history(run.info.run_id, "validation_accuracy")
        steps = sorted(point.step for point in points)
        expected = sorted(round(1000 * progress.budget_share) for progress in result.history)
        if steps != expected:
            return f"{result.spec.trial_id} has points at {steps} instead of {expected}"
    return ""


def line(outcome: Outcome) -> str:
    share = max((each.share for each in outcome.repeated), default=0.0)
    reports = max((each.num_reports for each in outcome.repeated), default=0)
    verdict = "well" if outcome.is_well else "NOT WELL"
    lost = f", lost {', '.join(outcome.lost)}" if outcome.lost else ""
    table_ = "" if outcome.same_table or outcome.note else ", another table"
    struck = "" if outcome.struck else " (came too late)"
    note = f": {' '.join(outcome.note.split())}" if outcome.note else ""
    return (
        f"{verdict} {outcome.kind}{struck}: {outcome.sessions} session(s), {outcome.seconds:.0f} s, "
        f"repeated {share:.1%}, reports {reports}{lost}{table_}{note}"
    )


def table(outcomes: list[Outcome]) -> str:
    by_kind = collections.defaultdict(list)
    for outcome in outcomes:
        by_kind[outcome.kind].append(outcome)
    lines = [
        "| fault | runs | well | trials lost | deaths in training | largest share trained twice | reports in it |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kind, some in [*by_kind.items(), ("all", outcomes)]:
        repeated = [each for outcome in some for each in outcome.repeated]
        lines.append(
            f"| {kind} | {sum(outcome.struck for outcome in some)} | {sum(o.is_well for o in some)} | "
            f"{sum(len(o.lost) for o in some)} | {len(repeated)} | "
            f"{max((each.share for each in repeated), default=0.0):.1%} | "
            f"{max((each.num_reports for each in repeated), default=0)} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
