"""Log-probabilities of the tokens of running text, for perplexity.

A text that is longer than the window is read in pieces that overlap, so that every token but the first few of the
text is predicted from at least half a window before it (the strided evaluation of Hugging Face's guide on
perplexity); each token is scored once.
"""

# T = tokens of a piece

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from medalign.modeling.base_models import BaseModel


class _Piece(NamedTuple):
    """Positions `start` to `end` of a text are read, and those from `scored_from` on are scored."""

    start: int
    scored_from: int
    end: int


def text_logprobs(base: BaseModel, texts: Sequence[str], *, window_tokens: int = 1024) -> list[list[float]]:
    """Log-probability (nats) of every token of each text given those before it.

    Where the tokenizer has a token that begins a text, the first token is predicted from it; else the first token
    has nothing before it and is not scored.

    Args:
        base: Whose model may carry an adapter; it is used as it stands.
        window_tokens: Longest piece; the model's own window where that is smaller.
    """
    import torch

    tokenizer = base.tokenizer
    window = min(window_tokens, base.window_tokens)
    first = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
    found: list[list[float]] = []
    base.model.eval()
    with torch.inference_mode(), base.computing():
        for text in texts:
            ids = [*first, *tokenizer(text, add_special_tokens=False).input_ids]
            logprobs: list[float] = []
            for piece in _pieces(len(ids), window):
                ids_1T = torch.tensor([ids[piece.start : piece.end]], device=base.device)
                logits_TV = base.model(input_ids=ids_1T, use_cache=False).logits[0, :-1].float()
                chosen_T = logits_TV.gather(1, ids_1T[0, 1:, None])[:, 0] - logits_TV.logsumexp(dim=-1)
                logprobs += chosen_T[piece.scored_from - piece.start - 1 :].tolist()
            found.append(logprobs)
    return found


def _pieces(num_tokens: int, window: int) -> list[_Piece]:
    """Pieces of at most `window` tokens, each half a window after the one before; nothing for a single token."""
    pieces: list[_Piece] = []
    scored_from = 1
    while scored_from < num_tokens:
        start = max(0, scored_from - window // 2) if pieces else 0
        end = min(num_tokens, start + window)
        pieces.append(_Piece(start, scored_from, end))
        scored_from = end
    return pieces
