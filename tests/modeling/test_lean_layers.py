"""Lean layers against the stock ones: outputs and every gradient."""

from __future__ import annotations

import contextlib

import pytest
import torch

from medalign.modeling.base_models import BaseModel, Precision
from medalign.modeling.held_weights import held_weights
from medalign.modeling.lean_layers import dense_weight, held_copy, lean_blocks
from medalign.modeling.lora import attached_lora, lean_lora, lora_config, recomputed_activations
from tests.markers import requires_gpu
from tests.modeling.conftest import TinyBase
from tests.tiny_models import ARCHITECTURES, Architecture

TOKENS = torch.tensor([[7, 30, 40, 50, 60, 9], [8, 31, 41, 51, 61, 10]])


def step(base: BaseModel, *, dropout: float, lean: bool, recompute: bool = False) -> dict[str, torch.Tensor]:
    """Loss and gradients of a step with an adapter whose output is not zero."""
    from peft import get_peft_model

    torch.manual_seed(3)
    found: dict[str, torch.Tensor] = {}
    with attached_lora(base):
        config = lora_config(base.model, rank=4, alpha=8.0, dropout=dropout, targets="all_linear")
        model = get_peft_model(base.model, config)
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
        model.train()
        leanly = lean_lora(model) if lean else contextlib.nullcontext()
        with leanly, recomputed_activations(base.model, active=recompute):
            torch.manual_seed(5)
            loss = model(TOKENS, labels=TOKENS).loss
            loss.backward()
        found["loss"] = loss.detach()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                found[name] = parameter.grad.clone()
    return found


def assert_alike(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert sorted(one) == sorted(other)
    for name in other:
        torch.testing.assert_close(
            one[name], other[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_lean_adapter_has_pefts_loss_and_gradients(
    tiny_base: TinyBase, architecture: Architecture, dropout: float
) -> None:
    base = tiny_base(architecture)
    assert_alike(step(base, dropout=dropout, lean=True), step(base, dropout=dropout, lean=False))


@pytest.mark.parametrize("precision", ["nf4", "int8"])
def test_the_same_holds_on_quantised_weights(tiny_base: TinyBase, precision: Precision) -> None:
    base = tiny_base("llama", precision)
    lean, stock = step(base, dropout=0.0, lean=True), step(base, dropout=0.0, lean=False)
    for name in stock:
        # PEFT multiplies in fp32 here, the lean layer as the base does.
        assert float((lean[name] - stock[name]).norm() / stock[name].norm()) < 0.05, name


def test_weights_that_are_held_unpacked_change_no_number_and_nothing_behind_them(tiny_base: TinyBase) -> None:
    base = tiny_base("llama", "nf4")
    packed = step(base, dropout=0.0, lean=True)
    keys = list(base.model.state_dict())
    weights = base.shape.layer_params
    for gib, share in (
        (1.0, 1.0),
        (weights / 2**30, 0.5),
        (0.0, 0.0),
    ):  # at two bytes a weight: all, half, none
        with held_weights(base.model, torch.bfloat16, gib) as number:
            held = [m for m in base.model.modules() if held_copy(m) is not None]
            assert len(held) == number
            assert sum(held_copy(m).numel() for m in held) <= share * weights  # type: ignore[union-attr]
            assert (number == 14) == (share == 1.0) and (number == 0) == (share == 0.0)
    with held_weights(base.model, torch.float32, 1.0):
        found = step(base, dropout=0.0, lean=True)
    for name in packed:  # in fp32 on a CPU bitsandbytes multiplies in another order
        torch.testing.assert_close(found[name], packed[name], rtol=1e-4, atol=1e-6)
    assert list(base.model.state_dict()) == keys
    assert not [m for m in base.model.modules() if held_copy(m) is not None or "forward" in vars(m)]


def test_layers_with_one_input_are_one_node_whichever_is_called_first(tiny_base: TinyBase) -> None:
    from peft import get_peft_model

    base = tiny_base("llama")
    with attached_lora(base):
        config = lora_config(base.model, rank=4, alpha=8.0, dropout=0.0, targets="attention")
        attention = get_peft_model(base.model, config).get_submodule("model.model.layers.0.self_attn")
        x, y = torch.randn(2, 1, 3, 64, requires_grad=True).unbind()
        alone = [getattr(attention, name)(z) for name, z in calls(x, y)]
        with lean_lora(base.model):
            found = [getattr(attention, name)(z) for name, z in calls(x, y)]
            assert found[0].grad_fn is found[1].grad_fn is found[2].grad_fn
            assert found[3].grad_fn is not found[4].grad_fn
        for one, other in zip(found, alone, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def calls(x: torch.Tensor, y: torch.Tensor) -> list[tuple[str, torch.Tensor]]:
    together = [("q_proj", x), ("k_proj", x), ("v_proj", x)]
    return [*together, ("v_proj", x), ("k_proj", y), ("q_proj", x), ("k_proj", y), ("v_proj", x)]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_what_is_computed_again_gives_the_same_gradients(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    base = tiny_base(architecture)
    again = step(base, dropout=0.3, lean=True, recompute=True)
    assert_alike(again, step(base, dropout=0.3, lean=True))
    assert not base.model.is_activation_checkpointing


@pytest.mark.parametrize(
    ("architecture", "changed"), [("llama", 9), ("mistral", 9), ("qwen2", 9), ("gpt2", 7), ("phi", 5)]
)
def test_lean_blocks_leave_the_mathematics(
    tiny_base: TinyBase, architecture: Architecture, changed: int
) -> None:
    stock, lean = tiny_base(architecture), tiny_base(architecture)
    keys = list(lean.model.state_dict())
    assert lean_blocks(lean.model) == changed
    assert lean_blocks(lean.model) == 0  # a second time there is nothing left to change
    assert list(lean.model.state_dict()) == keys
    assert_alike(step(lean, dropout=0.0, lean=True), step(stock, dropout=0.0, lean=False))


def test_lean_blocks_change_no_other_model(tiny_base: TinyBase) -> None:
    lean_blocks(tiny_base().model)
    assert not [name for name, m in tiny_base().model.named_modules() if type(m).__name__.startswith("Lean")]


@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
@pytest.mark.parametrize("precision", ["fp32", "nf4", "int8"])
def test_the_dense_weight_is_what_the_layer_multiplies_with(
    tiny_base: TinyBase, architecture: Architecture, precision: Precision
) -> None:
    model = tiny_base(architecture, precision).model
    layer = model.get_submodule(
        "model.layers.0.mlp.up_proj" if architecture == "llama" else "transformer.h.0.mlp.c_fc"
    )
    x = torch.eye(64)[:5]
    bias = 0.0 if layer.bias is None else layer.bias
    with torch.no_grad():
        layer(x)
        product = x @ dense_weight(layer, torch.float32).t() + bias
        torch.testing.assert_close(layer(x), product, rtol=0.05, atol=0.05)


@requires_gpu
def test_kernels_compute_what_torch_does() -> None:
    from medalign.modeling import triton_kernels as kernels

    torch.manual_seed(0)
    gate, up, d = (torch.randn(3, 77, 96, device="cuda", requires_grad=i < 2) for i in range(3))
    expected = torch.nn.functional.silu(gate) * up
    torch.testing.assert_close(kernels.gate_forward(gate, up), expected)
    torch.testing.assert_close(
        kernels.gate_backward(d, gate, up), torch.autograd.grad(expected, (gate, up), d)
    )
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    for size in (64, 4096, 64 * 12345):
        weight = torch.randn(size // 64, 64, device="cuda", dtype=torch.bfloat16)
        packed, state = quantize_4bit(weight, quant_type="nf4", compress_statistics=True)
        assert kernels.knows(state)
        assert torch.equal(kernels.unpack_nf4(packed, state), dequantize_4bit(packed, state))
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    q = torch.randn(2, 9, 6, 32, device="cuda").transpose(1, 2)
    angle = torch.randn(2, 9, 16, device="cuda").repeat(1, 1, 2)
    turned, _ = apply_rotary_pos_emb(q, q, angle.cos(), angle.sin())
    torch.testing.assert_close(kernels.rotate(q, angle.cos(), angle.sin(), 1), turned)
    torch.testing.assert_close(kernels.rotate(turned, angle.cos(), angle.sin(), -1), q)
