"""Random models of true shapes: time and memory do not depend on what the weights are, so none need be downloaded.

base = random_base(CARDS["llama-3.1-8b"].shape, "nf4", "cuda")
"""

from __future__ import annotations

from typing import Any

from medalign.modeling.base_models import BaseModel, compute_dtype
from medalign.modeling.model_cards import ModelShape

FIRST_WORD = 8  # token ids below are special


def random_base(shape: ModelShape, precision: str, device: str, *, seed: int = 0) -> BaseModel:
    """A frozen model of this shape, as `load_base` would give it but for the lean blocks."""
    import torch

    target = torch.device(device)
    dtype = compute_dtype(precision, target)  # type: ignore[arg-type]
    torch.manual_seed(seed)
    model = _model(shape, dtype, target)
    if precision in ("nf4", "int8"):
        _quantise(model, precision, dtype, target)
    model.requires_grad_(False).eval()
    tokenizer = _tokenizer()
    model.config.pad_token_id = tokenizer.pad_token_id
    return BaseModel(
        name="random",
        model=model,
        tokenizer=tokenizer,
        precision=precision,  # type: ignore[arg-type]
        dtype=dtype,
        device=target,
    )


def _model(shape: ModelShape, dtype: Any, device: Any) -> Any:
    import torch
    import transformers as t

    shared: dict[str, Any] = {
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.num_layers,
        "num_attention_heads": shape.num_heads,
        "num_key_value_heads": shape.num_kv_heads,
        "max_position_embeddings": shape.window_tokens,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": 1,
        "eos_token_id": 1,
        "pad_token_id": 0,
    }
    if shape.model_type == "phi":
        config: Any = t.PhiConfig(**shared)
    elif shape.model_type == "mistral":
        config = t.MistralConfig(**shared, head_dim=shape.head_dim, sliding_window=None)
    elif shape.model_type == "llama":
        config = t.LlamaConfig(**shared, head_dim=shape.head_dim)
    else:
        raise ValueError(f"shape: no random model of the family {shape.model_type}")
    with torch.device(device):
        return t.AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")


def _quantise(model: Any, precision: str, dtype: Any, device: Any) -> None:
    """Replace the linear layers of the blocks by bitsandbytes' own, marked as transformers marks them."""
    import torch
    from bitsandbytes import nn as quantised
    from transformers import BitsAndBytesConfig
    from transformers.quantizers import AutoHfQuantizer
    from transformers.utils.quantization_config import QuantizationMethod

    output = model.get_output_embeddings()
    for name, module in list(model.named_modules()):
        if not isinstance(module, torch.nn.Linear) or module is output:
            continue
        parent, _, leaf = name.rpartition(".")
        sizes, bias = (module.in_features, module.out_features), module.bias is not None
        new: Any
        if precision == "nf4":
            new = quantised.Linear4bit(*sizes, bias, dtype, True, "nf4", device="meta")
            new.weight = quantised.Params4bit(
                module.weight.data,
                requires_grad=False,
                quant_type="nf4",
                compress_statistics=True,
                module=new,
            )
        else:
            new = quantised.Linear8bitLt(*sizes, bias, has_fp16_weights=False, threshold=6.0, device="meta")
            new.weight = quantised.Int8Params(
                module.weight.data.cpu(), requires_grad=False, has_fp16_weights=False
            )
        new.bias = module.bias
        setattr(model.get_submodule(parent), leaf, new.to(device))
        del module
    four = precision == "nf4"
    config = BitsAndBytesConfig(
        load_in_4bit=four,
        load_in_8bit=not four,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    model.is_quantized = True
    model.quantization_method = QuantizationMethod.BITS_AND_BYTES
    model.is_loaded_in_4bit, model.is_loaded_in_8bit = four, not four
    model.config.quantization_config = config
    model.hf_quantizer = AutoHfQuantizer.from_config(config, pre_quantized=True)


def _tokenizer() -> Any:
    """A tokenizer of a few words: the benchmarks hand in token ids."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": 0, "<end>": 1, "<unknown>": 2, "\n": 3}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<unknown>")),
        pad_token="<pad>",
        eos_token="<end>",
        bos_token="<end>",
        unk_token="<unknown>",
    )
