"""Perplexity worked by hand."""

from __future__ import annotations

import math

import pytest

from medalign.evaluation.perplexity import perplexity


def test_perplexity_of_equally_likely_tokens_is_their_number() -> None:
    found = perplexity([[math.log(1 / 8)] * 5, [math.log(1 / 8)]], ["two words", "one"])
    assert found.per_token == pytest.approx(8)
    assert found.per_word == pytest.approx(8 ** (6 / 3))
    assert found.bits_per_character == pytest.approx(18 / 12)
    assert found.num_tokens == 6


def test_long_texts_weigh_more() -> None:
    found = perplexity([[-1.0] * 9, [-3.0]], ["a", "b"])
    assert found.per_token == pytest.approx(math.exp(1.2))


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf"), 0.5])
def test_what_is_no_log_probability_is_refused(logprob: float) -> None:
    with pytest.raises(ValueError, match=r"log-probability of token 1: .* is no finite number of at most 0"):
        perplexity([[-1.0, logprob]], ["text"])


def test_perplexity_is_undefined_without_tokens() -> None:
    with pytest.raises(ValueError, match="undefined without tokens"):
        perplexity([[]], ["a"])
    with pytest.raises(ValueError, match="got 0 for 1"):
        perplexity([], ["a"])
