"""How long `medalign report` takes for 6 arms x 5 seeds x 10,000 questions, from the folder to the last file.

    python benchmarks/report.py

Prints one JSON object: seconds, by the clock and of this process alone, for reading the folder, for the statistics and
for the report (calibration, errors, costs, recommendations, all plots as SVG and PNG, page and tables), then the
largest of its parts again by themselves, the size of the page and the peak of memory. The questions are made up, with
passages of the length of an abstract.
"""

from __future__ import annotations

import json
import random
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medalign.conclusion import collect_arms, report_data
from medalign.evaluation.predictions import write_parquet
from medalign.evaluation.summary import score_split
from medalign.records import Cost, Prediction, Progress, Question, TrialResult, TrialSpec
from medalign.reporting import writing
from medalign.reporting.stored import Surroundings, write_surroundings
from medalign.stats.comparison import compare_arms
from medalign.tracking.folder import ComparisonFolder

SHARES = {"base": 0.40, "icl": 0.42, "sft": 0.45, "dpo": 0.41, "cpt": 0.455, "kto": 0.42}
NUM_SEEDS = 5
NUM_QUESTIONS = 10_000
NUM_SEARCH_TRIALS = 20
NUM_SPECIALTIES = 21
WORDS = ["patients", "with", "chronic", "disease", "were", "treated", "after", "randomised", "placebo"]


def main() -> None:
    seconds: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        seconds[name] = {
            "wall": round(time.perf_counter() - wall, 2),
            "processor": round(time.process_time() - processor, 2),
        }

    with tempfile.TemporaryDirectory() as scratch:
        folder = make_folder(Path(scratch) / "made")
        with timed("read"):
            data = report_data(folder)
            arms = collect_arms(folder, data.trials, data.method_names)
        with timed("statistics"):
            summary = compare_arms(arms, score=score_split, majority_baseline=0.38)
        with timed("report"):
            files = writing.write_report(folder.path, data, summary, arms)
        with timed("of which derived"):
            findings = writing.derive(data, summary, arms)
        with timed("of which plots"):
            plots = writing.draw_plots(data, findings)
        with timed("of which page"):
            writing.render_html(data, findings, plots)
        size = files[0].stat().st_size
    found = {
        "seconds": seconds,
        "page_mib": round(size / 2**20, 2),
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }
    print(json.dumps(found, indent=2))


def make_folder(path: Path) -> ComparisonFolder:
    """A made-up comparison as it lies on disk when its last trial has ended."""
    generator = random.Random(0)
    questions = [make_question(number, generator) for number in range(NUM_QUESTIONS)]
    path.mkdir()
    (path / "state.json").write_text(
        json.dumps({"status": "running", "command": "made", "begun": "2026-01-01"})
    )
    folder = ComparisonFolder(path)
    methods = [name for name in SHARES if name != "base"]
    write_surroundings(
        path,
        Surroundings(
            experiment={"name": "made", "methods": methods, "scoring": "raw", "seed": 0},
            command="made",
            begun="2026-01-01",
            card={"sources": ["made"], "splits": {"train": {"questions": 100}}},
            environment={},
            questions=questions,
        ),
    )
    for method in methods:
        for number in range(NUM_SEARCH_TRIALS):
            folder.write_result(make_trial(method, "search", number, generator))
    for method, share in SHARES.items():
        for number in range(NUM_SEEDS):
            result = make_trial(method, "refit", number, generator)
            folder.write_result(result)
            answers = [answer(question, generator.random() < share, generator) for question in questions]
            write_parquet(folder.trial_folder(result.spec.trial_id) / "predictions.parquet", answers)
    return folder


def make_question(number: int, generator: random.Random) -> Question:
    options = tuple(" ".join(generator.choices(WORDS, k=4)) + f" {letter}" for letter in "abcd")
    return Question(
        id=f"made-{number}",
        source="made",
        kind="choice",
        text=" ".join(generator.choices(WORDS, k=25)) + "?",
        context=" ".join(generator.choices(WORDS, k=200)),
        answer=options[number % 4],
        options=options,
        specialty=f"specialty {int(NUM_SPECIALTIES * generator.random() ** 2)}",
        group=f"case-{number // 2}" if number % 3 else "",
    )


def make_trial(method: str, stage: str, number: int, generator: random.Random) -> TrialResult:
    spec = TrialSpec(
        trial_id=f"{method}-{stage}-{number:03d}",
        method=method,
        stage=stage,  # type: ignore[arg-type]
        setting={} if method == "base" else {"learning_rate": 10 ** generator.uniform(-5, -3)},
        seed=number,
        number=number,
    )
    cost = Cost(wall_seconds=60, cpu_seconds=50, train_seconds=30, score_seconds=20, score_flops=1e12)
    history = tuple(Progress(budget_share=share, score=generator.random()) for share in (0.5, 1.0))
    curve = tuple((step / 500, 2 + generator.random() - step / 500) for step in range(1, 501))
    return TrialResult(
        spec=spec,
        status="completed",
        score=history[-1].score,
        cost=cost,
        history=history if stage == "search" else (),
        learning_curve=curve,
        folder=f"trials/{spec.trial_id}",
    )


def answer(question: Question, is_right: bool, generator: random.Random) -> Prediction:
    right = question.answer_index or 0
    chosen = right if is_right else (right + generator.randint(1, 3)) % 4
    logprobs = tuple(
        -generator.random() if place == chosen else -1 - 3 * generator.random() for place in range(4)
    )
    return Prediction(
        question_id=question.id,
        source=question.source,
        kind=question.kind,
        specialty=question.specialty,
        group=question.group,
        answer=question.answer,
        answer_index=right,
        option_logprobs=logprobs,
        option_chars=tuple(map(len, question.options)),
        chosen_raw=chosen,
        chosen_normalised=chosen,
        chosen=chosen,
        said=question.options[chosen],
        correct=is_right,
    )


if __name__ == "__main__":
    main()
