"""A comparison's trials on several Ray nodes, one of which is killed; and everything that keeps them from starting."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from medalign.records import TrialResult, trial_result_from_json
from medalign.scheduling.early_stopping import AshaSettings
from medalign.scheduling.local import run_local
from medalign.scheduling.planning import MethodPlan, Plan
from tests.cluster.rack import Rack
from tests.scheduling import fakes

GENERATION = 4

# Trials of a known length on every slot of the cluster; says when they run, and writes down how they ended.
DRIVER = """
import json, sys, time
from pathlib import Path
from medalign.records import trial_result_to_json
from medalign.scheduling.cluster import check_nodes, cluster_nodes, offered_slots
from medalign.scheduling.early_stopping import AshaSettings
from medalign.scheduling.ray_session import ray_session
from medalign.scheduling.ray_tune import run_ray
from medalign.scheduling.slots import comparison_slots
from tests.cluster.test_rack import make_plan, make_long
from tests.scheduling import fakes

address, num_nodes, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])

class Announcer(fakes.Diary):
    def progress(self, spec, progress):
        super().progress(spec, progress)
        begun = {line.split()[0] for line in self.lines if not line.startswith(("start", "end"))}
        print("running", len(begun), flush=True)

diary = Announcer()
with ray_session(address=address):
    end = time.monotonic() + 60
    while len(cluster_nodes()) < num_nodes and time.monotonic() < end:
        time.sleep(0.1)
    check_nodes(["ray", "optuna"], list)
    slots = comparison_slots(offered_slots(address))
    print("slots", slots.num_slots, flush=True)
    plan = make_plan(folder, slots.num_slots)
    run_ray(plan, make_long, [diary], slots, AshaSettings(generation=4), storage=folder)
results = [trial_result_to_json(result) for result in plan.results()]
places = sorted({result.metrics["node"] for result in plan.results() if "node" in result.metrics})
(folder / "results.json").write_text(json.dumps({"results": results, "nodes": places, "lines": diary.lines}))
"""


def make_plan(folder: Path, num_slots: int) -> Plan:
    methods = [fakes.searched(method, 8, num_seeds=2) for method in ("dpo", "sft", "icl")]
    plans = [*methods, MethodPlan(method="base", seed=7)]
    return Plan(plans, folder, num_slots=num_slots, generation=GENERATION)


def make_long() -> fakes.Runner:
    """Like the others, but slower, and it says on which node it ran."""
    import ray

    run = fakes.make_hill_climber()
    node = ray.get_runtime_context().get_node_id() if ray.is_initialized() else "here"

    def run_slowly(spec: fakes.TrialSpec, report: fakes.Report) -> TrialResult:
        import dataclasses

        def slowly(progress: fakes.Progress) -> None:
            time.sleep(0.25)
            report(progress)

        result = run(spec, slowly)
        return dataclasses.replace(
            result, metrics={"node": float(int(node[:8], 16) if node != "here" else 0)}
        )

    return run_slowly


@pytest.fixture(scope="module")
def rack() -> Iterator[Rack]:
    with Rack((2, 2, 2)) as rack:
        yield rack


def _what_counts(result: TrialResult) -> tuple[object, ...]:
    history = tuple((progress.budget_share, progress.score) for progress in result.history)
    return result.spec, result.status, result.score, history


def test_trials_on_three_nodes_come_out_as_in_one_process_though_a_node_is_killed(
    rack: Rack, tmp_path: Path
) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, rack.address, "3", str(tmp_path)],
        cwd=tmp_path,
        env=rack.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    watchdog = threading.Timer(1500, driver.kill)
    watchdog.start()
    assert driver.stdout is not None
    for line in driver.stdout:
        said.append(line.strip())
        if line.strip() == "running 5":
            rack.kill(2)
    error = driver.stderr.read() if driver.stderr else ""
    watchdog.cancel()
    assert driver.wait() == 0, error + rack.log()
    assert said[0] == "slots 6"
    content = json.loads((tmp_path / "results.json").read_text())
    (tmp_path / "alone").mkdir()
    alone = make_plan(tmp_path / "alone", 1)
    run_local(alone, make_quick, [], AshaSettings(generation=GENERATION))
    found = [trial_result_from_json(raw) for raw in content["results"]]
    assert [_what_counts(result) for result in found] == [_what_counts(result) for result in alone.results()]
    assert any(result.status == "stopped" for result in found)
    assert len(content["nodes"]) >= 2
    starts = [line for line in content["lines"] if line.startswith("start")]
    assert len(starts) > len(found), "no trial was on the node that was killed"


def make_quick() -> fakes.Runner:
    return fakes.make_hill_climber()
