"""What a training step needs of a slot's memory, and how it is cut so that it fits: known before anything is loaded.

The effective batch is given and never changed. What is chosen is how many of its rows go forward and backward at
once, whether a layer's activations are kept or computed again (gradient checkpointing, Chen et al. 2016), and in how
many pieces the logits are computed. The prediction counts what the layers of this package keep (lean_layers.py), in
bytes a token, and is compared with measured peaks in docs/gpu_memory.md.

    plan = plan_memory(describe_model("llama-3.1-8b").shape, rows, precision="nf4", batch_size=8, slot_gib=24)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from medalign.errors import ModelError
from medalign.modeling.model_cards import ModelShape, Projection
from medalign.modeling.rows import Row

GIB = 2**30
# A card of 24 GiB gives a process 23.6, and CUDA itself takes 0.4 of them; both are outside of what torch counts.
OUTSIDE_GIB = 0.8
# Blocks that the allocator holds and cannot use: share of the activations.
UNUSABLE_SHARE = 0.03
# What is left free of the slot before it is filled with weights that are held unpacked: share of the predicted peak.
_HELD_MARGIN = 0.05
LOGITS_AT_ONCE = 512
BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.5 + 1 / 64 + 4 / (64 * 256)}
"""Bytes a quantised weight: NF4 in blocks of 64, whose scales are themselves held in 8 bits in blocks of 256."""
# Passing a weight from 4 bits to 16 takes as long as the arithmetic of so many tokens: what small pieces cost.
_UNPACKING_TOKENS = 256


class SlotTooSmallError(ModelError):
    """No way of cutting a training step fits the slot.

    Args:
        message: The line for the user.
        needed_gib: The smallest slot that would do.
    """

    def __init__(self, message: str, needed_gib: float) -> None:
        super().__init__(message, needed_gib)
        self.needed_gib = needed_gib

    def __str__(self) -> str:
        return str(self.args[0])


class RowLength(NamedTuple):
    """Tokens of a row, and how many of them are answers; `num_answers` stand side by side."""

    num_tokens: int
    num_answer_tokens: int
    num_answers: int = 1


def row_length(row: Row) -> RowLength:
    """The length of a row."""
    answers = sum(len(each) for each in row.continuations)
    return RowLength(row.num_tokens, answers, len(row.continuations))


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """What is trained, as far as memory goes.

    Attributes:
        rank: Of the adapter; None for all weights.
        targets: `attention` or `all_linear`.
        magnitudes: Whether the adapter has them (DoRA), and with them PEFT's own layers instead of the lean ones.
        optimiser_bytes: Of the optimiser's state, a trained weight: 8 for AdamW, 2 for AdamW in 8 bits.
    """

    rank: int | None = 16
    targets: str = "attention"
    magnitudes: bool = False
    optimiser_bytes: float = 8.0


class Parts(NamedTuple):
    """Where the peak comes from (GiB).

    Attributes:
        weights: Of the base.
        trained: What is trained, its gradients and the optimiser's state.
        activations: What the backward pass needs of the forward pass.
        workspace: The largest passing need: logits, a feed-forward layer's gradients, an unpacked weight.
        held: 4-bit weights that are held unpacked as well, because there is room.
    """

    weights: float
    trained: float
    activations: float
    workspace: float
    held: float = 0.0

    @property
    def total(self) -> float:
        return sum(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryPlan:
    """How a step is cut.

    Attributes:
        rows_at_once: Rows that go forward and backward together, if all are as long as the longest.
        tokens_at_once: The same in tokens, padding included: the limit by which a step is cut.
        checkpointing: Whether activations within a layer are computed again in the backward pass.
        logits_at_once: Logits are computed for so many tokens at a time.
        parts: The predicted peak of what torch reserves, by cause.
    """

    rows_at_once: int
    tokens_at_once: int
    checkpointing: bool
    logits_at_once: int
    parts: Parts

    @property
    def peak_gib(self) -> float:
        return self.parts.total


def plan_memory(
    shape: ModelShape,
    rows: Sequence[RowLength],
    *,
    precision: str,
    batch_size: int,
    slot_gib: float,
    tuning: Tuning | None = None,
    tokens_at_once: int | None = None,
    checkpointing: bool | None = None,
    held_gib: float | None = None,
) -> MemoryPlan:
    """The quickest way of cutting a step of `batch_size` of these rows that fits the slot.

    Args:
        rows: Of the whole training set; at least one.
        precision: Of the base weights: nf4, int8, bf16, fp16 or fp32.
        slot_gib: The slot as the user names it; what CUDA takes outside of torch is left free.
        tokens_at_once: Given by the user instead of chosen.
        checkpointing: Likewise.
        held_gib: Likewise, of 4-bit weights that are held unpacked as well.

    Raises:
        SlotTooSmallError: Nothing fits; the message says how much would be needed.
    """
    tuning = tuning or Tuning()
    longest = max(rows, key=lambda row: row.num_tokens)
    answers = max(row.num_answer_tokens for row in rows)
    plans = []
    for number in range(1, batch_size + 1):
        tokens = longest.num_tokens * number
        for again in (False, True) if checkpointing is None else (checkpointing,):
            parts = predict_parts(
                shape,
                precision,
                tuning,
                tokens,
                answers * number,
                longest.num_answers,
                again,
                longest.num_tokens,
            )
            plans.append(
                MemoryPlan(
                    rows_at_once=number,
                    tokens_at_once=tokens,
                    checkpointing=again,
                    logits_at_once=LOGITS_AT_ONCE,
                    parts=parts,
                )
            )
    if tokens_at_once is not None:
        most = max((p.rows_at_once for p in plans if p.tokens_at_once <= tokens_at_once), default=1)
        plans = [p for p in plans if p.rows_at_once == most]
    fitting = [plan for plan in plans if plan.peak_gib <= slot_gib - OUTSIDE_GIB]
    if not fitting:
        needed = min(plan.peak_gib for plan in plans) + OUTSIDE_GIB
        raise SlotTooSmallError(_too_small(needed, precision, longest, slot_gib, tuning), needed)

    def cost(plan: MemoryPlan) -> tuple[float, float]:
        return _relative_seconds(plan, batch_size, longest.num_tokens, precision), plan.peak_gib

    chosen = min(fitting, key=cost)
    if precision != "nf4" or tuning.magnitudes:  # PEFT's own layers unpack by themselves
        return chosen
    return _with_held_weights(chosen, shape, slot_gib, held_gib)


def _with_held_weights(
    plan: MemoryPlan, shape: ModelShape, slot_gib: float, held_gib: float | None
) -> MemoryPlan:
    """The plan with what is left of the slot filled with unpacked weights."""
    room = slot_gib - OUTSIDE_GIB - plan.peak_gib * (1 + _HELD_MARGIN) if held_gib is None else held_gib
    held = max(0.0, min(room, 2.0 * shape.layer_params / GIB))
    return dataclasses.replace(plan, parts=plan.parts._replace(held=held))


def _relative_seconds(plan: MemoryPlan, batch_size: int, row_tokens: int, precision: str) -> float:
    """Time of a step in any unit: the arithmetic, and for quantised weights the unpacking in every piece."""
    passes = 3 if plan.checkpointing else 2
    pieces = -(-batch_size // plan.rows_at_once)
    unpacking = _UNPACKING_TOKENS if precision in ("nf4", "int8") else _UNPACKING_TOKENS / 8
    return passes * (batch_size * row_tokens + pieces * unpacking)


def _too_small(needed: float, precision: str, longest: RowLength, slot_gib: float, tuning: Tuning) -> str:
    smaller = [] if precision == "nf4" or tuning.rank is None else ["precision nf4"]
    smaller += ["an adapter instead of all weights"] if tuning.rank is None else []
    remedy = ", ".join([*smaller, "a smaller data.max_prompt_tokens"])
    return (
        f"slot_gib: {slot_gib:g}; training at {precision} on {longest.num_tokens} tokens does not fit, it needs about "
        f"{needed:.0f} GiB; use {remedy} or a larger slot"
    )


def weights_gib(shape: ModelShape, precision: str) -> float:
    """Memory of the base weights (GiB): the layers quantised, embedding and output layer in 16 or 32 bits."""
    others = 4.0 if precision == "fp32" else 2.0
    return (shape.layer_params * BYTES[precision] + shape.unquantised_params * others) / GIB


def trained_params(shape: ModelShape, tuning: Tuning) -> int:
    """Weights that are trained: those of an adapter of this rank, or all."""
    if tuning.rank is None:
        return shape.num_params
    layers = shape.targets(tuning.targets)
    magnitudes = sum(p.num_out for p in layers) if tuning.magnitudes else 0
    return shape.num_layers * (tuning.rank * sum(p.num_in + p.num_out for p in layers) + magnitudes)


def predict_parts(
    shape: ModelShape,
    precision: str,
    tuning: Tuning,
    num_tokens: int,
    num_answer_tokens: int,
    num_answers: int = 1,
    checkpointing: bool = False,
    row_tokens: int | None = None,
) -> Parts:
    """The peak (GiB) of a step whose largest piece has so many tokens, by cause.

    Args:
        num_answers: Answers side by side in a row; several need an explicit attention mask.
        row_tokens: Tokens of a row, for the mask.
    """
    masked = num_answers > 1
    layer = _kept_bytes(shape, precision, tuning, masked)
    stream = 2.0 * shape.hidden
    kept = num_tokens * (shape.num_layers * (stream if checkpointing else layer) + 3 * stream)
    kept += num_tokens * layer if checkpointing else 0.0
    kept += num_tokens * (row_tokens or num_tokens) * 2.0 if masked else 0.0
    # AdamW in torch keeps weight, gradient and state; a full model keeps its own weights in 32 bits.
    trained = trained_params(shape, tuning) * (8.0 + tuning.optimiser_bytes)
    weights = 0.0 if tuning.rank is None else weights_gib(shape, precision)
    workspace = max(
        _feed_forward_bytes(shape, precision, num_tokens),
        _logit_bytes(shape, num_answer_tokens),
    )
    return Parts(
        weights=weights,
        trained=trained / GIB,
        activations=kept * (1 + UNUSABLE_SHARE) / GIB,
        workspace=workspace / GIB,
    )


def _kept_bytes(shape: ModelShape, precision: str, tuning: Tuning, masked: bool) -> float:
    """Bytes that a layer keeps of a token for the backward pass, in 16-bit arithmetic."""
    hidden, query, kv = 2.0 * shape.hidden, 2.0 * shape.query_width, 2.0 * shape.kv_width
    inner = 2.0 * shape.intermediate
    adapted = tuning.rank is None or tuning.targets == "all_linear"
    norms = 2 * hidden
    # Behind an explicit mask keys and values are repeated to the number of queries.
    attention = query + (2 * query if masked else 2 * kv) + query + 4.0 * shape.num_heads
    inputs = hidden + (hidden + inner if adapted else 0.0)
    feed_forward = 2 * inner if shape.gated else inner
    down = 2.0 * (tuning.rank or 0) * len(shape.targets(tuning.targets))
    kept = norms + attention + inputs + feed_forward + down
    if tuning.magnitudes:  # PEFT's own layer: its input in 32 bits and an output in 16
        kept += sum(4.0 * p.num_in + 2.0 * p.num_out for p in shape.targets(tuning.targets))
    return kept


def _feed_forward_bytes(shape: ModelShape, precision: str, num_tokens: int) -> float:
    """What a feed-forward layer needs for a moment in its backward pass: three gradients and an unpacked weight."""
    matrices = 3 if shape.gated else 2
    passing = num_tokens * 2.0 * (matrices * shape.intermediate + 3 * shape.hidden)
    largest = max(_widest(shape).num_params, 1)
    return passing + (2.0 * largest if precision in ("nf4", "int8") else 0.0)


def _widest(shape: ModelShape) -> Projection:
    return max((*shape.attention, *shape.feed_forward), key=lambda p: p.num_params)


def _logit_bytes(shape: ModelShape, num_answer_tokens: int) -> float:
    """Logits in 16 and in 32 bits, and the gradient of each, for as many tokens as are computed at a time."""
    return min(num_answer_tokens, LOGITS_AT_ONCE) * shape.vocabulary * 12.0


def scoring_rows_at_once(
    shape: ModelShape, *, free_gib: float, row_tokens: int, prefix_tokens: int = 0, num_logits: int = 32
) -> int:
    """Rows that may be scored together in so much free memory; at least one.

    Args:
        row_tokens: Of the longest row, padding included.
        num_logits: Tokens of a row whose log-probability is wanted.
    """
    seen = row_tokens + prefix_tokens
    layer = row_tokens * 2.0 * (3 * shape.intermediate + 4 * shape.hidden + 3 * shape.query_width)
    layer += seen * 2.0 * (4 * shape.kv_width + 2 * shape.query_width)
    mask = row_tokens * seen * 2.0 * 2
    logits = num_logits * shape.vocabulary * 6.0
    return max(1, int(free_gib * GIB // (layer + mask + logits)))


def writing_rows_at_once(shape: ModelShape, *, free_gib: float, row_tokens: int) -> int:
    """Rows that may be written together in so much free memory, keys and values of all layers kept; at least one.

    Args:
        row_tokens: Of the longest prompt with its answer.
    """
    cache = row_tokens * 2.0 * shape.kv_width * 2 * shape.num_layers
    passing = row_tokens * 2.0 * (3 * shape.intermediate + 4 * shape.hidden + 4 * shape.query_width)
    # A cache that grows is copied, one layer at a time.
    return max(1, int(free_gib * GIB // (cache * (1 + 2 / shape.num_layers) + passing)))
