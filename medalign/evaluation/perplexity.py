"""Perplexity of a model on a held-out text, from the log-probabilities of its tokens.

A rise against the base on medical text that nobody trained on shows what adapting has cost in general
knowledge. `modeling/perplexity.py` gets the log-probabilities from a model.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Perplexity(NamedTuple):
    """How well a text was foreseen; lower is better.

    Attributes:
        per_token: exp of the mean negative log-probability of a token; not comparable between tokenizers.
        per_word: The same over blank-separated words, which is comparable between tokenizers.
        bits_per_character: Likewise comparable.
        num_tokens: Scored.
    """

    per_token: float
    per_word: float
    bits_per_character: float
    num_tokens: int


def perplexity(token_logprobs: Sequence[Sequence[float]], texts: Sequence[str]) -> Perplexity:
    """Perplexity over all texts together: a long text weighs more than a short one.

    Args:
        token_logprobs: For each text the log-probability (nats) of every token given those before it.
        texts: The texts themselves, for the numbers of words and characters.

    Raises:
        ValueError: There are no tokens, the two differ in number, or a log-probability is not finite or above 0.

    Source: Jelinek et al. (1977), J. Acoust. Soc. Am. 62, S63; per word as `word_perplexity`, and bits as
    `bits_per_byte`, of lm-evaluation-harness, with characters in place of bytes.
    """
    if len(token_logprobs) != len(texts):
        raise ValueError(
            f"perplexity needs the tokens of every text, got {len(token_logprobs)} for {len(texts)}"
        )
    flat = [logprob for of_text in token_logprobs for logprob in of_text]
    if not flat:
        raise ValueError("perplexity is undefined without tokens")
    for number, logprob in enumerate(flat):
        if not math.isfinite(logprob) or logprob > 1e-6:
            raise ValueError(f"log-probability of token {number}: {logprob} is no finite number of at most 0")
    nats = -math.fsum(flat)
    num_words = sum(len(text.split()) for text in texts)
    num_characters = sum(map(len, texts))
    return Perplexity(
        per_token=math.exp(nats / len(flat)),
        per_word=math.exp(nats / num_words),
        bits_per_character=nats / math.log(2) / num_characters,
        num_tokens=len(flat),
    )
