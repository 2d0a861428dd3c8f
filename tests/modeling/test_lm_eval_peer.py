"""The same log-likelihoods and the same choices as lm-evaluation-harness on the embedded model.

pip install --no-deps -r requirements-peer.txt
python -m pytest tests/modeling/test_lm_eval_peer.py --run-slow -s
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from medalign.data.catalog import load_source
from medalign.evaluation.predictions import build_prediction
from medalign.modeling.base_models import EMBEDDED_MODEL, BaseModel, load_base
from medalign.modeling.chat import Chat, Demonstration, demonstration
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.modeling.rows import Row
from medalign.records import Question
from tests.markers import slow

CLOSE = 1e-3  # nats, in fp32
NUM_EMBEDDED = 50
PUBMED_QA = Path(__file__).parents[1] / "data" / "fixtures" / "pubmed_qa" / "train.jsonl"


class Found(NamedTuple):
    """What the peer says of a question: log-likelihood of each option, and whether its choices are right."""

    logprobs: tuple[float, ...]
    acc: float
    acc_norm: float


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    """Choices and decisions with a passage from the embedded set, evenly over it, and PubMedQA decisions."""
    scored = [question for question in load_source("embedded") if question.is_scored]
    return [*scored[:: len(scored) // NUM_EMBEDDED][:NUM_EMBEDDED], *load_source(f"pubmed_qa:{PUBMED_QA}")]


@pytest.fixture(scope="module")
def base() -> BaseModel:
    pytest.importorskip("lm_eval", reason="needs the peer: pip install --no-deps -r requirements-peer.txt")
    return load_base(EMBEDDED_MODEL, "fp32", "cpu")


def one_shot(question: Question) -> list[Demonstration]:
    """A worked example of another source than most questions, so that prompts are long."""
    shown = load_source(f"pubmed_qa:{PUBMED_QA}")[0]
    return [] if shown.id == question.id else [demonstration(shown, with_rationale=False)]


def by_the_peer(
    base: BaseModel, questions: Sequence[Question], prompts: Sequence[str], blank: str, folder: Path
) -> list[Found]:
    """Run the peer as its users do: a task file over a file of questions, here with the prompts already rendered.

    Args:
        blank: What stands between prompt and option.
    """
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    asked = folder / "asked.jsonl"
    rows = [
        {"number": n, "prompt": prompt, "options": q.options, "gold": q.answer_index}
        for n, (q, prompt) in enumerate(zip(questions, prompts, strict=True))
    ]
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    task = {
        "task": "asked",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(asked)}, "cache_dir": str(folder / "cache")},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "{{prompt}}",
        "doc_to_choice": "{{options}}",
        "doc_to_target": "{{gold}}",
        "target_delimiter": blank,
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
    }
    (folder / "asked.yaml").write_text(json.dumps(task), encoding="utf-8")  # JSON is YAML
    found: dict[str, Any] = simple_evaluate(
        model=HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=8),
        tasks=["asked"],
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=True,
    )
    samples = sorted(found["samples"]["asked"], key=lambda sample: sample["doc"]["number"])
    return [
        Found(tuple(float(response[0][0]) for response in sample["resps"]), sample["acc"], sample["acc_norm"])
        for sample in samples
    ]


def largest_difference(found: Sequence[Sequence[float]], expected: Sequence[Sequence[float]]) -> float:
    assert [len(scores) for scores in found] == [len(scores) for scores in expected]
    pairs = zip(found, expected, strict=True)
    return max(abs(a - b) for one, other in pairs for a, b in zip(one, other, strict=True))


def assert_same_choices(
    questions: Sequence[Question], scores: Sequence[tuple[float, ...]], found: Sequence[Found]
) -> None:
    for question, logprobs, peer in zip(questions, scores, found, strict=True):
        prediction = build_prediction(question, option_logprobs=logprobs, scoring="raw")
        assert (prediction.chosen_raw == question.answer_index) == (peer.acc == 1.0), question.id
        assert (prediction.chosen_normalised == question.answer_index) == (peer.acc_norm == 1.0), question.id


@slow
def test_plain_prompts_score_as_in_the_peer(
    base: BaseModel, questions: list[Question], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base.tokenizer, "chat_template", None)
    chat = Chat(base.tokenizer)
    ours = Predictor(base, Meter(), demonstrate=one_shot).score_options(questions)
    prompts = [chat.prompt_string(question, one_shot(question)) for question in questions]
    peer = by_the_peer(base, questions, prompts, " ", tmp_path)
    difference = largest_difference(ours, [each.logprobs for each in peer])
    print(f"plain, one shot: largest difference {difference:.1e} nats over {len(questions)} questions")
    assert difference < CLOSE
    assert_same_choices(questions, ours, peer)


@slow
def test_templated_prompts_score_as_in_the_peer(
    base: BaseModel, questions: list[Question], tmp_path: Path
) -> None:
    """The peer counts white space at the end of a prompt to the answer, here the line break after `assistant`."""
    chat, predictor = Chat(base.tokenizer), Predictor(base, Meter())
    ours = predictor.score_options(questions)
    prompts = [chat.prompt_string(question) for question in questions]
    peer = by_the_peer(base, questions, prompts, "", tmp_path)
    rows = [chat.prompt_ids(question) for question in questions]
    assert {base.tokenizer.decode(row[-1:]) for row in rows} == {"\n"}
    breaks = predictor.score_rows([Row(row[:-1], (row[-1:],)) for row in rows])
    shifted = [
        tuple(score + line_break for score in row) for row, (line_break,) in zip(ours, breaks, strict=True)
    ]
    difference = largest_difference(shifted, [each.logprobs for each in peer])
    print(f"templated: largest difference {difference:.1e} nats over {len(questions)} questions")
    assert difference < CLOSE
    assert_same_choices(questions, shifted, peer)
