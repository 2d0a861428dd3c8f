"""Questions for the tests of this folder, and log-probabilities as transformers itself gives them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medalign.records import DECISIONS, Question

if TYPE_CHECKING:
    from transformers import PreTrainedModel

OPTIONS = ("vitamin C", "iron", "a high blood pressure", "the right drug")


def choice(number: int, **changes: Any) -> Question:
    """A question of four options of different lengths."""
    fields: dict[str, Any] = {
        "id": f"made-{number}",
        "source": "made",
        "kind": "choice",
        "text": f"Which agent is meant by entry {number}" + ", the long one" * (number % 3) + "?",
        "answer": OPTIONS[number % 4],
        "options": OPTIONS[number % 4 :] + OPTIONS[: number % 4],
        "rationale": f"{OPTIONS[number % 4]} belongs to entry {number}.",
        "group": str(number),
    }
    return Question(**(fields | changes))


def decision(number: int) -> Question:
    passage = f"The trial of drug {number} ended.\nIt was small."
    fields: dict[str, Any] = {"kind": "decision", "context": passage, "options": DECISIONS, "answer": "maybe"}
    return choice(number, text=f"Does drug {number} help?", **fields)


def free_text(number: int) -> Question:
    return choice(number, kind="free_text", options=())


def stock_token_logprobs(
    model: PreTrainedModel, prompt: Sequence[int], continuation: Sequence[int]
) -> list[float]:
    """Log-probability of each token of one continuation from one ordinary forward pass over it alone."""
    import torch

    with torch.no_grad():
        logits_TV = model(torch.tensor([[*prompt, *continuation]])).logits[0].float()
    logprobs_TV = logits_TV.log_softmax(dim=-1)[-len(continuation) - 1 : -1]
    return logprobs_TV.gather(1, torch.tensor(continuation)[:, None])[:, 0].tolist()


def stock_logprob(model: PreTrainedModel, prompt: Sequence[int], continuation: Sequence[int]) -> float:
    """Summed log-probability of one continuation, computed alone."""
    return sum(stock_token_logprobs(model, prompt, continuation))
