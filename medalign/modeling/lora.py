"""LoRA adapters: which modules take one, adding and removing them, and a lean forward pass."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from medalign.modeling.base_models import BaseModel

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

# Names of the attention projections by `model_type`; any other family is asked for its linear layers.
_ATTENTION = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mistral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen2": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense"),
    "gpt2": ("c_attn", "attn.c_proj"),
}


def target_modules(model: PreTrainedModel, targets: Literal["attention", "all_linear"]) -> list[str] | str:
    """Names of the modules that take an adapter, in PEFT's form.

    `attention` on a family without an entry here means all linear layers, which PEFT finds by itself.
    """
    if targets == "attention" and model.config.model_type in _ATTENTION:
        return list(_ATTENTION[model.config.model_type])
    return "all-linear"


def lora_config(
    model: PreTrainedModel,
    *,
    rank: int,
    alpha: float,
    dropout: float,
    targets: Literal["attention", "all_linear"],
) -> LoraConfig:
    """PEFT's configuration of a LoRA adapter (Hu et al. 2022) for a causal language model.

    Args:
        alpha: The adapter's output is scaled by alpha / rank.
    """
    from peft import LoraConfig

    return LoraConfig(
        r=rank,
        lora_alpha=alpha,  # PEFT divides it by the rank; it need not be whole
        lora_dropout=dropout,
        target_modules=target_modules(model, targets),
        bias="none",
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


def lean_lora(model: PeftModel) -> contextlib.AbstractContextManager[None]:
    """Within it adapter layers take their input as it is instead of casting it to the adapter's fp32.

    Under autocast the product then runs in bf16 with fp32 master weights, which saves a quarter of the time
    of a training step on a CPU (benchmarks/).
    """
    from peft.helpers import disable_input_dtype_casting

    return disable_input_dtype_casting(model)
