"""Layers that keep and move less in training than the stock ones, with the same mathematics.

A frozen linear layer with an adapter, x W' + s (x A') B', is one node of the graph: what is kept of it is its input,
which it shares with its neighbours, and the narrow product x A'. The gradient with respect to W is never formed, and
a quantised W is unpacked again in the backward pass. PEFT's own layer keeps copies in fp32 and adds in separate
passes over memory. Adapter weights stay in fp32 and are rounded only as they enter a product.

`lean_blocks` does the like for a block's other parts: norms through torch's fused ones, which keep their input as it
is instead of in fp32, and a gated feed-forward layer that computes its product again in the backward pass. On a GPU
that product and the rotary embedding are one kernel each (triton_kernels.py).

Shape letters:
    N = tokens, I = features in, O = features out, R = rank
"""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

# Kinds of module whose forward is known to be the one that is replaced.
_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm"}
_GATED_BLOCKS = {"LlamaMLP", "MistralMLP", "Qwen2MLP"}
_ATTENTIONS = {"LlamaAttention", "MistralAttention", "Qwen2Attention"}
_ROTATION = "apply_rotary_pos_emb"
# For fewer, bitsandbytes has kernels that multiply with packed weights.
_FEW_TOKENS = 1024


def dense_weight(layer: Any, dtype: torch.dtype) -> torch.Tensor:
    """The weight (O, I) of a frozen linear layer, unpacked if it is quantised."""
    from transformers.pytorch_utils import Conv1D

    if (held := held_copy(layer)) is not None:
        return held.to(dtype)
    state = getattr(layer.weight, "quant_state", None)
    if state is not None:
        if kernel := _unpacking_kernel(layer):
            unpacked: torch.Tensor = kernel(layer.weight, state)
            return unpacked.to(dtype)
        from bitsandbytes.functional import dequantize_4bit

        return dequantize_4bit(layer.weight.data.view(-1, 1), state).to(dtype)
    if (found := getattr(layer, "state", None)) is not None and found.CB is not None:
        scale_O1 = found.SCB.unsqueeze(1).mul(1.0 / 127.0)
        return found.CB.to(dtype, copy=True).mul_(scale_O1)
    if isinstance(layer, Conv1D):
        return layer.weight.t().to(dtype)
    return layer.weight.to(dtype)


def held_copy(layer: Any) -> torch.Tensor | None:
    """The unpacked weight (O, I) that a quantised layer holds for now (held_weights.py), if it does."""
    copy: torch.Tensor | None = getattr(layer, "held_copy", None)
    return copy


def is_linear(layer: Any) -> bool:
    """Whether `dense_weight` knows the layer."""
    import torch
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer, torch.nn.Linear | Conv1D)  # bitsandbytes' layers are torch's


def is_8bit(layer: Any) -> bool:
    """Whether the layer is one of bitsandbytes' in 8 bits, whose name PEFT's adapter of it has too."""
    return type(layer).__name__ == "Linear8bitLt" and is_linear(layer)


def is_4bit(layer: Any) -> bool:
    """Whether the layer is one of bitsandbytes' in 4 bits, packed; an adapter's layer around it is none."""
    return is_linear(layer) and getattr(layer.weight, "quant_state", None) is not None


def lean_product(
    layer: Any, x: torch.Tensor, a_RI: torch.Tensor | None, b_OR: torch.Tensor | None, scaling: float
) -> torch.Tensor:
    """layer(x) + scaling * x A' B'; without an adapter the frozen layer alone."""
    return _product().apply(_in_compute_dtype(x), a_RI, b_OR, scaling, layer, layer)


def lean_frozen(layer: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """A forward for a frozen layer that keeps nothing for its backward pass."""
    usual = type(layer).forward.__get__(layer)

    def forward(x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = _product().apply(_in_compute_dtype(x), None, None, 0.0, layer, usual)
        return found

    return forward


def added_product(
    result: torch.Tensor, x: torch.Tensor, a_RI: torch.Tensor, b_OR: torch.Tensor, scaling: float
) -> torch.Tensor:
    """result + scaling * x A' B', where the adapter's input is not the layer's (dropout)."""
    import torch

    x_NI = _in_compute_dtype(x).flatten(0, -2)
    inner_NR = torch.nn.functional.linear(x_NI, a_RI.to(x_NI.dtype))
    flat_NO = torch.addmm(result.flatten(0, -2), inner_NR, b_OR.to(x_NI.dtype).t(), alpha=scaling)
    return flat_NO.view(result.shape)


def compute_dtype_of(x: torch.Tensor) -> torch.dtype:
    """What a product with x is computed in: autocast's, where it is on."""
    import torch

    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype


def _in_compute_dtype(x: torch.Tensor) -> torch.Tensor:
    return x.to(compute_dtype_of(x))


def frozen_product(layer: Any, call: Any, x: torch.Tensor) -> torch.Tensor:
    """What a frozen layer gives: with its weight unpacked by us where that is quicker, else by itself.

    Args:
        call: Its own forward.
    """
    import torch

    few = x.numel() < _FEW_TOKENS * x.shape[-1]
    if held_copy(layer) is None and (few or _unpacking_kernel(layer) is None):
        return call(x).to(x.dtype)
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return torch.nn.functional.linear(x, dense_weight(layer, x.dtype), bias)


def _unpacking_kernel(layer: Any) -> Any:
    """Our kernel for a 4-bit layer's weight, or None where it does not apply."""
    state = getattr(layer.weight, "quant_state", None)
    if state is None or not (kernels := _kernels(layer.weight)):
        return None
    return kernels.unpack_nf4 if kernels.knows(state) else None


_cached: dict[str, Any] = {}


def _product() -> Any:
    """The autograd function, made on first use: this module is imported without torch."""
    if "product" not in _cached:
        _cached["product"] = _make_product()
    return _cached["product"]


def _make_product() -> Any:
    import torch

    class LeanProduct(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, x: torch.Tensor, a_RI: Any, b_OR: Any, scaling: float, layer: Any, call: Any
        ) -> torch.Tensor:
            result = frozen_product(layer, call, x)
            ctx.layer, ctx.scaling = layer, scaling
            if a_RI is None:
                ctx.save_for_backward()
                return result
            ctx.masters = a_RI.dtype
            a_RI = a_RI.to(x.dtype)
            b_OR = torch.mul(b_OR, scaling, out=torch.empty_like(b_OR, dtype=x.dtype))  # rounded once
            inner_NR = x.flatten(0, -2) @ a_RI.t()
            result.flatten(0, -2).addmm_(inner_NR, b_OR.t())
            ctx.save_for_backward(x, inner_NR, a_RI, b_OR)
            return result

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            gradient_NO = gradient.flatten(0, -2)
            wanted = ctx.needs_input_grad[0]
            x_gradient_NI: Any = gradient_NO @ dense_weight(ctx.layer, gradient.dtype) if wanted else None
            saved = ctx.saved_tensors  # read once: recomputed activations are handed out once
            if not saved:
                x_gradient = x_gradient_NI.view(*gradient.shape[:-1], -1) if wanted else None
                return (x_gradient, *[None] * 5)
            x, inner_NR, a_RI, b_OR = saved
            inner_gradient_NR = gradient_NO @ b_OR
            a_gradient_RI = (inner_gradient_NR.t() @ x.flatten(0, -2)).to(ctx.masters)
            b_gradient_OR = torch.empty_like(b_OR)
            torch.addmm(
                b_gradient_OR, gradient_NO.t(), inner_NR, beta=0, alpha=ctx.scaling, out=b_gradient_OR
            )
            if wanted:
                x_gradient_NI.addmm_(inner_gradient_NR, a_RI)
                x_gradient_NI = x_gradient_NI.view(x.shape)
            return x_gradient_NI, a_gradient_RI, b_gradient_OR.to(ctx.masters), None, None, None

    return LeanProduct


def _gated() -> Any:
    if "gated" not in _cached:
        _cached["gated"] = _make_gated()
    return _cached["gated"]


def _make_gated() -> Any:
    import torch
    import torch.nn.functional as F

    class LeanGate(torch.autograd.Function):
        """silu(gate) * up, of which nothing is kept but gate and up."""

        @staticmethod
        def forward(ctx: Any, gate: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(gate, up)
            kernels = _kernels(gate)
            return kernels.gate_forward(gate, up) if kernels else F.silu(gate).mul_(up)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            gate, up = ctx.saved_tensors
            if kernels := _kernels(gate):
                return kernels.gate_backward(gradient, gate, up)
            gate_gradient = torch.ops.aten.silu_backward(gradient * up, gate)
            return gate_gradient, F.silu(gate).mul_(gradient)

    return LeanGate


def _rotary() -> Any:
    if "rotary" not in _cached:
        _cached["rotary"] = _make_rotary()
    return _cached["rotary"]


def _make_rotary() -> Any:
    import torch

    class LeanRotary(torch.autograd.Function):
        """Rotary position embedding as one kernel; its backward pass is the rotation back."""

        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(cos, sin)
            return _cached["kernels"].rotate(x, cos, sin, 1)

        @staticmethod
        def backward(ctx: Any, gradient: torch.Tensor) -> Any:
            cos, sin = ctx.saved_tensors
            return _cached["kernels"].rotate(gradient, cos, sin, -1), None, None

    return LeanRotary


def _kernels(x: torch.Tensor) -> Any:
    """Our kernels for where x lies, or None: on a CPU, and where they cannot be compiled."""
    if not x.is_cuda:
        return None
    if "kernels" not in _cached:
        _cached["kernels"] = _compiled_kernels()
    return _cached["kernels"]


def _compiled_kernels() -> Any:
    import torch

    try:
        from medalign.modeling import triton_kernels

        triton_kernels.gate_forward(*torch.zeros(2, 8, device="cuda"))
    except (
        Exception
    ) as error:  # Triton's own, a compiler's or the system's: all mean that there are no kernels
        reason = " ".join(str(error).split())[:120]
        warnings.warn(
            f"training runs without fused kernels, some percent slower ({type(error).__name__}: {reason}); "
            "Triton needs a C compiler: install gcc",
            stacklevel=2,
        )
        return None
    return triton_kernels


def lean_blocks(model: PreTrainedModel) -> int:
    """Give a model's norms and gated feed-forward layers their lean form, for good; weights and names stay.

    Returns:
        How many modules changed; those of an unknown kind are left as they are.
    """
    changed = 0
    for module in model.modules():
        if (forward := _lean_forward(module)) is not None:
            # A subclass rather than an attribute: nothing is left on the instance that a copy would carry along.
            kind = type(module)
            module.__class__ = type(f"Lean{kind.__name__}", (kind,), {"forward": forward})
            changed += 1
    return changed


def _lean_forward(module: Any) -> Callable[..., Any] | None:
    name = type(module).__name__
    if name in _NORMS:
        return _rms_norm
    if name in _GATED_BLOCKS and type(module.act_fn).__name__ in ("SiLU", "SiLUActivation"):
        return _gated_feed_forward
    if name in _ATTENTIONS:
        return _with_lean_rotary(type(module).forward)
    if name == "LayerNorm":
        return _layer_norm
    return _new_gelu if name == "NewGELUActivation" else None


def _with_lean_rotary(forward: Any) -> Callable[..., Any] | None:
    """The attention's own forward, in which the name of the function that rotates means ours."""
    code = getattr(forward, "__code__", None)
    if code is None or _ROTATION not in code.co_names:
        return None
    usual = forward.__globals__[_ROTATION]

    def rotated(q: Any, k: Any, cos: Any, sin: Any, *args: Any, **kwargs: Any) -> Any:
        size = q.shape[-1]
        known = size == cos.shape[-1] and size & (size - 1) == 0  # a power of two, as kernels want it
        if args or kwargs or not known or _kernels(q) is None:
            return usual(q, k, cos, sin, *args, **kwargs)
        return _rotary().apply(q, cos, sin), _rotary().apply(k, cos, sin)

    names = {**forward.__globals__, _ROTATION: rotated}
    changed = types.FunctionType(code, names, forward.__name__, forward.__defaults__, forward.__closure__)
    changed.__kwdefaults__ = forward.__kwdefaults__
    return changed


def _rms_norm(self: Any, hidden_states: torch.Tensor) -> torch.Tensor:
    import torch

    # Autocast would have it in fp32, input and output: inside it computes in fp32 anyway.
    with torch.autocast(hidden_states.device.type, enabled=False):
        weight = self.weight.to(hidden_states.dtype)
        return torch.nn.functional.rms_norm(hidden_states, weight.shape, weight, self.variance_epsilon)


def _layer_norm(self: Any, input: torch.Tensor) -> torch.Tensor:
    import torch

    with torch.autocast(input.device.type, enabled=False):
        weight, bias = (None if p is None else p.to(input.dtype) for p in (self.weight, self.bias))
        return torch.nn.functional.layer_norm(input, self.normalized_shape, weight, bias, self.eps)


def _gated_feed_forward(self: Any, x: torch.Tensor) -> torch.Tensor:
    return self.down_proj(_gated().apply(self.gate_proj(x), self.up_proj(x)))


def _new_gelu(self: Any, input: torch.Tensor) -> torch.Tensor:
    import torch

    return torch.nn.functional.gelu(input, approximate="tanh")
