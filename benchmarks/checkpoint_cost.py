"""How long a checkpoint takes to write and to read, and how large it is.

    python benchmarks/checkpoint_cost.py [--model smollm2-135m] [--rank 16] [--steps 6]

Trains a few steps with a checkpoint after each. Prints one JSON object; the share is of the default interval.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medalign.config.experiment import Experiment
from medalign.data.preparation import prepare
from medalign.methods.base import MethodRun, TrainingData
from medalign.methods.catalog import method_named
from medalign.methods.checkpoints import Checkpoints, is_whole
from medalign.modeling.base_models import load_base
from medalign.modeling.metering import Meter
from medalign.records import TrialSpec


class Timed(Checkpoints):
    """Notes the seconds of each checkpoint, and its size."""

    seconds: list[float]
    mib: float

    def keep(self, unfinished: Path, step: int, begun: float) -> None:
        size = sum(file.stat().st_size for file in unfinished.rglob("*") if file.is_file())
        super().keep(unfinished, step, begun)
        self.seconds.append(time.monotonic() - begun)
        self.mib = size / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6)
    given = parser.parse_args()
    base = load_base(given.model)
    setting = {"lora_rank": given.rank, "batch_size": 1}
    data = prepare(("embedded",), train_size=given.steps, validation_size=4, test_size=4, seed=0)
    spec = TrialSpec(trial_id="sft-search-000", method="sft", stage="search", setting=setting)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        meter = Meter()
        kept = Timed(
            Path(folder).absolute(),
            spec,
            every_seconds=0.0,
            history=[],
            learning_curve=[],
            meter=meter,
            report=lambda progress: None,
        )
        kept.seconds = []
        run = MethodRun(
            base=base,
            data=TrainingData(questions=data.train, pairs=data.pairs),
            setting=setting,
            seed=0,
            meter=meter,
            checkpoint=lambda share, predictor: None,
            kept=kept,
        )
        with method_named("sft").adapted(run):
            pass
        newest = max(Path(folder).glob("checkpoints/*/step-*"))
        start = time.perf_counter()
        assert is_whole(newest)
        check_seconds = time.perf_counter() - start
    interval = Experiment.model_fields["checkpoint_seconds"].default
    median = statistics.median(kept.seconds)
    found = {
        "checkpoints": len(kept.seconds),
        "mib": round(kept.mib, 1),
        "median_seconds": round(median, 3),
        "largest_seconds": round(max(kept.seconds), 3),
        "share_of_interval": round(median / interval, 5),
        "seconds_to_check": round(check_seconds, 3),
    }
    print(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
