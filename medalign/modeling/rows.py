"""Rows: one prompt with one or several continuations, computed in a single forward pass.

A choice question is a prompt with an answer per option, a preference pair a prompt with a chosen
and a rejected answer, a training target a prompt with one answer. All three are a *row*: the
prompt's tokens stand once, the continuations side by side behind it, and an attention mask keeps
each continuation from seeing the others (the "tree attention" of SpecInfer, Miao et al. 2024,
applied to scoring). Positions restart after the prompt, so each continuation has exactly the
log-probability that it has alone; a test compares both. Rows of one continuation are plain causal
sequences and need no mask, which lets torch take its fastest attention. Logits are computed only
where a continuation's token is predicted, by narrowing what reaches the output layer.

A prefix that all rows share (the demonstrations of in-context learning) is computed once and its
key-value cache reused (`PrefixCache`).

Shape letters:
    B = rows of a batch, T = tokens of the longest row, P = tokens of the shared prefix,
    N = continuation tokens of the batch, M = tokens that predict them (siblings share their first),
    C = continuations of the batch, V = vocabulary, H = hidden size
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


ALIGNMENT = 8  # tokens; a GPU's attention copies a mask whose rows are of another length
# Settings by which a model changes its logits after the output layer.
# Feed-forward layers that take each token by itself and draw no random numbers.
_PER_TOKEN = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "PhiMLP")
_LOGIT_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")


class Row(NamedTuple):
    """Token ids of a prompt and of its continuations; the prompt holds at least one token."""

    prompt: tuple[int, ...]
    continuations: tuple[tuple[int, ...], ...]

    @property
    def num_tokens(self) -> int:
        return len(self.prompt) + sum(len(c) for c in self.continuations)


class RowBatch(NamedTuple):
    """Rows laid out for one forward pass.

    Attributes:
        tokens_BT: Token ids, padded on the right.
        positions_BT: Position ids; they restart after the prompt for every continuation. None where the row is
            plainly causal and the model counts by itself.
        mask_B1TS: Additive attention mask over prefix and row (S = P + T): 0 where a token may look. None likewise.
        sources_M: Flat positions (in B * T) whose outputs predict a continuation token.
        source_of_N: For each continuation token the index (in M) of the position that predicts it.
        targets_N: The continuation tokens.
        owners_N: Index of the continuation (in C, rows in order) that each token belongs to.
        num_continuations: C.
        num_tokens: Tokens that are not padding.
        num_logits: Positions for which logits are computed, the end of a prompt once for all its continuations.
    """

    tokens_BT: torch.Tensor
    positions_BT: torch.Tensor | None
    mask_B1TS: torch.Tensor | None
    sources_M: torch.Tensor
    source_of_N: torch.Tensor
    targets_N: torch.Tensor
    owners_N: torch.Tensor
    num_continuations: int
    num_tokens: int
    num_logits: int


class PrefixCache(NamedTuple):
    """Keys and values of a prefix, one pair a layer, each of shape (1, heads, P, head size)."""

    layers: tuple[tuple[torch.Tensor, torch.Tensor], ...]
    num_tokens: int


def _layout(row: Row) -> tuple[list[int], list[int], list[int], list[tuple[int, int]]]:
    """Tokens, positions and block numbers of a row (block 0 is the prompt), and each block's bounds."""
    tokens, positions = list(row.prompt), list(range(len(row.prompt)))
    blocks, bounds = [0] * len(row.prompt), []
    for number, continuation in enumerate(row.continuations, start=1):
        bounds.append((len(tokens), len(tokens) + len(continuation)))
        tokens += continuation
        positions += range(len(row.prompt), len(row.prompt) + len(continuation))
        blocks += [number] * len(continuation)
    return tokens, positions, blocks, bounds


def collate(
    rows: Sequence[Row],
    *,
    pad_token_id: int,
    dtype: torch.dtype,
    device: torch.device | str = "cpu",
    prefix_tokens: int = 0,
) -> RowBatch:
    """Lay rows out for one forward pass.

    Args:
        rows: At least one.
        pad_token_id: Fills the right of shorter rows; what stands there never reaches a result.
        dtype: Of the attention mask; the model's own.
        prefix_tokens: P, the tokens of the shared prefix that come before every row.

    Raises:
        ValueError: A prompt or a continuation is empty.
    """
    import torch

    layouts = [_layout(row) for row in rows]
    width = max(len(layout[0]) for layout in layouts)
    if torch.device(device).type == "cuda":
        width += -(prefix_tokens + width) % ALIGNMENT
    causal = prefix_tokens == 0 and all(len(row.continuations) == 1 for row in rows)
    tokens_BT = torch.full((len(rows), width), pad_token_id, dtype=torch.long)
    positions_BT = torch.zeros((len(rows), width), dtype=torch.long)
    blocks_BT = torch.full((len(rows), width), -1, dtype=torch.long)
    sources: list[int] = []
    targets: list[int] = []
    owners: list[int] = []
    owner = 0
    for index, (row, (tokens, positions, blocks, bounds)) in enumerate(zip(rows, layouts, strict=True)):
        if not row.prompt or any(start == end for start, end in bounds):
            raise ValueError("a row needs a prompt and continuations of at least one token each")
        tokens_BT[index, : len(tokens)] = torch.tensor(tokens)
        positions_BT[index, : len(tokens)] = torch.tensor(positions) + prefix_tokens
        blocks_BT[index, : len(tokens)] = torch.tensor(blocks)
        for start, end in bounds:
            first = index * width + len(row.prompt) - 1
            sources += [first, *range(index * width + start, index * width + end - 1)]
            targets += tokens[start:end]
            owners += [owner] * (end - start)
            owner += 1

    sources_M, source_of_N = torch.unique(torch.tensor(sources), return_inverse=True)
    return RowBatch(
        tokens_BT=tokens_BT.to(device),
        positions_BT=None if causal else positions_BT.to(device),
        mask_B1TS=None if causal else _additive_mask(blocks_BT.to(device), prefix_tokens, dtype),
        sources_M=sources_M.to(device),
        source_of_N=source_of_N.to(device),
        targets_N=torch.tensor(targets, device=device),
        owners_N=torch.tensor(owners, device=device),
        num_continuations=owner,
        num_tokens=sum(row.num_tokens for row in rows),
        num_logits=len(set(sources)),
    )


def _additive_mask(blocks_BT: torch.Tensor, prefix_tokens: int, dtype: torch.dtype) -> torch.Tensor:
    """A token sees the prefix, the prompt, and what precedes it in its own continuation."""
    import torch

    width, device = blocks_BT.shape[1], blocks_BT.device
    causal_TT = torch.ones((width, width), dtype=torch.bool, device=device).tril()
    query_BT1, key_B1T = blocks_BT[:, :, None], blocks_BT[:, None, :]
    visible_BTT = causal_TT & ((key_B1T == 0) | (query_BT1 == key_B1T)) & (query_BT1 >= 0)
    # Padding looks at itself alone: a row of the mask without any zero would give NaN.
    visible_BTT |= (query_BT1 < 0) & torch.eye(width, dtype=torch.bool, device=device)
    prefix_BTP = torch.ones((*blocks_BT.shape, prefix_tokens), dtype=torch.bool, device=device)
    visible_BTS = torch.cat([prefix_BTP, visible_BTT], dim=-1)
    mask = torch.zeros(visible_BTS.shape, dtype=dtype, device=device)
    return mask.masked_fill_(~visible_BTS, torch.finfo(dtype).min)[:, None]


@contextlib.contextmanager
def _logits_only_at(model: PreTrainedModel, positions: torch.Tensor) -> Iterator[None]:
    """Within it, the output layer sees only the hidden states at these flat positions (in B * T).

    The model's own forward does the rest (logit scaling, soft-capping), so nothing here depends on the family.
    """

    def narrow(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        return (args[0].flatten(0, 1)[positions][None], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(narrow)
    try:
        yield
    finally:
        handle.remove()


@contextlib.contextmanager
def _last_block_only_at(model: PreTrainedModel, positions: torch.Tensor) -> Iterator[None]:
    """Within it, the last block's feed-forward layer computes these flat positions alone and gives 0 at the others.

    Nothing looks at the others behind it. Where activations are computed again, which is after this has ended, the
    layer is left as it is.
    """
    layer = last_feed_forward(model)
    if layer is None:
        yield
        return
    shapes: list[torch.Size] = []

    def narrow(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        shapes.append(args[0].shape)
        return (args[0].flatten(0, 1)[positions][None], *args[1:])

    def widen(module: Any, args: object, output: torch.Tensor) -> torch.Tensor:
        shape = shapes.pop()
        everywhere = output.new_zeros(shape[0] * shape[1], output.shape[-1])
        return everywhere.index_copy(0, positions, output[0]).view(*shape[:2], -1)

    handles = layer.register_forward_pre_hook(narrow), layer.register_forward_hook(widen)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def last_feed_forward(model: PreTrainedModel) -> Any:
    """The last block's feed-forward layer, if it is of a kind that can be narrowed and is computed once."""
    blocks = getattr(model.base_model, "layers", None)
    if not blocks or (getattr(blocks[-1], "gradient_checkpointing", False) and blocks[-1].training):
        return None
    layer = getattr(blocks[-1], "mlp", None)
    return layer if type(layer).__name__.removeprefix("Lean") in _PER_TOKEN else None


def token_logprobs(
    model: PreTrainedModel,
    batch: RowBatch,
    prefix: PrefixCache | None = None,
    *,
    logits_at_once: int | None = None,
) -> torch.Tensor:
    """Log-probability (nats, float32, shape N) of every continuation token; differentiable.

    Args:
        logits_at_once: Logits are computed for so many tokens at a time, and again in the backward pass; None for
            all at once. Left aside where the model changes its logits after the output layer.
    """
    inputs: dict[str, Any] = {
        "input_ids": batch.tokens_BT,
        "position_ids": batch.positions_BT,
        "attention_mask": batch.mask_B1TS,
        "past_key_values": _shared(prefix) if prefix else None,
        "use_cache": prefix is not None,
    }
    if logits_at_once is not None and len(batch.sources_M) > logits_at_once and _has_plain_logits(model):
        return _logprobs_in_pieces(model, batch, inputs, logits_at_once)
    with _logits_only_at(model, batch.sources_M), _last_block_only_at(model, batch.sources_M):
        logits_MV = model(**inputs).logits[0].float()
    chosen_N = logits_MV[batch.source_of_N, batch.targets_N]
    return chosen_N - logits_MV.logsumexp(dim=-1)[batch.source_of_N]


def _logprobs_in_pieces(
    model: PreTrainedModel, batch: RowBatch, inputs: dict[str, Any], logits_at_once: int
) -> torch.Tensor:
    import torch
    from torch.utils.checkpoint import checkpoint

    head = model.get_output_embeddings()

    def of_piece(hidden_NH: torch.Tensor, targets_N: torch.Tensor) -> torch.Tensor:
        logits_NV = head(hidden_NH).float()
        return logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(dim=-1)

    with _hidden_at(model, batch.sources_M) as found, _last_block_only_at(model, batch.sources_M):
        model(**inputs)
    hidden_NH = found[0][batch.source_of_N]
    pieces = [
        checkpoint(of_piece, hidden, targets, use_reentrant=False, preserve_rng_state=False)
        for hidden, targets in zip(
            hidden_NH.split(logits_at_once), batch.targets_N.split(logits_at_once), strict=True
        )
    ]
    return torch.cat(pieces)


@contextlib.contextmanager
def _hidden_at(model: PreTrainedModel, positions: torch.Tensor) -> Iterator[list[torch.Tensor]]:
    """Within it, what reaches the output layer from these flat positions is kept in the list; one token goes on."""
    found: list[torch.Tensor] = []

    def take(module: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        found.append(args[0].flatten(0, 1)[positions])
        return (found[0][None, :1], *args[1:])

    handle = model.get_output_embeddings().register_forward_pre_hook(take)
    try:
        yield found
    finally:
        handle.remove()


def _has_plain_logits(model: PreTrainedModel) -> bool:
    """Whether the output layer's outputs are the logits; some families scale or cap them afterwards."""
    config = model.config.get_text_config()
    return all(getattr(config, name, None) in (None, 1, 1.0) for name in _LOGIT_CHANGES)


def continuation_logprobs(
    model: PreTrainedModel,
    batch: RowBatch,
    prefix: PrefixCache | None = None,
    *,
    logits_at_once: int | None = None,
) -> torch.Tensor:
    """Summed log-probability (nats, float32, shape C) of every continuation; differentiable."""
    logprobs_N = token_logprobs(model, batch, prefix, logits_at_once=logits_at_once)
    return logprobs_N.new_zeros(batch.num_continuations).index_add(0, batch.owners_N, logprobs_N)


def compute_prefix(model: PreTrainedModel, tokens: Sequence[int]) -> PrefixCache:
    """Keys and values of a prefix that many rows share, computed once."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    tokens_1P = torch.tensor([list(tokens)], device=next(model.parameters()).device)
    last = torch.tensor([len(tokens) - 1], device=tokens_1P.device)
    with torch.no_grad(), _logits_only_at(model, last), _last_block_only_at(model, last):
        model(input_ids=tokens_1P, past_key_values=cache, use_cache=True)
    layers = tuple((layer.keys, layer.values) for layer in cache.layers)
    return PrefixCache(layers=layers, num_tokens=len(tokens))


def _shared(prefix: PrefixCache) -> Any:
    """The prefix as a transformers cache that every row of a batch sees and that keeps nothing of the rows."""
    import torch
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer

    class SharedLayer(DynamicLayer):
        def update(self, key_states, value_states, *args, **kwargs):  # type: ignore[no-untyped-def]
            num_rows = len(key_states)
            return tuple(
                torch.cat([shared.expand(num_rows, -1, -1, -1), own], dim=-2)
                for shared, own in ((self.keys, key_states), (self.values, value_states))
            )

    def layer_of(keys: torch.Tensor, values: torch.Tensor) -> Any:
        layer = SharedLayer()
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
        return layer

    cache = DynamicCache()
    cache.layers = [layer_of(keys, values) for keys, values in prefix.layers]
    return cache


def batches_by_length(lengths: Sequence[int], *, max_tokens: int, max_rows: int) -> list[list[int]]:
    """Indices grouped so that rows of like length share a batch and padding is small.

    Args:
        lengths: Tokens of each row.
        max_tokens: Largest padded size of a batch (rows times longest), unless one row alone exceeds it.
        max_rows: Largest number of rows in a batch.
    """
    batches: list[list[int]] = []
    current: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        longest = lengths[current[0]] if current else lengths[index]
        if current and (len(current) == max_rows or longest * (len(current) + 1) > max_tokens):
            batches.append(current)
            current = []
        current.append(index)
    return [*batches, current] if current else batches
