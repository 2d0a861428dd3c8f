"""Share of the slots' time that is spent training or scoring.

    python benchmarks/slot_time.py results/COMPARISON [results/ANOTHER ...]
        of comparisons that have run: from their beginning to the end of their last trial, on all their slots
    python benchmarks/slot_time.py --simulate 64 results/COMPARISON [...]
        of a cluster of 64 slots whose trials take as long as real ones drawn from these comparisons

The simulation has the real Plan decide every trial, in virtual time. What is no training and no scoring counts as
lost: a slot that waits or is empty, the start of its process (--start-seconds, once a slot), the driver's work
(--driver-ms for each trial, one after the other: see benchmarks/orchestration.py), and within each trial what the real
one lost.
"""

from __future__ import annotations

import argparse
import datetime
import heapq
import json
import random
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from medalign.config.search_space import FloatRange, SearchSpace
from medalign.records import TrialResult, TrialSpec
from medalign.scheduling.planning import MethodPlan, Plan
from medalign.tracking.folder import ComparisonFolder


class Length(NamedTuple):
    """Of a real trial, in seconds.

    Attributes:
        busy: Training and scoring.
    """

    wall: float
    busy: float


def lengths_of(results: list[TrialResult]) -> list[Length]:
    ended = [result.cost for result in results if result.status == "completed"]
    return [
        Length(max(c.wall_seconds, c.train_seconds + c.score_seconds), c.train_seconds + c.score_seconds)
        for c in ended
    ]


def measured(folder: ComparisonFolder, slots: int | None) -> dict[str, object]:
    """What a finished comparison says of itself.

    Args:
        slots: That it had; None looks for them in what it kept for its report.
    """
    begun = datetime.datetime.fromisoformat(folder.state["begun"]).timestamp()
    last = max(file.stat().st_mtime for file in folder.path.glob("trials/*/result.json"))
    if slots is None:
        slots = json.loads((folder.path / "report_data.json").read_text())["environment"]["slots"]
    busy = sum(cost.train_seconds + cost.score_seconds for cost in (r.cost for r in folder.results()))
    share = busy / (slots * (last - begun))
    return {
        "comparison": folder.id,
        "slots": slots,
        "seconds": round(last - begun),
        "busy_share": round(share, 3),
    }


def simulated(
    lengths: dict[str, list[Length]],
    num_slots: int,
    num_trials: int,
    start_seconds: float,
    driver_seconds: float,
) -> float:
    """Busy share of a comparison on so many slots.

    Args:
        num_trials: Of each method.
    """
    generator = random.Random(0)
    methods = sorted(
        lengths, key=lambda name: -sum(length.wall for length in lengths[name]) / len(lengths[name])
    )
    with tempfile.TemporaryDirectory(prefix="slot-time-") as scratch:
        plans = [
            MethodPlan(
                method=name,
                space=SearchSpace(method=name, parameters={"x": FloatRange(low=0.0, high=1.0)}),
                num_trials=num_trials,
                num_seeds=3,
            )
            for name in methods
        ]
        plan = Plan(plans, Path(scratch), num_slots=num_slots)
        # Which setting is tried does not matter here, and a sampler that knows thousands is slow.
        for arm in plan._arms.values():
            arm._choose = lambda study, space, number: {"x": generator.random()}  # type: ignore[method-assign]
            arm._study = _NoStudy()  # type: ignore[assignment]
        return _run(plan, lengths, num_slots, start_seconds, driver_seconds, generator)


class _NoStudy:
    """Writes nothing down."""

    def __init__(self) -> None:
        self.params: dict[str, object] = {}

    def start(self, *arguments: object) -> None: ...

    def report(self, *arguments: object) -> None: ...

    def end(self, *arguments: object) -> None: ...


def _run(
    plan: Plan,
    lengths: dict[str, list[Length]],
    num_slots: int,
    start_seconds: float,
    driver_seconds: float,
    generator: random.Random,
) -> float:
    ready = [(0.0, slot) for slot in range(num_slots)]
    running: list[tuple[float, int, TrialSpec]] = []
    fresh = set(range(num_slots))
    driver_free = busy = now = 0.0
    while True:
        idle = []
        while ready:
            free, slot = heapq.heappop(ready)
            spec = plan.next_trial()
            if spec is None:
                idle.append((free, slot))
                break
            length = generator.choice(lengths[spec.method])
            driver_free = max(driver_free, free, now) + driver_seconds
            begin = driver_free + (start_seconds if slot in fresh else 0.0)
            fresh.discard(slot)
            busy += length.busy
            heapq.heappush(running, (begin + length.wall, slot, spec))
        for each in idle:
            heapq.heappush(ready, each)
        if not running:
            return busy / (num_slots * now)
        now, slot, spec = heapq.heappop(running)
        plan.on_result(TrialResult(spec=spec, status="completed", score=generator.random()))
        heapq.heappush(ready, (now, slot))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--simulate", type=int, metavar="SLOTS")
    parser.add_argument("--slots", type=int, help="of comparisons that kept no report data")
    parser.add_argument("--trials", type=int, nargs="+", default=[100, 300, 1000], help="of each method")
    parser.add_argument("--start-seconds", type=float, default=15.0)
    parser.add_argument("--driver-ms", type=float, default=150.0)
    given = parser.parse_args()
    folders = [ComparisonFolder(path) for path in given.folders]
    if given.simulate is None:
        for folder in folders:
            print(json.dumps(measured(folder, given.slots)))
        return
    lengths: defaultdict[str, list[Length]] = defaultdict(list)
    for folder in folders:
        for method in folder.experiment.methods:
            lengths[method] += lengths_of(
                [result for result in folder.results() if result.spec.method == method]
            )
    means = {
        name: round(sum(length.wall for length in each) / len(each), 1) for name, each in lengths.items()
    }
    for num_trials in given.trials:
        share = simulated(lengths, given.simulate, num_trials, given.start_seconds, given.driver_ms / 1000)
        said = {"slots": given.simulate, "trials_of_each_method": num_trials, "mean_seconds": means}
        print(json.dumps({**said, "busy_share": round(share, 3)}))


if __name__ == "__main__":
    main()
