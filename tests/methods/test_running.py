"""One trial from its specification to its result."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from medalign.data.preferences import build_pairs
from medalign.errors import TrialStopped
from medalign.evaluation.predictions import read_parquet
from medalign.evaluation.summary import score_split
from medalign.methods.catalog import METHODS
from medalign.methods.running import (
    ADAPTER_FOLDER,
    PREDICTIONS_FILE,
    REFERENCE_FILE,
    REFERENCE_TABLE,
    SAMPLED_ANSWERS,
    VALIDATION_FILE,
    TrialJob,
    TrialRunner,
    answer_questions,
)
from medalign.methods.training import TrainingDivergedError
from medalign.modeling.base_models import BaseModel
from medalign.modeling.chat import Chat
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.records import (
    OUT_OF_MEMORY_RETRIES,
    Cost,
    Prediction,
    Progress,
    Question,
    Spent,
    Stage,
    TrialResult,
    TrialSpec,
    note_spent,
    spent_until,
)
from tests.methods.examples import mixed, quick_setting, tiny_base

TRAIN = mixed(12)
VALIDATION = mixed(6, start=12)
TEST = mixed(9, start=18)

MakeRunner = Callable[..., TrialRunner]


class Sealed(tuple[Question, ...]):
    """Questions that nobody may look at."""

    def _opened(self, *_: Any) -> NoReturn:
        raise AssertionError("a search trial looked at the test questions")

    __iter__ = __getitem__ = __len__ = __bool__ = _opened


@pytest.fixture
def job(llama_folder: Path, tmp_path: Path) -> TrialJob:
    return TrialJob(
        model=str(llama_folder),
        precision="fp32",
        train=TRAIN,
        validation=VALIDATION,
        test=TEST,
        pairs=tuple(build_pairs(TRAIN, seed=0)),
        scoring="raw",
        checkpoints=(0.25, 0.5),
        folder=str(tmp_path),
        max_new_tokens=4,
    )


def spec(method: str, stage: Stage = "search", seed: int = 0, number: int = 0, **changes: Any) -> TrialSpec:
    setting = quick_setting(method, **changes)
    return TrialSpec(
        trial_id=f"{method}-{stage}-{number:03d}",
        method=method,
        stage=stage,
        setting=setting,
        seed=seed,
        number=number,
    )


def ignore(progress: Progress) -> None:
    """A scheduler that lets every trial go on."""


def seal(job: TrialJob) -> TrialJob:
    return dataclasses.replace(job, test=Sealed(job.test))


def kept(job: TrialJob, result: TrialResult) -> tuple[Prediction, ...]:
    return read_parquet(Path(job.folder) / result.folder / PREDICTIONS_FILE)


def without_cost(result: TrialResult) -> TrialResult:
    history = tuple(dataclasses.replace(p, cost=type(p.cost)()) for p in result.history)
    return dataclasses.replace(result, cost=type(result.cost)(), history=history, shared={})


def test_the_stages_of_the_questions_reach_the_training(job: TrialJob) -> None:
    def curve(stages: tuple[int, ...]) -> tuple[tuple[float, float], ...]:
        staged = dataclasses.replace(job, stages=stages, folder=f"{job.folder}/{len(stages)}-{stages[0]}")
        return TrialRunner(staged)(spec("sft"), ignore).learning_curve

    assert len({curve((3, 9)), curve((12,)), curve((9, 3))}) == 3


def test_what_was_spent_on_the_pairs_is_shared_work_that_the_first_trial_of_dpo_pays(job: TrialJob) -> None:
    spent = Cost(wall_seconds=7.0, tokens_generated=40)
    run = TrialRunner(dataclasses.replace(job, pairs_cost=spent))
    first, second, refit = (
        run(spec("dpo", stage, number=number), ignore)
        for stage, number in (("search", 0), ("search", 1), ("refit", 0))
    )
    assert first.shared[SAMPLED_ANSWERS] == spent
    assert second.shared[SAMPLED_ANSWERS] == refit.shared[SAMPLED_ANSWERS] == Cost()
    assert first.cost.tokens_generated == second.cost.tokens_generated
    assert SAMPLED_ANSWERS not in run(spec("sft"), ignore).shared
    assert SAMPLED_ANSWERS not in TrialRunner(job)(spec("dpo"), ignore).shared


@pytest.mark.parametrize("method", list(METHODS))
class TestSearch:
    def test_it_never_looks_at_the_test_questions(self, method: str, job: TrialJob) -> None:
        result = TrialRunner(seal(job))(spec(method), ignore)
        assert result.status == "completed"
        assert not [name for name in result.metrics if name.startswith("test_")]

    def test_every_progress_is_reported_and_kept(self, method: str, job: TrialJob) -> None:
        reported: list[Progress] = []
        result = TrialRunner(job)(spec(method), reported.append)
        assert list(result.history) == reported
        shares = [progress.budget_share for progress in reported]
        # Two epochs of four steps each.
        assert shares == ([0.25, 0.5, 1.0] if result.learning_curve else [1.0])
        tokens = [progress.cost.tokens_scored for progress in reported]
        assert tokens == sorted(set(tokens))

    def test_its_score_is_the_accuracy_on_the_validation_questions_with_options(
        self, method: str, job: TrialJob
    ) -> None:
        result = TrialRunner(job)(spec(method), ignore)
        predictions = kept(job, result)
        assert [p.question_id for p in predictions] == [q.id for q in VALIDATION if q.is_scored]
        assert result.score == sum(bool(p.correct) for p in predictions) / len(predictions)
        assert result.metrics == score_split(predictions) == result.history[-1].metrics
        assert result.tie_break == result.metrics["mean_gold_probability"]

    def test_it_keeps_no_adapter(self, method: str, job: TrialJob) -> None:
        result = TrialRunner(job)(spec(method), ignore)
        assert result.folder == f"trials/{method}-search-000"
        assert [path.name for path in (Path(job.folder) / result.folder).iterdir()] == [PREDICTIONS_FILE]

    def test_a_stopped_trial_ends_with_its_last_score(self, method: str, job: TrialJob) -> None:
        reported: list[Progress] = []

        def stop(progress: Progress) -> None:
            reported.append(progress)
            raise TrialStopped("others of its method are better")

        result = TrialRunner(job)(spec(method), stop)
        assert result.status == "stopped"
        assert result.history == tuple(reported) and len(reported) == 1
        assert (result.score, result.metrics) == (reported[0].score, reported[0].metrics)
        assert result.tie_break == reported[0].metrics["mean_gold_probability"]
        assert [share for share, _ in result.learning_curve] == (
            [0.125, 0.25] if METHODS[method].relative_cost > 1 else []
        )
        assert "stopped early" in result.reason
        assert not (Path(job.folder) / "trials").exists()

    def test_a_trial_after_a_stopped_one_is_as_in_a_new_process(self, method: str, job: TrialJob) -> None:
        def stop(progress: Progress) -> None:
            raise TrialStopped("others of its method are better")

        runner = TrialRunner(job)
        runner(spec("sft", seed=9), stop)
        assert without_cost(runner(spec(method), ignore)) == without_cost(
            TrialRunner(job)(spec(method), ignore)
        )

    def test_the_same_trial_again_gives_the_same_result(self, method: str, job: TrialJob) -> None:
        runner = TrialRunner(job)
        first = runner(spec(method, seed=2), ignore)
        predictions = kept(job, first)
        assert without_cost(runner(spec(method, seed=2), ignore)) == without_cost(first)
        assert kept(job, first) == predictions


@pytest.mark.parametrize("method", list(METHODS))
class TestRefit:
    def test_it_answers_every_test_question_in_their_order(self, method: str, job: TrialJob) -> None:
        result = TrialRunner(job)(spec(method, "refit"), ignore)
        predictions = kept(job, result)
        assert result.status == "completed"
        assert [p.question_id for p in predictions] == [q.id for q in TEST]
        assert {f"test_{name}": value for name, value in score_split(predictions).items()}.items() <= (
            result.metrics.items()
        )
        assert all(p.token_f1 is not None for p in predictions if p.kind == "free_text")

    def test_it_ends_where_the_search_trial_of_that_setting_and_seed_ended(
        self, method: str, job: TrialJob
    ) -> None:
        scored = tuple(question for question in VALIDATION if question.is_scored)
        runner = TrialRunner(dataclasses.replace(job, test=scored))
        search = kept(job, runner(spec(method), ignore))
        assert kept(job, runner(spec(method, "refit"), ignore)) == search

    def test_it_is_not_searched_over(self, method: str, job: TrialJob) -> None:
        """Only the base model, which has no search, is scored on validation in its refit."""
        reported: list[Progress] = []
        result = TrialRunner(job)(spec(method, "refit"), reported.append)
        assert len(reported) == (1 if method == "base" else 0)
        assert (result.score is not None) == (method == "base")

    def test_it_keeps_what_was_learnt(self, method: str, job: TrialJob) -> None:
        result = TrialRunner(job)(spec(method, "refit"), ignore)
        names = {path.name for path in (Path(job.folder) / result.folder).iterdir()}
        kept = {ADAPTER_FOLDER} if result.learning_curve else set()
        assert names == {PREDICTIONS_FILE} | kept | ({VALIDATION_FILE} if method == "base" else set())
        assert [path.name for path in (Path(job.folder) / "trials").iterdir()] == [result.spec.trial_id]


def test_an_answer_keeps_the_answers_that_were_shown_in_its_prompt(job: TrialJob) -> None:
    shown = {p.demonstrated for p in kept(job, TrialRunner(job)(spec("icl", "refit", shots=1), ignore))}
    assert {len(answers) for answers in shown} == {1}
    assert {answer for answers in shown for answer in answers} <= {q.answer for q in job.train}
    assert {p.demonstrated for p in kept(job, TrialRunner(job)(spec("base", "refit"), ignore))} == {()}


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_stock_peft_and_transformers_get_the_kept_log_probabilities_from_the_adapter(
    method: str, job: TrialJob
) -> None:
    """Every option of every question by itself, through nothing of medalign but the words of the prompt."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = TrialRunner(job)(spec(method, "refit"), ignore)
    fresh = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(fresh, str(Path(job.folder) / result.folder / ADAPTER_FOLDER)).eval()
    tokenizer = AutoTokenizer.from_pretrained(job.model)
    chat = Chat(tokenizer)

    def logprob(question: Question, option: str) -> float:
        prompt = tokenizer(chat.prompt_string(question), add_special_tokens=False).input_ids
        answer = tokenizer(option, add_special_tokens=False).input_ids
        with torch.no_grad():
            logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
        return float(logits.log_softmax(-1)[range(len(answer)), answer].sum())

    for question, prediction in zip(TEST, kept(job, result), strict=True):
        expected = [logprob(question, option) for option in question.options]
        assert prediction.option_logprobs == pytest.approx(expected, abs=1e-3)


class TestReferenceTable:
    def test_it_is_that_of_the_base_model_for_each_pair(self, job: TrialJob) -> None:
        TrialRunner(job)(spec("dpo"), ignore)
        base = tiny_base(Path(job.model))
        chat = Chat(base.tokenizer)
        rows = [chat.preference_row(q, pair) for q, pair in zip(TRAIN, job.pairs, strict=True)]
        expected = Predictor(base, Meter()).score_rows(rows)
        table = json.loads((Path(job.folder) / REFERENCE_FILE).read_text(encoding="utf-8"))
        assert len(table) == len(TRAIN)
        for row, logprobs in zip(table, expected, strict=True):
            assert row == pytest.approx(logprobs, abs=1e-3)

    def test_it_is_written_by_the_first_dpo_trial_and_used_by_all_others(self, job: TrialJob) -> None:
        file = Path(job.folder) / REFERENCE_FILE
        runner = TrialRunner(job)
        runner(spec("sft"), ignore)
        assert not file.exists()
        first = runner(spec("dpo"), ignore)
        written = file.read_bytes()
        second = runner(spec("dpo", number=1), ignore)
        assert file.read_bytes() == written
        assert second.learning_curve == first.learning_curve
        # Whoever came first did the work, but its cost is that of any other trial.
        assert second.cost.tokens_scored == first.cost.tokens_scored
        assert first.shared[REFERENCE_TABLE].tokens_scored > 0 < first.shared[REFERENCE_TABLE].score_flops
        assert second.shared == {REFERENCE_TABLE: Cost()}
        assert not list(Path(job.folder).glob("tmp*"))
        # With another table in its place the first loss is no longer ln 2.
        file.write_text(json.dumps([[c + 100.0, r] for c, r in json.loads(written)]), encoding="utf-8")
        third = runner(spec("dpo", number=2), ignore)
        assert first.learning_curve[0][1] == pytest.approx(math.log(2), abs=1e-5)
        assert third.learning_curve[0][1] > 5.0

    def test_a_trial_in_another_process_uses_it_too(self, job: TrialJob) -> None:
        first = TrialRunner(job)(spec("dpo"), ignore)
        second = TrialRunner(job)(spec("dpo", number=1), ignore)
        assert second.learning_curve == first.learning_curve
        assert second.shared == {REFERENCE_TABLE: Cost()} != first.shared


def test_a_failed_trial_says_what_it_had_used(job: TrialJob) -> None:
    with pytest.raises(TrainingDivergedError) as caught:
        TrialRunner(dataclasses.replace(job, checkpoints=()))(spec("sft", learning_rate=1e30), ignore)
    spent = spent_until(caught.value)
    assert spent is not None and spent.cost.tokens_trained > 0 < spent.cost.train_flops


def test_an_attempt_that_ran_out_of_memory_is_paid_for_too(
    job: TrialJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = TrialRunner(job)
    once = runner(spec("sft"), ignore)
    attempt = runner._attempt

    def first_runs_out(
        spec: TrialSpec, report: Callable[[Progress], None], has_run_out: bool = False
    ) -> TrialResult:
        result = attempt(spec, report, has_run_out)
        if has_run_out:
            return result
        error = MemoryError("made up")
        note_spent(error, Spent(result.cost, {}))
        raise error

    monkeypatch.setattr(runner, "_attempt", first_runs_out)
    twice = runner(spec("sft", number=1), ignore)
    assert twice.status == "completed"
    assert twice.cost.tokens_trained == 2 * once.cost.tokens_trained
    assert twice.cost.train_flops > 1.9 * once.cost.train_flops


def test_a_diverged_trial_leaves_the_runner_as_it_was(job: TrialJob) -> None:
    runner = TrialRunner(dataclasses.replace(job, checkpoints=()))
    with pytest.raises(TrainingDivergedError, match="the training loss is"):
        runner(spec("sft", learning_rate=1e30), ignore)
    assert without_cost(runner(spec("base"), ignore)) == without_cost(TrialRunner(job)(spec("base"), ignore))


def test_a_finished_trial_takes_the_place_of_what_an_earlier_attempt_left(job: TrialJob) -> None:
    left = Path(job.folder) / "trials" / "base-refit-000"
    left.mkdir(parents=True)
    (left / "half-written").touch()
    TrialRunner(job)(spec("base", "refit"), ignore)
    assert {path.name for path in left.iterdir()} == {PREDICTIONS_FILE, VALIDATION_FILE}


def test_the_scoring_rule_of_the_comparison_decides_what_is_chosen(job: TrialJob) -> None:
    asked = tuple(question for question in mixed(60) if question.kind == "choice")
    for scoring in ("raw", "normalised"):
        changed = dataclasses.replace(job, validation=asked, scoring=scoring)
        result = TrialRunner(changed)(spec("base"), ignore)
        predictions = kept(job, result)
        assert [p.chosen for p in predictions] == [getattr(p, f"chosen_{scoring}") for p in predictions]
        assert any(p.chosen_raw != p.chosen_normalised for p in predictions)
        assert result.score == result.metrics[f"accuracy_{scoring}"]


def test_answers_come_in_the_order_of_the_questions(base: BaseModel) -> None:
    questions = mixed(7)[::-1]
    predictions = answer_questions(Predictor(base, Meter(), max_new_tokens=3), questions, "raw")
    assert [p.question_id for p in predictions] == [q.id for q in questions]
    alone = [answer_questions(Predictor(base, Meter(), max_new_tokens=3), [q], "raw")[0] for q in questions]
    for together, by_itself in zip(predictions, alone, strict=True):
        assert together.option_logprobs == pytest.approx(by_itself.option_logprobs, abs=1e-3)
        assert together.said == by_itself.said


@pytest.fixture
def scarce(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Memory for parts of up to 200 tokens; returns the tokens of every part that was asked for."""
    import torch

    from medalign.methods import training

    asked: list[int] = []
    collate = training.collate

    def collate_within_memory(rows: Any, **options: Any) -> Any:
        batch = collate(rows, **options)
        asked.append(sum(row.num_tokens for row in rows))
        if asked[-1] > 200 and len(rows) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return batch

    monkeypatch.setattr(training, "collate", collate_within_memory)
    return asked


def test_a_trial_that_runs_out_of_memory_is_run_once_more_with_less_at_once(
    job: TrialJob, scarce: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = TrialRunner(job)(spec("sft", tokens_at_once=400, batch_size=4), lambda progress: None)
    assert result.metrics[OUT_OF_MEMORY_RETRIES] == 1
    assert max(scarce) > 200 >= max(tokens for tokens in scarce[-3:])
    monkeypatch.undo()
    as_planned = TrialRunner(job)(spec("sft", tokens_at_once=400, batch_size=4), lambda progress: None)
    assert OUT_OF_MEMORY_RETRIES not in as_planned.metrics
    # The batch is the same, in smaller parts: so is what is learnt, up to the order of additions.
    losses = [loss for _, loss in result.learning_curve]
    assert losses == pytest.approx([loss for _, loss in as_planned.learning_curve], abs=2e-4)


def test_a_trial_that_runs_out_of_memory_twice_fails(job: TrialJob, scarce: list[int]) -> None:
    import torch

    with pytest.raises(torch.OutOfMemoryError, match="Tried to allocate"):
        TrialRunner(job)(spec("sft", tokens_at_once=4000, batch_size=8), lambda progress: None)
    assert sum(tokens > 200 for tokens in scarce) == 2
