"""Whether the quick path trains what stock TRL + PEFT trains: the same rows, 20 steps, losses and adapter compared.

Arithmetic in 16 bits gives no two programs the same figures, so both are compared with stock TRL in fp32 on the same
weights (quantised ones unpacked): ours must lie no farther from it than the stock trainer in 16 bits does.
"""

from __future__ import annotations

import copy
from typing import Any

from benchmarks import gpu
from benchmarks import plain_scripts as plain
from benchmarks.random_models import random_base
from medalign.modeling.base_models import BaseModel
from medalign.modeling.model_cards import CARDS

NUM_STEPS = 20
SETTING: dict[str, Any] = {"learning_rate": 1e-3, "warmup_share": 0.0}


def measure_equality(report: Any, device: str = "cuda") -> None:
    import dataclasses

    shape = dataclasses.replace(
        CARDS["llama-3.1-8b"].shape,
        hidden=512,
        intermediate=1536,
        num_layers=6,
        num_heads=8,
        num_kv_heads=2,
        head_dim=64,
        vocabulary=4096,
    )
    for precision in ("bf16", "nf4"):
        for method in ("sft", "dpo"):
            report.add(f"equal_{precision}_{method}", **_distances(shape, precision, method, device))


def _distances(shape: Any, precision: str, method: str, device: str) -> dict[str, float]:
    from medalign.modeling.lean_layers import lean_blocks

    rows = gpu.training_rows(shape, method, plain.BATCH_SIZE * NUM_STEPS, prompt=96, answer=32)
    exact = plain.train(
        method, _in_fp32(random_base(shape, precision, device)), rows, NUM_STEPS, **_same(device, bf16=False)
    )
    stock = plain.train(
        method, random_base(shape, precision, device), rows, NUM_STEPS, **_same(device, bf16=True)
    )
    base = random_base(shape, precision, device)
    lean_blocks(base.model)
    ours = gpu.train(method, base, rows, **SETTING)
    return {
        "stock_loss_error": _loss_distance(stock, exact),
        "ours_loss_error": _loss_distance(ours, exact),
        "stock_adapter_error": _adapter_distance(stock, exact),
        "ours_adapter_error": _adapter_distance(ours, exact),
        "last_loss": exact.losses[-1],
    }


def _same(device: str, *, bf16: bool) -> dict[str, Any]:
    """Ours in TRL's words: what `LoraSettings` says, without the speed."""
    return {
        "learning_rate": SETTING["learning_rate"],
        "lr_scheduler_type": "linear",
        "warmup_steps": 0,
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "bf16": bf16,
        "use_cpu": device == "cpu",
        "seed": 0,
        "data_seed": 0,
    }


def _in_fp32(base: BaseModel) -> BaseModel:
    """The same weights in fp32, unpacked where they are quantised."""
    import dataclasses

    import torch

    from medalign.modeling.lean_layers import dense_weight

    model = base.model
    for name, module in list(model.named_modules()):
        if getattr(module, "weight", None) is not None and hasattr(module.weight, "quant_state"):
            parent, _, leaf = name.rpartition(".")
            layer = torch.nn.Linear(module.in_features, module.out_features, bias=False, device=base.device)
            layer.weight.data = dense_weight(module, torch.float32)
            setattr(model.get_submodule(parent), leaf, layer)
    for mark in ("is_loaded_in_4bit", "is_quantized", "hf_quantizer", "quantization_method"):
        model.__dict__.pop(mark, None)
    config = copy.copy(model.config)
    config.__dict__.pop("quantization_config", None)
    model.config = config
    model.float().requires_grad_(False)
    return dataclasses.replace(base, model=model, precision="fp32", dtype=torch.float32)


def _loss_distance(one: plain.Steps, other: plain.Steps) -> float:
    return max(abs(a - b) for a, b in zip(one.losses, other.losses, strict=True))


def _adapter_distance(one: plain.Steps, other: plain.Steps) -> float:
    """Of all weights together (Frobenius norm, relative)."""
    assert sorted(one.adapter) == sorted(other.adapter)
    difference = sum(float((one.adapter[n] - other.adapter[n]).square().sum()) for n in other.adapter)
    return (difference / sum(float(w.square().sum()) for w in other.adapter.values())) ** 0.5
