"""Log-probabilities of running text against one stock forward pass a token."""

from __future__ import annotations

import pytest
import torch

from medalign.evaluation.perplexity import perplexity
from medalign.modeling.perplexity import _pieces, text_logprobs
from tests.modeling.conftest import TinyBase

TEXT = "the iron tablets are given to the patient with anemia each day and the dose is small " * 2


def slow_logprobs(base, text: str) -> list[float]:  # type: ignore[no-untyped-def]
    start = [base.tokenizer.bos_token_id] if base.tokenizer.bos_token_id is not None else []
    ids = [*start, *base.tokenizer(text, add_special_tokens=False).input_ids]
    found = []
    for position in range(1, len(ids)):
        with torch.no_grad():
            logits = base.model(torch.tensor([ids[:position]])).logits[0, -1]
        found.append(float(torch.log_softmax(logits.float(), dim=-1)[ids[position]]))
    return found


def test_each_token_is_predicted_from_all_before_it_where_the_text_fits(tiny_base: TinyBase) -> None:
    base = tiny_base("llama")
    (found,) = text_logprobs(base, [TEXT])
    assert found == pytest.approx(slow_logprobs(base, TEXT), abs=1e-4)
    assert perplexity([found], [TEXT]).per_token > 1


def test_every_token_of_a_long_text_is_scored_once(tiny_base: TinyBase) -> None:
    base = tiny_base("llama")
    whole, windowed = text_logprobs(base, [TEXT])[0], text_logprobs(base, [TEXT], window_tokens=16)[0]
    assert len(windowed) == len(whole) > 32
    assert windowed[:15] == pytest.approx(whole[:15], abs=1e-4)


@pytest.mark.parametrize(
    ("num_tokens", "window"), [(0, 8), (1, 8), (2, 8), (8, 8), (9, 8), (100, 8), (31, 10)]
)
def test_pieces_score_each_token_but_the_first_once_after_half_a_window(num_tokens: int, window: int) -> None:
    pieces = _pieces(num_tokens, window)
    scored = [position for piece in pieces for position in range(piece.scored_from, piece.end)]
    assert scored == list(range(1, num_tokens))
    assert all(piece.end - piece.start <= window for piece in pieces)
    assert all(piece.scored_from - piece.start >= window // 2 for piece in pieces[1:])
