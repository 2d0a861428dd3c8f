"""Answers of a stored model: the same as in a comparison, and by its adapter."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from medalign.data.variants import original_id
from medalign.errors import DataError, ModelError
from medalign.evaluation.consistency import consistency
from medalign.evaluation.predictions import read_parquet
from medalign.methods.answering import StoredModel, pick_questions
from medalign.methods.running import ADAPTER_FOLDER, PREDICTIONS_FILE, TrialRunner
from tests.methods.test_running import TEST, TrialJob, ignore, job, spec  # noqa: F401 - job is a fixture


def test_the_base_answers_as_in_a_comparison(job: TrialJob) -> None:  # noqa: F811
    result = TrialRunner(job)(spec("base", "refit"), ignore)
    expected = read_parquet(Path(job.folder) / result.folder / PREDICTIONS_FILE)
    found = StoredModel(job.model, precision=job.precision).answer(job.test, scoring=job.scoring)
    scored = [p for p in found.predictions if p.correct is not None]
    assert scored == [p for p in expected if p.correct is not None]
    assert [p.question_id for p in found.predictions] == [q.id for q in TEST]
    assert found.variants == () and found.num_too_long == 0


def test_a_kept_adapter_answers_as_its_refit_did_and_leaves_the_base_untouched(job: TrialJob) -> None:  # noqa: F811
    result = TrialRunner(job)(spec("sft", "refit"), ignore)
    folder = Path(job.folder) / result.folder
    expected = read_parquet(folder / PREDICTIONS_FILE)
    adapted = StoredModel(job.model, precision=job.precision, adapter=str(folder / ADAPTER_FOLDER))
    found = adapted.answer(job.test, scoring=job.scoring)
    base = StoredModel(job.model, precision=job.precision)
    logprobs = [p.option_logprobs for p in found.predictions]
    for one, other in zip(logprobs, (p.option_logprobs for p in expected), strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert logprobs != [p.option_logprobs for p in base.answer(job.test, scoring=job.scoring).predictions]
    assert adapted.perplexity(["the iron"]).per_token != base.perplexity(["the iron"]).per_token
    assert adapted.answer(job.test, scoring=job.scoring) == found


def test_variants_lead_back_to_their_questions(job: TrialJob) -> None:  # noqa: F811
    found = StoredModel(job.model, precision=job.precision).answer(job.test, num_orders=1)
    of_question = {v.question_id: original_id(v.question_id) for v in found.variants}
    assert set(of_question.values()) == {q.id for q in job.test}
    held = consistency(found.predictions, found.variants, of_question)
    assert held.num_questions == len(job.test)
    assert 0 <= held.agreement <= 1


def test_questions_that_do_not_fit_are_counted_or_refused(job: TrialJob) -> None:  # noqa: F811
    long = dataclasses.replace(job.test[0], id="long", text="iron " * 5000)
    model = StoredModel(job.model, precision=job.precision)
    assert model.answer([*job.test, long]).num_too_long == 1
    with pytest.raises(DataError, match=r"--data: none of 1 questions fits the model's \d+ tokens"):
        model.answer([long])


def test_an_adapter_that_does_not_fit_is_named(job: TrialJob, tmp_path: Path) -> None:  # noqa: F811
    model = StoredModel(job.model, precision=job.precision, adapter=str(tmp_path))
    with pytest.raises(ModelError, match=r"holds no adapter_config.json; name a folder such as"):
        model.answer(job.test)
    (tmp_path / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "target_modules": ["nothing"], "r": 2}'
    )
    with pytest.raises(ModelError, match=r"does not fit .*name the model that it was trained on"):
        model.answer(job.test)


def test_questions_are_picked_from_the_test_split_first_and_the_same_each_time() -> None:
    questions = [
        dataclasses.replace(TEST[0], id=f"q{number}", split="test" if number % 2 else "train")
        for number in range(20)
    ]
    assert [q.id for q in pick_questions(questions, None)] == [f"q{number}" for number in range(1, 20, 2)]
    picked = pick_questions(questions, 4)
    assert len(picked) == 4 and picked == pick_questions(questions, 4)
    assert picked != pick_questions(questions, 4, seed=1)
    without = [dataclasses.replace(q, split=None) for q in questions]
    assert len(pick_questions(without, None)) == 20
