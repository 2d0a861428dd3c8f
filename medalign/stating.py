"""What is said and kept of a comparison before anything is spent: its plan, what it can detect, its surroundings."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medalign.config.experiment import Experiment
from medalign.records import BASE, Question
from medalign.scheduling.slots import Slots, visible_gpus_gib

if TYPE_CHECKING:
    from medalign.data.preparation import PreparedData


def plan_text(experiment: Experiment, data: PreparedData, slots: Slots) -> str:
    """What will be run and what it can detect, before anything is spent."""
    from medalign.stats.power import ASSUMED_DISCORDANCE

    num_scored = sum(question.is_scored for question in data.test)
    gpu = f" and {slots.slot.memory_gib:g} GiB of a GPU" if slots.slot.memory_gib else ""
    smallest = detectable_difference(data.test, 1 + len(experiment.methods))
    budget = experiment.budget_gpu_hours
    lines = {
        "arms": f"{BASE}, {', '.join(experiment.methods)}",
        "model": f"{experiment.model.name}, precision {experiment.model.precision}",
        "questions": f"{len(data.train)} to learn from, {len(data.validation)} for validation, {len(data.test)} for "
        f"the test ({num_scored} with options, {len(data.test) - num_scored} answered in writing), "
        f"out of {', '.join(experiment.data.sources)}",
        "left out": ", ".join(f"{number} question(s) ({reason})" for reason, number in data.drops.items()),
        "trials": f"{experiment.trials} setting(s) tried for each method; the best one is trained again over "
        f"{experiment.seeds} seed(s) and answers the test",
        "slots": f"{slots.num_slots} trial(s) at once, each on {slots.slot.num_cores} CPU core(s){gpu}",
        "budget": f"{budget:g} hours of slots in all, {budget / len(experiment.methods):.3g} for each method"
        if budget
        else "",
        "detectable": "nothing: the test is too small for any difference between two arms"
        if smallest is None
        else f"differences in accuracy from about {100 * smallest:.0f} points on (80% power, Holm's correction over "
        f"all pairs, two arms that differ on {ASSUMED_DISCORDANCE:.0%} of the questions)",
    }
    return "\n".join(f"{label:<11}{text}" for label, text in lines.items() if text)


def detectable_difference(test: Iterable[Question], num_arms: int) -> float | None:
    """Smallest difference in accuracy that the test split can show, Bonferroni's bound of the Holm correction."""
    from medalign.stats.power import ASSUMED_DISCORDANCE, exact_detectable_difference

    scored = sum(question.is_scored for question in test)
    num_pairs = num_arms * (num_arms - 1) // 2
    return exact_detectable_difference(scored, discordance=ASSUMED_DISCORDANCE, alpha=0.05 / num_pairs)


def environment(slots: Slots) -> dict[str, Any]:
    """The machine and its share, as plain values."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": _processor(),
        "slots": slots.num_slots,
        "cores_per_slot": slots.slot.num_cores,
        "gpus_gib": list(visible_gpus_gib()),
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
