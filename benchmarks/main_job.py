"""How long the main job takes, where the time goes, and how much memory all its processes hold.

    python benchmarks/main_job.py [options of medalign.compare]

Starts the command in a folder of its own, watches its process tree, and adds up what the trials
report. Prints one JSON object. `wait_share` is the share of the slots' time that no trial used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SAMPLE_SECONDS = 1.0


def main(options: list[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="medalign-benchmark-") as folder:
        command = [sys.executable, "-m", "medalign.compare", *options]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment)
        peak_gib = watch(process)
        seconds = time.perf_counter() - start
        if process.returncode:
            return process.returncode
        results = [json.loads(f.read_text()) for f in Path(folder).glob("results/*/trials/*/result.json")]
        environment_seen = json.loads(next(Path(folder).glob("results/*/results.json")).read_text())[
            "environment"
        ]
    print(json.dumps(report(results, seconds, peak_gib, environment_seen), indent=2))
    return 0


def watch(process: subprocess.Popen[bytes]) -> float:
    """Largest proportional set size (GiB) of the whole process tree; shared pages count once."""
    tree, peak = psutil.Process(process.pid), 0.0
    while process.poll() is None:
        total = 0
        for each in [tree, *descendants(tree)]:
            try:
                total += proportional_bytes(each.pid)
            except OSError:  # it has ended
                continue
        peak = max(peak, total / 2**30)
        time.sleep(SAMPLE_SECONDS)
    return peak


def proportional_bytes(pid: int) -> int:
    """The process's resident memory, each shared page divided by the number of processes that share it."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def descendants(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return tree.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def report(results: list[dict], seconds: float, peak_gib: float, environment: dict) -> dict:
    """Seconds of slots: trials at work, split into training, scoring and the rest; and slots without a trial."""
    costs = [result["cost"] for result in results]
    slots = environment["slots"]
    busy = sum(cost["wall_seconds"] for cost in costs)
    train = sum(cost["train_seconds"] for cost in costs)
    score = sum(cost["score_seconds"] for cost in costs)
    return {
        "seconds": round(seconds, 1),
        "peak_gib": round(peak_gib, 2),
        "trials": len(results),
        "slots": slots,
        "slot_seconds": {
            "all": round(slots * seconds, 1),
            "train": round(train, 1),
            "score": round(score, 1),
            "rest_of_trials": round(busy - train - score, 1),
            "start_load_and_wait": round(slots * seconds - busy, 1),
        },
        "wait_share": round(1 - busy / (slots * seconds), 3),
        "tokens_trained_per_slot_second": round(sum(c["tokens_trained"] for c in costs) / max(train, 1e-9)),
        "tokens_scored_per_slot_second": round(sum(c["tokens_scored"] for c in costs) / max(score, 1e-9)),
        "processor": environment["processor"],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
