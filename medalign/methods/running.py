"""One trial from its specification to its result: the seam between scheduling, which knows no method, and methods.

A worker process makes one `TrialRunner`, which loads the base model once and then runs trial after
trial. The runner writes predictions and adapters into the comparison's folder.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medalign.config.disk import disk_faults, write_whole
from medalign.config.storage import Storage
from medalign.data.prompts import first_line
from medalign.errors import TrialStopped
from medalign.evaluation.metrics import gold_probability
from medalign.evaluation.predictions import build_prediction, write_parquet
from medalign.evaluation.summary import score_split
from medalign.methods.base import AdaptedModel, MethodRun, TrainingData
from medalign.methods.catalog import method_named
from medalign.methods.checkpoints import Checkpoints
from medalign.modeling.base_models import BaseModel, Precision, load_base
from medalign.modeling.chat import Chat
from medalign.modeling.metering import Meter
from medalign.modeling.out_of_memory import is_out_of_memory, release
from medalign.modeling.predictor import Predictor
from medalign.records import (
    BASE,
    OUT_OF_MEMORY_RETRIES,
    Cost,
    Prediction,
    PreferencePair,
    Progress,
    Question,
    Spent,
    TrialResult,
    TrialSpec,
    note_spent,
    spent_until,
)

Report = Callable[[Progress], None]
Scoring = Literal["raw", "normalised"]

TRIALS_FOLDER = "trials"
PREDICTIONS_FILE = "predictions.parquet"
VALIDATION_FILE = "validation.parquet"
ADAPTER_FOLDER = "adapter"
REFERENCE_FILE = "reference_logprobs.json"
REFERENCE_TABLE = "reference log-probabilities"  # as the cost ledger calls it
SAMPLED_ANSWERS = "answers sampled for preference pairs"  # likewise


@dataclass(frozen=True, kw_only=True)
class TrialJob:
    """What all trials of a comparison share; travels to every worker.

    Attributes:
        stages: Number of training questions in each stage of the curriculum.
        pairs_cost: What was spent on the pairs before the trials: shared work of all methods that learn from them.
        test: Read by refits alone; a search trial never sees it.
        checkpoints: Shares of the budget, below 1, at which a search trial scores validation.
        folder: The comparison's folder, absolute.
        checkpoint_seconds: A trial that trains keeps a checkpoint after every report and, between two, after so
            many seconds; None keeps none.
        storage: Address of the place where the files of trials are left for the driver to fetch; None where the
            trials see the comparison's folder itself.
    """

    model: str
    precision: Precision
    train: tuple[Question, ...]
    validation: tuple[Question, ...]
    test: tuple[Question, ...]
    pairs: tuple[PreferencePair, ...]
    scoring: Scoring
    checkpoints: tuple[float, ...]
    folder: str
    max_new_tokens: int = 24
    checkpoint_seconds: float | None = None
    storage: str | None = None
    stages: tuple[int, ...] = ()
    pairs_cost: Cost | None = None


class TrialRunner:
    """Runs trials of any method on one loaded base model."""

    def __init__(self, job: TrialJob) -> None:
        self._job = job
        self._base = load_base(job.model, job.precision)

    def __call__(self, spec: TrialSpec, report: Report) -> TrialResult:
        """Run one trial; one that runs out of memory is run once more with less of its batch in memory at once.

        Args:
            report: Called with each Progress of a search trial; may raise TrialStopped.
        """
        try:
            return self._attempt(spec, report)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            first = spent_until(error) or Spent(Cost(), {})
            release(error)
        try:
            result = self._attempt(spec, report, has_run_out=True)
        except Exception as error:
            note_spent(error, first.and_then(spent_until(error) or Spent(Cost(), {})))
            raise
        both = first.and_then(Spent(result.cost, result.shared))
        return dataclasses.replace(
            result,
            metrics={**result.metrics, OUT_OF_MEMORY_RETRIES: 1.0},
            cost=both.cost,
            shared=both.shared,
        )

    def _attempt(self, spec: TrialSpec, report: Report, has_run_out: bool = False) -> TrialResult:
        from transformers import set_seed

        set_seed(spec.seed)
        trial = _Trial(self._job, self._base, spec, report, has_run_out)
        try:
            return trial.run()
        except TrialStopped:
            return trial.stopped()
        except Exception as error:
            note_spent(error, trial.spent())
            raise


class _Trial:
    """One trial while it runs."""

    def __init__(
        self, job: TrialJob, base: BaseModel, spec: TrialSpec, report: Report, has_run_out: bool = False
    ) -> None:
        self._has_run_out = has_run_out
        self._job = job
        self._base = base
        self._spec = spec
        self._report = report
        self._meter = Meter()
        self._history: list[Progress] = []
        self._validation: tuple[Prediction, ...] = ()
        self._curve: list[tuple[float, float]] = []

    def run(self) -> TrialResult:
        job, spec = self._job, self._spec
        run = MethodRun(
            base=self._base,
            data=TrainingData(
                questions=job.train, pairs=job.pairs, stages=job.stages, reference_logprobs=self._reference
            ),
            setting=spec.setting,
            seed=spec.seed,
            meter=self._meter,
            checkpoint=self._checkpoint,
            checkpoints=job.checkpoints if spec.stage == "search" else (),
            max_new_tokens=job.max_new_tokens,
            learning_curve=self._curve,
            kept=self._checkpoints(),
            has_run_out=self._has_run_out,
        )
        with method_named(spec.method).adapted(run) as adapted:
            test: tuple[Prediction, ...] = ()
            if spec.stage == "refit":
                test = answer_questions(adapted.predictor, job.test, job.scoring)
            folder = self._save(adapted, test or self._validation)
        return self._result(folder, test)

    def _checkpoints(self) -> Checkpoints | None:
        if self._job.checkpoint_seconds is None:
            return None
        return Checkpoints(
            Path(self._job.folder),
            self._spec,
            every_seconds=self._job.checkpoint_seconds,
            history=self._history,
            learning_curve=self._curve,
            meter=self._meter,
            report=self._report,
        )

    def spent(self) -> Spent:
        """What the trial has used so far."""
        return Spent(self._meter.cost(), self._shared())

    def _shared(self) -> dict[str, Cost]:
        """Work that other trials use too; what was done before all of them is paid for by the first."""
        shared = dict(self._meter.shared)
        if self._job.pairs_cost is not None and method_named(self._spec.method).learns_from_pairs:
            pays = self._spec.stage == "search" and self._spec.number == 0 and not self._has_run_out
            shared[SAMPLED_ANSWERS] = self._job.pairs_cost if pays else Cost()
        return shared

    def stopped(self) -> TrialResult:
        """The result of a trial that the scheduler ended."""
        last = self._history[-1]
        return TrialResult(
            spec=self._spec,
            status="stopped",
            score=last.score,
            tie_break=last.metrics.get("mean_gold_probability"),
            metrics=last.metrics,
            cost=self._meter.cost(),
            shared=self._shared(),
            history=tuple(self._history),
            learning_curve=tuple(self._curve),
            reason="stopped early: others of its method scored higher at the same share of their budget",
        )

    def _result(self, folder: str, test: Sequence[Prediction]) -> TrialResult:
        metrics = dict(self._history[-1].metrics) if self._history else {}
        metrics |= {f"test_{name}": value for name, value in score_split(test).items()} if test else {}
        return TrialResult(
            spec=self._spec,
            status="completed",
            score=self._history[-1].score if self._history else None,
            tie_break=metrics.get("mean_gold_probability"),
            metrics=metrics,
            cost=self._meter.cost(),
            shared=self._shared(),
            history=tuple(self._history),
            learning_curve=tuple(self._curve),
            folder=folder,
        )

    def _checkpoint(self, share: float, predictor: Predictor) -> None:
        """Score validation and report; a refit is not searched over, so it goes straight to the test."""
        if self._spec.stage == "refit" and self._spec.method != BASE:
            return
        scored = [question for question in self._job.validation if question.is_scored]
        self._validation = answer_questions(predictor, scored, self._job.scoring)
        metrics = score_split(self._validation)
        progress = Progress(
            budget_share=share,
            score=metrics["accuracy"],
            metrics=metrics,
            cost=self._meter.cost(),
            question_scores=tuple(
                round(gold_probability(p.option_logprobs, p.answer_index or 0), 6) for p in self._validation
            ),
        )
        self._history.append(progress)
        self._report(progress)

    def _save(self, adapted: AdaptedModel, predictions: Sequence[Prediction]) -> str:
        """Predictions, and a refit's adapter, in a folder that appears only when it is whole."""
        relative = f"{TRIALS_FOLDER}/{self._spec.trial_id}"
        if self._job.storage is not None:
            with tempfile.TemporaryDirectory(prefix="medalign-") as scratch:
                self._write(Path(scratch), adapted, predictions)
                Storage(self._job.storage).put_folder(Path(scratch), relative)
            return relative
        folder = Path(self._job.folder) / relative
        folder.parent.mkdir(parents=True, exist_ok=True)
        with disk_faults(folder):
            unfinished = Path(tempfile.mkdtemp(prefix=f".{self._spec.trial_id}-", dir=folder.parent))
            try:
                self._write(unfinished, adapted, predictions)
                shutil.rmtree(folder, ignore_errors=True)
                os.replace(unfinished, folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
        return relative

    def _write(self, folder: Path, adapted: AdaptedModel, predictions: Sequence[Prediction]) -> None:
        write_parquet(folder / PREDICTIONS_FILE, list(predictions))
        if self._spec.stage == "refit" and self._validation:
            write_parquet(folder / VALIDATION_FILE, self._validation)
        if adapted.save_adapter is not None and self._spec.stage == "refit":
            adapted.save_adapter(str(folder / ADAPTER_FOLDER))

    def _reference(self, base: BaseModel, meter: Meter) -> tuple[tuple[float, float], ...]:
        """The reference table of this comparison; the first trial that needs it computes it, as shared work."""
        place = Storage(self._job.storage or self._job.folder)
        if held := place.read(REFERENCE_FILE):
            meter.uses_shared(REFERENCE_TABLE)
            return tuple((c, r) for c, r in json.loads(held))
        chat = Chat(base.tokenizer)
        by_id = {question.id: question for question in self._job.train}
        rows = [chat.preference_row(by_id[pair.question_id], pair) for pair in self._job.pairs]
        with meter.sharing(REFERENCE_TABLE):
            table = [list(scores) for scores in Predictor(base, meter).score_rows(rows, as_in_training=True)]
        if self._job.storage is not None:
            place.write(REFERENCE_FILE, json.dumps(table).encode())
        else:
            write_whole(Path(self._job.folder) / REFERENCE_FILE, json.dumps(table))
        return tuple((c, r) for c, r in table)


def answer_questions(
    predictor: Predictor, questions: Sequence[Question], scoring: Scoring
) -> tuple[Prediction, ...]:
    """What a predictor says to each question, in their order: options scored, free text written."""
    scored = [question for question in questions if question.is_scored]
    written = [question for question in questions if not question.is_scored]
    logprobs = dict(zip((q.id for q in scored), predictor.score_options(scored), strict=True))
    texts = dict(zip((q.id for q in written), predictor.write(written), strict=True))
    return tuple(
        build_prediction(
            q,
            option_logprobs=logprobs.get(q.id),
            text=texts.get(q.id),
            scoring=scoring,
            demonstrated=[first_line(shown.answer) for shown in predictor.demonstrations(q)],
        )
        for q in questions
    )
