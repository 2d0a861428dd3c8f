"""Elementwise steps of a block as one pass over memory each, for GPUs; imported only there.

torch's own operations read and write memory once for every step of these formulas. Here a formula is one kernel,
computed in fp32 and rounded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton
import triton.language as tl

if TYPE_CHECKING:
    import torch

_BLOCK = 1024
_HEADS = 4
_BLOCKS = 64
# bitsandbytes' own: a scale for so many weights, and a scale of scales for so many of those.
_WEIGHTS_A_SCALE, _SCALES_A_SCALE = 64, 256


@triton.jit
def _gate_forward(gate, up, out, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    g = tl.load(gate + place, mask=inside).to(tl.float32)
    u = tl.load(up + place, mask=inside).to(tl.float32)
    tl.store(out + place, g * tl.sigmoid(g) * u, mask=inside)


@triton.jit
def _gate_backward(gradient, gate, up, gate_out, up_out, size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = place < size
    d = tl.load(gradient + place, mask=inside).to(tl.float32)
    g = tl.load(gate + place, mask=inside).to(tl.float32)
    u = tl.load(up + place, mask=inside).to(tl.float32)
    share = tl.sigmoid(g)
    silu = g * share
    tl.store(gate_out + place, d * u * (share + silu * (1.0 - share)), mask=inside)
    tl.store(up_out + place, d * silu, mask=inside)


@triton.jit
def _rotate(  # type: ignore[no-untyped-def]
    x, out, cos, sin, num_tokens, num_heads, x_b, x_h, x_t, out_b, out_h, out_t, angle_b, angle_t,
    HALF: tl.constexpr, HEADS: tl.constexpr, SIGN: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    b, t = row // num_tokens, row % num_tokens
    head = (tl.program_id(1) * HEADS + tl.arange(0, HEADS))[:, None]
    half = tl.arange(0, HALF)[None, :]
    inside = head < num_heads
    angle = b * angle_b + t * angle_t + half
    c = tl.load(cos + angle).to(tl.float32)
    s = tl.load(sin + angle).to(tl.float32) * SIGN
    source = x + b * x_b + head * x_h + t * x_t + half
    target = out + b * out_b + head * out_h + t * out_t + half
    first = tl.load(source, mask=inside).to(tl.float32)
    second = tl.load(source + HALF, mask=inside).to(tl.float32)
    tl.store(target, first * c - second * s, mask=inside)
    tl.store(target + HALF, second * c + first * s, mask=inside)


@triton.jit
def _unpack_nf4(  # type: ignore[no-untyped-def]
    packed, values, scales, scale_values, scale_scales, offset, out, num_blocks,
    BLOCKS: tl.constexpr, BYTES: tl.constexpr, GROUP: tl.constexpr,
):  # fmt: skip
    block = tl.program_id(0) * BLOCKS + tl.arange(0, BLOCKS)
    inside = block < num_blocks
    code = tl.load(scales + block, mask=inside, other=0).to(tl.int32)
    scale = tl.load(scale_values + code) * tl.load(scale_scales + block // GROUP, mask=inside, other=0.0)
    scale = (scale + tl.load(offset))[:, None]
    place = block.to(tl.int64)[:, None] * BYTES + tl.arange(0, BYTES)[None, :]
    byte = tl.load(packed + place, mask=inside[:, None], other=0).to(tl.int32)
    first = (tl.load(values + (byte >> 4)) * scale).to(out.dtype.element_ty)
    second = (tl.load(values + (byte & 15)) * scale).to(out.dtype.element_ty)
    target = block.to(tl.int64)[:, None] * (2 * BYTES) + tl.arange(0, 2 * BYTES)[None, :]
    tl.store(out + target, tl.interleave(first, second), mask=inside[:, None])


def knows(state: Any) -> bool:
    """Whether `unpack_nf4` is for weights that bitsandbytes packed so."""
    return (
        state.quant_type == "nf4"
        and state.nested
        and state.blocksize == _WEIGHTS_A_SCALE
        and state.state2.blocksize == _SCALES_A_SCALE
        and state.shape.numel() % _WEIGHTS_A_SCALE == 0
    )


def unpack_nf4(packed: torch.Tensor, state: Any) -> torch.Tensor:
    """A weight (O, I) from bitsandbytes' NF4 with double quantisation: its numbers, in one kernel instead of three."""
    import torch

    out = torch.empty(state.shape, dtype=state.dtype, device=packed.device)
    num_blocks = out.numel() // _WEIGHTS_A_SCALE
    _unpack_nf4[(triton.cdiv(num_blocks, _BLOCKS),)](
        packed,
        state.code,
        state.absmax,
        state.state2.code,
        state.state2.absmax,
        state.offset,
        out,
        num_blocks,
        BLOCKS=_BLOCKS,
        BYTES=_WEIGHTS_A_SCALE // 2,
        GROUP=_SCALES_A_SCALE,
        enable_fp_fusion=False,  # product and sum rounded one after the other, as bitsandbytes does
    )
    return out


def gate_forward(gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
    """silu(gate) * up."""
    import torch

    gate, up = gate.contiguous(), up.contiguous()
    out = torch.empty_like(gate)
    _gate_forward[(triton.cdiv(gate.numel(), _BLOCK),)](gate, up, out, gate.numel(), BLOCK=_BLOCK)
    return out


def gate_backward(
    gradient: torch.Tensor, gate: torch.Tensor, up: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients with respect to gate and up."""
    import torch

    gradient, gate, up = gradient.contiguous(), gate.contiguous(), up.contiguous()
    gate_out, up_out = torch.empty_like(gate), torch.empty_like(up)
    grid = (triton.cdiv(gate.numel(), _BLOCK),)
    _gate_backward[grid](gradient, gate, up, gate_out, up_out, gate.numel(), BLOCK=_BLOCK)
    return gate_out, up_out


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, sign: int) -> torch.Tensor:
    """Rotary position embedding of x (batch, heads, tokens, size); its inverse with sign -1.

    Args:
        cos: (batch or 1, tokens, size), its two halves alike.
    """
    import torch

    if x.stride(-1) != 1:
        x = x.contiguous()
    cos, sin = cos.contiguous(), sin.contiguous()
    num_rows, num_heads, num_tokens, size = x.shape
    out = torch.empty_like(x)  # in the memory order of x
    _rotate[(num_rows * num_tokens, triton.cdiv(num_heads, _HEADS))](
        x,
        out,
        cos,
        sin,
        num_tokens,
        num_heads,
        *x.stride()[:3],
        *out.stride()[:3],
        cos.stride(0) if len(cos) > 1 else 0,
        cos.stride(1),
        HALF=size // 2,
        HEADS=_HEADS,
        SIGN=sign,
    )
    return out
