"""Which slots get more done on a CPU: one process of all cores, or one process a core.

    python benchmarks/cpu_slots.py

The same trials (SFT on embedded questions, then scoring) run once in a single process with all
cores, one after another, and once in one process a core, side by side. Loading is not counted.
Prints one JSON object; `speedup` is the time of the first over that of the second.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
import tempfile
import time

NUM_QUESTIONS = 48


def main() -> None:
    cores = len(os.sched_getaffinity(0))
    together = seconds_of(num_processes=1, threads=cores, trials=cores)
    apart = seconds_of(num_processes=cores, threads=1, trials=1)
    print(
        json.dumps(
            {
                "cores": cores,
                "trials": cores,
                "seconds_one_process_all_cores": round(together, 1),
                "seconds_one_process_a_core": round(apart, 1),
                "speedup": round(together / apart, 2),
            },
            indent=2,
        )
    )


def seconds_of(*, num_processes: int, threads: int, trials: int) -> float:
    """Seconds from when all processes have loaded until the last has run its trials."""
    context = multiprocessing.get_context("spawn")
    ready = context.Barrier(num_processes + 1)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    processes = [context.Process(target=work, args=(ready, threads, trials)) for _ in range(num_processes)]
    for process in processes:
        process.start()
    ready.wait()
    start = time.perf_counter()
    for process in processes:
        process.join()
        if process.exitcode:
            sys.exit(process.exitcode)
    return time.perf_counter() - start


def work(ready, threads: int, trials: int) -> None:
    import torch

    from medalign.data.preparation import prepare
    from medalign.methods.running import TrialJob, TrialRunner
    from medalign.records import TrialSpec

    torch.set_num_threads(threads)
    data = prepare(
        ("embedded",), train_size=NUM_QUESTIONS, validation_size=NUM_QUESTIONS, test_size=12, seed=0
    )
    with tempfile.TemporaryDirectory() as folder:
        job = TrialJob(
            model="smollm2-135m",
            precision="auto",
            train=data.train,
            validation=data.validation,
            test=data.test,
            pairs=data.pairs,
            scoring="normalised",
            checkpoints=(),
            folder=folder,
        )
        runner = TrialRunner(job)
        runner(TrialSpec(trial_id="warm-up", method="base", stage="search"), lambda progress: None)
        ready.wait()
        for number in range(trials):
            runner(TrialSpec(trial_id=f"sft-{number}", method="sft", stage="search"), lambda progress: None)


if __name__ == "__main__":
    main()
