"""Linear layers side by side that are given the same input, as one node of the graph.

The query, key and value projections of an attention take the same tokens, and so do the two halves of a gated
feed-forward layer. As nodes of their own each makes a gradient of that input, and these are added in passes over
memory. Here the products add into one buffer, and the adapters' narrow matrices stand side by side, so that the input
is read once for all of them. The mathematics is that of lean_layers.py.

Shape letters:
    N = tokens, I = features in, O = features out, R = the ranks of all layers together
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from medalign.modeling.lean_layers import compute_dtype_of, dense_weight, frozen_product

if TYPE_CHECKING:
    import torch

SIBLINGS = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))


class Sibling(NamedTuple):
    """A layer and how it is computed alone.

    Attributes:
        frozen: The base's layer.
        alone: Its own forward, for what it is called with by itself.
        usual: The frozen layer's stock forward.
        adapter: Its (R, I) and (O, R) matrices and the scale of their product; None without.
        is_plain: Whether it can be joined as the model stands: no dropout, adapters neither merged nor switched off.
    """

    frozen: Any
    alone: Callable[..., torch.Tensor]
    usual: Callable[[torch.Tensor], torch.Tensor]
    adapter: tuple[torch.Tensor, torch.Tensor, float] | None
    is_plain: Callable[[], bool]


def joint_forwards(siblings: Sequence[Sibling]) -> list[Callable[..., torch.Tensor]]:
    """A forward for each of the layers; the first that is called computes all, and the others hand out theirs."""
    waiting: dict[int, torch.Tensor] = {}
    given: list[torch.Tensor] = []

    def forward_of(number: int) -> Callable[..., torch.Tensor]:
        def forward(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
            if number in waiting and given[0] is x:
                result = waiting.pop(number)
                if not waiting:
                    given.clear()
                return result
            if number or args or kwargs or not all(s.is_plain() for s in siblings):
                return siblings[number].alone(x, *args, **kwargs)
            first, *others = _joint_product(x, siblings)
            waiting.update(enumerate(others, start=1))
            given[:] = [x]
            return first

        return forward

    return [forward_of(number) for number in range(len(siblings))]


def _joint_product(x: torch.Tensor, siblings: Sequence[Sibling]) -> tuple[torch.Tensor, ...]:
    weights = [tensor for s in siblings if s.adapter is not None for tensor in s.adapter[:2]]
    found: tuple[torch.Tensor, ...] = _function().apply(x.to(compute_dtype_of(x)), siblings, *weights)
    return found


_cached: dict[str, Any] = {}


def _function() -> Any:
    """The autograd function, made on first use: this module is imported without torch."""
    if "function" not in _cached:
        _cached["function"] = _make_function()
    return _cached["function"]


def _make_function() -> Any:
    import torch

    class JointProduct(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, siblings: Any, *weights: torch.Tensor) -> Any:
            results = [frozen_product(s.frozen, s.usual, x) for s in siblings]
            ctx.siblings = siblings
            if not weights:
                ctx.save_for_backward()
                return tuple(results)
            ctx.masters = weights[0].dtype
            a_RI = torch.cat(weights[::2]).to(x.dtype)
            inner_NR = x.flatten(0, -2) @ a_RI.t()
            ups = []
            for s, b, result, part in zip(
                siblings, weights[1::2], results, _parts(inner_NR, weights[1::2]), strict=True
            ):
                ups.append(torch.mul(b, s.adapter[2], out=torch.empty_like(b, dtype=x.dtype)))
                result.flatten(0, -2).addmm_(part, ups[-1].t())
            ctx.save_for_backward(x, inner_NR, a_RI, *ups)
            return tuple(results)

        @staticmethod
        def backward(ctx: Any, *gradients: torch.Tensor) -> Any:
            flat = [gradient.flatten(0, -2) for gradient in gradients]
            wanted = ctx.needs_input_grad[0]
            x_gradient_NI: Any = None
            if wanted:
                x_gradient_NI = flat[0] @ dense_weight(ctx.siblings[0].frozen, flat[0].dtype)
                for s, gradient_NO in zip(ctx.siblings[1:], flat[1:], strict=True):
                    x_gradient_NI.addmm_(gradient_NO, dense_weight(s.frozen, gradient_NO.dtype))
            saved = ctx.saved_tensors  # read once: recomputed activations are handed out once
            adapter_gradients: list[torch.Tensor] = []
            if saved:
                x, inner_NR, a_RI, *ups = saved
                inner_gradient_NR = torch.empty_like(inner_NR)
                for gradient_NO, b, part in zip(flat, ups, _parts(inner_gradient_NR, ups), strict=True):
                    torch.mm(gradient_NO, b, out=part)
                a_gradient_RI = (inner_gradient_NR.t() @ x.flatten(0, -2)).to(ctx.masters)
                downs = a_gradient_RI.split([b.shape[1] for b in ups])
                for s, gradient_NO, part, down, b in zip(
                    ctx.siblings, flat, _parts(inner_NR, ups), downs, ups, strict=True
                ):
                    b_gradient = torch.empty_like(b)
                    torch.addmm(b_gradient, gradient_NO.t(), part, beta=0, alpha=s.adapter[2], out=b_gradient)
                    adapter_gradients += [down, b_gradient.to(ctx.masters)]
                if wanted:
                    x_gradient_NI.addmm_(inner_gradient_NR, a_RI)
            x_gradient = x_gradient_NI.view(*gradients[0].shape[:-1], -1) if wanted else None
            return (x_gradient, None, *adapter_gradients)

    return JointProduct


def _parts(inner_NR: torch.Tensor, ups: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    """The columns that belong to each layer, whose own rank is the width of its (O, R) matrix."""
    return inner_NR.split([b.shape[1] for b in ups], dim=1)
