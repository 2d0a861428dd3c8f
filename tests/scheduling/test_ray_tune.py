"""What only Ray brings: processes, several slots, and their end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

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
