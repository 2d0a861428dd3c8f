"""What is known of a model without its weights: its shape, from a card or from its `config.json`.

A card names the sizes of a model in use, so that memory can be planned before anything is fetched. A model without
a card is described by its own configuration; where that leaves a size open, a rule fills it in and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from medalign.errors import ModelError

# Names of the attention projections by `model_type`; any other family is asked for its linear layers.
ATTENTION = {
    "llama": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "mistral": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "qwen2": ("q_proj", "k_proj", "v_proj", "o_proj"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense"),
    "gpt2": ("c_attn", "attn.c_proj"),
}
_GATED = {"llama", "mistral", "qwen2"}  # families whose feed-forward layer has a gate


class Projection(NamedTuple):
    """A linear layer: features in and out."""

    num_in: int
    num_out: int

    @property
    def num_params(self) -> int:
        return self.num_in * self.num_out


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """Sizes of a decoder-only transformer; biases and norms, under 0.1 % of it, are left out.

    Attributes:
        model_type: The family, as transformers names it.
        num_kv_heads: Heads of keys and values; fewer than num_heads in grouped-query attention.
        gated: Whether the feed-forward layer has a gate (three matrices instead of two).
        tied: Whether the output layer is the embedding.
        window_tokens: Tokens that the model can see at once.
    """

    model_type: str
    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocabulary: int
    gated: bool
    tied: bool
    window_tokens: int

    @property
    def query_width(self) -> int:
        return self.num_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.num_kv_heads * self.head_dim

    @property
    def attention(self) -> tuple[Projection, ...]:
        """The projections of one layer's attention."""
        query, kv = self.query_width, self.kv_width
        if self.model_type == "gpt2":
            return Projection(self.hidden, query + 2 * kv), Projection(query, self.hidden)
        return (
            Projection(self.hidden, query),
            Projection(self.hidden, kv),
            Projection(self.hidden, kv),
            Projection(query, self.hidden),
        )

    @property
    def feed_forward(self) -> tuple[Projection, ...]:
        """The matrices of one layer's feed-forward part."""
        inward = Projection(self.hidden, self.intermediate)
        return (inward,) * (1 + self.gated) + (Projection(self.intermediate, self.hidden),)

    @property
    def layer_params(self) -> int:
        """Weights in the linear layers of all blocks: what quantisation makes smaller."""
        return self.num_layers * sum(p.num_params for p in (*self.attention, *self.feed_forward))

    @property
    def output_params(self) -> int:
        return self.vocabulary * self.hidden

    @property
    def unquantised_params(self) -> int:
        """Embedding and output layer, which stay as they are at every precision."""
        return self.output_params * (1 if self.tied else 2)

    @property
    def num_params(self) -> int:
        return self.layer_params + self.unquantised_params

    def targets(self, which: str) -> tuple[Projection, ...]:
        """Layers of one block that take an adapter: `attention`, or `all_linear`.

        A family without an entry in ATTENTION has `all_linear` for both, as `lora.target_modules` does.
        """
        if which == "attention" and self.model_type in ATTENTION:
            return self.attention
        return self.attention + self.feed_forward

    @property
    def forward_flops(self) -> float:
        """Floating-point operations of a token's forward pass through the blocks: 2 a weight, attention left out."""
        return 2.0 * self.layer_params


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """A model in use.

    Attributes:
        title: As its makers write it.
        hub_ids: Models of this shape, the usual one first.
        chat: How its instruct version takes turns.
    """

    title: str
    hub_ids: tuple[str, ...]
    licence: str
    chat: str
    shape: ModelShape


def _llama(
    hidden: int,
    intermediate: int,
    num_layers: int,
    num_heads: int,
    num_kv_heads: int,
    vocabulary: int,
    window_tokens: int,
    **changes: Any,
) -> ModelShape:
    fields: dict[str, Any] = {
        "model_type": "llama",
        "hidden": hidden,
        "intermediate": intermediate,
        "num_layers": num_layers,
        "num_heads": num_heads,
        "num_kv_heads": num_kv_heads,
        "head_dim": 128,
        "vocabulary": vocabulary,
        "gated": True,
        "tied": False,
        "window_tokens": window_tokens,
    }
    return ModelShape(**(fields | changes))


# Sizes: `config.json` of each model.
CARDS: dict[str, ModelCard] = {
    "llama-3.2-3b": ModelCard(
        title="LLaMA-3.2-3B",
        hub_ids=("meta-llama/Llama-3.2-3B-Instruct", "meta-llama/Llama-3.2-3B"),
        licence="Llama 3.2 Community",
        chat="header marks, system turn",
        shape=_llama(3072, 8192, 28, 24, 8, 128_256, 131_072, tied=True),
    ),
    "llama-2-7b": ModelCard(
        title="LLaMA-2-7B",
        hub_ids=("meta-llama/Llama-2-7b-chat-hf", "meta-llama/Llama-2-7b-hf"),
        licence="Llama 2 Community",
        chat="[INST], system text inside the first turn",
        shape=_llama(4096, 11_008, 32, 32, 32, 32_000, 4096),
    ),
    "llama-3.1-8b": ModelCard(
        title="LLaMA-3.1-8B",
        hub_ids=("meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B"),
        licence="Llama 3.1 Community",
        chat="header marks, system turn",
        shape=_llama(4096, 14_336, 32, 32, 8, 128_256, 131_072),
    ),
    "llama-2-13b": ModelCard(
        title="LLaMA-2-13B",
        hub_ids=("meta-llama/Llama-2-13b-chat-hf", "meta-llama/Llama-2-13b-hf"),
        licence="Llama 2 Community",
        chat="[INST], system text inside the first turn",
        shape=_llama(5120, 13_824, 40, 40, 40, 32_000, 4096),
    ),
    "mistral-7b": ModelCard(
        title="Mistral-7B",
        hub_ids=("mistralai/Mistral-7B-Instruct-v0.3", "mistralai/Mistral-7B-v0.3"),
        licence="Apache-2.0",
        chat="[INST], no system turn",
        shape=_llama(4096, 14_336, 32, 32, 8, 32_768, 32_768, model_type="mistral"),
    ),
    "phi-2": ModelCard(
        title="Phi-2",
        hub_ids=("microsoft/phi-2",),
        licence="MIT",
        chat="none: plain question and answer",
        shape=_llama(2560, 10_240, 32, 32, 32, 51_200, 2048, model_type="phi", head_dim=80, gated=False),
    ),
    "meerkat-8b": ModelCard(
        title="Meerkat-8B",
        hub_ids=("dmis-lab/llama-3-meerkat-8b-v1.0",),
        licence="CC BY-NC 4.0",
        chat="header marks, system turn",
        shape=_llama(4096, 14_336, 32, 32, 8, 128_256, 8192),
    ),
    "smollm2-135m": ModelCard(
        title="SmolLM2-135M",
        hub_ids=("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M"),
        licence="Apache-2.0",
        chat="ChatML",
        shape=_llama(576, 1536, 30, 9, 3, 49_152, 8192, head_dim=64, tied=True),
    ),
    "distilgpt2": ModelCard(
        title="DistilGPT-2",
        hub_ids=("distilbert/distilgpt2",),
        licence="Apache-2.0",
        chat="none: plain question and answer",
        shape=_llama(
            768, 3072, 6, 12, 12, 50_257, 1024, model_type="gpt2", head_dim=64, gated=False, tied=True
        ),
    ),
}


class Described(NamedTuple):
    """A model's shape and what had to be assumed of it, one line each; empty for a family that is known."""

    shape: ModelShape
    assumptions: tuple[str, ...] = ()


def describe_model(name: str) -> Described:
    """The shape of a model by the name of its card, its Hub id or its folder; weights are not touched.

    Raises:
        ModelError: The name is none of these, or the configuration does not describe a causal language model.
    """
    for key, card in CARDS.items():
        if name.lower() in (key, *(hub_id.lower() for hub_id in card.hub_ids)):
            return Described(card.shape)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return described_by(_read_config(folder / "config.json"), name)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return described_by(_read_config(_fetched_config(name)), name)
    near = get_close_matches(name.lower(), CARDS, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelError(
        f"model: '{name}' has no card and is no folder or Hub id; {hint}use one of {', '.join(CARDS)}"
    )


def described_by(config: Mapping[str, Any], name: str = "this model") -> Described:
    """The shape that a `config.json` describes.

    Raises:
        ModelError: A size is missing for which there is no rule.
    """
    model_type = str(config.get("model_type", ""))
    text = config.get("text_config") or config
    sizes = {
        "hidden": _first(text, "hidden_size", "n_embd", "d_model"),
        "num_layers": _first(text, "num_hidden_layers", "n_layer", "num_layers"),
        "num_heads": _first(text, "num_attention_heads", "n_head", "num_heads"),
        "vocabulary": _first(text, "vocab_size"),
    }
    if missing := [size for size, value in sizes.items() if value is None]:
        raise ModelError(
            f"model: the configuration of {name} does not say {', '.join(missing)}; "
            "name a causal language model of one of the families " + ", ".join(sorted(ATTENTION))
        )
    known = {size: int(value) for size, value in sizes.items() if value is not None}
    assumptions = []
    if model_type not in ATTENTION:
        assumptions.append(
            f"model: '{model_type}' is a family without a card; assumed: a gated feed-forward layer, adapters on all "
            f"linear layers, the memory of a llama of these sizes; a card goes into {Path(__file__).name}"
        )
    intermediate = _first(text, "intermediate_size", "n_inner", "ffn_dim") or 4 * known["hidden"]
    positions = _first(text, "max_position_embeddings", "n_positions") or 2048
    return Described(
        ModelShape(
            model_type=model_type,
            intermediate=int(intermediate),
            num_kv_heads=int(_first(text, "num_key_value_heads") or known["num_heads"]),
            head_dim=int(_first(text, "head_dim") or known["hidden"] // known["num_heads"]),
            gated=model_type in _GATED or model_type not in ATTENTION,
            tied=bool(text.get("tie_word_embeddings", model_type == "gpt2")),
            window_tokens=min(int(positions), int(_first(text, "sliding_window") or positions)),
            **known,
        ),
        tuple(assumptions),
    )


def _first(config: Mapping[str, Any], *names: str) -> Any:
    return next((config[name] for name in names if config.get(name) is not None), None)


def _read_config(file: Path) -> dict[str, Any]:
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"model: {file} cannot be read ({type(error).__name__}); name a folder written by save_pretrained"
        ) from error
    if not isinstance(config, dict):
        raise ModelError(f"model: {file} holds no configuration; name a folder written by save_pretrained")
    return config


def _fetched_config(hub_id: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(hub_id, "config.json"))
    except Exception as error:  # the Hub client raises a dozen kinds, from its own and from the HTTP library
        raise ModelError(
            f"model: '{hub_id}' has no card and its config.json cannot be fetched ({type(error).__name__}); "
            f"use a local folder or one of {', '.join(CARDS)}"
        ) from error
