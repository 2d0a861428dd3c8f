"""What only Ray brings: processes, several slots, and their end."""

from __future__ import annotations

import functools
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from medalign.scheduling.planning import MethodPlan, Plan
from medalign.scheduling.ray_tune import PROCESS_DIED, run_ray
from medalign.scheduling.slots import Slots
from tests.scheduling import fakes


def test_each_process_makes_its_runner_once_and_serves_trial_after_trial(
    two_slots: Slots, tmp_path: Path
) -> None:
    diary = fakes.Diary()
    # One slot idles during the third trial; Tune would then end the other's process before the refits.
    plan = Plan([fakes.searched("sft", 3, num_seeds=4)], tmp_path, num_slots=2)
    run_ray(plan, fakes.make_slow, [diary], two_slots, storage=tmp_path)
    made = {(result.metrics["pid"], result.metrics["made_seconds"]) for result in diary.results}
    assert len(diary.results) == 7
    processes = {result.metrics["pid"] for result in diary.results}
    # A third process would mean that one was ended; a single one, that the other was slow to start.
    assert len(made) == len(processes) <= 2
    for result in diary.results:
        assert result.metrics["num_left_to_garbage"] < result.metrics["num_frozen"], (
            "libraries are searched through"
        )


def test_a_killed_process_fails_its_trial_and_the_others_go_on(two_slots: Slots, tmp_path: Path) -> None:
    diary = fakes.Diary()
    plan = Plan([fakes.searched("sft", 2), MethodPlan(method="base")], tmp_path, num_slots=2)
    run_ray(plan, fakes.make_suicidal, [diary], two_slots, storage=tmp_path)
    result = diary.result("sft-search-000")
    assert (result.status, result.reason) == ("failed", PROCESS_DIED)
    assert result.remedy == "smaller batch_size or a larger slot"
    assert result.cost.tokens_trained == 50
    assert result.cost.wall_seconds > 0
    assert plan.is_finished
    assert {line.status for line in diary.results if line.spec.trial_id != "sft-search-000"} == {"completed"}


def test_a_trial_whose_process_dies_goes_on_and_one_that_dies_twice_at_one_place_has_failed(
    two_slots: Slots, tmp_path: Path
) -> None:
    def resume_point(trial_id: str) -> int | None:
        file = tmp_path / trial_id
        return int(file.read_text()) if file.exists() else None

    diary = fakes.Diary()
    plan = Plan([fakes.searched("sft", 3)], tmp_path, num_slots=2)
    make = functools.partial(fakes.make_mortal, str(tmp_path))
    options: dict[str, Any] = {"resume_point": resume_point, "silence_seconds": 5.0}
    run_ray(plan, make, [diary], two_slots, storage=tmp_path, **options)
    ended = {result.spec.trial_id: (result.status, result.reason) for result in diary.results}
    assert ended["sft-search-000"] == ended["sft-search-001"] == ("completed", "")
    assert ended["sft-search-002"] == ("failed", PROCESS_DIED)
    starts = Counter(spec.trial_id for spec in diary.started)
    assert [starts[f"sft-search-00{number}"] for number in range(3)] == [2, 2, 2]
    # A report that a process tells again, because it goes on in place of a dead one, is told once.
    told = [line for line in diary.lines if line.startswith("sft-search-000 ")]
    assert told == [f"sft-search-000 {share}" for share in fakes.SHARES]


def test_a_trial_does_not_go_on_in_an_idle_process_that_died_with_its_own(
    two_slots: Slots, tmp_path: Path
) -> None:
    diary = fakes.Diary()
    plan = Plan([fakes.searched("sft", 2)], tmp_path, num_slots=2)
    make = functools.partial(fakes.make_fratricidal, str(tmp_path))
    run_ray(plan, make, [diary], two_slots, storage=tmp_path)
    assert {result.spec.trial_id: result.status for result in diary.results} == dict.fromkeys(
        ("sft-search-000", "sft-search-001", "sft-refit-000"), "completed"
    )


INTERRUPTED = """
import sys
from pathlib import Path
from medalign.scheduling.planning import Plan
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import Slots
from tests.scheduling import fakes

class Announcer(fakes.Diary):
    def progress(self, spec, progress):
        print("running", flush=True)

folder = Path(sys.argv[1])
try:
    plan = Plan([fakes.searched("sft", 2)], folder)
    run_ray(plan, fakes.make_minute_long, [Announcer()], Slots(), storage=folder)
except KeyboardInterrupt:
    import ray
    print("interrupted", ray.is_initialized(), flush=True)
"""


def test_ctrl_c_ends_ray_and_reaches_the_caller_while_a_trial_runs(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path)],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        # As a terminal does it: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=50)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert out == "interrupted False\n"
    assert err == ""
    assert process.returncode == 0
