"""Adapters: where they go, and that nothing of them stays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from medalign.errors import ModelError
from medalign.modeling import base_models
from medalign.modeling.base_models import BaseModel, Precision
from medalign.modeling.lora import (
    AdapterKind,
    attached_lora,
    lean_lora,
    lora_config,
    target_modules,
    trainable_weights,
)
from tests.modeling.conftest import TinyBase
from tests.tiny_models import ARCHITECTURES, Architecture

if TYPE_CHECKING:
    import torch
    from peft import PeftModel

TOKENS = [[7, 30, 40, 50, 60]]


def adapted(base: BaseModel, targets: Literal["attention", "all_linear"] = "attention") -> PeftModel:
    """An adapter whose output is not zero."""
    import torch
    from peft import get_peft_model

    model = get_peft_model(
        base.model, lora_config(base.model, rank=2, alpha=4.0, dropout=0.0, targets=targets)
    )
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.ones_like(parameter)
    return model


def logits(base: BaseModel) -> torch.Tensor:
    import torch

    with torch.no_grad(), base.computing():
        return base.model(torch.tensor(TOKENS)).logits


def state_of(base: BaseModel) -> dict[str, Any]:
    """All that an adapter could leave behind, apart from the values of the weights."""
    model = base.model
    return {
        "modules": [(name, type(module)) for name, module in model.named_modules()],
        "attributes": set(model.__dict__),
        "keys": list(model.state_dict()),
        "trainable": [name for name, p in model.named_parameters() if p.requires_grad],
        "training": [name for name, module in model.named_modules() if module.training],
        "hooks": [name for name, m in model.named_modules() if m._forward_hooks or m._forward_pre_hooks],
        "config": model.config.to_dict(),
    }


@pytest.mark.parametrize("targets", ["attention", "all_linear"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("precision", ["fp32", "nf4", "int8"])
def test_an_adapter_leaves_the_base_exactly_as_it_was(
    tiny_base: TinyBase,
    architecture: Architecture,
    precision: Precision,
    targets: Literal["attention", "all_linear"],
) -> None:
    import torch

    base = tiny_base(architecture, precision)
    before, weights = state_of(base), {k: v.clone() for k, v in base.model.state_dict().items()}
    said = logits(base)
    with attached_lora(base):
        adapted(base, targets).train()
        base.model.forward = base.model.forward  # as TRL and accelerate put their own in its place
        base.model.gradient_step = "left behind"
        assert not torch.equal(logits(base), said)
    assert state_of(base) == before
    assert "forward" not in base.model.__dict__
    for name, value in base.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert torch.equal(logits(base), said)


def test_the_base_is_restored_after_a_failure_too(tiny_base: TinyBase) -> None:
    base = tiny_base()
    before = state_of(base)
    with pytest.raises(RuntimeError, match="out of memory"), attached_lora(base):
        adapted(base)
        raise RuntimeError("out of memory")
    assert state_of(base) == before


def test_a_second_adapter_starts_from_the_untouched_base(tiny_base: TinyBase) -> None:
    import torch

    base, outputs = tiny_base(), []
    for _ in range(2):
        torch.manual_seed(0)
        with attached_lora(base):
            adapted(base)
            outputs.append(logits(base))
    assert torch.equal(*outputs)


@pytest.mark.parametrize(
    ("architecture", "leaves"),
    [
        ("llama", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("mistral", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("qwen2", {"q_proj", "k_proj", "v_proj", "o_proj"}),
        ("phi", {"q_proj", "k_proj", "v_proj", "dense"}),
        ("gpt2", {"c_attn", "c_proj"}),
    ],
)
def test_attention_means_the_projections_of_every_layers_attention(
    tiny_base: TinyBase, architecture: Architecture, leaves: set[str]
) -> None:
    base = tiny_base(architecture)
    with attached_lora(base):
        names = [n.partition(".lora_A")[0] for n, _ in adapted(base).named_modules() if n.endswith("lora_A")]
    assert len(names) == 2 * len(leaves)
    assert {name.rpartition(".")[2] for name in names} == leaves
    assert all(".attn." in name or ".self_attn." in name for name in names)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_all_linear_reaches_the_feed_forward_layers_and_not_the_output_layer(
    tiny_base: TinyBase, architecture: Architecture
) -> None:
    base = tiny_base(architecture)
    with attached_lora(base):
        names = [n for n, _ in adapted(base, "all_linear").named_modules() if n.endswith("lora_A")]
    assert any(".mlp." in name for name in names)
    assert any("attn." in name for name in names)
    assert not any("lm_head" in name for name in names)


def test_attention_of_an_unknown_family_means_all_linear_layers(tiny_base: TinyBase) -> None:
    base = tiny_base()
    base.model.config.model_type = "never-heard-of"
    assert target_modules(base.model, "attention") == "all-linear"


def test_settings_reach_the_adapter(tiny_base: TinyBase) -> None:
    config = lora_config(tiny_base().model, rank=8, alpha=12.0, dropout=0.1, targets="attention")
    assert (config.r, config.lora_alpha, config.lora_dropout, config.bias) == (8, 12.0, 0.1, "none")


def test_a_lean_adapter_multiplies_in_bf16_and_trains_in_fp32(
    tiny_base: TinyBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(base_models, "computes_in_bf16", lambda device: True)
    base, seen = tiny_base("llama", "bf16"), []
    with attached_lora(base):
        model = adapted(base)
        layer = next(m for n, m in model.named_modules() if n.endswith("q_proj"))
        layer.register_forward_hook(lambda module, args, output: seen.append(output.dtype))
        with base.computing():
            usual = model(torch.tensor(TOKENS)).logits
            with lean_lora(model):
                lean = model(torch.tensor(TOKENS)).logits
                lean.float().sum().backward()
        weight = layer.lora_A["default"].weight
        assert weight.dtype == weight.grad.dtype == torch.float32
        assert "forward" not in layer.__dict__
    assert seen == [torch.bfloat16, torch.bfloat16]
    torch.testing.assert_close(lean, usual, rtol=0.05, atol=0.2)


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora"])
def test_an_adapter_is_loaded_and_merged_by_stock_peft(
    tiny_base: TinyBase, tmp_path: Path, kind: AdapterKind
) -> None:
    import torch
    from peft import PeftModel, get_peft_model

    base, stock = tiny_base(), tiny_base()
    untouched = logits(base)
    with attached_lora(base):
        config = lora_config(base.model, rank=4, alpha=8, dropout=0.0, targets="all_linear", kind=kind)
        model = get_peft_model(base.model, config)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.full_like(parameter, 0.02)
        with lean_lora(model.eval()):
            ours = logits(base)
            model.save_pretrained(str(tmp_path))
    loaded = PeftModel.from_pretrained(stock.model, str(tmp_path))
    with torch.no_grad():
        torch.testing.assert_close(loaded(torch.tensor(TOKENS)).logits, ours, rtol=1e-4, atol=1e-4)
        merged = loaded.merge_and_unload()
        torch.testing.assert_close(merged(torch.tensor(TOKENS)).logits, ours, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(ours, untouched, atol=1e-2)


def test_all_weights_are_trained_in_fp32_and_are_afterwards_what_they_were(tiny_base: TinyBase) -> None:
    import torch

    base = tiny_base()
    before = {name: value.clone() for name, value in base.model.state_dict().items()}
    with trainable_weights(base):
        for parameter in base.model.parameters():
            assert parameter.requires_grad
            assert parameter.dtype == torch.float32
            parameter.data.add_(1.0)
    assert not any(p.requires_grad for p in base.model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in base.model.state_dict().items())


def test_quantised_weights_cannot_be_trained_themselves(tiny_base: TinyBase) -> None:
    base = tiny_base("llama", "nf4")
    with (
        pytest.raises(ModelError, match="precision: nf4; quantised weights cannot be trained"),
        trainable_weights(base),
    ):
        pass
