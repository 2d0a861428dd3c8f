"""Predicted against measured peaks of a training step, over a grid of shapes, precisions and lengths."""

from __future__ import annotations

import argparse
from typing import Any, NamedTuple

from medalign.modeling.model_cards import CARDS


class Point(NamedTuple):
    """One shape of a training step."""

    method: str
    tokens: int
    answer: int = 128
    changes: dict[str, Any] = {}  # noqa: RUF012  # read only


COMMON = (Point("sft", 512), Point("sft", 1024), Point("dpo", 1024))
GRID: dict[tuple[str, str], tuple[Point, ...]] = {
    ("llama-3.1-8b", "nf4"): (
        *COMMON,
        Point("sft", 2048),
        Point("dpo", 512),
        Point("dpo", 2048),
        Point("sft", 2048, changes={"checkpointing": True}),
        Point("sft", 512, changes={"tokens_at_once": 1}),
        Point("sft", 512, changes={"lora_targets": "all_linear", "lora_rank": 64}),
        Point("sft", 512, changes={"adapter": "dora"}),
    ),
    ("llama-3.1-8b", "bf16"): (Point("sft", 512), Point("dpo", 1024)),
    ("llama-3.1-8b", "int8"): (Point("sft", 512), Point("dpo", 1024)),
    ("llama-3.2-3b", "bf16"): COMMON,
    ("llama-3.2-3b", "nf4"): COMMON,
    ("llama-2-7b", "nf4"): COMMON,
    ("llama-2-13b", "nf4"): COMMON,
    ("mistral-7b", "nf4"): COMMON,
    ("phi-2", "nf4"): COMMON,
    ("phi-2", "bf16"): COMMON,
}


def measure(report: Any, slot_gib: float, budget_seconds: float = 240.0) -> None:
    """Two steps at each point of the grid, in a process held to the slot."""
    import gc
    import time

    import torch

    from benchmarks import gpu
    from benchmarks.random_models import random_base
    from medalign.modeling.lean_layers import lean_blocks

    begin = time.perf_counter()
    for (name, precision), points in GRID.items():
        if time.perf_counter() - begin > budget_seconds:
            report.add(f"peak_{name}_{precision}", skipped="time is up")
            continue
        shape = CARDS[name].shape
        torch.cuda.set_per_process_memory_fraction(1.0)
        base = random_base(shape, precision, "cuda")
        gpu.hold_to_slot(slot_gib)
        lean_blocks(base.model)
        for point in points:
            label = "_".join(
                [name, precision, point.method, str(point.tokens), *map(str, point.changes.values())]
            )
            report.add(f"peak_{label}", **_compared(gpu, base, shape, precision, point, slot_gib))
        del base
        gc.collect()
        torch.cuda.empty_cache()


def _compared(
    gpu: Any, base: Any, shape: Any, precision: str, point: Point, slot_gib: float
) -> dict[str, Any]:
    from medalign.methods.catalog import method_named
    from medalign.methods.training import tuning
    from medalign.modeling.memory_plan import plan_memory, row_length

    settings = method_named(point.method).settings(point.changes)
    answers = 1 if point.method == "sft" else 2
    rows = gpu.training_rows(
        shape,
        point.method,
        2 * settings.batch_size,
        prompt=point.tokens - answers * point.answer,
        answer=point.answer,
    )
    plan = plan_memory(
        shape,
        [row_length(row) for row in rows],
        precision=precision,
        batch_size=settings.batch_size,
        slot_gib=slot_gib,
        tuning=tuning(settings),
        tokens_at_once=settings.tokens_at_once,
        checkpointing=settings.checkpointing,
    )
    predicted = {
        "rows_at_once": plan.rows_at_once,
        "checkpointing": plan.checkpointing,
        "predicted_gib": plan.peak_gib,
        "parts": [round(part, 2) for part in plan.parts],
    }
    try:
        peak = gpu.train(point.method, base, rows, **point.changes).peak_gib
    except Exception as error:  # the grid goes on: a failure is a figure too
        return {**predicted, "failed": f"{type(error).__name__}: {str(error)[:120]}", "error": 1.0}
    return {**predicted, "measured_gib": peak, "error": plan.peak_gib / peak - 1}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.parse_args()
