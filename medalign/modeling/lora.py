"""LoRA adapters: which modules take one, adding and removing them, and a lean forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

from medalign.errors import ModelError
from medalign.modeling.base_models import BaseModel
from medalign.modeling.joint_products import SIBLINGS, Sibling, joint_forwards
from medalign.modeling.lean_layers import (
    added_product,
    is_4bit,
    is_8bit,
    is_linear,
    lean_frozen,
    lean_product,
)
from medalign.modeling.model_cards import ATTENTION

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

AdapterKind = Literal["lora", "rslora", "dora"]


def target_modules(model: PreTrainedModel, targets: Literal["attention", "all_linear"]) -> list[str] | str:
    """Names of the modules that take an adapter, in PEFT's form.

    `attention` on a family without an entry here means all linear layers, which PEFT finds by itself.
    """
    if targets == "attention" and model.config.model_type in ATTENTION:
        return list(ATTENTION[model.config.model_type])
    return "all-linear"


def lora_config(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Literal["attention", "all_linear"],
    kind: AdapterKind = "lora",
) -> LoraConfig:
    """PEFT's configuration of a LoRA adapter (Hu et al. 2022) for a causal language model.

    Args:
        alpha: The adapter's output is scaled by alpha / rank.
        kind: `rslora` scales by alpha / sqrt(rank) instead (Kalajdzievski 2023); `dora` learns the magnitudes of the
            weight's columns too (Liu et al. 2024).
    """
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # PEFT divides it by the rank; it need not be whole
        lora_dropout=dropout,
        target_modules=target_modules(model, targets),
        bias="none",
        use_rslora=kind == "rslora",
        use_dora=kind == "dora",
        task_type="CAUSAL_LM",
    )


@contextlib.contextmanager
def attached_lora(base: BaseModel) -> Iterator[None]:
    """Whatever adapter is put into the base model within it is taken out again; the weights stay as they were."""
    before = set(base.model.__dict__)
    try:
        yield
    finally:
        _detach(base.model)
        # TRL and accelerate replace the forward on the instance; the class has the model's own.
        for name in set(base.model.__dict__) - before:
            delattr(base.model, name)
        base.model.requires_grad_(False).eval()


def _detach(model: PreTrainedModel) -> None:
    """Put every adapted layer's own base layer back."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, module.get_base_layer())


@contextlib.contextmanager
def lean_lora(model: PeftModel) -> Iterator[None]:
    """Within it adapter layers compute in their lean form (lean_layers.py), and so do 8-bit layers without adapter.

    Under autocast the products run in bf16 with fp32 master weights. A layer of another kind (DoRA, an embedding)
    computes as PEFT does, but takes its input as it is instead of casting it to fp32.
    """
    from peft.helpers import disable_input_dtype_casting
    from peft.tuners.tuners_utils import BaseTunerLayer

    changed = []
    with disable_input_dtype_casting(model):
        adapted = {id(m.get_base_layer()) for m in model.modules() if isinstance(m, BaseTunerLayer)}
        for module in list(model.modules()):
            # bitsandbytes' 8-bit product keeps its input, which nothing needs where no weight is trained; its 4-bit one
            # unpacks more slowly.
            if (is_8bit(module) or is_4bit(module)) and id(module) not in adapted:
                module.forward = lean_frozen(module)
                changed.append(module)
            elif (forward := _lean_forward(module)) is not None:
                module.forward = forward
                changed.append(module)
        for module in list(model.modules()):
            for group in _siblings(module):
                layers, siblings = zip(*group, strict=True)
                for layer, forward in zip(layers, joint_forwards(siblings), strict=True):
                    layer.forward = forward
                    changed += [layer] if layer not in changed else []
        try:
            yield
        finally:
            for module in changed:
                del module.forward


def _lean_forward(layer: Any) -> Callable[..., torch.Tensor] | None:
    """The lean forward of an adapter's layer; None for every other module and for what has no lean form."""
    from peft.tuners.lora import LoraLayer

    if not isinstance(layer, LoraLayer) or not is_linear(layer.get_base_layer()):
        return None
    usual, frozen = layer.forward, layer.get_base_layer()
    names = layer.active_adapters
    if len(names) != 1 or names[0] in layer.lora_variant or layer.lora_bias[names[0]]:
        return None
    (name,) = names
    a, b, dropout = layer.lora_A[name], layer.lora_B[name], layer.lora_dropout[name]

    def forward(x: torch.Tensor, *args: object, **kwargs: object) -> torch.Tensor:
        if args or kwargs or layer.disable_adapters or layer.merged:
            return usual(x, *args, **kwargs)
        if not layer.training or not getattr(dropout, "p", 0.0):
            return lean_product(frozen, x, a.weight, b.weight, layer.scaling[name])
        result = lean_product(frozen, x, None, None, 0.0)
        return added_product(result, dropout(x), a.weight, b.weight, layer.scaling[name])

    return forward


def _siblings(parent: Any) -> Iterator[list[tuple[Any, Sibling]]]:
    """Groups of layers of a module that take the same input: all with a lean adapter, or all frozen without."""
    for names in SIBLINGS:
        layers = [getattr(parent, name, None) for name in names]
        found = [_sibling(layer) for layer in layers]
        if all(s is not None for s in found) and len({s.adapter is None for s in found if s}) == 1:
            yield [(layer, s) for layer, s in zip(layers, found, strict=True) if s is not None]


def _sibling(layer: Any) -> Sibling | None:
    if layer is None:
        return None
    if is_linear(layer):
        usual = type(layer).forward.__get__(layer)
        trained = any(p.requires_grad for p in layer.parameters())
        return None if trained else Sibling(layer, layer.forward, usual, None, lambda: True)
    if _lean_forward(layer) is None:
        return None
    (name,) = layer.active_adapters
    frozen, dropout = layer.get_base_layer(), layer.lora_dropout[name]
    adapter = layer.lora_A[name].weight, layer.lora_B[name].weight, layer.scaling[name]

    def is_plain() -> bool:
        dropping = layer.training and getattr(dropout, "p", 0.0)
        return not (dropping or layer.disable_adapters or layer.merged)

    return Sibling(frozen, layer.forward, frozen, adapter, is_plain)


@contextlib.contextmanager
def recomputed_activations(model: PreTrainedModel, *, active: bool) -> Iterator[None]:
    """Within it, if active, a block keeps its input alone and computes the rest again in the backward pass."""
    if not active:
        yield
        return
    # transformers renamed it between 5.17 and 5.23; the older name warns in the newer version.
    renamed = hasattr(model, "activation_checkpointing_enable")
    switch = "activation_checkpointing" if renamed else "gradient_checkpointing"
    getattr(model, f"{switch}_enable")(**{f"{switch}_kwargs": {"use_reentrant": False}})
    try:
        yield
    finally:
        getattr(model, f"{switch}_disable")()


@contextlib.contextmanager
def trainable_weights(base: BaseModel) -> Iterator[None]:
    """Within it all weights of the base are trained, as masters in 32 bits; afterwards they are what they were.

    Raises:
        ModelError: The weights are quantised.
    """
    import torch

    if base.precision in ("nf4", "int8"):
        raise ModelError(
            f"precision: {base.precision}; quantised weights cannot be trained; use bf16 or an adapter"
        )
    before = [(p, p.data) for p in base.model.parameters()]
    kept = [data.to("cpu", copy=True) if data.is_cuda else data for _, data in before]
    try:
        for parameter, data in before:
            parameter.data = data.to(torch.float32, copy=True)
            parameter.requires_grad_(True)
        before.clear()
        yield
    finally:
        for parameter, data in zip(base.model.parameters(), kept, strict=True):
            parameter.grad = None
            parameter.data = data.to(base.device)
            parameter.requires_grad_(False)
