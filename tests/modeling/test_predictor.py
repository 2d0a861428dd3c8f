"""A predictor against naive scoring and naive greedy decoding, and what it does when a prompt is too long."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from medalign.data.prompts import first_line
from medalign.modeling import predictor as predictor_module
from medalign.modeling.base_models import BaseModel
from medalign.modeling.chat import Chat, Demonstration, demonstration
from medalign.modeling.metering import Meter
from medalign.modeling.predictor import Predictor
from medalign.modeling.rows import Row
from medalign.records import Question
from tests.modeling.conftest import TinyBase
from tests.modeling.examples import choice, decision, free_text, stock_logprob
from tests.tiny_models import ARCHITECTURES, Architecture

CLOSE = 1e-4  # nats, in fp32
QUESTIONS = [choice(0), decision(1), choice(2), choice(3), decision(4), choice(5)]


def one_demonstration(question: Question) -> list[Demonstration]:
    """Another one for each kind, so that two groups lie among each other."""
    return [demonstration(choice(9) if question.kind == "choice" else decision(9), with_rationale=False)]


def naive_scores(
    base: BaseModel, question: Question, shown: Sequence[Demonstration] = ()
) -> tuple[float, ...]:
    chat = Chat(base.tokenizer)
    prompt = chat.prompt_ids(question, shown)
    return tuple(stock_logprob(base.model, prompt, chat.option_ids(option)) for option in question.options)


def naive_tokens(base: BaseModel, prompt: Sequence[int], number: int) -> list[int]:
    """Greedy decoding by whole forward passes."""
    import torch

    tokens = list(prompt)
    for _ in range(number):
        with torch.no_grad():
            tokens.append(int(base.model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


def assert_close(found: list[tuple[float, ...]], expected: list[tuple[float, ...]]) -> None:
    assert [len(scores) for scores in found] == [len(scores) for scores in expected]
    for one, other in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=CLOSE)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_the_summed_logprobs_of_each_option_alone(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    base = tiny_base(architecture)
    found = Predictor(base, Meter()).score_options(QUESTIONS)
    assert_close(found, [naive_scores(base, question) for question in QUESTIONS])


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_grouping_by_demonstrations_and_sharing_their_cache_changes_no_score(
    tiny_base: TinyBase, architecture: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, prefixes = tiny_base(architecture), []

    def counted(model, tokens):  # type: ignore[no-untyped-def]
        prefixes.append(len(tokens))
        return compute_prefix(model, tokens)

    compute_prefix = predictor_module.compute_prefix
    monkeypatch.setattr(predictor_module, "compute_prefix", counted)
    found = Predictor(base, Meter(), demonstrate=one_demonstration).score_options(QUESTIONS)
    assert_close(found, [naive_scores(base, q, one_demonstration(q)) for q in QUESTIONS])
    # One cache a kind, which holds the whole demonstration.
    shown = [len(Chat(base.tokenizer).option_ids(one_demonstration(q)[0].prompt)) for q in QUESTIONS[:2]]
    assert len(prefixes) == 2
    assert prefixes[0] > shown[0] and prefixes[1] > shown[1]


def test_the_size_of_a_batch_changes_no_score(tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base()
    at_once = Predictor(base, Meter()).score_options(QUESTIONS)
    monkeypatch.setattr(predictor_module, "MAX_BATCH_ROWS", 2)
    assert_close(Predictor(base, Meter()).score_options(QUESTIONS), at_once)
    monkeypatch.setattr(predictor_module, "MIN_SHARED_PREFIX", 10**6)
    assert_close(Predictor(base, Meter()).score_options(QUESTIONS), at_once)


def test_rows_score_the_same_by_the_arithmetic_of_training(tiny_base: TinyBase) -> None:
    base = tiny_base()
    rows = [Chat(base.tokenizer).scoring_row(question) for question in QUESTIONS]
    predictor = Predictor(base, Meter())
    assert_close(predictor.score_rows(rows, as_in_training=True), predictor.score_rows(rows))


def test_equal_prompts_and_single_questions_are_scored(tiny_base: TinyBase) -> None:
    base = tiny_base()
    expected = naive_scores(base, choice(0))
    assert_close(Predictor(base, Meter()).score_options([choice(0), choice(0)]), [expected] * 2)
    assert_close(Predictor(base, Meter()).score_options([choice(0)]), [expected])


def test_no_questions_give_no_scores_and_no_answers(tiny_base: TinyBase) -> None:
    predictor = Predictor(tiny_base(), Meter())
    assert predictor.score_options([]) == []
    assert predictor.score_rows([]) == []
    assert predictor.write([]) == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_answers_are_the_first_line_of_greedy_decoding(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    base = tiny_base(architecture)
    chat, meter = Chat(base.tokenizer), Meter()
    questions = [free_text(n) for n in range(4)]
    found = Predictor(base, meter, demonstrate=one_demonstration, max_new_tokens=6).write(questions)
    for question, answer in zip(questions, found, strict=True):
        written = naive_tokens(base, chat.prompt_ids(question, one_demonstration(question)), 6)
        ends = [i for i, token in enumerate(written) if token in chat.line_end_ids()]
        kept = written[: ends[0] + 1] if ends else written
        assert answer == first_line(base.tokenizer.decode(kept, skip_special_tokens=True))
        assert "\n" not in answer
    assert len(set(found)) > 1


def test_writing_stops_at_the_end_of_the_line(tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch) -> None:
    base = tiny_base("gpt2")
    written = naive_tokens(base, Chat(base.tokenizer).prompt_ids(free_text(0)), 6)
    third = next(i for i in range(1, 6) if written[i] not in written[:i])
    monkeypatch.setattr(Chat, "line_end_ids", lambda self: (written[third],))
    meter = Meter()
    (answer,) = Predictor(base, meter, max_new_tokens=6).write([free_text(0)])
    assert answer == first_line(base.tokenizer.decode(written[: third + 1], skip_special_tokens=True))
    assert meter.tokens_generated == third + 1


def test_what_was_computed_is_counted(tiny_base: TinyBase) -> None:
    base, meter = tiny_base(), Meter()
    rows = [Row((5, 6, 7), ((8,), (9, 10))), Row((11, 12), ((13,),))]
    Predictor(base, meter).score_rows(rows)
    assert (meter.tokens_scored, meter.tokens_generated, meter.tokens_trained) == (6 + 3, 0, 0)
    shared = [Row((*range(20, 30), 5), ((8,), (9,))), Row((*range(20, 30), 6), ((8,),))]
    Predictor(base, meter).score_rows(shared)
    assert meter.tokens_scored == 9 + 10 + 3 + 2  # the shared ten once
    Predictor(base, meter, max_new_tokens=2).write([free_text(0)])
    assert meter.tokens_generated == 2
    assert meter.tokens_scored == 9 + 15 + len(Chat(base.tokenizer).prompt_ids(free_text(0)))


# What becomes of demonstrations that do not fit the model's window.

SHOWN = [demonstration(choice(n), with_rationale=True) for n in range(20, 26)]


def tokens_needed(base: BaseModel, question: Question, shown: Sequence[Demonstration]) -> int:
    chat = Chat(base.tokenizer)
    longest = max(len(chat.option_ids(option)) for option in question.options)
    return len(chat.prompt_ids(question, shown)) + longest


def prompts_scored(
    base: BaseModel, window: int, monkeypatch: pytest.MonkeyPatch
) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Scores of one question in a window, and the prompt that they were computed from."""
    base.model.config.max_position_embeddings = window
    seen: list[Row] = []
    score_rows = Predictor.score_rows

    def spied(self, rows, **kwargs):  # type: ignore[no-untyped-def]
        seen.extend(rows)
        return score_rows(self, rows, **kwargs)

    monkeypatch.setattr(Predictor, "score_rows", spied)
    (scores,) = Predictor(base, Meter(), demonstrate=lambda q: SHOWN).score_options([choice(0)])
    return scores, seen[0].prompt


def test_all_demonstrations_stay_where_prompt_and_longest_option_just_fit(
    tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base()
    _, prompt = prompts_scored(base, tokens_needed(base, choice(0), SHOWN), monkeypatch)
    assert prompt == Chat(base.tokenizer).prompt_ids(choice(0), SHOWN)


@pytest.mark.parametrize("kept", [5, 2, 0])
def test_the_first_demonstrations_are_dropped_until_the_rest_fits(
    tiny_base: TinyBase, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, last = tiny_base(), SHOWN[len(SHOWN) - kept :]
    one_more = SHOWN[len(SHOWN) - kept - 1 :]
    scores, prompt = prompts_scored(base, tokens_needed(base, choice(0), one_more) - 1, monkeypatch)
    assert prompt == Chat(base.tokenizer).prompt_ids(choice(0), last)
    assert scores == pytest.approx(naive_scores(base, choice(0), last), abs=CLOSE)


def test_a_question_that_is_too_long_by_itself_is_asked_without_demonstrations(
    tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tiny_base()
    _, prompt = prompts_scored(base, 3, monkeypatch)
    assert prompt == Chat(base.tokenizer).prompt_ids(choice(0))


def test_questions_that_keep_different_demonstrations_are_scored_together(tiny_base: TinyBase) -> None:
    base = tiny_base()
    short, long = choice(0), choice(0, id="made-long", text="Which agent is meant? " * 20)
    base.model.config.max_position_embeddings = tokens_needed(base, long, SHOWN[-2:])
    assert tokens_needed(base, short, SHOWN[-3:]) < base.window_tokens
    found = Predictor(base, Meter(), demonstrate=lambda q: SHOWN[-3:]).score_options([long, short])
    assert_close(found, [naive_scores(base, long, SHOWN[-2:]), naive_scores(base, short, SHOWN[-3:])])


def test_learned_positions_are_never_exceeded_in_scoring_and_writing(tiny_base: TinyBase) -> None:
    base = tiny_base("gpt2")
    many = [demonstration(choice(n), with_rationale=True) for n in range(20, 40)]
    assert len(Chat(base.tokenizer).prompt_ids(choice(0), many)) > base.window_tokens == 512
    predictor = Predictor(base, Meter(), demonstrate=lambda q: many)
    assert len(predictor.score_options([choice(0), choice(1)])) == 2
    assert len(predictor.write([free_text(0), free_text(1)])) == 2


@pytest.mark.parametrize("spare", [0, -1])
def test_writing_leaves_room_for_the_longest_answer(tiny_base: TinyBase, spare: int) -> None:
    base, meter = tiny_base(), Meter()
    chat = Chat(base.tokenizer)
    base.model.config.max_position_embeddings = len(chat.prompt_ids(free_text(0), SHOWN)) + 9 + spare
    Predictor(base, meter, demonstrate=lambda q: SHOWN, max_new_tokens=9).write([free_text(0)])
    kept = SHOWN[-spare:]  # all, or all but the first
    assert meter.tokens_scored == len(chat.prompt_ids(free_text(0), kept))
