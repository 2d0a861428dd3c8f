"""A predictor: a base model, perhaps with an adapter or demonstrations, that scores options and writes text."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from medalign.data.prompts import first_line
from medalign.modeling.chat import Chat, Demonstration
from medalign.modeling.memory_plan import scoring_rows_at_once, writing_rows_at_once
from medalign.modeling.metering import Meter
from medalign.modeling.rows import (
    ALIGNMENT,
    PrefixCache,
    Row,
    batches_by_length,
    collate,
    compute_prefix,
    continuation_logprobs,
)
from medalign.records import Question

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from medalign.modeling.base_models import BaseModel

MIN_SHARED_PREFIX = 8  # tokens; a shorter prefix costs more to carry than to compute again
# On a CPU more at once is no faster. On a GPU memory decides, up to where more is no faster there.
MAX_BATCH_TOKENS = 2048
MAX_BATCH_ROWS = 32
MAX_GPU_BATCH_TOKENS = 16_384
MAX_GPU_ROWS_WRITTEN = 256
# Of what is free: batches differ, and the allocator keeps blocks that fit no other.
_USED_SHARE = 0.7

Demonstrate = Callable[[Question], Sequence[Demonstration]]


def no_demonstrations(question: Question) -> Sequence[Demonstration]:
    """Zero-shot: every question stands alone."""
    return ()


class Predictor:
    """Answers questions with a model as it is now.

    Args:
        base: Whose model may carry a trained adapter; it is used as it stands at each call.
        meter: Counts tokens and seconds.
        demonstrate: Gives the worked examples that go before a question. Where they are too long for the
            model's window, the first ones are left out.
        max_new_tokens: Longest written answer, in tokens.
    """

    def __init__(
        self,
        base: BaseModel,
        meter: Meter,
        *,
        demonstrate: Demonstrate = no_demonstrations,
        max_new_tokens: int = 24,
    ) -> None:
        self._base = base
        self._meter = meter
        self._demonstrate = demonstrate
        self._max_new_tokens = max_new_tokens
        self._chat = Chat(base.tokenizer)

    def demonstrations(self, question: Question) -> tuple[Demonstration, ...]:
        """The worked examples that a question is asked with: those that fit the model's window."""
        if not self._demonstrate(question):
            return ()
        options = self._chat.all_option_ids(question)
        return self._fitting(question, max(map(len, options), default=self._max_new_tokens))[0]

    def score_options(self, questions: Sequence[Question]) -> list[tuple[float, ...]]:
        """Summed log-probability (nats) of each option of each question, given its prompt.

        As lm-evaluation-harness defines `loglikelihood`; the length-normalised score divides by the
        option's characters (its `acc_norm`).
        """
        groups: dict[tuple[Demonstration, ...], dict[int, Row]] = {}  # which share a long prefix
        for i, question in enumerate(questions):
            options = self._chat.all_option_ids(question)
            demonstrations, prompt = self._fitting(question, max(map(len, options)))
            groups.setdefault(demonstrations, {})[i] = Row(prompt, options)
        scores: list[tuple[float, ...]] = [()] * len(questions)
        for rows in groups.values():
            for i, found in zip(rows, self.score_rows(list(rows.values())), strict=True):
                scores[i] = found
        return scores

    def score_rows(self, rows: Sequence[Row], *, as_in_training: bool = False) -> list[tuple[float, ...]]:
        """Summed log-probability (nats) of each continuation of each row.

        Args:
            as_in_training: By the very arithmetic of a training step, for what training is compared with.
        """
        import torch

        model = self._base.model
        scores: list[tuple[float, ...]] = [()] * len(rows)
        if not rows:
            return scores
        with (
            self._meter.during("score"),
            torch.inference_mode(),
            self._base.computing(training=as_in_training),
        ):
            model.eval()
            prefix, rows = (None, rows) if as_in_training else self._without_shared_prefix(rows)
            prefix_tokens = prefix.num_tokens if prefix else 0
            lengths = [row.num_tokens for row in rows]
            max_tokens, max_rows = self._scoring_limits(rows, prefix_tokens)
            for indices in batches_by_length(lengths, max_tokens=max_tokens, max_rows=max_rows):
                batch = collate(
                    [rows[i] for i in indices],
                    pad_token_id=self._base.tokenizer.pad_token_id,
                    dtype=self._base.dtype,
                    device=self._base.device,
                    prefix_tokens=prefix_tokens,
                )
                logprobs = iter(continuation_logprobs(model, batch, prefix).tolist())
                for i in indices:
                    scores[i] = tuple(next(logprobs) for _ in rows[i].continuations)
                self._meter.scored(
                    model,
                    rows=batch.tokens_BT.shape[0],
                    width=batch.tokens_BT.shape[1],
                    tokens=batch.num_tokens,
                    logits=batch.num_logits,
                    prefix_tokens=prefix_tokens,
                )
        return scores

    def write(self, questions: Sequence[Question]) -> list[str]:
        """The first line of a greedily decoded answer to each question."""
        prompts = [self._fitting(q, self._max_new_tokens)[1] for q in questions]
        written = self.continue_prompts(prompts, ends=self._chat.line_end_ids())
        return [first_line(self._base.tokenizer.decode(ids, skip_special_tokens=True)) for ids in written]

    def continue_prompts(
        self, prompts: Sequence[tuple[int, ...]], *, ends: Sequence[int], temperature: float | None = None
    ) -> list[list[int]]:
        """What the model writes behind each prompt, as token ids, the one that ended it included.

        Args:
            ends: Tokens at which an answer ends.
            temperature: Tokens are drawn by torch's generator with the logits divided by it; None decodes greedily.
        """
        import torch

        pad = self._base.tokenizer.pad_token_id
        written: list[list[int]] = [[]] * len(prompts)
        with (
            self._meter.during("score"),
            torch.inference_mode(),
            self._base.computing(),
            _contiguous_at_output(self._base.model),
        ):
            self._base.model.eval()
            lengths = [len(prompt) + self._max_new_tokens for prompt in prompts]
            max_tokens, max_rows = self._writing_limits(lengths)
            for indices in batches_by_length(lengths, max_tokens=max_tokens, max_rows=max_rows):
                ids, mask = _left_padded([prompts[i] for i in indices], pad)
                found = self._base.model.generate(
                    input_ids=ids.to(self._base.device),
                    attention_mask=mask.to(self._base.device),
                    max_new_tokens=self._max_new_tokens,
                    **_decoding(temperature),
                    eos_token_id=list(ends),
                    pad_token_id=pad,
                )[:, ids.shape[1] :]
                for i, row in zip(indices, found.tolist(), strict=True):
                    written[i] = row
                self._meter.generated(
                    self._base.model,
                    rows=ids.shape[0],
                    width=ids.shape[1],
                    tokens=int(mask.sum()),
                    steps=found.shape[1],
                    written=int((found != pad).sum()),
                )
        return written

    def _scoring_limits(self, rows: Sequence[Row], prefix_tokens: int) -> tuple[int, int]:
        """Padded tokens and rows of a batch."""
        if self._base.device.type == "cpu":
            return MAX_BATCH_TOKENS, MAX_BATCH_ROWS
        longest = max(row.num_tokens for row in rows) + ALIGNMENT
        number = scoring_rows_at_once(
            self._base.shape,
            free_gib=_USED_SHARE * self._base.free_gib,
            row_tokens=longest,
            prefix_tokens=prefix_tokens,
            num_logits=max(sum(map(len, row.continuations)) for row in rows),
        )
        return min(number * longest, MAX_GPU_BATCH_TOKENS), MAX_GPU_BATCH_TOKENS

    def _writing_limits(self, lengths: Sequence[int]) -> tuple[int, int]:
        """Padded tokens and rows of a batch that is written."""
        if self._base.device.type == "cpu":
            return 2 * MAX_BATCH_TOKENS, MAX_BATCH_ROWS
        longest = max(lengths, default=1)
        number = writing_rows_at_once(
            self._base.shape, free_gib=_USED_SHARE * self._base.free_gib, row_tokens=longest
        )
        return number * longest, min(number, MAX_GPU_ROWS_WRITTEN)

    def _fitting(
        self, question: Question, answer_tokens: int
    ) -> tuple[tuple[Demonstration, ...], tuple[int, ...]]:
        """Demonstrations and prompt; the first demonstrations are dropped until an answer fits the window too."""
        demonstrations = tuple(self._demonstrate(question))
        prompt = self._chat.prompt_ids(question, demonstrations)
        while demonstrations and len(prompt) + answer_tokens > self._base.window_tokens:
            demonstrations = demonstrations[1:]
            prompt = self._chat.prompt_ids(question, demonstrations)
        return demonstrations, prompt

    def _without_shared_prefix(self, rows: Sequence[Row]) -> tuple[PrefixCache | None, Sequence[Row]]:
        """The cache of what all prompts begin with, and the rows without it; each keeps one prompt token."""
        shared = _common_prefix([row.prompt for row in rows])
        if len(rows) < 2 or shared < MIN_SHARED_PREFIX:
            return None, rows
        prefix = compute_prefix(self._base.model, rows[0].prompt[:shared])
        self._meter.scored(self._base.model, rows=1, width=shared, tokens=shared, logits=1)
        return prefix, [Row(row.prompt[shared:], row.continuations) for row in rows]


@contextlib.contextmanager
def _contiguous_at_output(model: PreTrainedModel) -> Iterator[None]:
    """Within it, the output layer is given contiguous hidden states.

    `generate` keeps the last position of each row, a view with gaps, for which `matmul` copies the output layer's
    weights once a row: more than a GiB, and more time than all layers below.
    """

    def contiguous(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0].contiguous(), *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(contiguous)
    try:
        yield
    finally:
        handle.remove()


def _common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all prompts begin with, one fewer than the shortest at most."""
    first, last = min(prompts), max(prompts)
    limit = min(len(p) for p in prompts) - 1
    return next((i for i in range(limit) if first[i] != last[i]), limit)


def _decoding(temperature: float | None) -> dict[str, Any]:
    """What `generate` is told; a checkpoint's own limits on what may be drawn are lifted."""
    if temperature is None:
        return {"do_sample": False}
    return {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}


def _left_padded(prompts, pad_token_id):  # type: ignore[no-untyped-def]
    """Prompts as ids and mask, both (B, T), padded on the left so that all end where writing begins."""
    import torch

    width = max(len(p) for p in prompts)
    ids = torch.full((len(prompts), width), pad_token_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, prompt in enumerate(prompts):
        ids[i, width - len(prompt) :] = torch.tensor(prompt)
        mask[i, width - len(prompt) :] = 1
    return ids, mask
