"""A whole comparison against a plain script that runs the same trials one after the other.

    python benchmarks/against_plain_script.py [--trl-defaults] [--keep FOLDER] [options of medalign.compare]

Runs `python -m medalign.compare` without early stopping, then `plain_script.py` (TRL and Hugging Face evaluate) with
the settings that the comparison tried and refitted: same base weights, questions, prompts, epochs and batches. The
script is spared reading and splitting the questions, choosing settings and demonstrations, statistics, the report and
MLflow. Prints one JSON object; `ratio` is its seconds over ours, `largest_difference` the largest one in the accuracy
of a trial. `--trl-defaults` leaves activation checkpointing on, as TRL does. Run it on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from medalign.config.experiment import Experiment
from medalign.data.preparation import PreparedData
from medalign.data.prompts import SYSTEM_TEXT, answer_text, prompt_text
from medalign.methods.catalog import method_named
from medalign.methods.icl import demonstrator
from medalign.modeling.base_models import load_base, resolve_folder
from medalign.records import BASE, Question, TrialResult
from medalign.tracking.folder import ComparisonFolder

ROOT = Path(__file__).resolve().parents[1]
MAX_NEW_TOKENS = 24


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trl-defaults", action="store_true")
    parser.add_argument("--keep", type=Path)
    given, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="medalign-plain-") as scratch:
        folder = (given.keep or Path(scratch)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        ours = seconds_of([sys.executable, "-m", "medalign.compare", "--no-early-stopping", *options], folder)
        comparison = ComparisonFolder(next(folder.glob("results/*/state.json")).parent)
        job = folder / "job.json"
        job.write_text(json.dumps(make_job(comparison, folder, checkpointing=given.trl_defaults)))
        script = str(ROOT / "benchmarks" / "plain_script.py")
        theirs = seconds_of([sys.executable, script, str(job), str(folder / "plain.json")], folder)
        plain = json.loads((folder / "plain.json").read_text())
    print(json.dumps(report(comparison, plain, ours, theirs), indent=2))
    return 0


def seconds_of(command: list[str], folder: Path) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=True)
    return time.perf_counter() - start


def make_job(comparison: ComparisonFolder, folder: Path, *, checkpointing: bool) -> dict[str, Any]:
    """Every trial of the comparison, in words that need nothing of medalign."""
    from medalign.preparing import prepared_data

    os.chdir(folder)  # relative places of data and model are those of the comparison
    experiment = comparison.experiment
    data = prepared_data(experiment)
    base = load_base(experiment.model.name, experiment.model.precision)
    results = [result for result in comparison.results() if result.status == "completed"]
    return {
        "model": str(resolve_folder(experiment.model.name)),
        "dtype": str(base.dtype).removeprefix("torch."),
        "folder": str(folder / "plain"),
        "activation_checkpointing": checkpointing,
        "max_new_tokens": MAX_NEW_TOKENS,
        "trials": [trial(result, data, experiment) for result in results],
    }


def trial(result: TrialResult, data: PreparedData, experiment: Experiment) -> dict[str, Any]:
    spec = result.spec
    settings = method_named(spec.method).settings(spec.setting)
    setting = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    demonstrate = demonstrator(data.train, settings, spec.seed) if spec.method == "icl" else None
    splits = {"validation": [question for question in data.validation if question.is_scored]}
    if spec.stage == "refit":
        splits = {"test": list(data.test)}
    described = {
        "id": spec.trial_id,
        "method": spec.method,
        "seed": spec.seed,
        "setting": setting,
        "questions": {
            split: [asked(question, demonstrate, experiment.scoring) for question in questions]
            for split, questions in splits.items()
        },
    }
    if spec.method in ("sft", "dpo"):
        steps = math.ceil(len(data.train) / setting["batch_size"]) * setting["epochs"]
        described["warmup_steps"] = math.ceil(setting["warmup_share"] * steps)
        described["rows"] = list(rows(spec.method, data))
    return described


def rows(method: str, data: PreparedData) -> list[dict[str, Any]]:
    """The training set in TRL's conversational form."""
    by_id = {question.id: question for question in data.train}
    if method == "sft":
        return [{"prompt": turns(q), "completion": reply(answer_text(q))} for q in data.train]
    return [
        {
            "prompt": turns(by_id[pair.question_id]),
            "chosen": reply(pair.chosen),
            "rejected": reply(pair.rejected),
        }
        for pair in data.pairs
    ]


def asked(question: Question, demonstrate: Any, scoring: str) -> dict[str, Any]:
    messages = turns(question)
    for shown in demonstrate(question) if demonstrate is not None else ():
        messages[-1:-1] = [{"role": "user", "content": shown.prompt}, *reply(shown.answer)]
    return {
        "messages": messages,
        "options": question.options,
        "answer": question.answer_index,
        "per_character": scoring == "normalised" and question.kind == "choice",
    }


def turns(question: Question) -> list[dict[str, str]]:
    return [
        {"role": "system", "content": SYSTEM_TEXT},
        {"role": "user", "content": prompt_text(question)},
    ]


def reply(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def report(comparison: ComparisonFolder, plain: dict[str, Any], ours: float, theirs: float) -> dict[str, Any]:
    differences = {}
    for result in comparison.results():
        trial_id = result.spec.trial_id
        split = "test" if result.spec.stage == "refit" else "validation"
        score = result.metrics["test_accuracy"] if split == "test" else result.score
        if trial_id in plain and score is not None:
            differences[trial_id] = round(plain[trial_id]["accuracy"][split] - score, 4)
    trained = [trial_id for trial_id in plain if not trial_id.startswith((BASE, "icl"))]
    return {
        "seconds_medalign": round(ours, 1),
        "seconds_plain_script": round(theirs, 1),
        "ratio": round(theirs / ours, 2),
        "trials": len(plain),
        "plain_training_seconds": round(sum(plain[trial_id]["train_seconds"] for trial_id in trained), 1),
        "largest_difference": max(map(abs, differences.values()), default=None),
        "differences": differences,
    }


if __name__ == "__main__":
    sys.exit(main())
